"""The tracking store of MLflow, one run in it for all tasks of a DAG run, and runs of trials.

The first task that tracks anything makes the run, with a tag that names the DAG run; every later
one, a process of its own, finds it by that tag and goes on with it. No task can know whether it is
the last, so none closes it: ``kedro ratchet close-run`` does, at the end of the DAG.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.config import MissingConfigException

from ratchet.config.loader import project_loader
from ratchet.database import mlflow_client, tracking_uri
from ratchet.errors import ConfigError, hide_secrets
from ratchet.frames import DataFrame, Series
from ratchet.provenance import ORCHESTRATOR_TASK, orchestrator_run, package_versions

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

REQUIREMENTS = ("scikit-learn", "skops", "numpy", "pandas", "xgboost-cpu", "xgboost")
NETWORK_REQUIREMENTS = ("keras", "tensorflow-cpu", "tensorflow")
CURVES = ("loss", "val_loss", "val_mae", "learning_rate")


def open_store(settings: Mapping[str, Any], project: Path) -> tuple[MlflowClient, str]:
    """Connect to the tracking store and make the experiment if it is new.

    Args:
        settings: ``conf/*/mlflow.yml``.
        project: folder that relative paths belong to.

    Returns:
        Client and id of the experiment.

    Raises:
        ConfigError: the experiment was deleted; says how it comes back.
    """
    uri = tracking_uri(settings["tracking_uri"], project)
    client = mlflow_client(uri)
    experiment = client.get_experiment_by_name(settings["experiment"])
    if experiment is not None and experiment.lifecycle_stage != "active":
        raise ConfigError(_deleted(experiment, uri))
    if experiment is not None:
        return client, experiment.experiment_id
    location: str | None = _artifact_location(settings["artifact_location"], project)
    if uri.startswith(("http://", "https://", "databricks")):
        location = None  # the server has one of its own
    return client, client.create_experiment(settings["experiment"], artifact_location=location)


def _artifact_location(configured: str, project: Path) -> str:
    """A URI as it is; a folder as the URI of it in the project."""
    return configured if "://" in configured else (project / configured).as_uri()


def _deleted(experiment: Any, uri: str) -> str:
    restore = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
    return (
        f"the experiment '{experiment.name}' was deleted, and its name stays taken; restore it "
        f"(MLFLOW_TRACKING_URI='{hide_secrets(uri)}' {restore}), or write another name to "
        f"`experiment` in mlflow.yml"
    )


@contextmanager
def tracking_to(uri: str) -> Iterator[None]:
    """Let MLflow's own functions track to ``uri``.

    They read a global that MLflow also puts into the environment, where it would look like the
    user's choice to the next run of this process.
    """
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it


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
    runs = client.search_runs(
        [experiment_id], f"tags.`{DAG_RUN}` = '{name}'", max_results=1, order_by=["start_time ASC"]
    )
    return runs[0] if runs else None


def find_project_run(env: str | None, *, make: bool = False) -> TrackedRun | None:
    """The run of this DAG run in the project we stand in.

    Args:
        env: environment of the configuration.
        make: make it if there is none, as where nothing was trained.

    Returns:
        None outside of a DAG run, where runs are not tracked, or where there is none.
    """
    name = orchestrator_run()
    loader, project = project_loader(env)
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


def log_params(client: MlflowClient, run: Run, params: Mapping[str, object]) -> None:
    """Log parameters; those that another task has set otherwise become tags of this task.

    MLflow refuses to change a parameter.
    """
    logged = run.data.params if orchestrator_run() else {}
    for name, value in params.items():
        text = hide_secrets(str(value))
        if logged.get(name, text) == text:
            client.log_param(run.info.run_id, name, text)
        else:
            client.set_tag(run.info.run_id, f"{name}.{task_id()}", text)


def find_nested_run(client: MlflowClient, parent: Run, name: str) -> Run | None:
    """The nested run of that name, which another task or try has made."""
    if orchestrator_run() is None:
        return None
    condition = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    condition += f" and attributes.run_name = '{name}'"
    runs = client.search_runs([parent.info.experiment_id], condition, max_results=1)
    return runs[0] if runs else None


def delete_nested_runs(client: MlflowClient, run: Run) -> None:
    """Delete the nested runs that an earlier try has left."""
    condition = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    while runs := client.search_runs([run.info.experiment_id], condition):
        for one in runs:
            client.delete_run(one.info.run_id)


def log_trials(
    client: MlflowClient,
    parent_id: str,
    name: str,
    search: DataFrame,
    curves: DataFrame,
    log_best: Callable[[str, int], None],
    n_best: int,
) -> None:
    """Log every trial as a run nested in that of its search.

    The best trial of a search, ready to predict in the terms in which the series is learned (with a
    ``base``: what the network adds to it)::

        runs = mlflow.search_runs(
            experiment_names=["ratchet"],
            filter_string="tags.search = 'stock.units.recurrent' and tags.top = '1'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        model = mlflow.sklearn.load_model(f"runs:/{runs.run_id[0]}/model")

    Args:
        client: of the tracking store.
        parent_id: run of the search.
        name: of the search, ``<use_case>.<target>.<network>``.
        search: table of the trials, best first.
        curves: their losses by epoch.
        log_best: logs the model of a place, from 0, into a run.
        n_best: how many models there are.
    """
    experiment_id = client.get_run(parent_id).info.experiment_id
    by_trial = dict(list(curves.groupby("trial")))
    for rank, (_, trial) in enumerate(search.iterrows()):
        tags = {"mlflow.parentRunId": parent_id, "search": name, "status": trial["status"]}
        if rank < n_best:
            tags["top"] = str(rank + 1)
        run = client.create_run(experiment_id, run_name=_trial_name(name, trial), tags=tags)
        _log_trial(client, run.info.run_id, trial, by_trial[trial["trial"]])
        if rank < n_best:
            log_best(run.info.run_id, rank)
        client.set_terminated(run.info.run_id, "FINISHED")


def _trial_name(name: str, trial: Series) -> str:
    return f"{name}.trial_{trial['trial']:03d}"


def _log_trial(client: MlflowClient, run_id: str, trial: Series, curve: DataFrame) -> None:
    """Parameters, what came out, and the losses by epoch, in one request."""
    from mlflow.entities import Metric, Param
    from mlflow.utils.time import get_current_time_millis

    now = get_current_time_millis()
    scores = {
        "best_val_loss": -trial["mean_test_score"],
        "best_val_mae": trial["val_mae"],
        "epochs": trial["n_epochs"],
        "best_epoch": trial["best_epoch"],
        "fit_seconds": trial["mean_fit_time"],
    }
    metrics = [Metric(key, float(value), now, 0) for key, value in scores.items()]
    for key in CURVES:
        values = zip(curve["epoch"], curve[key], strict=True)
        metrics += [Metric(key, float(value), now, int(epoch)) for epoch, value in values]
    params = [Param(key, str(value)) for key, value in json.loads(trial["params"]).items()]
    client.log_batch(run_id, metrics=metrics, params=params)


def log_model(run_id: str, model: Any) -> None:
    """Log a fitted model as skops, with its requirements given: guessing them takes 14 s."""
    import mlflow

    from ratchet.learning.trusted import TRUSTED

    versions = package_versions((*REQUIREMENTS, *NETWORK_REQUIREMENTS))
    with mlflow.start_run(run_id=run_id):
        mlflow.sklearn.log_model(
            model,
            name="model",
            serialization_format="skops",
            skops_trusted_types=list(TRUSTED),
            pip_requirements=[f"{name}=={version}" for name, version in versions.items()],
        )
