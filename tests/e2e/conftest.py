"""Airflow, started as `make airflow` starts it, and spoken to through its REST API."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")

STANDALONE = [sys.executable, "-u", "-m", "ratchet.airflow.standalone"]

PARTS = ("AIRFLOW", "RATCHET_", "MLFLOW_")
"""What in the environment of the tests must not reach Airflow."""


class Airflow:
    """Airflow in a project, on a free port of this machine.

    Args:
        project: the project; its folder ``.airflow`` is the home.
        settings: environment beyond that, such as ``AIRFLOW__DATABASE__SQL_ALCHEMY_CONN``.
    """

    def __init__(self, project: Path, **settings: str) -> None:
        self.project = project
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PARTS)}
        self.environ = {**kept, "AIRFLOW_PORT": str(self.port), **settings}
        self._output = project / "airflow.out"
        self.process: subprocess.Popen[bytes] | None = None
        self._token = ""

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        with self._output.open("w") as out:
            self.process = subprocess.Popen(
                STANDALONE,
                cwd=self.project,
                env=self.environ,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def start(self, within: float = 600) -> None:
        """Start it, wait until it says that it is ready, and log in."""
        self.launch()
        self.wait_for(lambda: self.process.poll() is not None or "password" in self.said(), within)
        assert self.process.poll() is None, self.said()
        user, password = self.said().split("user ")[1].split(", password ")
        login = {"username": user, "password": password.split()[0]}
        self._token = self.call("POST", "/auth/token", login)["access_token"]

    def said(self) -> str:
        """What it has printed so far."""
        return self._output.read_text()

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Stop it; its exit code."""
        self.process.send_signal(how)
        return self.process.wait(120)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the REST API."""
        import requests

        with requests.Session() as session:
            session.trust_env = False  # no proxy stands before this machine
            answer = session.request(
                method,
                f"http://127.0.0.1:{self.port}{path}",
                json=body,
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=60,
            )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def command(self, *words: str) -> str:
        """Output of a command of Airflow."""
        done = subprocess.run(
            [*STANDALONE, *words],
            cwd=self.project,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def unpause(self, dag: str) -> None:
        """Let a DAG run, once it has been read."""
        dags = "/api/v2/dags"
        self.wait_for(
            lambda: any(one["dag_id"] == dag for one in self.call("GET", dags)["dags"]),
        )
        self.call("PATCH", f"{dags}/{dag}", {"is_paused": False})

    def trigger(self, dag: str, **conf: Any) -> str:
        """Start a run; its id."""
        body = {"logical_date": None, "conf": conf}
        return self.call("POST", f"/api/v2/dags/{dag}/dagRuns", body)["dag_run_id"]

    def finished(self, dag: str, run: str, within: float = 1800) -> dict[str, dict[str, Any]]:
        """Wait for a run; its tasks by name. Fails if the run does."""
        self.wait_for(lambda: self.succeeded(dag, run), within)
        return self.tasks(dag, run)

    def succeeded(self, dag: str, run: str) -> bool:
        """Whether a run has ended well. If it has ended otherwise, fail with what it logged."""
        state = self.call("GET", f"/api/v2/dags/{dag}/dagRuns/{run}")["state"]
        logs = self.project.glob(f".airflow/logs/dag_id={dag}/run_id={run}/*/*.log")
        assert state != "failed", "\n".join(f"{log}:\n{log.read_text()[-4000:]}" for log in logs)
        return bool(state == "success")

    def tasks(self, dag: str, run: str) -> dict[str, dict[str, Any]]:
        """Tasks of a run by name."""
        found = self.call("GET", f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances")
        return {task["task_id"]: task for task in found["task_instances"]}

    def xcom(self, dag: str, run: str, task: str) -> Any:
        """What a task has answered."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value"
        return self.call("GET", f"{path}?deserialize=true")["value"]

    @staticmethod
    def wait_for(find: Callable[[], T], within: float = 300) -> T:
        """Wait for something to be there; it."""
        end = time.monotonic() + within
        while not (found := find()):
            assert time.monotonic() < end, f"not within {within} s"
            time.sleep(0.5)
        return found

    def members(self) -> list[psutil.Process]:
        """Everything that runs from this home."""
        from ratchet.airflow.standalone import MARK

        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str((self.project / ".airflow").resolve()):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


@pytest.fixture(scope="module")
def airflow_in() -> Iterator[Callable[..., Airflow]]:
    """Airflow in a project, not yet started; it is stopped after the tests of the module."""
    if find_spec("airflow") is None:  # to import it would change how this process logs
        pytest.skip("Airflow is not installed")
    made = []

    def make(project: Path, **settings: str) -> Airflow:
        made.append(Airflow(project, **settings))
        return made[-1]

    yield make
    for airflow in made:
        if airflow.process and airflow.process.poll() is None:
            airflow.stop()


@pytest.fixture(scope="module")
def airflow_project(tmp_path_factory: pytest.TempPathFactory, make_project: Any) -> Path:
    """A project with the DAGs and an interpreter."""
    project = make_project(tmp_path_factory.mktemp("airflow"), ["films"])
    shutil.copytree(ROOT / "dags", project / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    (project / ".venv").symlink_to(Path(sys.executable).parents[1])
    # The interpreter takes the package from the project that its environment stands in.
    (project / "src" / "ratchet").symlink_to(ROOT / "src" / "ratchet")
    return project
