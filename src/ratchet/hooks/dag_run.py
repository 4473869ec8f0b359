"""One MLflow run for all tasks of a DAG run.

The first task that tracks anything makes it, with a tag that names the DAG run; every later one,
a process of its own, finds it by that tag and goes on with it. No task can know whether it is the
last, and so none closes it: ``kedro ratchet close-run`` does, at the end of the DAG.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratchet.errors import hide_secrets
from ratchet.hooks.store import open_store
from ratchet.provenance import ORCHESTRATOR_TASK, orchestrator_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DAG_RUN = "ratchet.dag_run"
"""Tag of an MLflow run: the DAG run it belongs to."""


@dataclass(frozen=True)
class TrackedRun:
    """The MLflow run of the DAG run that this process works for."""

    client: MlflowClient
    run_id: str
    url: str


def task_id() -> str:
    """The task that this process works for."""
    return os.environ.get(ORCHESTRATOR_TASK, "task")


def find_run(client: MlflowClient, experiment_id: str) -> Run | None:
    """The run of this DAG run; None if there is none yet, or we work for none."""
    name = orchestrator_run()
    if name is None:
        return None
    found = client.search_runs(
        [experiment_id], f"tags.`{DAG_RUN}` = '{name}'", max_results=1, order_by=["start_time ASC"]
    )
    return found[0] if found else None


def find_project_run(env: str | None, *, make: bool = False) -> TrackedRun | None:
    """The run of this DAG run in the project we stand in.

    Args:
        env: environment of the configuration.
        make: make it if there is none, as where nothing was trained.

    Returns:
        None outside of a DAG run, where runs are not tracked, or where there is none.
    """
    from kedro.config import MissingConfigException

    from ratchet.config.loader import loader_here

    name = orchestrator_run()
    loader, project = loader_here(env)
    settings = loader["mlflow"]
    if name is None or not settings["enabled"]:
        return None
    client, experiment_id = open_store(settings, project)
    run = find_run(client, experiment_id)
    if run is None and make:
        run = client.create_run(experiment_id, run_name=name, tags={DAG_RUN: name})
    if run is None:
        return None
    pages = None
    with suppress(MissingConfigException):
        pages = loader["airflow"].get("mlflow_url")
    path = f"#/experiments/{experiment_id}/runs/{run.info.run_id}"
    return TrackedRun(client, run.info.run_id, f"{pages.rstrip('/')}/{path}" if pages else path)


def log_params(client: MlflowClient, run: Run, params: Mapping[str, Any]) -> None:
    """Log parameters; those that another task has set otherwise become tags of this task.

    MLflow refuses to change a parameter.
    """
    known = run.data.params if orchestrator_run() else {}
    for name, value in params.items():
        text = hide_secrets(str(value))
        if known.get(name, text) == text:
            client.log_param(run.info.run_id, name, text)
        else:
            client.set_tag(run.info.run_id, f"{name}.{task_id()}", text)


def find_nested_run(client: MlflowClient, parent: Run, name: str) -> Run | None:
    """The nested run of that name, which another task or try has made."""
    if orchestrator_run() is None:
        return None
    condition = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    condition += f" and attributes.run_name = '{name}'"
    found = client.search_runs([parent.info.experiment_id], condition, max_results=1)
    return found[0] if found else None


def delete_nested_runs(client: MlflowClient, run: Run) -> None:
    """Delete the nested runs that an earlier try has left."""
    condition = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    while found := client.search_runs([run.info.experiment_id], condition):
        for one in found:
            client.delete_run(one.info.run_id)
