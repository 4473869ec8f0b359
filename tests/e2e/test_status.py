"""What the status says of a small shop: promoted, watched for three weeks, and damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from ratchet.commands import ratchet
from ratchet.registry.registry import Registry

pytestmark = pytest.mark.slow

PARAMETERS = """
shop:
  about: {title: Shop, question: "How much will be sold?", source: made for this test}
  data:
    key: sale
    time: day
    columns:
      sale: {type: integer}
      day: {type: date}
      price: {type: number}
      units: {type: number}
  features: {numeric: [price]}
  targets:
    units:
      column: units
      task: regression
      cv: 2
      n_jobs: 1
      stack: 0
      candidates:
        dummy: {estimator: dummy}
        ridge: {estimator: ridge, param_grid: {model__alpha: [1]}}
  release: {max_latency_ms: 60000} # how busy the machine is does not matter here
  monitoring: {watch: {min_rows: 5}}
"""
CATALOG = """
shop.raw:
  type: pandas.CSVDataset
  filepath: data/01_raw/shop.csv
  metadata: {kedro-viz: {layer: raw}}
"""
CHOSEN = "2"
"""Version of the best candidate; the naive one is registered before it."""

TRAINING = ["understanding", "preprocessing", "classical", "evaluation", "release"]


def sales(days: int = 721) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    price = rng.uniform(1, 3, days)
    return pd.DataFrame(
        {
            "sale": range(days),
            "day": pd.date_range("2024-01-01", periods=days),
            "price": price,
            "units": 100 - 12 * price + rng.normal(size=days),
        }
    )


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory,
    make_project: Callable[[Path], Path],
    run_kedro: Callable[..., None],
    empty_mlflow: Callable[[Path], Path],
) -> Path:
    """A project in which a champion was promoted and served for three weeks; tests copy it."""
    folder = make_project(tmp_path_factory.mktemp("status"))
    empty_mlflow(folder / "mlflow.db")
    shutil.rmtree(folder / "conf/base/parameters")
    for name, text in {
        "mine/mlflow": "enabled: false",
        "mine/catalog": CATALOG,
        "base/parameters/shop": PARAMETERS,
        "base/parameters/run": "seed: 3\nas_of: null",
    }.items():
        path = folder / "conf" / f"{name}.yml"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    sales().to_csv(folder / "data/01_raw/shop.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_kedro(folder, *TRAINING, env="mine", as_of="2025-11-30")
        run_kedro(folder, "monitoring", "status", env="mine")
    return folder


@pytest.fixture
def shop(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, which is also the current folder."""
    shutil.copytree(first, tmp_path / "shop", symlinks=True)
    monkeypatch.chdir(tmp_path / "shop")
    bootstrap_project(tmp_path / "shop")
    return tmp_path / "shop"


def registry_of(project: Path) -> Registry:
    return Registry(f"sqlite:///{project / 'mlflow.db'}", project / "data/06_models/bundles")


def ask(*options: str) -> str:
    done = CliRunner().invoke(ratchet, ["status", "--env", "mine", *options])
    assert done.exit_code == 0, done.output
    return done.output


def test_champion_and_production(shop):
    found = json.loads(ask("--json"))["shop"]

    assert found["problems"] == []
    assert found["champion"] == {"version": CHOSEN, "candidates": {"units": "ridge"}}
    assert found["since"] == found["decisions"][0]["at"]
    assert found["promoted"]["low"] < found["promoted"]["value"] < found["promoted"]["high"]
    assert found["predicted"]["answers"] == found["predicted"]["known"] == 21
    windows = [window for window in found["watch"]["windows"] if window["rmse"]]
    assert [window["rows"] for window in windows] == [7, 7, 7]
    assert found["worse_by"] == pytest.approx(windows[-1]["rmse"] / found["promoted"]["value"] - 1)
    assert found["decisions"][0]["details"]["conditions"]


def test_the_table(shop):
    text = ask("--use-case", "shop")

    assert f"Champion: version {CHOSEN}: ridge, since" in text
    assert "Previous: none: there is no version to roll back to" in text
    assert "Since the promotion 21 rows were predicted" in text
    assert f"promoted version {CHOSEN}" in text


def test_the_page_of_the_pipeline(shop):
    page = (shop / "data/08_reporting/status.html").read_text(encoding="utf-8")

    assert f"version {CHOSEN}: ridge" in page
    assert ",in production," in page  # rows of the chart's data
    assert "In the latest window" in page


def test_a_new_champion_was_not_watched_yet(shop):
    registry = registry_of(shop)
    old = registry.folder("shop", CHOSEN)
    shutil.copytree(old, old.with_name("again"))
    version = registry.register("shop", old.with_name("again"), {})
    done = CliRunner().invoke(
        ratchet, ["promote", "--env", "mine", "--use-case", "shop", "--reason", "test"]
    )
    assert done.exit_code == 0, done.output

    found = json.loads(ask("--json"))["shop"]

    assert (found["champion"]["version"], found["previous"]["version"]) == (version, CHOSEN)
    assert found["watch"] is None
    assert found["watched"] == CHOSEN
    assert "Nothing was predicted since the promotion." in ask("--use-case", "shop")


@pytest.mark.parametrize("damage", ["missing", "changed", "gone"])
def test_a_damaged_champion(shop, damage):
    bundle = registry_of(shop).folder("shop", CHOSEN)
    if damage == "gone":
        shutil.rmtree(bundle)
    elif damage == "missing":
        (bundle / "encoder.skops").unlink()
    else:
        with (bundle / "encoder.skops").open("ab") as file:
            file.write(b"x")

    (problem,) = json.loads(ask("--json"))["shop"]["problems"]

    assert problem.startswith("the champion cannot be used: ")
    assert ("is missing" if damage == "gone" else "encoder.skops") in problem
    assert "needs mending" in ask("--page")
    assert "needs mending" in (shop / "data/08_reporting/status.html").read_text()


def test_an_alias_moved_by_hand(shop):
    from mlflow import MlflowClient

    uri = f"sqlite:///{shop / 'mlflow.db'}"
    MlflowClient(uri, uri).delete_registered_model_alias("ratchet-shop", "champion")

    (problem,) = json.loads(ask("--json"))["shop"]["problems"]

    assert f"'champion' points to no version, the ledger says version {CHOSEN}" in problem
