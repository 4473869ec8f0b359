"""The same search on a Dask cluster of two workers on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import LocalCluster

import ratchet
from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.search import Holdout, Search, table
from ratchet.learning.search.cluster import dask_workers
from ratchet.learning.search.worker_pool import ADDRESS, WORKERS, Task, WorkerPool

pytestmark = pytest.mark.slow

HERE = ["--host", "127.0.0.1", "--no-dashboard"]


class Cluster:
    """A scheduler and two workers, each a process with one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._source = str(Path(ratchet.__file__).parents[1])
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "scheduler", *HERE, "--port", "0")
        self.address = self._told("scheduler", r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)")
        for name in ("worker0", "worker1"):
            options = [*HERE, "--nthreads", "1", "--no-nanny", "--name", name]
            options += ["--local-directory", str(folder)]
            self._start(name, "worker", self.address, *options)
            self._told(name, r"(Registered to)")

    def kill_worker(self) -> None:
        self._processes[1].send_signal(signal.SIGKILL)

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def _start(self, name: str, *command: str) -> None:
        self._processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + command[0], *command[1:]],
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join([self._source, *filter(None, sys.path)])},
                stdout=(self._folder / f"{name}.log").open("wb"),
                stderr=subprocess.STDOUT,
            )
        )

    def _told(self, name: str, pattern: str) -> str:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if result := re.search(pattern, (self._folder / f"{name}.log").read_text()):
                return result[1]
            time.sleep(0.1)
        raise AssertionError(self.log())


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    started = Cluster(tmp_path)
    monkeypatch.setenv(ADDRESS, started.address)
    yield started
    started.stop()


def search(**settings: Any) -> Search:
    rng = np.random.default_rng(0)
    X = rng.random((60, 8)).astype(np.float32)
    return Search(
        RecurrentRegressor(lookback=4, epochs=4, batch_size=16, compiled=False),
        {"units": [3, 4, 5], "dropout": [0.0, 0.2], "learning_rate": [1e-2, 1e-3]},
        cv=Holdout(0.2),
        refit=False,
        group_size=2,
        top_k=2,
        **settings,
    ).fit(X, X.sum(axis=1))


def results(fitted: Search) -> pd.DataFrame:
    """Results by trial: processes that share cores round otherwise, and near ties change places."""
    rows = table(fitted).sort_values("trial", ignore_index=True)
    return rows.loc[:, ~rows.columns.str.contains("time|rank")]


def test_results_equal_the_local_ones_even_when_a_worker_is_lost(cluster, tmp_path):
    local = search()
    reports: list[int] = []

    def lose_a_worker(done: int, *_: object) -> None:
        reports.append(done)
        if len(reports) == 3:
            cluster.kill_worker()

    remote = search(engine="dask", folder=tmp_path / "kept", on_progress=lose_a_worker)

    assert reports == [0, 2, 4, 6, 8, 10, 12]  # every group once
    pd.testing.assert_frame_equal(results(remote), results(local), rtol=1e-5)
    for one, other in zip(remote.top_estimators_, local.top_estimators_, strict=True):
        for a, b in zip(one.weights_, other.weights_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_a_cluster_grows_with_the_tasks_that_wait(monkeypatch):
    """As the autoscaler of an operator does: from one worker, by the number of tasks."""
    monkeypatch.setenv(WORKERS, "3")
    options = {"processes": False, "threads_per_worker": 1, "protocol": "tcp://"}
    with LocalCluster(1, host="127.0.0.1", dashboard_address="127.0.0.1:0", **options) as cluster:
        cluster.adapt(minimum=1, maximum=3, interval="100 ms", target_duration="100 ms")
        tasks = [Task(str(number), number, 1.0, 1.0) for number in range(9)]

        with dask_workers(cluster.scheduler_address, nap) as workers:
            assert len(workers) == 3
            sizes = [len(cluster.scheduler.workers) for _ in WorkerPool(workers).run(tasks)]

    assert len(sizes) == 9
    assert max(sizes) == 3


def test_a_number_of_workers_is_expected(monkeypatch):
    monkeypatch.setenv(WORKERS, "many")

    with (
        pytest.raises(ValueError, match=f"{WORKERS}: expected a number of workers.*'many'"),
        dask_workers("tcp://127.0.0.1:9", nap),
    ):
        pass


def test_nobody_at_the_address_is_named(monkeypatch):
    monkeypatch.setenv(ADDRESS, "tcp://127.0.0.1:9")
    monkeypatch.setattr("ratchet.learning.search.cluster._SECONDS", 1)

    with pytest.raises(ValueError, match=f"{ADDRESS}: no Dask scheduler answers at 'tcp://127"):
        search(engine="dask")
