"""The same searches on a Dask cluster: a worker at one address of this machine, one at another."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import LocalCluster
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, VotingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold

import ratchet
from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.search import Holdout, Search, table
from ratchet.learning.search.cluster import dask_workers
from ratchet.learning.search.worker_pool import ADDRESS, WORKERS, Task, WorkerPool
from ratchet.learning.stacking import fit_final_estimator

pytestmark = pytest.mark.slow

MACHINES = ["127.0.0.1", "127.0.0.2"]
"""Addresses that stand for machines of their own."""


class Cluster:
    """A scheduler and two workers, each a process with one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._source = str(Path(ratchet.__file__).parents[1])
        self._processes: list[subprocess.Popen[bytes]] = []
        options = ["--host", MACHINES[0], "--no-dashboard", "--port", "0"]
        self._start("scheduler", "scheduler", *options)
        self.address = self._told("scheduler", r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)")
        for name, host in zip(("worker0", "worker1"), MACHINES, strict=True):
            (folder / name).mkdir()
            options = ["--host", host, "--no-dashboard", "--nthreads", "1", "--no-nanny"]
            options += ["--name", name, "--local-directory", str(folder / name)]
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

    with pytest.raises(ValueError, match=f"no Dask scheduler answers at 'tcp://127.*{ADDRESS}"):
        search(engine="dask")


def forests(**settings: Any) -> Search:
    """A search of a forest, and of what it is part of."""
    X, y = make_regression(300, 6, noise=10, random_state=0)
    forest = ExtraTreesRegressor(20, random_state=0)
    mean = VotingRegressor([("forest", forest), ("line", Ridge())])
    grid = {"forest__min_samples_leaf": [1, 5, 20], "line__alpha": [0.1, 10.0]}
    scoring = "neg_mean_absolute_error"
    return Search(mean, grid, scoring=scoring, cv=KFold(3), **settings).fit(X, y)


def test_classical_searches_and_stacks_are_the_local_ones_when_a_worker_is_lost(cluster):
    local = forests(n_jobs=1)
    lost: list[int] = []

    def lose_a_worker(done: int, *_: object) -> None:
        if done and not lost:
            lost.append(done)
            cluster.kill_worker()

    remote = forests(engine="dask", on_progress=lose_a_worker)

    assert lost
    for fold in range(3):
        name = f"split{fold}_test_score"
        np.testing.assert_array_equal(remote.cv_results_[name], local.cv_results_[name])
    X, y = make_classification(200, n_informative=4, n_classes=3, random_state=0)
    models = [LogisticRegression(), ExtraTreesClassifier(10, random_state=0)]
    options = {"scoring": "neg_log_loss", "cv": StratifiedKFold(3)}
    there, _ = fit_final_estimator(models, {"C": [1.0]}, X, y, engine="dask", **options)
    here, _ = fit_final_estimator(models, {"C": [1.0]}, X, y, n_jobs=1, **options)
    np.testing.assert_array_equal(there.coef_, here.coef_)


def slow_square(number: float) -> float:
    time.sleep(0.4)
    return number**2


def test_a_worker_killed_in_the_middle_of_a_task_loses_nothing(cluster):
    with dask_workers(cluster.address, slow_square) as workers:
        threading.Timer(0.6, cluster.kill_worker).start()
        results = WorkerPool(workers).map([1.0, 2.0, 3.0, 4.0, 5.0])

    assert results == [1.0, 4.0, 9.0, 16.0, 25.0]
