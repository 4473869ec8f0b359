"""The chapter on prices: elasticities, recommended prices, and the evidence for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ratchet.config import Market
from ratchet.learning.demand.book import DemandBook
from ratchet.learning.demand.pricing import Curve, Form, Reason, Recommendation
from ratchet.reports.blocks import Block, Card, Chapter, Finding, Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.formatting import count, counted, number, share
from ratchet.reports.intervals import share_interval

_SHOWN = 20
_ACTS = {
    "optimum": "an optimum inside of the prices tried",
    "raise": "the direction upwards",
    "lower": "the direction downwards",
    "abstain": "no recommendation",
}
_EDGE = ("raise", "lower")

_SEGMENT = {"merchant": ("merchant", "text"), "product": ("product", "text")}
_ELASTICITY_COLUMNS = {
    **_SEGMENT,
    "elasticity": ("elasticity", "number"),
    "elasticity_low": ("low", "number"),
    "elasticity_high": ("high", "number"),
    "probability_negative": ("P(below 0)", "share"),
    "rows": ("rows", "count"),
    "lowest_tried": ("5% of prices below", "number"),
    "highest_tried": ("95% of prices below", "number"),
}
"""Column of a table of segments -> its title and format; the others alike."""

_PRICE_COLUMNS = {
    **_SEGMENT,
    "outcome": ("outcome", "text"),
    "current_price": ("price now", "number"),
    "price": ("price", "number"),
    "gain": ("gain", "number"),
    "gain_low": ("gain at least", "number"),
    "gain_high": ("gain at most", "number"),
    "gain_share": ("share of profit", "share"),
    "demand": ("demand", "number"),
    "profit": ("profit", "number"),
    "lowest_tried": ("tried from", "number"),
    "highest_tried": ("tried to", "number"),
    "elasticity": ("elasticity", "number"),
    "probability_negative": ("P(below 0)", "share"),
}
_ABSTENTION_COLUMNS = {
    **_SEGMENT,
    "reason": ("reason", "text"),
    "reasons": ("reasons", "text"),
    "rows": ("rows", "count"),
    "zero_share": ("rows without sales", "share"),
}
_REPLAY_COLUMNS = {
    **_SEGMENT,
    "outcome": ("outcome", "text"),
    "current_price": ("price before", "number"),
    "price": ("price", "number"),
    "rows": ("rows near it", "count"),
    "rows_before": ("rows near the one before", "count"),
    "profit_before": ("profit before", "number"),
    "profit": ("profit", "number"),
    "gain_share": ("gain, share of profit", "share"),
    "expected_gain_share": ("expected gain", "share"),
}


@dataclass(frozen=True)
class MarketResults:
    """Segments, prices, histories and replay of a market.

    Attributes:
        market: the parameters.
        prices: a row per segment, see ``learning.demand.book.SegmentPrice``.
        book: what prices the segments.
        history: of the training on all rows.
        replay: recommendations from the first part of the steps against later rows.
        replay_history: of that training, with errors on the later rows.
    """

    market: Market
    prices: pd.DataFrame
    book: DemandBook
    history: pd.DataFrame
    replay: pd.DataFrame
    replay_history: pd.DataFrame

    @cached_property
    def recommended(self) -> pd.DataFrame:
        """Segments with a recommended price, the largest gain first."""
        rows = self.prices[self.prices["outcome"] != "abstain"]
        return rows.sort_values("gain", ascending=False)

    @cached_property
    def with_elasticity(self) -> pd.DataFrame:
        """Segments that have an elasticity."""
        return self.prices[self.prices["elasticity"].notna()]

    def names(self, rows: pd.DataFrame) -> pd.Series:
        """Labels of segments: merchant and product, as far as there are."""
        both = rows["merchant"].astype(str) + ", " + rows["product"].astype(str)
        return both.str.strip(", ").replace("", "all rows")


def market_chapter(results: MarketResults) -> Chapter:
    """Describe the market and its prices."""
    return Chapter(
        sections={
            "search": _convergence(results),
            "results": [Text(_headline(results)), *_elasticities(results)],
            "advice": [
                *_recommendations(results),
                *_abstentions(results),
                *_costs(results),
                *_replay(results),
            ],
        },
        findings=_findings(results),
        card=_card(results),
    )


def _headline(results: MarketResults) -> str:
    n, recommended = len(results.prices), len(results.recommended)
    counts = results.prices["outcome"].value_counts()
    parts = [f"{count(counts[name])} {text}" for name, text in _ACTS.items() if name in counts]
    elastic, least = results.with_elasticity, results.book.settings.least_sign
    sure = int((elastic["probability_negative"] >= least).sum())
    return (
        f"Of {counted(n, 'segment')} (one product at one merchant) {count(recommended)} get a "
        f"price: {'; '.join(parts)}. Demand surely falls when the price rises in {count(sure)}; "
        f"the median elasticity is {number(elastic['elasticity'].median())}: by so "
        "many percent sales change when the price rises by one percent."
    )


def _card(results: MarketResults) -> Card:
    gains = results.recommended["gain_share"].median()
    replay = _replay_sentence(results)
    return Card(
        headline=_headline(results),
        key_value=count(len(results.recommended)),
        key_label=f"of {counted(len(results.prices), 'segment')} get a price",
        use=(
            f"The median of the expected gains is {share(gains)} of the present profit. {replay}"
            if len(results.recommended)
            else f"No price is recommended. {replay}"
        ),
    )


def _table(
    name: str, title: str, rows: pd.DataFrame, columns: Mapping[str, tuple[str, str]]
) -> Table:
    frame = rows[[*columns]].set_axis([text for text, _ in columns.values()], axis="columns")
    return Table(name, title, frame, dict(columns.values()), shown=_SHOWN)


def _elasticities(results: MarketResults) -> list[Block]:
    rows = results.with_elasticity.assign(segment=results.names(results.with_elasticity))
    ends = pd.concat(
        [rows.nsmallest(_SHOWN // 2, "elasticity"), rows.nlargest(_SHOWN // 2, "elasticity")]
    )
    return [
        Chart(
            name="elasticities",
            kind="dots",
            title="Elasticity of demand, the most and the least elastic segments",
            frame=ends.drop_duplicates("segment").sort_values("elasticity"),
            x="elasticity",
            y="segment",
            low="elasticity_low",
            high="elasticity_high",
            group="product" if len(rows["product"].unique()) > 1 else None,
            x_title="elasticity, with 80% interval; at −1 revenue does not depend on the price",
            reference=-1.0,
        ),
        *[
            Table(
                f"by {name}",
                f"Elasticities by {name}",
                *_elasticities_by(results, name),
                shown=_SHOWN,
            )
            for name, column in (
                ("product", results.market.product),
                ("merchant", results.market.merchant),
            )
            if column is not None
        ],
        _table("elasticities", "Elasticities", rows.sort_values("elasticity"), _ELASTICITY_COLUMNS),
    ]


def _elasticities_by(results: MarketResults, name: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Elasticities and recommendations by merchant or product, the most elastic first."""
    sure = results.prices["probability_negative"] >= results.book.settings.least_sign
    grouped = results.prices.assign(
        sure=sure.astype(float), acts=(results.prices["outcome"] != "abstain").astype(float)
    ).groupby(name, sort=False)
    frame = pd.DataFrame(
        {
            "segments": grouped.size(),
            "median elasticity": grouped["elasticity"].median(),
            "lowest": grouped["elasticity"].min(),
            "highest": grouped["elasticity"].max(),
            "surely below 0": grouped["sure"].mean(),
            "with a price": grouped["acts"].mean(),
        }
    )
    formats = dict.fromkeys(("median elasticity", "lowest", "highest"), "number")
    formats |= {"segments": "count", "surely below 0": "share", "with a price": "share"}
    return frame.sort_values("median elasticity").reset_index(), formats


