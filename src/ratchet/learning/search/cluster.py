"""Workers of a Dask cluster as workers of a pool."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from distributed import Client, WorkerPlugin
from distributed import Worker as DaskWorker

from ratchet.learning.search.worker_pool import (
    ADDRESS,
    ONE_THREAD,
    WORKERS,
    Job,
    Worker,
    unreachable,
)

_SECONDS = 30  # to find the scheduler, and for the first worker to be there

_jobs: dict[str, Job] = {}


class _Deliver(WorkerPlugin):
    """Sends the job to every worker once, also to those that join later."""

    def __init__(self, name: str, job: Job) -> None:
        self.name = name
        self._job = job

    def setup(self, worker: DaskWorker) -> None:
        for variable, value in ONE_THREAD.items():
            os.environ.setdefault(variable, value)
        _jobs[self.name] = self._job

    def teardown(self, worker: DaskWorker) -> None:
        _jobs.pop(self.name, None)


@contextmanager
def dask_workers(address: str, job: Job) -> Iterator[list[Worker]]:
    """One worker of the pool per worker of the cluster.

    A task prefers its own worker. When that is lost, Dask gives the task to another one. An
    autoscaler counts the tasks of the scheduler: where ``RATCHET_DASK_WORKERS`` names more workers
    than there are, the pool has as many, and Dask gives the tasks of the others to whichever is
    free or joins.

    Args:
        address: of the scheduler.
        job: what the workers do; this package has to be installed there.

    Raises:
        ValueError: no scheduler answers, it has no worker, or the variable is no number.
    """
    most = _most_workers()
    try:
        client = Client(address, timeout=_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ValueError(unreachable(address, str(error))) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_SECONDS)
        except TimeoutError as error:
            raise ValueError(
                f"engine: 'dask': the scheduler at '{address}' ({ADDRESS}) has no worker after "
                f"{_SECONDS} s; start one with: python -m dask worker {address} --nthreads 1"
            ) from error
        name = f"ratchet-{uuid4().hex}"
        client.register_plugin(_Deliver(name, job), name=name)
        present = list(client.scheduler_info(n_workers=-1)["workers"])
        expected = [None] * max(0, most - len(present))
        try:
            yield [
                Worker(_executor(client, worker), partial(_do, name))
                for worker in (*present, *expected)
            ]
        finally:
            client.unregister_worker_plugin(name)  # type: ignore[no-untyped-call]


def _most_workers() -> int:
    value = os.environ.get(WORKERS) or "0"
    if not value.isdecimal():
        raise ValueError(f"{WORKERS}: expected a number of workers, such as 16, found '{value}'")
    return int(value)


def _executor(client: Client, worker: str | None) -> Executor:
    """Executor of a worker; without one, of any."""
    preferred = {} if worker is None else {"workers": [worker], "allow_other_workers": True}
    executor: Executor = client.get_executor(pure=False, **preferred)  # type: ignore[no-untyped-call]
    return executor


def _do(name: str, content: Any) -> Any:
    return _jobs[name](content)
