"""A new tabular use case is two YAML files, from raw data to report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.datasets import load_diabetes, load_wine

pytestmark = pytest.mark.slow  # a whole run comes first

WINE = """
wine:
  about:
    title: Wine
    question: Which of three growers made this wine?
    source: scikit-learn's wine data
  data:
    key: bottle
    columns:
      bottle: {type: integer}
      alcohol: {type: number, low: 0, high: 100}
      malic_acid: {type: number, nullable: true}
      flavanoids: {type: number}
      colour: {type: string, values: [pale, dark]}
      grower: {type: string}
    split: {validation: 0.2, test: 0.2}
  features:
    numeric: [alcohol, malic_acid, flavanoids]
    categorical: [colour]
    min_count: 5
  targets:
    grower:
      column: grower
      task: classification
      classes: [ada, ben, cleo]
      cv: 3
      n_jobs: 1
      stack: 2
      candidates:
        dummy: {estimator: dummy}
        logistic: {estimator: logistic, param_grid: {model__C: [0.1, 1]}}
        forest: {estimator: extra_trees, param_grid: {n_estimators: [20]}}
      objectives:
        accuracy: {aim: 0.8}
"""

DIABETES = """
diabetes:
  about:
    title: Diabetes
    question: How far will the disease have progressed in a year?
    source: scikit-learn's diabetes data
  data:
    key: patient
    time: seen
    columns:
      patient: {type: string}
      seen: {type: date}
      age: {type: number}
      bmi: {type: number}
      bp: {type: number, nullable: true}
      progression: {type: number, low: 0}
    required: [bp]
  features:
    numeric: [age, bmi, bp]
  targets:
    progression:
      column: progression
      task: regression
      bounds: [0, 1000]
      unit: points
      cv: 3
      n_jobs: 1
      stack: 0
      candidates:
        dummy: {estimator: dummy}
        ridge: {estimator: ridge, param_grid: {model__alpha: [1, 10]}}
      objectives:
        rmse: {aim: 60}
"""

ODD = r"""
odd-names:
  about: {title: Odd, question: "Does any name do?", source: made here}
  data:
    key: candidate
    time: day
    columns:
      candidate: {type: integer}
      day: {type: date}
      time: {type: number}
      prediction: {type: number}
      self: {type: number}
      static_pressure: {type: number}
      history_length: {type: number}
      target_price: {type: number}
      split_share: {type: number}
      hour: {type: integer}
      hour_sin: {type: number}
      "Temperature [\xB0C]": {type: number}
      a b: {type: number}
      a_b: {type: number}
      "a\n%|: '\"$x": {type: number}
      target: {type: string}
      "price in $ & $": {type: string}
      colour: {type: string}
      colour_other: {type: number}
      truth: {type: number}
      income/year.usd: {type: string}
  features:
    numeric:
      - time
      - prediction
      - self
      - static_pressure
      - history_length
      - target_price
      - split_share
      - hour_sin
      - "Temperature [\xB0C]"
      - a b
      - a_b
      - "a\n%|: '\"$x"
      - colour_other
    cyclic: {hour: 24}
    categorical: [colour, target, "price in $ & $"]
    min_count: 2
  targets:
    best:
      column: truth
      task: regression
      cv: 2
      n_jobs: 1
      stack: 0
      baseline: best
      candidates:
        best: {estimator: dummy}
        ridge 1: {estimator: ridge, param_grid: {model__alpha: [1]}}
        xgb: {estimator: xgboost, param_grid: {n_estimators: [5]}}
    data:
      column: income/year.usd
      task: classification
      classes: ["<=50K", ">50K", "1, 2", "True"]
      cv: 2
      n_jobs: 1
      stack: 0
      candidates:
        dummy: {estimator: dummy}
        logistic: {estimator: logistic, param_grid: {model__C: [1]}}
  release: {min_rows: 10, slices: {columns: ["price in $ & $", time]}}
  monitoring: {watch: {window: 7D, min_rows: 5}}
