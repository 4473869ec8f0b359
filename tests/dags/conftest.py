"""Airflow with a database of its own, and DAGs run by ``dag.test()`` in a process of their own."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent

if find_spec("airflow") is None:  # make setup-airflow; to import it takes seconds
    collect_ignore = ["test_branches.py", "test_integrity.py"]


def airflow_environment(home: Path, dags: Path) -> dict[str, str]:
    """Environment of a process that runs DAGs."""
    bundle = [
        {
            "name": "dags-folder",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(dags)},
        }
    ]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "RATCHET_"))}
    return kept | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundle),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture
def dags_on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the DAGs are made with can be imported, as in Airflow's own processes."""
    monkeypatch.syspath_prepend(ROOT / "dags")
    yield
    for name in [name for name in sys.modules if name.startswith("ratchet_dags")]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def airflow_variables() -> Callable[[Path, Path], dict[str, str]]:
    """Environment of a process that parses or runs DAGs."""
    return airflow_environment


@pytest.fixture(scope="session")
def airflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Airflow database without a run; copies are used. Making it takes seconds."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "airflow"
    home.mkdir(exist_ok=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "done").exists():
            environment = airflow_environment(home, home)
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            subprocess.run(command, env=environment, check=True, capture_output=True)
            (home / "done").touch()
    return home / "airflow.db"


@pytest.fixture(scope="session")
def drive(airflow_database: Path) -> Callable[..., list[dict[str, Any]]]:
    """Run scenarios (see ``drive.py``) with the DAGs of a folder."""

    def run(
        dags: Path, home: Path, *scenarios: dict[str, Any], **environment: str
    ) -> list[dict[str, Any]]:
        home.mkdir(exist_ok=True)
        shutil.copy(airflow_database, home / "airflow.db")
        output = home / "output.json"
        done = subprocess.run(
            [sys.executable, str(HERE / "drive.py"), str(dags), str(output)],
            env=airflow_environment(home, dags) | environment,
            input=json.dumps(scenarios),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
        (home / "log.txt").write_text(done.stdout + done.stderr)
        found: list[dict[str, Any]] = json.loads(output.read_text())
        return found

    return run


@pytest.fixture(scope="session")
def draw_from() -> Callable[[Path, dict[str, Any]], Path]:
    """Make a folder with the DAGs and a manifest of its own: the folder of the DAGs."""

    def make(folder: Path, manifest: dict[str, Any]) -> Path:
        dags = folder / "dags"
        shutil.copytree(ROOT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
        (dags / "manifest.json").write_text(json.dumps(manifest))
        return dags

    return make


@pytest.fixture(scope="session")
def small_manifest() -> dict[str, Any]:
    """Two use cases, one with networks; no retries and no deadlines, which `dag.test()` lacks."""
    manifest: dict[str, Any] = json.loads((ROOT / "dags" / "manifest.json").read_text())
    manifest["use_cases"] = {name: manifest["use_cases"][name] for name in ("films", "power")}
    for about in manifest["use_cases"].values():
        about["job"] |= {"retries": 0, "deadline_hours": None}
    return manifest
