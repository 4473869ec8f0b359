"""A market of one's own is two YAML files: other names of columns, merchants without products."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ratchet.bundle.reader import open_bundle

pytestmark = pytest.mark.slow  # a whole run comes first

CHEESE = Path(__file__).parents[3] / "shared/data/market/bayesm_cheese.csv"
if not CHEESE.exists():  # in a worktree, or in the main copy
    CHEESE = Path(__file__).parents[4] / "shared/data/market/bayesm_cheese.csv"

PARAMETERS = """
cheese:
  about: {title: Cheese, question: "How much will each account sell?", source: bayesm}
  data:
    key: [RETAILER, week]
    time: week
    columns:
      RETAILER: {type: string}
      week: {type: date, unit: D}
      PRICE: {type: number}
      DISP: {type: number, low: 0, high: 1}
      VOLUME: {type: number, low: 0}
    split: {validation: 0.1, test: 0.2}
  market:
    merchant: RETAILER
    price: PRICE
    covariates: [DISP]
    frequency: 1D # week counts rows
    season: 52
    unit_cost: 1.5
  targets:
    volume:
      column: VOLUME
      task: regression
      learn: log
      bounds: [0, .inf]
      scoring: neg_wape
      cv: 2
      n_jobs: 1
      confidence: 0.8
      baseline: last_value
      candidates: ${globals:candidates.market}
  release: {slices: {columns: [RETAILER]}, max_latency_ms: 20000}
"""

CATALOG = """
cheese.raw:
  type: pandas.CSVDataset
  filepath: data/01_raw/cheese.csv
"""


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    make_project: Callable[..., Path],
    run_kedro: Callable[..., None],
    empty_mlflow: Callable[[Path], Path],
) -> Path:
    if not CHEESE.exists():
        pytest.skip("the file of cheese sales is not there (../shared/data/market)")
    folder = make_project(tmp_path_factory.mktemp("market"), [])
    empty_mlflow(folder / "mlflow.db")
    for name, text in {"catalog": CATALOG, "parameters": PARAMETERS}.items():
        path = folder / "conf/mine" / f"{name}.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    small = folder / "conf/test/globals_candidates.yml"
    (folder / "conf/mine/globals_candidates.yml").write_text(small.read_text())
    (folder / "data/01_raw/cheese.csv").write_bytes(CHEESE.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_kedro(folder, "cheese", env="mine")
    return folder


def test_demand_beats_the_naive_forecasts_and_serves(project):
    folder = project / "data/07_model_output/cheese"
    evaluation = json.loads((folder / "evaluation.json").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())["volume"]
    (verdict,) = json.loads((folder / "verdicts.json").read_text())

    assert evaluation["metric"] == {"volume": "wape"}
    assert evaluation["best"]["volume"] in ("demand", "demand_boosting", "boosting")
    best = metrics[evaluation["best"]["volume"]]["test"]["wape"]["value"]
    assert best < 0.26
    assert best < 0.8 * min(metrics[n]["test"]["wape"]["value"] for n in ("last_value", "seasonal"))
    assert verdict["verdict"]["decision"] == "PROMOTE"


def test_the_bundle_answers_rows_by_their_joined_key(project):
    verdicts = project / "data/07_model_output/cheese/verdicts.json"
    (verdict,) = json.loads(verdicts.read_text())
    bundle = open_bundle(project / "data/06_models/bundles/cheese" / verdict["bundle"])
    row = {"RETAILER": "LOS ANGELES - LUCKY", "week": 70, "PRICE": 2.5, "DISP": 0.1}
    dear, new = row | {"week": 71, "PRICE": 3.5}, row | {"RETAILER": "NEW"}

    compiled = bundle.compiled.answer([row, dear, new])
    keys = [answer.key for answer in compiled]
    answers = bundle.answer(pd.DataFrame([row, dear, new]))["volume"].loc[keys]

    assert keys[0] == "LOS ANGELES - LUCKY|1970-03-12"
    values = answers["prediction"].tolist()
    assert [answer.predictions["volume"].value for answer in compiled] == pytest.approx(values)
    assert values[1] < values[0]  # what costs more sells less
    spread = answers["high"] / answers["prediction"]
    assert spread.tolist() == pytest.approx([spread.iloc[0]] * 3)


def test_every_account_gets_a_price_or_a_reason(project):
    folder = project / "data/07_model_output/cheese"
    prices = pd.read_parquet(folder / "recommendations.parquet")
    metrics = json.loads((folder / "pricing_metrics.json").read_text())

    assert len(prices) == metrics["segments"] == 88
    assert ((prices["outcome"] == "abstain") == (prices["reason"] != "")).all()
    acting = prices[prices["outcome"] != "abstain"]
    assert 10 < len(acting) < 80
    assert acting["price"].between(acting["lowest_tried"], acting["highest_tried"]).all()
    assert (acting["gain_low"] > 0).all()
    assert metrics["positive_elasticities"] == 0
    report = (project / "data/08_reporting/cheese/report.html").read_text()
    assert "Who can raise or lower prices" in report
    assert "Outcomes of recommended prices" in report


def test_the_bundle_prices_as_the_table_does(project):
    (verdict,) = json.loads((project / "data/07_model_output/cheese/verdicts.json").read_text())
    bundle = open_bundle(project / "data/06_models/bundles/cheese" / verdict["bundle"])
    prices = pd.read_parquet(project / "data/07_model_output/cheese/recommendations.parquet")

    for book in (bundle.demand_book, bundle.compiled.prices.book):
        for row in prices.head(10).itertuples():
            found = book.price(row.merchant, row.product)
            assert found.outcome.value == row.outcome
            assert found.gain.mean == row.gain
        dear = book.price("LOS ANGELES - LUCKY", "", unit_cost=2.4)
        assert dear.profit.mean < book.price("LOS ANGELES - LUCKY", "").profit.mean


def test_a_run_again_takes_what_the_iterations_have_left(project, run_kedro, monkeypatch):
    def nothing(*_: object) -> None:
        raise AssertionError("an iteration was done again")

    monkeypatch.chdir(project)
    monkeypatch.setattr("ratchet.learning.demand.iterations.advance", nothing)
    before = (project / "data/07_model_output/cheese/demand_book.npz").read_bytes()

    run_kedro(project, "pricing", env="mine", namespaces=["cheese"])

    assert (project / "data/07_model_output/cheese/demand_book.npz").read_bytes() == before


def test_avocados_run_from_raw_rows_to_a_version_that_serves(
    tmp_path, make_project, run_kedro, empty_mlflow, monkeypatch
):
    folder = make_project(tmp_path, ["market"])
    empty_mlflow(folder / "data/test/mlflow.db")
    monkeypatch.chdir(folder)

    run_kedro(folder, "market")

    output = folder / "data/test/07_model_output/market"
    evaluation = json.loads((output / "evaluation.json").read_text())
    (verdict,) = json.loads((output / "verdicts.json").read_text())
    rows = pd.read_parquet(folder / "data/test/03_primary/market/primary.parquet")
    assert rows.groupby(["region", "type"]).ngroups == 90  # without totals
    assert evaluation["baseline"]["volume"]["beaten"]
    assert verdict["verdict"]["decision"] == "PROMOTE"
    report = folder / "data/test/08_reporting/market/report.html"
    assert "one product at one merchant" in report.read_text(encoding="utf-8")
