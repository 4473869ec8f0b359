"""Execution of tasks: in this process, in one process per core, or on a Dask cluster.

All are executors of ``concurrent.futures`` behind the workers of a pool. Each worker is handed the
job, with all data in it, once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from joblib import effective_n_jobs

from ratchet.learning.processes import end_with_parent
from ratchet.learning.search.worker_pool import (
    ADDRESS,
    ONE_THREAD,
    Job,
    Worker,
    WorkerPool,
    unreachable,
)

ENGINES = ("local", "dask")

PRELOADED = ["tensorflow", "ratchet.learning.recurrent.autodiff"]
"""What workers that train networks would take seconds to import."""

_job: Job | None = None


@contextmanager
def open_worker_pool(engine: str, job: Job, n_jobs: int | None) -> Iterator[WorkerPool]:
    """Start workers for a job, and end them with the context.

    Args:
        engine: one of ``ENGINES``.
        job: what they do.
        n_jobs: local processes; 1 or ``None`` for this one, -1 for one per core.

    Raises:
        ValueError: ``dask`` without an address, or no scheduler answers there.
    """
    if engine == "dask":
        from ratchet.learning.search.cluster import dask_workers

        with dask_workers(address(), job) as workers:
            yield WorkerPool(workers)
    # More processes than cores would slow each other down.
    elif (n := min(effective_n_jobs(n_jobs), os.cpu_count() or 1)) > 1:
        with _processes(n, job) as workers:
            yield WorkerPool(workers)
    else:
        yield WorkerPool([Worker(_Here(), job)])


def address() -> str:
    """Address of Dask's scheduler.

    Raises:
        ValueError: none is set.
    """
    if not (value := os.environ.get(ADDRESS)):
        raise ValueError(
            f"engine: 'dask' needs the scheduler's address in the environment variable {ADDRESS}, "
            "such as tcp://10.0.0.5:8786; engine: local needs none"
        )
    return value


def check_scheduler(seconds: float = 10.0) -> None:
    """Make sure that something answers at the address of Dask's scheduler.

    Args:
        seconds: to wait for the connection.

    Raises:
        ValueError: no address is set, or it cannot be reached.
    """
    value = address()
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ValueError(unreachable(value, "that is no address such as tcp://10.0.0.5:8786"))
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        raise ValueError(unreachable(value, str(error))) from error


class _Here(Executor):
    """Runs tasks at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _processes(n: int, job: Job) -> Iterator[list[Worker]]:
    """One executor of a single process each, so that a task goes where its program is compiled."""
    started: list[ProcessPoolExecutor] = []
    pids: list[int] = []
    forked = sys.platform == "linux" and getattr(job, "uses_tensorflow", False)
    context: Any = multiprocessing.get_context("forkserver" if forked else "spawn")
    if forked:
        # Workers are copies of one process that has imported TensorFlow; it stays until this one
        # ends, for the next job.
        context.set_forkserver_preload(PRELOADED)

    def start(n: int = 1) -> list[Executor]:
        new = [
            ProcessPoolExecutor(
                1,
                context,
                initializer=_begin,
                initargs=(job, None if forked else os.getpid()),
            )
            for _ in range(n)
        ]
        started.extend(new)
        with _environment(ONE_THREAD):
            # The first task starts the process; all start side by side.
            pids.extend([future.result() for future in [one.submit(os.getpid) for one in new]])
        return list(new)

    try:
        yield [Worker(one, _do, restart=lambda: start()[0]) for one in start(n)]
    except BaseException:
        for pid in pids:  # their results are not needed any more
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        raise
    finally:
        for executor in started:
            executor.shutdown()


def _begin(job: Job, parent: int | None) -> None:
    """Make a new process a worker, which ends with a parent; by default the one it is forked of."""
    global _job  # noqa: PLW0603 - this is what the process is for
    end_with_parent(parent or os.getppid())
    _job = job


def _do(content: Any) -> Any:
    assert _job is not None
    return _job(content)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
