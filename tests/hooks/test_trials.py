"""Every trial is a run; the best one is a query away and ready to predict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.hooks.mlflow_runs import log_model, log_trials, tracking_to

NAME = "stock.units.networks"
SEARCH = pd.DataFrame(
    {
        "trial": [2, 0, 1],
        "params": [json.dumps({"units": units}) for units in (64, 32, 16)],
        "mean_test_score": [-0.1, -0.2, np.nan],
        "val_mae": [0.2, 0.3, np.nan],
        "n_epochs": [2, 1, 1],
        "best_epoch": [2, 1, 0],
        "mean_fit_time": [3.0, 2.0, 1.0],
        "status": ["completed", "stopped", "diverged"],
    }
)
CURVES = pd.DataFrame(
    {
        "trial": [0, 1, 2, 2],
        "epoch": [1, 1, 1, 2],
        "loss": [0.4, np.nan, 0.3, 0.2],
        "val_loss": [0.2, np.inf, 0.15, 0.1],
        "val_mae": [0.3, np.nan, 0.25, 0.2],
        "learning_rate": 0.001,
    }
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_mlflow):
    """A store with one search of three trials, of which one model is kept."""
    from mlflow import MlflowClient
    from sklearn.linear_model import Ridge

    folder: Path = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{empty_mlflow(folder / 'mlflow.db')}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("ratchet", artifact_location=folder.as_uri())
    parent = client.create_run(experiment, run_name=NAME).info.run_id
    model = Ridge().fit([[0.0], [1.0]], [0.0, 2.0])
    with tracking_to(uri):
        log_trials(
            client,
            parent,
            NAME,
            SEARCH,
            CURVES,
            log_best=lambda run_id, place: log_model(run_id, model),
            n_best=1,
        )
    return client, experiment, parent


def trials(store):
    client, experiment, _ = store
    found = client.search_runs([experiment], f"tags.search = '{NAME}'")
    return {run.info.run_name: run for run in found}


def test_every_trial_is_a_run_of_its_search(store):
    runs = trials(store)

    assert sorted(runs) == [f"{NAME}.trial_{i:03d}" for i in range(3)]
    for run in runs.values():
        assert run.data.tags["mlflow.parentRunId"] == store[2]
        assert run.info.status == "FINISHED"
    best = runs[f"{NAME}.trial_002"]
    assert best.data.params == {"units": "64"}
    assert best.data.metrics["best_val_loss"] == 0.1
    assert best.data.metrics["best_val_mae"] == 0.2
    assert runs[f"{NAME}.trial_001"].data.tags["status"] == "diverged"


def test_curves_are_logged_by_epoch(store):
    run = trials(store)[f"{NAME}.trial_002"]
    history = store[0].get_metric_history(run.info.run_id, "val_loss")

    assert [(point.step, point.value) for point in history] == [(1, 0.15), (2, 0.1)]


def test_the_documented_query_gives_the_best_ready_to_predict(store):
    import mlflow

    client, _, _ = store
    with tracking_to(client.tracking_uri):
        runs = mlflow.search_runs(
            experiment_names=["ratchet"],
            filter_string=f"tags.search = '{NAME}' and tags.top = '1'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        model = mlflow.sklearn.load_model(f"runs:/{runs.run_id[0]}/model")

    assert model.predict([[0.5]]) == pytest.approx(1.0)
