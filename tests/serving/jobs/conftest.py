"""A service whose jobs run processes that are made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.serving.jobs.progress import Writer
from ratchet.serving.jobs.runner import Runner
from ratchet.serving.jobs.specification import RESULT, Order
from ratchet.serving.jobs.store import JobStore
from ratchet.serving.settings import Settings

FOUND = {
    "result": {
        "mode": "fast",
        "winner": {"model_id": 6, "model_name": "gru", "rmse": 3.25},
        "total_models": 2,
        "results": [
            {"model_id": 6, "model_name": "gru", "rmse": 3.25, "status": "completed"},
            {"model_id": 1, "model_name": "lstm", "rmse": 4.5, "status": "completed"},
        ],
    },
    "files": {"network": "data/06_models/networks/prices_6_20261130T120000.keras"},
    "challenger": {"registered": False, "reason": "nothing serves yet"},
}


class MadeUp:
    """A process that does what the test says."""

    def __init__(self, folder: Path, pid: int) -> None:
        self.folder, self.pid, self.started, self.alive = folder, pid, "1", True
        self.code: int | None = None
        self.writer = Writer(folder)
        self.writer.write("stage", name="search")

    def is_alive(self) -> bool:
        return self.alive

    def kill(self, number: int) -> None:
        self.alive = False

    def trial(self, done: int, total: int, best: float) -> None:
        params = {"architecture": "gru", "units": 16}
        self.writer.write(
            "trial", done=done, total=total, best=best, params=params, score=best, seconds_left=60
        )

    def finish(self, found: Any = FOUND) -> None:
        (self.folder / RESULT).write_text(json.dumps(found))
        self.alive = False


class Workshop:
    """A service, and the processes of its jobs."""

    def __init__(self, make_stand: Callable[..., Any], folder: Path, **options: Any) -> None:
        self.processes: list[MadeUp] = []
        database = f"sqlite:///{folder / 'jobs.db'}"
        jobs = {"folder": folder / "jobs", "budget": 100, **options.pop("jobs", {})}
        self.stand = make_stand(runner=self._runner, database_url=database, jobs=jobs, **options)
        self.runner: Runner = self.stand.runner
        self.ask, self.post = self.stand.ask, self.stand.post

    def _runner(self, settings: Settings) -> Runner:
        return Runner(settings, JobStore(settings.database_url), start=self._start)

    def _start(self, folder: Path, order: Order) -> MadeUp:
        self.processes.append(MadeUp(folder, 10**7 + len(self.processes)))
        return self.processes[-1]

    def started(self, **wanted: Any) -> tuple[str, MadeUp]:
        """A job that runs."""
        told = self.post("/train-advanced", {"mode": "fast", "use_case": "power", **wanted})
        assert told.status_code == 202, told.text
        self.runner.once()
        return told.json()["job_id"], self.processes[-1]


@pytest.fixture
def workshop(make_stand: Callable[..., Any], tmp_path: Path) -> Workshop:
    return Workshop(make_stand, tmp_path)


@pytest.fixture
def make_workshop(make_stand: Callable[..., Any], tmp_path: Path) -> Callable[..., Workshop]:
    return lambda **options: Workshop(make_stand, tmp_path, **options)