def both_histories(history: pd.DataFrame, replay_history: pd.DataFrame) -> pd.DataFrame:
    """Histories of the trainings on all rows and on the first part of the steps, by ``training``.

    Errors of the second one, which is for the replay, are on later rows.
    """
    return pd.concat(
        [
            history.assign(training="all rows, error on the same rows"),
            replay_history.assign(training="first part, error on later rows"),
        ]
    )


def convergence_charts(histories: pd.DataFrame) -> list[Chart]:
    """Errors, and movement of the ends of intervals, by iterations, from ``both_histories``."""
    views = {
        "error": (
            "error_by_iterations",
            "Mean absolute error of log demand by iterations",
            "mean absolute error, in logs",
        ),
        "movement": (
            "interval_movement",
            "Movement of the ends of the elasticities' intervals, in widths",
            "mean movement since the entry before",
        ),
    }
    return [
        Chart(
            name=name,
            kind="line",
            title=title,
            frame=histories.dropna(subset=[column]),
            x="iteration",
            y=column,
            group="training",
            log_axes="x",
            percent_axes="y" if column == "movement" else "",
            x_title="iterations",
            y_title=y_title,
        )
        for column, (name, title, y_title) in views.items()
    ]


def _convergence(results: MarketResults) -> list[Block]:
    done = 0 if results.history.empty else int(results.history["iteration"].max())
    both = both_histories(results.history, results.replay_history)
    text = (
        f"{counted(done, 'iteration')} of block bootstrap and simulated market rows were done on "
        "all rows. The mean of the coefficients is right after a few of them: errors stop falling. "
        "The ends of the intervals need more: their movement from one entry to the next says how "
        "far they can be trusted."
    )
    columns = ["training", "iteration", "error", "movement", "worst_movement"]
    formats = {"iteration": "count", "error": "number"}
    formats |= {"movement": "share", "worst_movement": "share"}
    return [
        Text(text, title="Convergence of the iterations"),
        *convergence_charts(both),
        Table("convergence", "History of the iterations", both[columns], formats),
    ]


