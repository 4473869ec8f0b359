"""Trials of a search in MLflow: a run each, and the models of the best.

The best trial of a search, ready to predict in the terms in which the series is learned (with a
``base``: what the network adds to it)::

    runs = mlflow.search_runs(
        experiment_names=["ratchet"],
        filter_string="tags.search = 'stock.units.recurrent' and tags.top = '1'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    model = mlflow.sklearn.load_model(f"runs:/{runs.run_id[0]}/model")
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ratchet.frames import DataFrame, Series
from ratchet.provenance import package_versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

REQUIREMENTS = ("scikit-learn", "skops", "numpy", "pandas", "xgboost-cpu", "xgboost")
NETWORK_REQUIREMENTS = ("keras", "tensorflow-cpu", "tensorflow")
CURVES = ("loss", "val_loss", "val_mae", "learning_rate")


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
        run = client.create_run(experiment_id, run_name=_run_name(name, trial), tags=tags)
        _log(client, run.info.run_id, trial, by_trial[trial["trial"]])
        if rank < n_best:
            log_best(run.info.run_id, rank)
        client.set_terminated(run.info.run_id, "FINISHED")


def _run_name(name: str, trial: Series) -> str:
    return f"{name}.trial_{trial['trial']:03d}"


def _log(client: MlflowClient, run_id: str, trial: Series, curve: DataFrame) -> None:
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
