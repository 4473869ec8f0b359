"""Stock and orders: what must hold whatever the formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ratchet.learning.inventory import expected_demand, order_quantity, steps_of_stock

FORECAST, LOW, HIGH = (
    np.array([5.0, 8.0, 0.5]),
    np.array([2.0, 8.0, 0.0]),
    np.array([9.0, 8.0, 2.0]),
)
ORDER = {"lead_time": 3, "review": 1, "confidence": 0.9, "service_level": 0.95}


def test_demand_of_one_step_is_the_forecast() -> None:
    for given, result in zip(
        (FORECAST, LOW, HIGH), expected_demand(FORECAST, LOW, HIGH, 1), strict=True
    ):
        assert result == pytest.approx(given)


def test_demand_grows_with_the_steps_and_its_interval_with_their_root() -> None:
    mean, low, high = expected_demand(FORECAST, LOW, HIGH, 4)
    assert mean == pytest.approx(4 * FORECAST)
    assert high - mean == pytest.approx(2 * (HIGH - FORECAST))
    assert low == pytest.approx([20 - 6, 32, 1])


def test_interval_covers_sums_of_independent_errors() -> None:
    errors = np.random.default_rng(0).normal(0, 3, (40_000, 9))
    half = 1.644854 * 3  # 90 %
    _, low, high = expected_demand([20.0], [20 - half], [20 + half], 9)
    sums = (20 + errors).sum(axis=1)
    assert ((low[0] <= sums) & (sums <= high[0])).mean() == pytest.approx(0.9, abs=0.01)


def test_a_stock_lasts_until_demand_has_reached_it() -> None:
    stock = np.array([20.0, 20.0, 20.0])
    expected, fewest, most = steps_of_stock(FORECAST, LOW, HIGH, stock)
    assert expected == pytest.approx(stock / FORECAST)
    for i in range(3):
        one = FORECAST[i : i + 1], LOW[i : i + 1], HIGH[i : i + 1]
        assert expected_demand(*one, fewest[i])[2] == pytest.approx([20.0])
        assert expected_demand(*one, most[i])[1] == pytest.approx([20.0])
    assert (fewest <= expected).all()
    assert (expected <= most).all()


def test_what_does_not_sell_lasts_for_ever() -> None:
    expected, fewest, most = steps_of_stock([0.0, 0.0], [0.0, 0.0], [0.0, 3.0], 10)
    assert np.isinf(expected).all()
    assert np.isinf(most).all()
    assert np.isinf(fewest[0])
    assert fewest[1] == pytest.approx((10 / 3) ** 2)


def test_an_empty_shelf_and_an_unknown_one() -> None:
    ends = steps_of_stock(FORECAST, LOW, HIGH, [0.0, np.nan, 0.0])
    for result in ends:
        assert result[[0, 2]].tolist() == [0.0, 0.0]
        assert np.isnan(result[1])
    assert np.isnan(order_quantity(FORECAST, LOW, HIGH, [0.0, np.nan, 0.0], **ORDER)[1])


def test_order_is_what_lead_time_and_review_need() -> None:
    # A certain forecast needs no safety stock: 4 steps of 8 units, less what is there.
    assert order_quantity([8.0], [8.0], [8.0], 10, **ORDER) == pytest.approx([22.0])
    assert order_quantity([8.0], [8.0], [8.0], 40, **ORDER) == pytest.approx([0.0])
    # Of a 90 % interval the upper half is 1.645 spreads, the safety stock at 95 % as many.
    assert order_quantity([5.0], [2.0], [9.0], 0, **ORDER) == pytest.approx([np.ceil(20 + 4 * 2)])


def test_order_keeps_its_promise_for_normal_errors() -> None:
    half = 1.644854 * 300
    level = order_quantity(
        [2e3], [2e3 - half], [2e3 + half], 0, **(ORDER | {"service_level": 0.8})
    )[0]
    sums = 8e3 + np.random.default_rng(1).normal(0, 300 * 2, 50_000)
    assert (sums <= level).mean() == pytest.approx(0.8, abs=0.01)


def test_forecasts_below_nothing_count_as_nothing() -> None:
    assert expected_demand([-1.0], [-3.0], [2.0], 1)[0].tolist() == [0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forecast": [1.0, 2.0]}, "one shape"),
        ({"forecast": [np.nan]}, "finite"),
        ({"low": [6.0]}, "between low and high"),
        ({"stock": -1}, "below 0"),
        ({"lead_time": -1}, "above 0"),
        ({"confidence": 1.0}, "confidence must lie"),
        ({"service_level": 0}, "service_level must lie"),
    ],
)
def test_wrong_input_is_named(change: dict[str, Any], message: str) -> None:
    good = {"forecast": [5.0], "low": [2.0], "high": [9.0], "stock": 3, **ORDER}
    with pytest.raises(ValueError, match=message):
        order_quantity(**(good | change))


def test_no_step_has_no_demand() -> None:
    with pytest.raises(ValueError, match="steps must be above 0"):
        expected_demand(FORECAST, LOW, HIGH, 0)
