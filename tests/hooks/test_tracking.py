"""MLflow: one run per Kedro run, a nested one per candidate, and a model that comes back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.errors import ConfigError

pytestmark = pytest.mark.slow  # MLflow takes five seconds to make a store

PIPELINES = ["understanding", "preprocessing", "classical", "evaluation"]


@pytest.fixture(autouse=True)
def no_uri_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory,
    make_project: Callable[[Path], Path],
    add_shop: Callable[[Path], Path],
    run_kedro: Callable[..., None],
) -> Path:
    """A project that was run once, starting from an empty folder."""
    project = add_shop(make_project(tmp_path_factory.mktemp("shop")))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(project)
        run_kedro(project, *PIPELINES, env="shop", namespaces=["shop"])
    return project


def client(project: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


def runs(project: Path) -> tuple[list[Any], dict[str, Any]]:
    """Runs of the experiment: those on top, and the nested ones by name."""
    store = client(project)
    experiment = store.get_experiment_by_name("ratchet")
    found = store.search_runs([experiment.experiment_id])
    nested = {run.info.run_name: run for run in found if "mlflow.parentRunId" in run.data.tags}
    return [run for run in found if run.info.run_name not in nested], nested


def test_one_run_with_one_nested_run_per_candidate(shop):
    (parent,), nested = runs(shop)

    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "understanding,preprocessing,classical,evaluation shop"
    assert parent.data.params["env"] == "shop"
    assert "kedro.run_id" in parent.data.tags
    assert set(nested) == {"shop.price.dummy", "shop.price.ridge"}
    for run in nested.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED"


def test_metrics_are_those_of_the_files(shop):
    _, nested = runs(shop)
    scores = json.loads((shop / "data/07_model_output/shop/metrics.json").read_text())["price"]

    for name, splits in scores.items():
        logged = nested[f"shop.price.{name}"].data.metrics
        for split, metrics in splits.items():
            for metric, ends in metrics.items():
                assert logged[f"{split}/{metric}"] == ends["value"]
                assert logged[f"{split}/{metric}_low"] == ends["low"]
                assert logged[f"{split}/{metric}_high"] == ends["high"]


def test_parameters_are_those_of_the_best_point(shop):
    _, nested = runs(shop)

    assert nested["shop.price.ridge"].data.params == {"model__alpha": "1"}
    assert nested["shop.price.dummy"].data.params == {}


def test_only_the_best_is_marked(shop):
    _, nested = runs(shop)

    assert nested["shop.price.ridge"].data.tags["best"] == "true"
    assert "best" not in nested["shop.price.dummy"].data.tags


def test_files_are_kept_by_use_case(shop):
    (parent,), _ = runs(shop)

    kept = {item.path for item in client(shop).list_artifacts(parent.info.run_id, "shop")}
    assert kept >= {"shop/metrics.json", "shop/evaluation.json"}


def test_model_of_the_best_comes_back_and_predicts_the_same(shop):
    import mlflow

    from ratchet.hooks.mlflow_runs import tracking_to

    _, nested = runs(shop)
    (output,) = client(shop).get_run(nested["shop.price.ridge"].info.run_id).outputs.model_outputs

    with tracking_to(f"sqlite:///{shop / 'mlflow.db'}"):
        model = mlflow.sklearn.load_model(f"models:/{output.model_id}")

    written = pd.read_parquet(shop / "data/07_model_output/shop/price/predictions.parquet")
    written = written.query("candidate == 'ridge' and split == 'test'")
    rows = pd.read_parquet(shop / "data/05_model_input/shop/test.parquet")
    predicted = model.predict(rows[["size"]])
    np.testing.assert_array_equal(predicted, written["prediction"])


def test_requirements_of_the_model_are_pinned(shop):
    (found,) = (shop / "mlartifacts").rglob("requirements.txt")

    assert {line.split("==")[0] for line in found.read_text().split()} >= {"scikit-learn", "skops"}
    assert all("==" in line for line in found.read_text().split())


def test_no_path_of_this_machine_is_needed_to_find_the_store(shop):
    assert (shop / "mlflow.db").is_file()
    assert (shop / "mlartifacts").is_dir()
    assert not (shop / "mlruns").exists()


@pytest.fixture
def other(
    project: Path, add_shop: Callable[[Path], Path], empty_mlflow: Callable[[Path], Path]
) -> Path:
    empty_mlflow(project / "mlflow.db")
    return add_shop(project)


def test_a_failed_run_is_marked_and_says_why(other, run_kedro):
    from ratchet.errors import DataError

    (other / "data/01_raw/shop.csv").write_text("id,size,price\n1,2,dear\n")

    with pytest.raises(DataError):
        run_kedro(other, "understanding", env="shop", namespaces=["shop"])

    (parent,), nested = runs(other)
    assert parent.info.status == "FAILED"
    assert "column 'price'" in parent.data.tags["error"]
    assert not nested


def test_the_environment_variable_wins_unless_the_environment_has_its_own_store(
    project, add_shop, run_kedro, monkeypatch, tmp_path
):
    add_shop(project)
    elsewhere = tmp_path / "elsewhere.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")

    run_kedro(project, "understanding", env="shop", namespaces=["shop"])

    assert elsewhere.is_file()
    assert not (project / "mlflow.db").exists()

    elsewhere.unlink()
    (project / "conf/shop/globals_own.yml").write_text("tracking_uri: sqlite:///data/own.db")
    run_kedro(project, "understanding", env="shop", namespaces=["shop"])

    assert (project / "data/own.db").is_file()
    assert not elsewhere.exists()


def test_runs_follow_each_other_in_one_process(other, shop, run_kedro):
    """Each into the store of its project, and none when tracking is off."""
    run_kedro(other, "understanding", env="shop", namespaces=["shop"])
    (other / "conf/shop/mlflow.yml").write_text("enabled: false")
    run_kedro(other, "understanding", env="shop", namespaces=["shop"])
    (other / "data/01_raw/shop.csv").unlink()
    with pytest.raises(Exception, match="No such file"):
        run_kedro(other, "understanding", env="shop", namespaces=["shop"])

    (parent,), _ = runs(other)
    assert parent.info.status == "FINISHED"
    assert "error" not in parent.data.tags
    assert len(runs(shop)[0]) == 1
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_one_phase_alone_is_tracked(other, run_kedro):
    run_kedro(other, *PIPELINES[:3], env="shop", namespaces=["shop"])
    run_kedro(other, "evaluation", env="shop", namespaces=["shop"])

    parents, _ = runs(other)

    assert [run.info.run_name for run in parents] == [
        "evaluation shop",
        "understanding,preprocessing,classical shop",
    ]
    assert "MLFLOW_TRACKING_URI" not in os.environ
    evaluated = client(other).search_runs(
        [parents[0].info.experiment_id],
        f"tags.mlflow.parentRunId = '{parents[0].info.run_id}' and tags.best = 'true'",
    )
    assert [run.info.run_name for run in evaluated] == ["shop.price.ridge"]


def test_an_experiment_that_was_deleted_is_told_with_the_way_back(tmp_path, empty_mlflow):
    from ratchet.hooks.tracking import open_store

    empty_mlflow(tmp_path / "mlflow.db")
    given = {
        "tracking_uri": "sqlite:///mlflow.db",
        "experiment": "ratchet",
        "artifact_location": "artifacts",
    }
    store, number = open_store(given, tmp_path)
    store.delete_experiment(number)

    told = rf"'ratchet' was deleted.*mlflow experiments restore --experiment-id {number}\)"
    with pytest.raises(ConfigError, match=told):
        open_store(given, tmp_path)
    store.restore_experiment(number)
    assert open_store(given, tmp_path)[1] == number


@pytest.mark.parametrize(
    ("configured", "location"),
    [("artifacts", "file://{project}/artifacts"), ("s3://models/ratchet", "s3://models/ratchet")],
)
def test_artifacts_are_kept_where_the_configuration_says(
    configured, location, tmp_path, empty_mlflow
):
    from ratchet.hooks.tracking import open_store

    empty_mlflow(tmp_path / "mlflow.db")
    given = {"tracking_uri": "sqlite:///mlflow.db", "experiment": "ratchet"}

    store, number = open_store({**given, "artifact_location": configured}, tmp_path)

    found = store.get_experiment(number).artifact_location
    assert found == location.format(project=tmp_path)


def test_metrics_of_every_class_have_a_name_of_their_own():
    from ratchet.hooks.tracking import tracked_metrics

    score = {"value": 0.5, "low": 0.4}
    names = tracked_metrics({"test": dict.fromkeys(["f1_<=5", "f1_a/b", "f1_a?b", "f1_ok"], score)})

    assert {"test/f1_le_5", "test/f1_le_5_low", "test/f1_ok", "test/f1_ok_low"} < set(names)
    assert len([name for name in names if name.startswith("test/f1_a_b_")]) == 4
