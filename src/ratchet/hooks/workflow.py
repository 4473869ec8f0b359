"""What ran, how long and what failed, for the workflow view of Kedro-Viz.

Kedro-Viz records events of runs with Kedro's own sequential runner alone. This records those of
our runner in the same form: processes of use cases build their events and send them to the first
process, which alone writes the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro_viz.integrations.kedro.hooks_utils import (
    EVENTS_DIR,
    EVENTS_FILE,
    is_sequential_runner,
)

from ratchet.kedro_private import RunEvents
from ratchet.learning.files import write_text
from ratchet.runner import worker


class WorkflowHooks(RunEvents):
    """Records the events of a run, and writes them when it ends."""

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Remember the project, and whether this is the process of a use case."""
        global _recorder  # noqa: PLW0603 - what other processes send is for the one of this run
        _recorder = self
        self._path = Path(context.project_path, EVENTS_DIR, EVENTS_FILE)
        self.is_collecting = worker.to_parent is not None
        worker.on_failure = self._send_position

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any) -> None:
        """Begin anew, unless Kedro-Viz records this run itself or would record no such run."""
        self.is_collecting = False
        self.events.clear()
        if not is_sequential_runner(run_params):
            super().before_pipeline_run({**run_params, "runner": None}, pipeline)
            self.forget_nodes()

    def _send_position(self) -> None:
        """Say at which node and dataset this use case has stopped."""
        assert worker.to_parent is not None
        worker.to_parent((_take_position, self.position))

    def add(self, event: dict[str, Any], *, flush: bool = False) -> None:
        """Take an event, or send it to the process that writes them."""
        if worker.to_parent is not None:
            worker.to_parent((_record, event))
            return
        self.events.append(event)
        if flush:
            write_text(self._path, json.dumps(self.events, indent=2))


_recorder: WorkflowHooks | None = None


def _record(event: dict[str, Any]) -> None:
    if _recorder is not None and _recorder.is_collecting:
        _recorder.add(event)


def _take_position(position: tuple[str | None, str | None, Any]) -> None:
    if _recorder is not None:
        _recorder.position = position
