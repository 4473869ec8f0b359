"""Logging of what processes of use cases have written, while they go on.

Hundreds of trials take MLflow half a minute. The first process waits for the others anyway.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class UseCaseOutputs:
    """What the nodes of a use case write, and what of it they have not written yet."""

    written: set[str]
    missing: set[str]


def outputs_by_use_case(pipeline: Any) -> dict[str, UseCaseOutputs]:
    """The outputs of a pipeline by use case, which is the first part of a namespace."""
    outputs: dict[str, set[str]] = {}
    for node in pipeline.nodes:
        use_case = (node.namespace or "").split(".")[0]
        outputs.setdefault(use_case, set()).update(node.outputs)
    return {use_case: UseCaseOutputs(names, set(names)) for use_case, names in outputs.items()}


class BackgroundLogger:
    """Logs in a thread, one thing after the other; it ends with this process, done or not.

    Args:
        log: is given the name of each dataset that is written.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def put(self, name: str) -> None:
        """Have a dataset logged; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._queue.put(name)

    def finish(self) -> None:
        """Wait until everything is logged; raises the error of the first that could not be."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (name := self._queue.get()) is not None:
            try:
                if self._error is None:
                    self._log(name)
            except Exception as error:  # whatever the store and its driver raise
                self._error = error
