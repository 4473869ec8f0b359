"""The use cases that are time series, on some of their real data with small grids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from ratchet.learning.metrics import Resampling, paired_difference
from ratchet.reports.formatting import between, number, share

pytestmark = pytest.mark.slow

CONTENDERS = {
    *("persistence", "seasonal", "ridge", "extra_trees", "hist_gradient_boosting", "xgboost"),
    *("kernel", "boosted_ridge", "mixture", "unscaled_mixture", "recurrent", "recurrent_ensemble"),
    "weighted_ensemble",
}


@pytest.fixture(scope="module")
def load(power_project: Path, load_catalog: Callable[..., Any]) -> Callable[[str], Any]:
    return load_catalog(power_project).load


def outputs(project: Path) -> Path:
    return project / "data/test"


def released(use_case: str) -> list[str]:
    """What a run comes to without its plots, of which the tests of one use case see enough."""
    return [f"{use_case}.{noun}" for noun in ("metrics", "predictions", "report", "decision")]


def verdict(folder: Path, use_case: str, target: str) -> str:
    """What the report has to say of the winner, by its gain over the best naive forecast."""
    choice = json.loads((folder / f"06_models/{use_case}/{target}/choice.json").read_text())
    metrics = json.loads((folder / f"07_model_output/{use_case}/metrics.json").read_text())[target]
    best = choice["best"]
    if best in ("persistence", "seasonal"):
        return f"One of them, {best}, is the winner"
    predictions = pd.read_parquet(folder / f"07_model_output/{use_case}/predictions.parquet")
    test = predictions[predictions["split"] == "test"]
    naive = min(("persistence", "seasonal"), key=lambda name: mase_of(metrics, name))
    rows, own = (test[test["candidate"] == one].set_index("row") for one in (naive, best))
    gain = paired_difference(
        own["truth"],
        rows["prediction"].reindex(own.index),
        own["prediction"],
        scale=own["scale"],
        times=own["time"],
        resampling=Resampling(1),
    )
    word = "Yes, they are beaten" if gain["low"] > 0 else "No, not for sure"
    return f"{'No' if gain['high'] < 0 else word}: {best} has {number(mase_of(metrics, best))}"


def mase_of(metrics: dict[str, Any], name: str) -> float:
    return float(metrics[name]["test"]["mase"]["value"])


def test_every_family_is_ranked_on_the_same_rows(load):
    predictions = load("power.predictions")
    test = predictions[predictions["split"] == "test"]

    assert set(test["candidate"]) == CONTENDERS
    rows = {name: list(part["row"]) for name, part in test.groupby("candidate")}
    assert all(keys == rows["ridge"] for keys in rows.values())
    assert list(load("power.test").index) == rows["ridge"]


def test_scores_follow_from_the_predictions(load):
    predictions, metrics = load("power.predictions"), load("power.metrics")["demand"]

    for name, rows in predictions[predictions["split"] == "test"].groupby("candidate"):
        error = (rows["truth"] - rows["prediction"]).abs()
        assert_allclose(metrics[name]["test"]["mae"]["value"], error.mean())
        assert_allclose(metrics[name]["test"]["mase"]["value"], (error / rows["scale"]).mean())
        ends = metrics[name]["test"]["mase"]
        assert ends["low"] < ends["value"] < ends["high"]


def test_the_naive_forecast_is_the_value_a_season_before(load):
    primary = load("power.primary").set_index("row")["demand"]
    predictions = load("power.predictions")
    naive = predictions[predictions["candidate"] == "seasonal"].set_index("row")["prediction"]

    assert_allclose(naive, primary.shift(48)[naive.index], rtol=1e-6)


def test_the_choice_was_made_on_validation_rows(load):
    choice, metrics = load("power.demand.choice"), load("power.metrics")["demand"]
    validation = {name: metrics[name]["validation"]["mase"]["value"] for name in CONTENDERS}

    assert choice["metric"] == "mase"
    # An ensemble of one member is as good as that one.
    assert validation[choice["best"]] == min(validation.values())
    assert "cv" not in metrics["recurrent"]


def test_a_model_on_a_line_beats_the_naive_forecasts(load):
    metrics = load("power.metrics")["demand"]
    mase = {name: metrics[name]["test"]["mase"]["value"] for name in CONTENDERS}

    assert mase["ridge"] < 0.5 * min(mase["persistence"], mase["seasonal"])


def test_intervals_hold_the_truth(load):
    predictions = load("power.predictions")
    rows = predictions[
        (predictions["split"] == "test") & (predictions["candidate"] == "boosted_ridge")
    ]
    inside = (rows["low"] <= rows["truth"]) & (rows["truth"] <= rows["high"])

    assert 0.75 < inside.mean() <= 1
    assert (rows["low"] >= 0).all()


def test_stored_models_answer_in_units(load):
    from ratchet.modelling.calibrate_and_refit import select_inputs

    test, predictions = load("power.test"), load("power.predictions")
    for name in ("ridge", "recurrent", "recurrent_ensemble", "weighted_ensemble"):
        model = load(f"power.demand.{name}.model")
        stored = predictions[
            (predictions["split"] == "test") & (predictions["candidate"] == name)
        ].set_index("row")
        assert_allclose(model.predict(select_inputs(model, test)), stored["prediction"], rtol=1e-6)


def test_every_trial_is_in_the_tables(load):
    search, curves = (load(f"power.demand.recurrent.{noun}") for noun in ("search", "curves"))

    assert list(search["rank_test_score"]) == sorted(search["rank_test_score"])
    assert set(curves["trial"]) == set(search["trial"])
    for _, trial in search.iterrows():
        losses = curves[curves["trial"] == trial["trial"]]["val_loss"]
        assert len(losses) == trial["n_epochs"]
        assert_allclose(losses.min(), -trial["mean_test_score"], rtol=1e-5)


def test_the_report_says_what_came_out(power_project, load):
    folder = outputs(power_project) / "08_reporting/power"
    report = (folder / "report.html").read_text()
    best, search = load("power.demand.choice")["best"], load("power.demand.recurrent.search")
    mase = load("power.metrics")["demand"][best]["test"]["mase"]
    first = search.sort_values("rank_test_score").iloc[0]

    assert f"the best candidate, {best}, is off by " in report
    assert f"its MASE is {between(mase)}." in report
    assert verdict(outputs(power_project), "power", "demand") in report
    assert f"{len(search)} trials of 1 architecture were trained" in report
    assert f"The best is trial {first['trial']} (" in report
    assert f") with {number(-first['mean_test_score'])}; the median trial has " in report
    assert (folder / "tables.xlsx").stat().st_size > 0
    assert len(list((folder / "plots/png").glob("demand_*.png"))) > 10


def test_models_run_no_code_when_loaded(power_project):
    folder = outputs(power_project) / "06_models/power"
    kinds = {path.suffix for path in folder.rglob("*.*")}

    assert kinds == {".skops", ".parquet", ".json"}


def test_the_recurrent_phase_runs_alone_and_trains_nothing_twice(
    tmp_path, monkeypatch, make_project, run_kedro, power_project, load
):
    """Each node reads its parameters itself, and finished trials are read back."""
    project = make_project(tmp_path, ["power"])
    (project / "data/test").mkdir()
    for name in ("05_model_input", "06_models"):
        _copy(outputs(power_project) / name, project / "data/test" / name)
    monkeypatch.chdir(project)
    from ratchet.learning.search import groups

    def untrained(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a finished trial was trained again")

    # What the search calls; the networks that were chosen are fitted once more on all rows.
    monkeypatch.setattr(groups, "training", SimpleNamespace(train_group=untrained))
    run_kedro(project, "recurrent", namespaces=["power.demand.recurrent"])

    again = pd.read_parquet(project / "data/test/06_models/power/demand/search/recurrent.parquet")
    before = load("power.demand.recurrent.search")
    columns = ["params", "mean_test_score", "val_mae", "n_epochs", "status"]
    pd.testing.assert_frame_equal(again[columns], before[columns])


def _copy(source: Path, target: Path) -> None:
    import shutil

    shutil.copytree(source, target)


@pytest.mark.parametrize("use_case", ["stock", "prices"])
def test_the_other_series_come_to_a_report(
    tmp_path, monkeypatch, make_project, run_kedro, empty_mlflow, use_case
):
    project = make_project(tmp_path, [use_case])
    empty_mlflow(project / "data/test/mlflow.db")
    monkeypatch.chdir(project)
    run_kedro(project, namespaces=[use_case], to_outputs=released(use_case))

    folder = outputs(project)
    metrics = json.loads((folder / f"07_model_output/{use_case}/metrics.json").read_text())
    ((target, scores),) = metrics.items()
    assert set(scores) == CONTENDERS
    assert all(np.isfinite(s["test"]["mase"]["value"]) for s in scores.values())
    report = (folder / f"08_reporting/{use_case}/report.html").read_text()
    assert verdict(folder, use_case, target) in report
    if use_case == "stock":
        test = pd.read_parquet(folder / "07_model_output/stock/predictions.parquet")
        test = test[(test["split"] == "test") & (test["candidate"] == "seasonal")]
        squares = (test["truth"] - test["truth"].mean()) ** 2
        parts = squares.groupby(test["series"].astype(str)).sum() / squares.sum()
        said = f"{parts.idxmax()} alone holds {share(parts.max())} of the variance"
        assert (said in report) is bool(parts.max() > 0.5)
        assert set(test["step"]) == {1, 2, 3}
        assert "made 1 day before" in report
        assert "The forecasts of the 3 days until the next order arrives are added up" in report


TIDES = """
tides:
  about: {title: Tides, question: "How high will the water stand?", source: made for this test}
  data:
    time: time
    columns:
      harbour: {type: string}
      time: {type: date}
      level: {type: number}
      wind: {type: number}
    series: {id: harbour, frequency: h, season: 12}
    calendar: [hour]
  features:
    numeric: [wind]
    cyclic: {hour: 24}
    windows:
      lookback: 6
      horizon: 2
      past: {level: value}
      known: [wind, hour]
      seasons: [12]
      lags: [13, 24]
      rolling: [6]
  targets:
    level:
      column: level
      task: forecasting
      cv: 2
      n_jobs: 1
      baseline: seasonal
      candidates:
        seasonal: {estimator: seasonal}
        persistence: {estimator: persistence}
        ridge: {estimator: ridge}
      networks:
        small:
          architectures: [gru]
          base: ridge
          epochs: 2
          ensemble: 0
          param_grid: {units: [4], learning_rate: [0.01], batch_size: [64]}