"""

CATALOG = """
wine.raw:
  type: pandas.CSVDataset
  filepath: data/01_raw/wine.csv
  metadata: {kedro-viz: {layer: raw}}

diabetes.raw:
  type: pandas.ParquetDataset
  filepath: data/01_raw/diabetes.parquet
  metadata: {kedro-viz: {layer: raw}}

odd-names.raw:
  type: pandas.ParquetDataset
  filepath: data/01_raw/odd.parquet
  metadata: {kedro-viz: {layer: raw}}
"""


def write_wine(path: Path) -> None:
    wine = load_wine(as_frame=True).frame
    colour = (wine["color_intensity"] > 4.5).map({True: "dark", False: "pale"})
    grower = wine["target"].map({0: "ada", 1: "ben", 2: "cleo"})
    table = wine.assign(colour=colour, grower=grower, bottle=range(len(wine)))
    table.loc[::10, "malic_acid"] = None
    table.drop(columns="target").to_csv(path, index=False)


def write_diabetes(path: Path) -> None:
    table = load_diabetes(as_frame=True).frame.rename(columns={"target": "progression"})
    n = len(table)
    table["patient"] = [f"p{i:03d}" for i in range(n)]
    table["seen"] = pd.date_range("2001-01-01", periods=n)
    table.loc[:4, "bp"] = None
    table.to_parquet(path)


def odd_rows(first: int) -> pd.DataFrame:
    """Columns that are called like ours, like each other, or as no file may be called."""
    rng, n = np.random.default_rng(0), 300
    rows = pd.DataFrame({"candidate": np.arange(n), "day": pd.date_range("2020-01-01", periods=n)})
    parameters = yaml.safe_load(ODD)["odd-names"]["features"]
    for name in [*parameters["numeric"], "hour"]:
        rows[name] = rng.normal(size=n).round(3)
    rows["hour"] = rng.integers(0, 24, n)
    rows["colour"] = rng.choice(["red", "code_1", "rare"], n, p=[0.5, 0.49, 0.01])
    rows["target"] = rng.choice(["price", "truth", "candidate"], n)
    rows["price in $ & $"] = rng.choice(["$10 & $20", "a_$b^$", "[x]<y", "(x)<y"], n)
    rows["truth"] = 3 * rows["time"] + 2 * rows["static_pressure"] + (rows["target"] == "price")
    fast = pd.qcut(rows["time"], 4, labels=["<=50K", ">50K", "1, 2", "True"])
    rows["income/year.usd"] = fast.astype(str)
    return rows.head(first)


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    make_project: Callable[[Path], Path],
    run_kedro: Callable[..., None],
    empty_mlflow: Callable[[Path], Path],
) -> Path:
    folder = make_project(tmp_path_factory.mktemp("yaml_only"), [])
    empty_mlflow(folder / "mlflow.db")
    for name, text in {
        "mlflow": "enabled: true",
        "catalog": CATALOG,
        "parameters": WINE + DIABETES + ODD,
    }.items():
        path = folder / "conf/mine" / f"{name}.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    write_wine(folder / "data/01_raw/wine.csv")
    write_diabetes(folder / "data/01_raw/diabetes.parquet")
    odd_rows(240).to_parquet(folder / "data/01_raw/odd.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        wanted = ("metrics", "evaluation", "predictions", "report", "decision")
        use_cases = ("wine", "diabetes", "odd-names")
        outputs = [f"{use_case}.{noun}" for use_case in use_cases for noun in wanted]
        outputs += ["odd-names.images", "odd-names.tables", "odd-names.plots"]
        run_kedro(folder, *use_cases, env="mine", to_outputs=outputs)
    return folder


def outputs(project: Path, use_case: str) -> tuple[dict, dict, pd.DataFrame]:
    folder = project / "data/07_model_output" / use_case
    evaluation, metrics = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("evaluation", "metrics")
    )
    return evaluation, metrics, pd.read_parquet(folder / "predictions.parquet")


def test_classification(project):
    evaluation, metrics, predictions = outputs(project, "wine")

    best = evaluation["best"]["grower"]
    assert best != "dummy"
    assert evaluation["objectives"]["grower"]["accuracy"]["met"]
    assert set(metrics["grower"]) == {
        *("dummy", "logistic", "forest", "stack", "weighted_ensemble")
    }
    assert metrics["grower"][best]["test"]["accuracy"]["value"] > 0.85
    assert set(predictions["truth_class"]) == {"ada", "ben", "cleo"}


def test_regression(project):
    evaluation, metrics, predictions = outputs(project, "diabetes")

    assert evaluation["best"] == {"progression": "ridge"}
    assert evaluation["baseline"]["progression"]["beaten"]
    assert set(metrics["progression"]) == {"dummy", "ridge"}
    assert predictions["patient"].str.startswith("p").all()
    assert predictions["patient"].nunique() == 44 + 44


@pytest.mark.parametrize("use_case", ["wine", "diabetes"])
def test_report(project, use_case):
    report = project / f"data/08_reporting/{use_case}/report.html"

    assert use_case.title() in report.read_text(encoding="utf-8")


def test_random_split_keeps_every_class_in_every_part(project):
    folder = project / "data/05_model_input/wine"
    for part, rows in {"train": 107, "validation": 35, "test": 36}.items():
        table = pd.read_parquet(folder / f"{part}.parquet")
        assert abs(len(table) - rows) <= 1
        assert set(table["target_grower"]) == {"ada", "ben", "cleo"}


def test_no_other_use_case_was_touched(project):
    assert not list((project / "data").glob("0[2-8]_*/films"))


def test_odd_names_lose_no_plot_and_no_row(project):
    plots = json.loads((project / "data/08_reporting/odd-names/plots/index.json").read_text())
    images = {path.stem for path in (project / "data/08_reporting/odd-names/plots/png").iterdir()}
    _, metrics, predictions = outputs(project, "odd-names")

    assert images == set(plots)
    assert set(metrics["best"]) == {"best", "ridge 1", "xgb", "weighted_ensemble"}
    assert set(metrics["data"]) == {"dummy", "logistic"}
    assert metrics["best"]["ridge 1"]["test"]["r2"]["value"] > 0.95
    assert metrics["data"]["logistic"]["test"]["recall_<=50K"]["value"] > 0.5
    assert predictions["column:candidate"].nunique() == 48  # validation and test
    assert set(predictions["candidate"]) == {*metrics["best"], *metrics["data"]}


def test_odd_names_are_told_by_their_importance(project):
    folder = project / "data/07_model_output/odd-names"
    table = pd.read_parquet(folder / "best/importance.parquet").set_index("source")["importance"]

    assert table.index[:2].tolist() == ["time", "column:static_pressure"]
    assert table["target"] > 0.05  # and not lost among the targets
    wanted = {"colour", "colour_other", "hour", "hour_sin", "a b", "a_b", "column:target_price"}
    assert wanted <= set(table.index)


def test_odd_names_are_tracked_whole(project):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ratchet")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    recalls = {
        name.removeprefix("test/recall_")
        for name in runs["odd-names.data.logistic"].data.metrics
        if name.startswith("test/recall_") and not name.endswith(("_low", "_high"))
    }

    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert recalls == {"le_50K", "gt_50K", "1_ 2", "True"}


def test_odd_names_are_answered_and_watched(project, run_kedro, monkeypatch):
    monkeypatch.chdir(project)
    later = odd_rows(300)
    later["time"] += (later["day"] >= "2020-08-28") * 5.0
    later.to_parquet(project / "data/01_raw/odd.parquet")

    run_kedro(project, "monitoring", env="mine", namespaces=["odd-names"])

    watch = json.loads((project / "data/07_model_output/odd-names/watch.json").read_text())
    assert watch["scored"]["trouble"] is None
    assert watch["scored"]["rows"] == 60
    assert watch["drift"]["columns"]["time"]["moved"]
    assert set(watch["drift"]["columns"]) >= {"prediction", "target", "static_pressure", "self"}
    assert all(window["rmse"] is not None for window in watch["windows"] if window["complete"])
