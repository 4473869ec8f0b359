"""Recommended prices against later rows."""

from __future__ import annotations

import numpy as np
import pytest

from ratchet.learning.demand.backtest import LEAST_WEEKS, Sales, compare_prices
from ratchet.learning.demand.pricing import Outcome, Recommendation


def recommendation(price: float | None, current: float = 2.0) -> Recommendation:
    outcome = Outcome.ABSTAIN if price is None else Outcome.RAISE
    return Recommendation(outcome, (), price, current, None)


def sales(*segments: list[tuple[float, float]]) -> Sales:
    """Price and quantity of the rows of each segment."""
    rows = [(n, *row) for n, segment in enumerate(segments) for row in segment]
    segment, price, quantity = (np.array(column) for column in zip(*rows, strict=True))
    return Sales(segment.astype(int), price.astype(float), quantity.astype(float))


def test_profits_near_both_prices_are_compared():
    rows = [(3.0, 8.0)] * 3 + [(2.0, 10.0)] * 4 + [(2.5, 1000.0)] * 5

    (result,) = compare_prices([recommendation(3.0)], np.array([1.0]), sales(rows))

    assert (result.rows, result.rows_before) == (3, 4)
    assert (result.profit, result.profit_before) == (16.0, 10.0)
    assert result.gain_share == pytest.approx(0.6)


def test_rows_without_sales_count():
    rows = [(3.0, 0.0)] * 3 + [(2.0, 10.0)] * 3

    (result,) = compare_prices([recommendation(3.0)], np.array([1.0]), sales(rows))

    assert result.profit == 0.0
    assert result.gain_share == -1.0


@pytest.mark.parametrize(
    "rows",
    [
        [(3.0, 8.0)] * (LEAST_WEEKS - 1) + [(2.0, 10.0)] * 9,
        [(3.0, 8.0)] * 9 + [(2.0, 10.0)] * (LEAST_WEEKS - 1),
        [(2.5, 8.0)] * 9,
    ],
)
def test_too_few_rows_near_a_price_say_nothing(rows):
    assert compare_prices([recommendation(3.0)], np.array([1.0]), sales(rows)) == []


def test_each_segment_has_its_own_rows_and_abstentions_have_none():
    rows = [(3.0, 8.0)] * 3 + [(2.0, 10.0)] * 3
    twice = [(price, 2 * quantity) for price, quantity in rows]
    result = compare_prices(
        [recommendation(None), recommendation(3.0), recommendation(3.0)],
        np.array([1.0, 1.0, 0.0]),
        sales(rows, rows, twice),
    )

    assert [(one.segment, one.profit) for one in result] == [(1, 16.0), (2, 48.0)]


def test_a_thin_margin_is_no_base_for_shares():
    rows = [(3.0, 8.0)] * 3 + [(2.0, 10.0)] * 3

    (result,) = compare_prices([recommendation(3.0)], np.array([1.95]), sales(rows))

    assert np.isnan(result.gain_share)
    assert result.profit > result.profit_before
