"""One MLflow run for all tasks of a DAG run; each is a process of its own, but not here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.slow  # five runs of Kedro

CONTEXT = {"AIRFLOW_CTX_DAG_ID": "retrain_shop", "AIRFLOW_CTX_DAG_RUN_ID": "scheduled__2026-11-01"}
NAME = "retrain_shop/scheduled__2026-11-01"


@pytest.fixture
def task(
    project: Path,
    add_shop: Callable[[Path], Path],
    empty_mlflow: Callable[[Path], Path],
    run_kedro: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., None]:
    """Run phases as a task of the DAG run."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    add_shop(project)
    empty_mlflow(project / "mlflow.db")

    def run(name: str, *phases: str, **params: Any) -> None:
        for key, value in {**CONTEXT, "AIRFLOW_CTX_TASK_ID": name}.items():
            monkeypatch.setenv(key, value)
        run_kedro(project, *phases, env="shop", namespaces=["shop"], **params)

    return run


def runs(project: Path) -> tuple[list[Any], list[Any]]:
    """Runs on top, and nested ones."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ratchet")
    found = client.search_runs([experiment.experiment_id])
    nested = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return [run for run in found if run not in nested], nested


def test_tasks_and_retries_share_a_run(task, project):
    from ratchet.commands import ratchet
    from ratchet.errors import DataError

    good = (project / "data/01_raw/shop.csv").read_text()
    (project / "data/01_raw/shop.csv").write_text("id,size,price\n1,2,dear\n")
    with pytest.raises(DataError):
        task("preprocess", "understanding", "preprocessing")
    (failed,), _ = runs(project)
    (project / "data/01_raw/shop.csv").write_text(good)
    task("preprocess", "understanding", "preprocessing")
    for _ in range(2):  # the second time is the retry of one that was killed at its end
        task("classical", "classical")
    task("evaluate", "evaluation", seed=7)

    (run,), nested = runs(project)
    assert run.info.run_id == failed.info.run_id
    assert run.info.run_name == run.data.tags["ratchet.dag_run"] == NAME
    assert run.info.status == "RUNNING"
    tasks = {tag: value for tag, value in run.data.tags.items() if tag.startswith("task.")}
    names = ("preprocess", "classical", "evaluate")
    assert tasks == {f"task.{name}": "FINISHED" for name in names}
    # What MLflow cannot change: the first value stays, others are tags of their task.
    assert run.data.params["pipeline_names"] == "['understanding', 'preprocessing']"
    assert run.data.tags["pipeline_names.classical"] == "['classical']"
    assert run.data.tags["runtime_params.evaluate"] == "{'seed': 7}"
    by_name = {one.info.run_name: one for one in nested}
    assert len(nested) == 2
    assert set(by_name) == {"shop.price.dummy", "shop.price.ridge"}
    assert by_name["shop.price.ridge"].data.params == {"model__alpha": "1"}
    assert "test/r2" in by_name["shop.price.ridge"].data.metrics

    command = ["close-run", "--use-case", "shop", "--env", "shop", "--status", "FINISHED"]
    closed = CliRunner().invoke(ratchet, command)

    assert closed.exit_code == 0, closed.output
    assert runs(project)[0][0].info.status == "FINISHED"


def test_outside_of_a_dag_run_there_is_nothing_to_close(project, monkeypatch):
    from kedro.framework.startup import bootstrap_project

    from ratchet.commands import ratchet

    monkeypatch.delenv("AIRFLOW_CTX_DAG_RUN_ID", raising=False)
    bootstrap_project(project)

    done = CliRunner().invoke(ratchet, ["close-run", "-u", "films", "--status", "FAILED"])

    assert done.output == "films: no MLflow run to close\n"