def _recommendations(results: MarketResults) -> list[Block]:
    rows = results.recommended.assign(segment=results.names(results.recommended))
    return [
        Text(_recommendation_sentence(results), title="Who can raise or lower prices"),
        Chart(
            name="gains",
            kind="dots",
            title="Expected gain of profit per step, the largest gains",
            frame=rows.head(_SHOWN),
            x="gain",
            y="segment",
            low="gain_low",
            high="gain_high",
            group="outcome",
            x_title="gain of profit per step, with 80% interval",
            reference=0.0,
        ),
        _table(
            "recommendations", "Recommended prices; money and units per step", rows, _PRICE_COLUMNS
        ),
        *_curves(results),
    ]


def _recommendation_sentence(results: MarketResults) -> str:
    edge = results.recommended[results.recommended["outcome"].isin(_EDGE)]
    inside = len(results.recommended) - len(edge)
    if results.recommended.empty and not results.prices["unit_cost"].notna().any():
        return "No unit cost is given: what a price earns is not known."
    if results.recommended.empty:
        return "For no segment the rows say surely enough that another price earns more."
    raised = results.recommended["price"] > results.recommended["current_price"]
    return (
        f"{counted(int(raised.sum()), 'segment')} can raise the price and "
        f"{counted(int((~raised).sum()), 'segment')} lower it: the gain is above 0 under each of "
        "three forms of demand at the lower end of its 80% interval. In "
        f"{count(len(edge))} of them the best price is at the edge of what was tried or is "
        "allowed: that is a direction to try in small steps, and no optimum, for there are no "
        f"data beyond. In {count(inside)} the optimum is inside."
    )


