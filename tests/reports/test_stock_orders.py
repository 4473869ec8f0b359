"""Stock and orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ratchet.errors import DataError
from ratchet.learning.inventory import expected_demand
from ratchet.reports import forecasting, stock_orders
from ratchet.reports.forecasting import advice_blocks
from ratchet.reports.formatting import number, share
from ratchet.reports.target_results import TargetResults

Make = Callable[..., TargetResults]


def test_orders_follow_from_the_last_forecasts(make_series: Make) -> None:
    results = make_series()
    assert results.inventory is not None
    frame = stock_orders.orders(results, results.inventory).set_index("series")
    last = results.test[results.test["time"] == results.test["time"].max()].set_index("series")
    assert frame["forecast"].to_dict() == pytest.approx(last["prediction"].to_dict())
    assert frame["days left"].to_dict() == pytest.approx((30 / last["prediction"]).to_dict())
    need = expected_demand(*(last[c] for c in ("prediction", "low", "high")), 3)
    assert frame.loc[last.index, "at most"].to_list() == pytest.approx(need[2].tolist())
    assert (frame["order"] >= frame["demand"] - 30).all()
    assert frame["fewest"].is_monotonic_increasing
    text = stock_orders.orders_sentence(results, results.inventory, frame.reset_index())
    assert f"{(frame['days left'] < 2).sum()} of 20 series are expected to run out" in text


def test_stock_may_come_from_a_column(make_series: Make) -> None:
    results = make_series(stock="shelf")
    assert results.inventory is not None
    frame = stock_orders.orders(results, results.inventory).set_index("series")
    assert frame.loc["shop 4", "stock"] == 20
    assert np.isnan(frame.loc["shop 3", "order"])
    text = stock_orders.orders_sentence(results, results.inventory, frame.reset_index())
    assert "Of 1 series the stock is not known." in text


def test_stock_is_that_of_the_step_at_which_the_forecast_was_made(make_series: Make) -> None:
    """A column that counts the steps shows at which one it was read."""
    for many in (True, False):
        results = make_series(stock="shelf", many=many)
        assert results.inventory is not None
        steps = results.primary["time"].rank(method="dense")
        results = replace(results, primary=results.primary.assign(shelf=steps))
        assert (stock_orders.orders(results, results.inventory)["stock"] == steps.max() - 1).all()
        far = at_horizon(results, 3)
        assert (stock_orders.orders(far, results.inventory)["stock"] == steps.max() - 3).all()


def at_horizon(results: TargetResults, steps: int) -> TargetResults:
    """The same forecasts, made so many steps before."""
    assert results.features.windows is not None
    windows = results.features.windows.model_copy(update={"horizon": steps})
    return replace(results, features=results.features.model_copy(update={"windows": windows}))


def test_the_date_of_the_orders_is_that_of_the_forecast(make_series: Make) -> None:
    results = make_series()
    assert results.inventory is not None
    last = results.test["time"].max()

    def said(one: TargetResults) -> str:
        assert one.inventory is not None
        return stock_orders.orders_sentence(
            one, one.inventory, stock_orders.orders(one, one.inventory)
        )

    assert said(results).startswith(f"By the forecast for {last:%Y-%m-%d}, made 1 day before: ")
    assert f"{last:%Y-%m-%d}, made 3 days before: " in said(at_horizon(results, 3))
    ended = results.predictions["series"].eq("shop 5") & results.predictions["time"].eq(last)
    uneven = replace(results, predictions=results.predictions[~ended])
    assert f"for times from {last - np.timedelta64(1, 'D'):%Y-%m-%d} to {last:%Y-%m-%d}, " in said(
        uneven
    )


def test_the_step_that_is_forecast_is_named(make_series: Make) -> None:
    results = make_series()
    assert results.inventory is not None
    near, far = (
        stock_orders.assumptions(one, results.inventory)[0]
        for one in (results, at_horizon(results, 3))
    )
    assert near.startswith("The forecast of the next day is used for each of the 3 days ")
    assert far.startswith("The forecast of the day 3 days ahead is used for each of the 3 days ")


def test_demand_is_counted_from_the_origin_on(make_series: Make) -> None:
    results = at_horizon(make_series(), 3)
    assert results.inventory is not None
    frame = stock_orders.order_backtest(results, results.inventory)
    own = results.test.loc[frame.index[5]]
    rows = results.test[results.test["series"] == own["series"]].sort_values("time")
    until = rows[rows["time"] <= own["time"]]["truth"].tail(3)  # lead time and review are 3 days
    assert frame.iloc[5]["demand"] == pytest.approx(until.sum())


@pytest.mark.parametrize("wrong", [-4.0, "many"])
def test_a_stock_that_is_none_is_named(make_series: Make, wrong: object) -> None:
    results = make_series(stock="shelf")
    assert results.inventory is not None
    days = results.primary.loc[results.primary["shop"] == "shop 7"].sort_values("time").index
    shelf = results.primary["shelf"].astype(object)
    shelf[days[-2]] = wrong
    results = replace(results, primary=results.primary.assign(shelf=shelf))
    with pytest.raises(DataError, match=rf"column 'shelf'.*row {days[-2]} has {wrong}"):
        stock_orders.orders(results, results.inventory)


def test_what_was_promised_of_the_stock_is_held_against_the_test_time(make_series: Make) -> None:
    results = make_series()
    assert results.inventory is not None
    frame = stock_orders.order_backtest(results, results.inventory)
    assert len(frame) == 20 * (40 - 2)  # of three days each
    row = frame.iloc[5]
    own = results.test.loc[frame.index[5]]
    after = results.test[
        (results.test["series"] == own["series"]) & (results.test["time"] >= own["time"])
    ]
    assert row["demand"] == pytest.approx(after.sort_values("time")["truth"].head(3).sum())
    said = stock_orders.backtest_sentence(results, results.inventory)
    assert f"{share(frame['inside'].mean())} of 760 cases" in said
    long = results.inventory.model_copy(update={"lead_time": 90})
    assert "too short" in stock_orders.backtest_sentence(results, long)


def test_orders_that_fall_short_are_told(make_series: Make) -> None:
    results = make_series()
    said = results.predictions["prediction"]
    wide = results.predictions.assign(low=0.0, high=3 * said)
    assert forecasting.orders_fall_short(replace(results, predictions=wide)) == []
    narrow = results.predictions.assign(low=(said - 0.01).clip(0), high=said + 0.01)
    short = replace(results, predictions=narrow)
    assert short.inventory is not None
    frame = stock_orders.order_backtest(short, short.inventory)
    (found,) = forecasting.orders_fall_short(short)
    assert f"enough in {share(frame['enough'].mean())} of the cases" in found.fact
    factor = stock_orders.safety_factor(frame, short.inventory)
    assert f"{number(factor)} times as large" in found.step
    enough = frame["demand"] <= frame["mean"] + factor * (frame["level"] - frame["mean"])
    assert frame["enough"].mean() < enough.mean() == pytest.approx(0.95, abs=0.01)


def test_without_intervals_nothing_is_said_of_orders(make_series: Make) -> None:
    results = make_series()
    bare = replace(results, predictions=results.predictions.drop(columns=["low", "high"]))
    assert bare.inventory is not None
    frame = stock_orders.orders(bare, bare.inventory)
    assert frame.empty
    assert "no intervals" in stock_orders.orders_sentence(bare, bare.inventory, frame)
    assert len(advice_blocks(bare)) == len(advice_blocks(results))
