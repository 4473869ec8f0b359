"""A new tabular use case is two YAML files, from raw data to report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
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

CATALOG = """
wine.raw:
  type: pandas.CSVDataset
  filepath: data/01_raw/wine.csv
  metadata: {kedro-viz: {layer: raw}}

diabetes.raw:
  type: pandas.ParquetDataset
  filepath: data/01_raw/diabetes.parquet
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
        "mlflow": "enabled: false",
        "catalog": CATALOG,
        "parameters": WINE + DIABETES,
    }.items():
        path = folder / "conf/mine" / f"{name}.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    write_wine(folder / "data/01_raw/wine.csv")
    write_diabetes(folder / "data/01_raw/diabetes.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        wanted = ("metrics", "evaluation", "predictions", "report", "decision")
        outputs = [f"{use_case}.{noun}" for use_case in ("wine", "diabetes") for noun in wanted]
        run_kedro(folder, "wine", "diabetes", env="mine", to_outputs=outputs)
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
    assert set(metrics["grower"]) == {"dummy", "logistic", "forest", "stack"}
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
