"""The process that runs one use case, and what it lets its parent do: show bars, and log."""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline

from ratchet import progress, webhook
from ratchet.kedro_private import PartRunner, hook_manager_of, make_catalog
from ratchet.learning.processes import end_with_parent

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
            except Exception:  # any: if no thread read on, all processes would wait for ever
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


_catalog: Any = None
_hook_manager: Any = None


def open_session(
    writer: Connection,
    lock: Any,
    bars: bool,
    session: dict[str, Any],
    run_id: str | None,
    parent: int,
) -> None:
    """Open a session of Kedro like that of the parent, for its catalog and its hooks."""
    global _catalog, _hook_manager, to_parent  # noqa: PLW0603 - for `run_part`, called later
    end_with_parent(parent)
    bootstrap_project(session["project_path"])
    to_parent = send = make_sender(writer, lock)
    opened = KedroSession.create(**session)
    # Versions of datasets are named after the run, as in KedroSession.run.
    _catalog = make_catalog(opened.load_context(), save_version=run_id)
    _hook_manager = hook_manager_of(opened)
    send_logs(send)
    if bars:
        progress.forward(send)


def run_part(name: str, part: Pipeline, is_async: bool, run_id: str | None) -> list[BaseException]:
    """Run a use case; the error that stopped it and its causes, which pickle would leave out."""
    try:
        PartRunner(is_async).run(part, _catalog, _hook_manager, run_id)
    except Exception as error:
        LOGGER.error("%s failed", name, exc_info=True)
        if on_failure is not None:
            on_failure()
        return [*causes_of(error)]
    finally:
        webhook.current().wait()
    return []


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, taken apart: each without its trace and as far as it can be sent."""
    while error is not None:
        cause = error.__cause__
        # Once distributed is loaded, pickle takes causes and traces along, and fails at any.
        error.__cause__ = error.__context__ = error.__traceback__ = None
        yield error if _can_be_sent(error) else _substitute(error)
        error = cause


def _can_be_sent(error: BaseException) -> bool:
    """Whether an error says the same after it was sent: classes of errors pickle as they like."""
    try:
        return str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own
    except Exception:
        return False


def _substitute(error: BaseException) -> BaseException:
    """An error that can be sent, with the message and the notes of one that cannot."""
    substitute = RuntimeError(f"{type(error).__name__}: {error}")
    for note in getattr(error, "__notes__", []):
        substitute.add_note(note)
    return substitute