def _curves(results: MarketResults) -> list[Block]:
    """Demand and profit over prices of the segment with the largest gain."""
    priced = results.recommended if len(results.recommended) else results.with_elasticity
    if priced.empty:
        return [*curve_charts("no segment", None, None)]
    first, name = priced.iloc[0], results.names(priced.head(1)).iloc[0]
    recommendation = results.book.price(first["merchant"], first["product"])
    return [*curve_charts(name, recommendation, (first["lowest_tried"], first["highest_tried"]))]


def curve_charts(
    name: str, recommendation: Recommendation | None, tried: tuple[float, float] | None
) -> list[Chart]:
    """Demand and profit of a segment over prices, under each form of demand.

    ``tried`` are the lowest and the highest price that were tried.
    """
    curve = None if recommendation is None else recommendation.curve
    prices = (
        [(recommendation.current_price, "price now"), (recommendation.price, "recommended")]
        if recommendation
        else []
    )
    titles = {"demand": "units per step", "profit": "profit per step"}
    return [
        Chart(
            name=f"{what}_curve",
            kind="curve",
            title=f"{what.capitalize()} by price: {name}",
            frame=_curve_frame(curve, profit=what == "profit"),
            x="price",
            y="value",
            low="low",
            high="high",
            group="form",
            band_title="80% interval",
            x_title="price",
            y_title=titles[what],
            vertical_lines=tuple(
                (at, text) for at, text in prices if at is not None and np.isfinite(at)
            ),
            shaded=tried,
            shaded_title="prices tried (5% to 95%)" if tried else "",
        )
        for what in titles
    ]


def _curve_frame(curve: Curve | None, *, profit: bool) -> pd.DataFrame:
    """Mean and ends of the interval by form and price; empty where there are none."""
    names = ["form", "price", "value", "low", "high"]
    if curve is None:
        return pd.DataFrame(columns=names)
    rows = [
        (form.value, *values)
        for form in Form
        for values in zip(curve.price, *curve.of_form(form, profit=profit), strict=True)
    ]
    return pd.DataFrame(rows, columns=names).dropna()


def _abstentions(results: MarketResults) -> list[Block]:
    rows = results.prices[results.prices["outcome"] == "abstain"]
    counts = rows["reason"].value_counts().rename_axis("reason").reset_index(name="segments")
    text = (
        f"{counted(len(rows), 'segment')} of {count(len(results.prices))} get no price. Of several "
        "reasons the first one counts."
        if len(rows)
        else "Every segment gets a price."
    )
    return [
        Text(text, title="Where no price is recommended, and why"),
        Chart(
            name="abstentions",
            kind="bar",
            title="Segments without a recommended price, by the first reason",
            frame=counts,
            x="segments",
            y="reason",
        ),
        _table("abstentions", "Segments without a recommended price", rows, _ABSTENTION_COLUMNS),
    ]


def _costs(results: MarketResults) -> list[Block]:
    """How the best price depends on the assumed unit cost."""
    named = {"10% less": "price_if_cheaper", "as given": "price", "10% more": "price_if_dearer"}
    rows = results.recommended.assign(segment=results.names(results.recommended))
    long = pd.concat(
        [
            pd.DataFrame({"unit cost": cost, "share": rows[name] / rows["current_price"]})
            for cost, name in named.items()
        ]
    ).dropna()
    moved = _moved_by_cost(results)
    has_costs = results.prices["unit_cost"].notna().any()
    text = (
        "The unit cost is an assumption, and the best price follows it: if it is 10% lower or "
        f"higher, the best price moves in {share(moved)} of the segments with a price. Where it "
        "does not move, it is at the edge of what was tried or is allowed."
        if len(rows)
        else "Without recommended prices there is nothing to compare."
        if has_costs
        else "No unit cost is given (market.unit_cost): without it no price can be recommended."
    )
    columns = {
        **_SEGMENT,
        "unit_cost": ("unit cost", "number"),
        "current_price": ("price now", "number"),
        **{name: (f"price, cost {cost}", "number") for cost, name in named.items()},
    }
    return [
        Text(text, title="What the unit cost changes"),
        Chart(
            name="cost_sensitivity",
            kind="box",
            title="Best price as a share of the present one, by unit cost",
            frame=long,
            x="unit cost",
            y="share",
            percent_axes="y",
            x_title="unit cost",
        ),
        _table("cost sensitivity", "Best prices by unit cost", rows, columns),
    ]


