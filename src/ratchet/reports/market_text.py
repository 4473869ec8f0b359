"""Segments of a market and their prices as text and tables, for the command line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ratchet.learning.demand.book import SegmentPrice
from ratchet.learning.demand.pricing import Curve
from ratchet.reports.formatting import count, number, share

_OUTCOMES = {
    "optimum": "optimum",
    "raise": "raise (direction)",
    "lower": "lower (direction)",
    "abstain": "no price",
}
_CURVE_ROWS = 9  # prices of a curve that its table shows


@dataclass(frozen=True)
class TextTable:
    """A table of texts.

    Attributes:
        title: what it shows.
        columns: headings.
        rows: texts of each row, one for each column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def segments_table(title: str, segments: Sequence[SegmentPrice]) -> TextTable:
    """A row for each segment: how demand answers the price, and the outcome."""
    return TextTable(
        title,
        (
            *("merchant", "product", "rows", "median price", "elasticity (80 %)", "P(<0)"),
            *("outcome", "price", "why no price"),
        ),
        [
            [
                *(row.merchant, row.product, count(row.rows), number(row.median_tried)),
                *(value_with_interval(row, "elasticity"), share(row.probability_negative)),
                *(_OUTCOMES[row.outcome], number(row.price), row.reason),
            ]
            for row in segments
        ],
    )


def segment_table(title: str, segment: SegmentPrice) -> TextTable:
    """All values of one segment."""
    return TextTable(title, ("", "value", "80 % interval"), segment_facts(segment))


def curve_table(curve: Curve) -> TextTable:
    """Some prices of a curve, the first and the last among them."""
    last = len(curve.price) - 1
    at = sorted({round(i * last / (_CURVE_ROWS - 1)) for i in range(_CURVE_ROWS)})
    return TextTable(
        "Demand and profit by price, per step, over three forms of demand",
        ("price", "demand", "80 % interval", "profit", "80 % interval"),
        [
            [
                *(number(curve.price[n]), number(curve.demand[n])),
                interval(curve.demand_low[n], curve.demand_high[n]),
                number(curve.profit[n]),
                interval(curve.profit_low[n], curve.profit_high[n]),
            ]
            for n in at
        ],
    )


def comparison_table(
    title: str, segments: Sequence[SegmentPrice], means: Mapping[str, Mapping[str, float | None]]
) -> TextTable:
    """Segments beside the mean of their product, from ``product_mean``."""
    return TextTable(
        title,
        (
            *("merchant", "product", "elasticity (80 %)", "product's\nmean", "price\nnow"),
            *("product's\nmean", "demand\nnow", "outcome", "price", "gain", "share of\nprofit"),
        ),
        [
            [
                *(row.merchant, row.product, value_with_interval(row, "elasticity")),
                *(number(means[row.product]["elasticity"]), number(row.current_price)),
                *(number(means[row.product]["current_price"]), number(row.current_demand)),
                *(row.outcome, number(row.price)),
                *(if_priced(row, "gain", number), if_priced(row, "gain_share", share)),
            ]
            for row in segments
        ],
    )


def convergence_table(title: str, histories: pd.DataFrame) -> TextTable:
    """Errors and movements by iterations, from ``both_histories``."""
    columns = ["training", "iteration", "error", "movement", "worst_movement"]
    return TextTable(
        title,
        ("training", "iterations", "error", "movement of interval ends", "largest"),
        [
            [training, count(iteration), number(error), share(movement), share(worst)]
            for training, iteration, error, movement, worst in histories[columns].itertuples(
                index=False
            )
        ],
    )


def expected_table(segment: SegmentPrice) -> TextTable:
    """What to expect of the recommended price."""
    return TextTable("Expected per step", ("", "value", "80 % interval"), expected_rows(segment))


def segment_name(row: SegmentPrice) -> str:
    """Merchant and product, as far as there is more than one."""
    return ", ".join(filter(None, (row.merchant, row.product))) or "all rows"


def recommendation_text(row: SegmentPrice) -> str:
    """What is recommended, in words."""
    if row.outcome == "abstain":
        return f"No price is recommended: {row.reasons}."
    now, new = number(row.current_price), number(row.price)
    tried = f"those tried, {number(row.lowest_tried)} to {number(row.highest_tried)}"
    if row.outcome == "optimum":
        return f"Price {new} (now {now}): an optimum inside of {tried}."
    return (
        f"{row.outcome.capitalize()} the price from {now} to {new}: a direction and no optimum, "
        f"for it is the last of {tried}, or the last that is allowed."
    )


def segment_facts(row: SegmentPrice) -> list[list[str]]:
    """All values of a segment: name, value, interval."""
    tried = interval(row.lowest_tried, row.highest_tried)
    return [
        ["rows that were learned from", count(row.rows), ""],
        ["rows without sales", share(row.zero_share), ""],
        ["median of prices tried (5 % to 95 %)", number(row.median_tried), tried],
        ["elasticity", number(row.elasticity), interval_of(row, "elasticity")],
        ["P(demand falls when the price rises)", share(row.probability_negative), ""],
        ["forecast error over that of the naive one", number(row.relative_error), ""],
        ["price now", number(row.current_price), ""],
        ["demand now", number(row.current_demand), interval_of(row, "current_demand")],
        ["unit cost", number(row.unit_cost), ""],
        *(expected_rows(row) if row.outcome != "abstain" else []),
        ["best price if a unit costs 10 % less", number(row.price_if_cheaper), ""],
        ["best price if it costs 10 % more", number(row.price_if_dearer), ""],
    ]


def expected_rows(row: SegmentPrice) -> list[list[str]]:
    """What to expect of the recommended price."""
    return [
        ["price", number(row.price), ""],
        ["demand", number(row.demand), interval_of(row, "demand")],
        ["profit", number(row.profit), interval_of(row, "profit")],
        ["gain over the price now", number(row.gain), interval_of(row, "gain")],
        ["gain as a share of profit", share(row.gain_share), interval_of(row, "gain_share", share)],
    ]


def if_priced(row: SegmentPrice, name: str, form: Callable[[float], str]) -> str:
    """Something of the recommended price; nothing where there is none."""
    return "–" if row.outcome == "abstain" else form(getattr(row, name))


def value_with_interval(row: SegmentPrice, name: str) -> str:
    """A value of a segment with the ends of its interval."""
    if math.isnan(getattr(row, name)):
        return "–"
    return f"{number(getattr(row, name))} ({interval_of(row, name)})"


def interval_of(row: SegmentPrice, name: str, form: Callable[[float], str] | None = None) -> str:
    """The ends of the interval of a value of a segment."""
    return interval(getattr(row, f"{name}_low"), getattr(row, f"{name}_high"), form)


def interval(low: float, high: float, form: Callable[[float], str] | None = None) -> str:
    """Two ends; empty where one is missing."""
    form = form or number
    return "" if math.isnan(low) or math.isnan(high) else f"{form(low)} to {form(high)}"
