"""A week of the films under Airflow: a run, a kill, nothing new, and Sundays of the past."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow

RETRAIN = "retrain_films"
AS_OF = "1956-12-31"
SMALL = {"candidates": ["logistic", "ridge"]}
LEARNED = "data/live/06_models/films"
PARTS = 4  # scheduler, DAG processor, triggerer, API server
SUNDAYS = ["2026-11-15", "2026-11-22"]
"""Of the past: the second one sees what the runs with `AS_OF` see."""

SETTINGS = """
defaults: {retries: 1, retry_minutes: 0.02, env: live, backfill_env: past}
use_cases:
  films: {data_clock: {run: 2026-11-15, data: 1956-12-25}}
"""

FLOORS = """
films:
  targets:
    success: {objectives: {accuracy: {production: 0.5}}}
    rating: {objectives: {r2: {production: -1.0}}}
"""
"""900 films make no good model."""


@pytest.fixture(scope="module")
def project(airflow_project, empty_mlflow) -> Path:
    """Small grids, tracked by MLflow; and the same for the past."""
    conf = airflow_project / "conf"
    for env in ("live", "past"):
        shutil.copytree(conf / "test", conf / env)
        (conf / env / "mlflow.yml").unlink()
        (conf / env / "parameters" / "floors.yml").write_text(FLOORS)
        for path in (conf / env).glob("*.yml"):
            path.write_text(path.read_text().replace("data/test", f"data/{env}"))
    (conf / "local" / "airflow.yml").write_text(SETTINGS)
    kedro(airflow_project, "manifest")
    empty_mlflow(database(airflow_project, "live"))
    return airflow_project


@pytest.fixture(scope="module")
def airflow(project, airflow_in) -> Any:
    """Airflow after a first start that was killed when it had started all parts."""
    airflow = airflow_in(project, AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL="600")
    airflow.launch()
    airflow.wait_for(lambda: len(airflow.members()) >= PARTS, within=600)
    airflow.process.kill()
    airflow.process.wait()
    orphans = airflow.members()
    airflow.start()
    assert orphans
    assert not [one for one in orphans if one.is_running()]
    airflow.unpause(RETRAIN)
    return airflow


def kedro(project: Path, *words: str) -> None:
    """Run a command of `kedro ratchet`."""
    done = subprocess.run(
        [sys.executable, "-m", "kedro", "ratchet", *words],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def database(project: Path, env: str) -> Path:
    return project / "data" / env / "mlflow.db"


def ledger(project: Path, env: str) -> list[Any]:
    """All decisions about the films, oldest first; the chain that they form is whole."""
    from ratchet.database import connect
    from ratchet.registry.ledger import Ledger

    engine = connect(f"sqlite:///{database(project, env)}")
    found = Ledger(engine)
    assert found.verify() == []
    entries = found.entries("films")
    engine.dispose()
    return entries


def mlflow(project: Path, env: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{database(project, env)}")


def aliases(project: Path, env: str) -> dict[str, str]:
    (model,) = mlflow(project, env).search_registered_models()
    return {alias: str(version) for alias, version in model.aliases.items()}


def states(tasks: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: task["state"] for name, task in tasks.items()}


def training(airflow: Any, run: str) -> psutil.Process | None:
    """The process of Kedro that trains, once there is one."""
    for process in airflow.members():
        with suppress(psutil.Error):
            words = process.cmdline()
            if words[1:4] == ["-m", "kedro", "run"] and "classical" in words:
                return process
    assert not airflow.succeeded(RETRAIN, run), "it has trained unseen"
    return None


@pytest.fixture(scope="module")
def first(airflow, project) -> dict[str, Any]:
    """A run whose training is killed at its first try."""
    run = airflow.trigger(RETRAIN, as_of=AS_OF, **SMALL)
    airflow.wait_for(lambda: training(airflow, run)).kill()
    tasks = airflow.finished(RETRAIN, run)
    note = airflow.call("GET", f"/api/v2/dags/{RETRAIN}/dagRuns/{run}")["note"]
    found = {
        "run": run,
        "tasks": tasks,
        "note": note,
        "verdict": airflow.xcom(RETRAIN, run, "gate"),
    }
    return found | {"ledger": ledger(project, "live"), "aliases": aliases(project, "live")}


def test_a_killed_training_is_tried_again(first):
    assert first["tasks"]["classical"]["try_number"] == 2
    others = {task["try_number"] for name, task in first["tasks"].items() if name != "classical"}
    assert max(others) == 1


def test_what_the_gate_says_is_carried_out_and_written_down(first):
    verdict, last = first["verdict"], first["ledger"][-1]

    assert verdict["decision"] == "PROMOTE"  # something has to serve
    assert (last.event, last.version) == ("promote", verdict["version"])
    assert last.champion == first["aliases"]["champion"] == verdict["version"]
    assert last.actor == f"{RETRAIN}/{first['run']}"
    assert first["note"].startswith("**PROMOTE**")
    found = states(first["tasks"])
    assert found["promote"] == found["report"] == found["status"] == "success"
    assert found["hold"] == found["reject"] == found["approve"] == "skipped"


def test_one_run_of_mlflow_belongs_to_the_run_of_the_dag(first, project):
    client = mlflow(project, "live")
    run = client.get_run(first["verdict"]["mlflow_run"])
    experiments = [one.experiment_id for one in client.search_experiments()]
    of_dag = client.search_runs(experiments, f"tags.`ratchet.dag_run` LIKE '%{first['run']}%'")

    assert [one.info.run_id for one in of_dag] == [run.info.run_id]
    assert run.info.status == "FINISHED"
    assert "PROMOTE" in run.data.tags["decision.films"]


def learned(project: Path) -> dict[str, Any]:
    """What trainings have left: tables of their searches but for times, and answers."""
    import pandas as pd

    paths = [
        path
        for path in sorted((project / LEARNED).rglob("*.parquet"))
        if "weighted_ensemble" not in path.parts  # of the evaluation
    ]
    tables = {str(path.relative_to(project / LEARNED)): pd.read_parquet(path) for path in paths}
    return {
        name: table.loc[:, ~table.columns.str.endswith("_time")] for name, table in tables.items()
    }


def test_a_killed_training_gives_what_an_undisturbed_one_gives(airflow, project, first):
    import pandas as pd

    killed = learned(project)
    assert "rating/search/ridge.parquet" in killed
    for name in killed:
        (project / LEARNED / name).unlink()
    shutil.rmtree(project / "data/live/06_models/search_cache")

    again = {"dag_run_id": first["run"], "task_ids": ["classical"]}
    how = {"dry_run": False, "only_failed": False}
    airflow.call("POST", f"/api/v2/dags/{RETRAIN}/clearTaskInstances", again | how)
    airflow.finished(RETRAIN, first["run"])

    undisturbed = learned(project)
    assert undisturbed.keys() == killed.keys()
    for name, table in undisturbed.items():
        pd.testing.assert_frame_equal(table, killed[name])


def test_nothing_new_is_held_without_a_training(airflow, project, first):
    run = airflow.trigger(RETRAIN, as_of=AS_OF, **SMALL)
    found = states(airflow.finished(RETRAIN, run))

    assert found["hold_no_new_rows"] == "success"
    assert found["preprocess"] == found["classical"] == found["gate"] == "skipped"
    *before, last = ledger(project, "live")
    assert before == first["ledger"]
    assert (last.event, last.champion) == ("hold", first["verdict"]["version"])
    assert "no new rows" in last.reason
    assert aliases(project, "live") == first["aliases"]


def back_filled(airflow: Any) -> bool:
    """Ask for the runs of the past; not if another process has just written into the SQLite file.

    Airflow then tries to take back what it has made, so that one may ask again.
    """
    try:
        airflow.command(
            *("backfill", "create", "--dag-id", RETRAIN, "--max-active-runs", "1"),
            *("--from-date", "2026-11-14", "--to-date", "2026-11-23"),
            *("--dag-run-conf", json.dumps(SMALL)),
        )
    except AssertionError as error:
        if "database is locked" not in str(error):
            raise
        return False
    return True


@pytest.fixture(scope="module")
def past(airflow, project, first) -> list[dict[str, Any]]:
    """A back-fill of two Sundays, from the same champion: its runs, oldest first."""
    shutil.copytree(project / "data/live", project / "data/past")
    airflow.wait_for(lambda: back_filled(airflow), within=600)
    path = f"/api/v2/dags/{RETRAIN}/dagRuns?run_type=backfill&order_by=logical_date"
    airflow.wait_for(lambda: airflow.call("GET", path)["total_entries"] == len(SUNDAYS))
    runs = airflow.call("GET", path)["dag_runs"]
    for run in runs:
        airflow.finished(RETRAIN, run["dag_run_id"])
    return runs


def test_sundays_of_the_past_are_seen_as_of_their_own_day(airflow, past):
    assert [run["logical_date"][:10] for run in past] == SUNDAYS
    found = [airflow.xcom(RETRAIN, run["dag_run_id"], "land") for run in past]
    assert [one["as_of"] for one in found] == ["1956-12-24", AS_OF]


def test_the_past_has_a_history_of_its_own_and_what_serves_does_not_move(airflow, past, project):
    history, live = ledger(project, "past"), ledger(project, "live")

    assert history[: len(live)] == live  # where it began
    added = [(one.event, one.actor) for one in history[len(live) :]]
    assert added == [("hold", f"{RETRAIN}/{run['dag_run_id']}") for run in past]
    assert aliases(project, "live")["champion"] == live[-1].champion


def test_it_ends_with_all_its_processes(airflow, past):
    assert len(airflow.members()) >= PARTS

    assert airflow.stop() == 0

    assert airflow.members() == []