def _moved_by_cost(results: MarketResults) -> float:
    rows = results.recommended
    if rows.empty:
        return float("nan")
    same = np.isclose(rows["price_if_cheaper"], rows["price"]) & np.isclose(
        rows["price_if_dearer"], rows["price"]
    )
    return float(1 - same.mean())


def _replay(results: MarketResults) -> list[Block]:
    rows = results.replay
    rows = rows.assign(gained=rows["profit"] - rows["profit_before"])
    shown = rows.dropna(subset=["gain_share", "expected_gain_share"])
    return [
        Text(
            f"{_replay_sentence(results)} Prices were recommended from the first part of the "
            "time; later rows whose price happened to be near the recommended one are compared "
            "with later rows near the one before. No model takes part in it; whatever else "
            "differed between these rows does.",
            title="Outcomes of recommended prices",
        ),
        Chart(
            name="replay",
            kind="points",
            title="Gain in later rows, by the gain that was expected",
            frame=shown,
            x="expected_gain_share",
            y="gain_share",
            percent_axes="xy",
            x_title="expected gain, as a share of profit",
            y_title="gain in later rows",
            diagonal=True,
        ),
        _table(
            "replay",
            "Recommended prices against later rows",
            rows.sort_values("gained", ascending=False),
            _REPLAY_COLUMNS,
        ),
    ]


def _replay_sentence(results: MarketResults) -> str:
    """How many recommendations later rows have confirmed."""
    n = len(results.replay)
    if results.recommended.empty and not n:
        return "No price is recommended that later rows could be held against."
    if not n:
        return "No recommended price can be held against later rows: prices were never near both."
    better = int((results.replay["profit"] > results.replay["profit_before"]).sum())
    low, high = share_interval(better, n)
    return (
        f"In later rows {count(better)} of {counted(n, 'recommended price')} "
        f"({share(better / n)}, 95% interval {share(low)} to {share(high)}) earned more than the "
        "price before."
    )


def _findings(results: MarketResults) -> list[Finding]:
    """Limits, and what to do about them."""
    edge = results.recommended["outcome"].isin(_EDGE).sum()
    findings = [
        Finding(
            "The elasticity is that of one step: what buyers put into the cupboard when it is "
            "cheap is missing later, and habits take longer. It is not the response to a lasting "
            "price.",
            "Change prices of a few segments for several steps, and compare them with segments "
            "left alone, before all follow.",
        ),
        Finding(
            "The unit cost is an assumption of the parameters, and the best price mostly follows "
            "it.",
            "Put the costs of the accounts into market.unit_cost.",
        ),
    ]
    if edge:
        findings.append(
            Finding(
                f"{counted(int(edge), 'recommended price')} of {count(len(results.recommended))} "
                "lie at the edge of what was tried or is allowed: they are directions.",
                "Try prices a little beyond, so that the next training has seen them.",
            )
        )
    if results.market.steps_of_season == 0:
        findings.append(
            Finding(
                "No season is modelled (market.season): what comes again every year is taken for "
                "noise, or for an effect of the price where both go together."
            )
        )
    few = int(results.prices["reasons"].str.contains(Reason.LITTLE_PRICE_VARIATION.value).sum())
    if few:
        findings.append(
            Finding(
                f"In {counted(few, 'segment')} prices hardly varied: nothing is known of others.",
                "Vary their prices on purpose, within what is allowed.",
            )
        )
    return findings
