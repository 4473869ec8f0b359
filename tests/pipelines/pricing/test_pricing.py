"""From rows to recommended prices, node by node, on a market whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.config import Market
from ratchet.errors import ConfigError, DataError
from ratchet.learning.demand.book import DemandBook
from ratchet.learning.demand.pricing import Reason
from ratchet.modelling import demand
from ratchet.pipelines.pricing import (
    collect_pricing,
    replay_prices,
)


def test_elastic_demand_wants_lower_prices_and_inelastic_higher_ones(priced):
    outcomes = priced.prices.groupby("product")["outcome"].agg(set)

    assert outcomes["tea"] == {"lower"}
    assert "raise" in outcomes["milk"]
    assert outcomes["milk"] <= {"raise", "abstain"}
    elasticities = priced.prices.groupby("product")["elasticity"].mean()
    np.testing.assert_allclose(elasticities[["milk", "tea"]], [-1.2, -4.0], atol=0.2)
    assert (priced.prices["elasticity_low"] < priced.prices["elasticity"]).all()
    assert (priced.prices["probability_negative"] == 1).all()


def test_prices_stay_inside_of_those_tried(priced):
    acting = priced.prices[priced.prices["outcome"] != "abstain"]

    assert (acting["price"] >= acting["lowest_tried"] - 1e-9).all()
    assert (acting["price"] <= acting["highest_tried"] + 1e-9).all()
    assert (acting["gain_low"] > 0).all()
    assert acting["profit"].to_numpy() == pytest.approx(
        acting["demand"] * (acting["price"] - acting["unit_cost"])
    )


def test_expected_demand_is_that_of_the_next_week(priced, market_example):
    sold = market_example.sales()
    recent = sold[sold["week"] > sold["week"].max() - pd.Timedelta(weeks=30)]
    typical = recent.groupby(["store", "item"])["sold"].mean()
    expected = priced.prices.set_index(["merchant", "product"])["current_demand"]

    ratio = (expected / typical.rename_axis(["merchant", "product"])).to_numpy()
    assert (np.abs(np.log(ratio)) < 0.5).all()
    assert (priced.prices["current_demand_low"] < priced.prices["current_demand"]).all()
    assert (priced.prices["current_demand_high"] > priced.prices["current_demand"]).all()


def test_the_book_gives_the_prices_of_the_table(priced):
    again = DemandBook.from_bytes(priced.book.to_bytes(), "book")

    for row in priced.prices.itertuples():
        found = again.price(row.merchant, row.product)
        assert (found.outcome.value, found.price or np.nan) == (
            row.outcome,
            pytest.approx(row.price, rel=0, nan_ok=True),
        )
        assert found.gain.low == row.gain_low


def test_errors_of_forecasts_are_put_beside_those_of_the_naive_one(priced):
    assert priced.prices["relative_error"].to_numpy() == pytest.approx([0.2] * 12)


def test_a_killed_training_goes_on_with_the_same_bits(price, priced, tmp_path, monkeypatch):
    class KilledError(BaseException):
        pass

    original = demand.iteration_progress

    class Bar:
        def __enter__(self):
            def report(progress: Any) -> None:
                if progress.iteration >= 200:
                    raise KilledError

            return report

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(demand, "iteration_progress", lambda name: Bar())
    with pytest.raises(KilledError):
        price(folder=tmp_path)
    assert any(tmp_path.rglob("*.npz"))
    monkeypatch.setattr(demand, "iteration_progress", original)

    resumed = price(folder=tmp_path)

    assert resumed.book.to_bytes() == priced.book.to_bytes()
    pd.testing.assert_frame_equal(resumed.history, priced.history)


def test_more_iterations_go_on_from_fewer(price, tmp_path):
    few = {"iterations": 100, "checkpoint_every": 100, "stop_when": None}
    many = few | {"iterations": 200}
    price(folder=tmp_path, iterations=few)

    further = price(folder=tmp_path, iterations=many)

    assert further.book.to_bytes() == price(iterations=many).book.to_bytes()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"unit_cost": None}, Reason.NO_COST),
        ({"bounds": (10, 20)}, Reason.NO_ALLOWED_PRICE),
        ({"min_margin": 0.9}, Reason.NO_ALLOWED_PRICE),
    ],
)
def test_what_the_parameters_rule_out_is_abstained_from(price, changes, reason):
    found = price(**changes).prices

    assert set(found["outcome"]) == {"abstain"}
    assert set(found["reason"]) == {reason.value}
    assert found["price"].isna().all()


def constant(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(paid=2.5)


def short(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["week"] < "2020-01-26"]


def often_nothing(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(sold=rows["sold"].where(rows.index % 3 > 0, 0.0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (constant, Reason.LITTLE_PRICE_VARIATION),
        (short, Reason.FEW_ROWS),
        (often_nothing, Reason.MANY_ZERO_SALES),
    ],
)
def test_what_the_rows_cannot_say_is_abstained_from(price, market_example, change, reason):
    found = price(change(market_example.sales())).prices

    assert set(found["reason"]) == {reason.value}


def test_a_segment_that_sells_nothing_is_named(price, market_example):
    rows = market_example.sales()
    rows.loc[(rows["store"] == "a") & (rows["item"] == "tea"), "sold"] = 0.0

    found = price(rows).prices.set_index(["merchant", "product"])

    assert len(found) == 12
    assert found.loc[("a", "tea"), "reason"] == Reason.FEW_ROWS.value
    assert found.loc[("a", "tea"), "rows"] == 0


def test_forecasts_that_are_worse_than_naive_ones_are_not_acted_on(
    price, market_example, monkeypatch
):
    good = market_example.naive_predictions

    def bad(rows: pd.DataFrame) -> pd.DataFrame:
        found = good(rows)
        return found.assign(
            candidate=found["candidate"].map({"naive": "demand", "demand": "naive"})
        )

    monkeypatch.setattr(market_example, "naive_predictions", bad)

    assert set(price().prices["reason"]) == {Reason.WORSE_THAN_NAIVE.value}


@pytest.mark.parametrize(
    ("without", "names"),
    [
        ("merchant", {"": ["milk", "tea"]}),
        ("product", {"a": [""]}),
        (None, {"a": ["milk", "tea"]}),
    ],
)
def test_one_merchant_or_one_product_is_a_market_too(price, market_example, without, names):
    rows = market_example.sales(
        stores="a", items=("milk",) if without == "product" else ("milk", "tea")
    )

    found = price(rows, **({without: None} if without else {})).prices

    assert found.groupby("merchant")["product"].agg(list).to_dict() == names
    assert (found["elasticity"] < 0).all()


def test_rows_that_share_a_step_are_named(price, market_example):
    rows = market_example.sales()
    doubled = pd.concat([rows, rows.head(1).assign(row="again")])

    with pytest.raises(DataError, match=r"2 rows share a step of 7D \(market.frequency\).*'a'"):
        price(doubled)


@pytest.mark.parametrize(
    ("changes", "value", "match"),
    [
        ({}, -1.0, r"column 'cost' \(market.unit_cost\): expected 0 or more or nothing, 1 of 960"),
        ({"capacity": "cost"}, 0.0, r"column 'cost' \(market.capacity\): expected more than 0"),
    ],
)
def test_costs_and_capacities_that_make_no_sense_are_named(
    price, market_example, changes, value, match
):
    rows = market_example.sales()
    rows.loc[5, "cost"] = value

    with pytest.raises(DataError, match=match):
        price(rows, **changes)


def test_a_cluster_without_an_address_is_told_before_any_work(price, monkeypatch):
    monkeypatch.delenv("RATCHET_DASK_ADDRESS", raising=False)

    with pytest.raises(ConfigError, match=r"market\.iterations\.engine: 'dask' needs the sched"):
        price(iterations={"engine": "dask"})


def test_nothing_sold_is_an_error_that_says_so(price, market_example):
    with pytest.raises(DataError, match="none of 960 rows of the market has a quantity"):
        price(market_example.sales().assign(sold=0.0))


def test_later_rows_confirm_prices(price, priced, market_example, tmp_path):
    market = Market.model_validate(market_example.MARKET)

    replayed, history = replay_prices(priced.rows, market, 0, tmp_path)

    assert len(replayed) >= 3
    assert (replayed["profit"] > replayed["profit_before"]).mean() > 0.7
    assert history["error"].iloc[-1] == pytest.approx(0.1, abs=0.03)
    summary = collect_pricing(priced.prices, priced.history, replayed, history)
    assert summary["segments"] == 12
    assert summary["iterations"] == 300
    assert summary["replay"]["segments"] == len(replayed)
    assert sum(summary["outcomes"].values()) == 12
