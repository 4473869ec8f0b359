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

from ratchet.learning.search.worker_pool import ADDRESS, ONE_THREAD, Job, Worker

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

    A task prefers its own worker. When that is lost, Dask gives the task to another one.

    Args:
        address: of the scheduler.
        job: what the workers do; this package has to be installed there.

    Raises:
        ValueError: no scheduler answers, or it has no worker.
    """
    try:
        client = Client(address, timeout=_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ValueError(f"{ADDRESS}: no Dask scheduler answers at '{address}'") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_SECONDS)
        except TimeoutError as error:
            raise ValueError(f"{ADDRESS}: the scheduler at '{address}' has no worker") from error
        name = f"ratchet-{uuid4().hex}"
        client.register_plugin(_Deliver(name, job), name=name)
        try:
            yield [
                Worker(_executor(client, worker), partial(_do, name))
                for worker in client.scheduler_info(n_workers=-1)["workers"]
            ]
        finally:
            client.unregister_worker_plugin(name)  # type: ignore[no-untyped-call]


def _executor(client: Client, worker: str) -> Executor:
    executor: Executor = client.get_executor(  # type: ignore[no-untyped-call]
        pure=False, workers=[worker], allow_other_workers=True
    )
    return executor


def _do(name: str, content: Any) -> Any:
    return _jobs[name](content)
