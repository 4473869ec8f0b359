"""Segments of a market and their prices in words, for tables of the command line."""

from __future__ import annotations

import math
from collections.abc import Callable

from ratchet.learning.demand.book import SegmentPrice
from ratchet.reports.formatting import count, number, share


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
    """All that is known of a segment: name, value, interval."""
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
    """Two ends; nothing where one is not known."""
    form = form or number
    return "" if math.isnan(low) or math.isnan(high) else f"{form(low)} to {form(high)}"
