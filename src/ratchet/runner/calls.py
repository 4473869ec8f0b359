"""What the process of a use case lets its parent do: show how far it is, and log."""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any

LOGGER = logging.getLogger(__name__)
LAST_WORDS = 10.0
"""Seconds that the last calls of processes which have ended are waited for."""

Call = tuple[Any, ...]
"""A function and its arguments; all can be pickled."""

to_parent: Callable[[Call], None] | None = None
"""In the process of a use case: sends calls to the process that has started it."""

on_failure: Callable[[], None] | None = None
"""In the process of a use case: what is done once it has failed."""


@contextmanager
def answer_calls(context: Any) -> Iterator[tuple[Connection, Any]]:
    """Make the calls that other processes send, to the last.

    No process has to say that it is done, which one that was killed cannot: a pipe ends with all
    processes that could write to it.

    Yields:
        What they send by: the end of a pipe, and a lock, since they share it.
    """
    reader, writer = context.Pipe(duplex=False)

    def answer() -> None:
        for call in _received(reader):
            try:
                function, *arguments = pickle.loads(call)  # noqa: S301 - our own
                function(*arguments)
            except Exception:  # whatever: if nobody read on, all processes would wait for ever
                LOGGER.warning("A message of a use case is lost", exc_info=True)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield writer, context.Lock()
    finally:
        writer.close()
        thread.join(LAST_WORDS)


def _received(reader: Connection) -> Iterator[bytes]:
    """What comes out of a pipe; the last may be half a message, of a process that was killed."""
    with suppress(EOFError, OSError):
        while True:
            yield reader.recv_bytes()


def make_sender(writer: Connection, lock: Any) -> Callable[[Call], None]:
    """Send calls by what ``answer_calls`` gives."""

    def send(call: Call) -> None:
        message = pickle.dumps(call)
        with lock:
            writer.send_bytes(message)

    return send


def send_logs(send: Callable[[Call], None]) -> None:
    """Let the parent handle what is logged here: its handlers and filters, once each."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers, logger.propagate = [], True
    logging.root.handlers = [_Sender(send)]  # type: ignore[arg-type]


class _Sender(QueueHandler):
    """Sends records, without what cannot be pickled of them."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue((_handle, record))  # type: ignore[operator]


def _handle(record: logging.LogRecord) -> None:
    logging.getLogger(record.name).handle(record)
