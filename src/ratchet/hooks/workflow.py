"""What ran, how long and what failed, for the workflow view of Kedro-Viz.

Kedro-Viz records events of runs with Kedro's own sequential runner alone. This records those of
our runner in the same form: processes of use cases build their events and send them to the first
process, which alone writes the file.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro_viz.integrations.kedro.hooks_utils import (
    EVENTS_DIR,
    EVENTS_FILE,
    is_sequential_runner,
)
from kedro_viz.integrations.kedro.run_hooks import PipelineRunStatusHook

from ratchet.hooks import RunParams
from ratchet.learning.atomic_files import write_text
from ratchet.runner import worker

LOGGER = logging.getLogger(__name__)

Event = dict[str, object]
"""What happened, as Kedro-Viz reads it from JSON."""

Position = tuple[str | None, str | None, Any]
"""Dataset, ``loading`` or ``saving``, and node that an error would be about."""


class WorkflowHooks(PipelineRunStatusHook):
    """Records the events of a run, and writes them when it ends."""

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Remember the project, and whether this is the process of a use case."""
        global _recorder  # noqa: PLW0603 - what other processes send is for the one of this run
        _recorder = self
        self._path = Path(context.project_path, EVENTS_DIR, EVENTS_FILE)
        self._should_collect_events = worker.to_parent is not None
        worker.on_failure = self._send_position

    @hook_impl
    def before_pipeline_run(self, run_params: RunParams, pipeline: Any) -> None:
        """Start a new record, unless Kedro-Viz records this run itself or would record none."""
        self._should_collect_events = False
        self._events.clear()
        if not is_sequential_runner(run_params):
            super().before_pipeline_run({**run_params, "runner": None}, pipeline)
            self._all_nodes.clear()  # of those that did not start none is to blame

    def _send_position(self) -> None:
        """Say at which node and dataset this use case has stopped."""
        assert worker.to_parent is not None
        position = (self._current_dataset, self._current_operation, self._current_node)
        worker.to_parent((_take_position, position))

    def take_position(self, position: Position) -> None:
        """Take over at which node and dataset another process has stopped."""
        self._current_dataset, self._current_operation, self._current_node = position

    def record(self, event: Event) -> None:
        """Record an event that another process has sent."""
        if self._should_collect_events:
            self._add_event(event)

    def _add_event(self, event: Event, flush: bool = False) -> None:
        if worker.to_parent is not None:
            worker.to_parent((_record, event))
            return
        self._events.append(event)
        if not flush:
            return
        try:
            write_text(self._path, json.dumps(self._events, indent=2))
        except OSError as error:  # in a container the project may be read-only
            LOGGER.warning("Kedro-Viz will not show this run: %s: %s", self._path, error.strerror)


_recorder: WorkflowHooks | None = None


def _record(event: Event) -> None:
    if _recorder is not None:
        _recorder.record(event)


def _take_position(position: Position) -> None:
    if _recorder is not None:
        _recorder.take_position(position)
