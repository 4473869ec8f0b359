"""Use cases side by side: how ``kedro run`` runs several of them.

Most nodes of a use case keep all cores busy and some only one, such as those that draw, choose and
release. Two use cases at a time fill each other's gaps. More would take memory and no less time.

Each use case runs in a process of its own, node after node in the usual order: nothing that a node
sees is different, and what it leaves in memory is there for the next one. That process shares
nothing with this one but what it sends: log records and the state of its bars.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import pairwise
from logging.handlers import QueueHandler
from typing import Any

from kedro.io import MemoryDataset
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner

from ratchet import config, progress, webhook
from ratchet.learning.search import processes

LOGGER = logging.getLogger(__name__)


class UseCaseRunner(SequentialRunner):
    """Runs use cases side by side, and afterwards the nodes that belong to none of them.

    Where there is one use case or one core, or where use cases need something of each other, nodes
    run one after the other, as in Kedro's `SequentialRunner`. The first error ends all use cases.

    Args:
        is_async: load and save with threads.
        at_a_time: use cases that run at the same time.
    """

    def __init__(self, is_async: bool = False, at_a_time: int = 2) -> None:
        super().__init__(is_async=is_async)
        self._at_a_time = at_a_time

    def _run(
        self,
        pipeline: Pipeline,
        catalog: Any,
        hook_manager: Any = None,
        run_id: str | None = None,
    ) -> None:
        from joblib import cpu_count

        parts = use_cases_of(pipeline)
        if min(len(parts), self._at_a_time, cpu_count()) < 2 or _entangled(
            pipeline, parts, catalog
        ):
            super()._run(pipeline, catalog, hook_manager, run_id)
            return
        self._run_side_by_side(parts, run_id)
        rest = pipeline - sum(parts.values(), Pipeline([]))
        if rest.nodes:
            super()._run(rest, catalog, hook_manager, run_id)

    def _run_side_by_side(self, parts: dict[str, Pipeline], run_id: str | None) -> None:
        context = multiprocessing.get_context("spawn")
        calls = context.SimpleQueue()
        start = (calls, progress.shown(), config.like_this_session())
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(self._at_a_time, context, initializer=_begin, initargs=start)
        with _answering(calls):
            try:
                runs = [
                    pool.submit(_run_part, name, part, self._is_async, run_id)
                    for name, part in parts.items()
                ]
                for run in as_completed(runs):
                    if errors := run.result():
                        raise _chained(errors)
            finally:
                # Whether done or not wanted any more: each would wait minutes for processes of
                # joblib that have nothing to do.
                for process in set(multiprocessing.active_children()) - others:
                    processes.kill(process.pid)
                pool.shutdown()


def use_cases_of(pipeline: Pipeline) -> dict[str, Pipeline]:
    """Use case -> its part of a pipeline: the nodes whose namespace begins with its name."""
    names = dict.fromkeys(n.namespace.split(".")[0] for n in pipeline.nodes if n.namespace)
    return {name: pipeline.filter(node_namespaces=[name]) for name in names}


def _entangled(pipeline: Pipeline, parts: dict[str, Pipeline], catalog: Any) -> bool:
    """Whether a part needs what another makes, or leaves in memory what others need."""
    made = pipeline.all_outputs()
    for part in parts.values():
        others = pipeline - part
        if part.inputs() & (made - part.all_outputs()):
            return True
        taken = part.all_outputs() & others.inputs()
        if any(isinstance(catalog.get(name), MemoryDataset) for name in taken):
            return True
    return False


@contextmanager
def _answering(calls: Any) -> Iterator[None]:
    """Make the calls that other processes ask for.

    After an error nobody waits for the last ones: a process that was ended may have left half a
    call behind.
    """

    def answer() -> None:
        for function, *arguments in iter(calls.get, None):
            function(*arguments)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield
    calls.put(None)
    thread.join()


def _chained(errors: list[BaseException]) -> BaseException:
    """An error with its causes."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


# ------------------------------------------------------------------- in the process of a use case

_catalog: Any = None
_hook_manager: Any = None


def _begin(calls: Any, bars: bool, session: dict[str, Any]) -> None:
    """Open a session of Kedro like that of the parent, for its catalog and its hooks."""
    global _catalog, _hook_manager  # for `_run_part`, which is called later
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    processes.follow_parent()
    bootstrap_project(session["project_path"])
    opened = KedroSession.create(**session)
    _catalog, _hook_manager = opened.load_context().catalog, opened._hook_manager
    logging.getLogger().handlers = [_Sender(calls)]
    if bars:
        progress.forward(calls.put)


class _Sender(QueueHandler):
    """Lets the parent handle what is logged here, filters included."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.put((_handle, record))  # type: ignore[attr-defined]


def _handle(record: logging.LogRecord) -> None:
    logging.getLogger(record.name).handle(record)


def _run_part(name: str, part: Pipeline, is_async: bool, run_id: str | None) -> list[BaseException]:
    """Run a use case; the error that stopped it and its causes, which pickle would leave out."""
    try:
        SequentialRunner(is_async).run(part, _catalog, _hook_manager, run_id)
    except Exception as error:
        LOGGER.error("%s failed", name, exc_info=True)
        return [*_causes(error)]
    finally:
        webhook.current().wait()
    return []


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, as far as they can be sent."""
    while error is not None:
        cause = error.__cause__
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        except Exception:  # whatever a class of errors makes of being pickled
            yield RuntimeError(f"{type(error).__name__}: {error}")
        else:
            yield error
        error = cause
