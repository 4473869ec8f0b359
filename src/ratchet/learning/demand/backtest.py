"""Backtest of recommended prices by later weeks with prices near them, without a model.

Prices are recommended from the first part of the weeks. Later some weeks happened to have prices
near the recommended one, and others near the one before; the difference of what was earned in them
owes nothing to any estimate. It owes something to everything else that differed between these
weeks. A correction by what the same product did elsewhere would be worse: where prices are set
chain-wide, it takes the response to the price out as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ratchet.learning.demand.panel import Array, Codes
from ratchet.learning.demand.pricing import Outcome, Recommendation

NEAR = 0.05
"""Distance between logs of prices that are near each other."""

LEAST_WEEKS = 3
"""Fewest rows near each of the two prices."""

_THIN_MARGIN = 0.05
"""Share of revenue below which a profit is no base for shares."""


@dataclass(frozen=True)
class Sales:
    """Rows after the recommendations, those without sales included.

    Attributes:
        segment: position of the segment among the recommendations, shape (n,).
        price: above 0, shape (n,).
        quantity: 0 and more, shape (n,).
    """

    segment: Codes
    price: Array
    quantity: Array


@dataclass(frozen=True)
class PriceComparison:
    """One recommended price against the one before, by later rows.

    Attributes:
        segment: position of the segment.
        outcome: what was recommended.
        price: recommended price.
        current_price: the one before.
        expected_gain_share: gain that was expected, as a share of profit; NaN where it is not.
        rows: later rows near the recommended price.
        rows_before: later rows near the one before.
        profit: mean profit of a row near the recommended price.
        profit_before: of a row near the one before.
        gain_share: gain as a share of the profit before; NaN where that is thin.
    """

    segment: int
    outcome: Outcome
    price: float
    current_price: float
    expected_gain_share: float
    rows: int
    rows_before: int
    profit: float
    profit_before: float
    gain_share: float


def compare_prices(
    recommendations: Sequence[Recommendation], unit_cost: Array, sales: Sales
) -> list[PriceComparison]:
    """Compare recommendations with later rows.

    Args:
        recommendations: from earlier rows.
        unit_cost: of each segment, shape (S,).
        sales: later rows.

    Returns:
        One for each segment with a recommended price and rows enough near both prices.
    """
    order = np.argsort(sales.segment, kind="stable")
    ends = np.searchsorted(sales.segment[order], np.arange(len(recommendations) + 1))
    comparisons = []
    for segment, recommendation in enumerate(recommendations):
        rows = order[ends[segment] : ends[segment + 1]]
        compared = _compare(
            segment,
            recommendation,
            float(unit_cost[segment]),
            sales.price[rows],
            sales.quantity[rows],
        )
        comparisons += [compared] if compared else []
    return comparisons


def _compare(
    segment: int, recommendation: Recommendation, cost: float, price: Array, quantity: Array
) -> PriceComparison | None:
    if recommendation.price is None:
        return None
    to_new = np.abs(np.log(price / recommendation.price))
    to_old = np.abs(np.log(price / recommendation.current_price))
    new, old = (to_new <= NEAR) & (to_new < to_old), (to_old <= NEAR) & (to_old < to_new)
    if min(new.sum(), old.sum()) < LEAST_WEEKS:
        return None
    profit = (price - cost) * quantity
    after, before = float(profit[new].mean()), float(profit[old].mean())
    thin = before <= _THIN_MARGIN * float((price * quantity)[old].mean())
    return PriceComparison(
        segment=segment,
        outcome=recommendation.outcome,
        price=recommendation.price,
        current_price=recommendation.current_price,
        expected_gain_share=recommendation.gain_share.mean
        if recommendation.gain_share
        else float("nan"),
        rows=int(new.sum()),
        rows_before=int(old.sum()),
        profit=after,
        profit_before=before,
        gain_share=float("nan") if thin else after / before - 1,
    )