"""

CATALOG = """
tides.raw:
  type: pandas.CSVDataset
  filepath: ${globals:paths.raw}/tides.csv
  metadata: {kedro-viz: {layer: raw}}
"""


def tides() -> pd.DataFrame:
    """Two harbours, each with a tide of twelve hours that the wind raises."""
    rng = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=500, freq="h")
    parts = []
    for harbour, height in (("north", 1.0), ("south", 5.0)):
        wind = rng.normal(size=len(hours))
        tide = np.sin(2 * np.pi * np.arange(len(hours)) / 12)
        level = height * (3 + tide + 0.5 * wind + 0.05 * rng.normal(size=len(hours)))
        parts.append(
            pd.DataFrame({"harbour": harbour, "time": hours, "level": level, "wind": wind})
        )
    return pd.concat(parts)


def test_yaml_alone_adds_a_series(tmp_path, monkeypatch, make_project, run_kedro, empty_mlflow):
    project = make_project(tmp_path, [])
    empty_mlflow(project / "data/test/mlflow.db")
    monkeypatch.chdir(project)
    (project / "conf/base/parameters/tides.yml").write_text(TIDES)
    (project / "conf/base/catalog/01_raw_tides.yml").write_text(CATALOG)
    tides().to_csv(project / "data/01_raw/tides.csv", index=False)
    run_kedro(project, namespaces=["tides"], to_outputs=released("tides"))

    output = outputs(project) / "07_model_output/tides"
    scores = json.loads((output / "metrics.json").read_text())["level"]
    mase = {name: parts["test"]["mase"]["value"] for name, parts in scores.items()}
    assert set(mase) == {"seasonal", "persistence", "ridge", "small", "weighted_ensemble"}
    assert mase["ridge"] < 0.3 * mase["seasonal"]
    assert (outputs(project) / "08_reporting/tides/report.html").exists()
