"""The chapter on prices: what it says, and that it can be drawn whatever there is to say."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from ratchet.config import Market
from ratchet.pipelines.pricing import replay_prices
from ratchet.reports.blocks import Chapter, Text
from ratchet.reports.chart_ids import MARKET_CHARTS
from ratchet.reports.market_chapter import MarketResults, market_chapter
from ratchet.reports.vega_lite import to_svg, vega_lite
from ratchet.reports.workbook import workbook


@pytest.fixture(scope="module")
def chapter(price, market_example, tmp_path_factory):
    """Write the chapter on a market with other parameters or rows."""

    def write(rows: pd.DataFrame | None = None, **changes: Any) -> Chapter:
        priced = price(rows, **changes)
        market = Market.model_validate(market_example.MARKET | changes)
        replay, history = replay_prices(priced.rows, market, 0, tmp_path_factory.mktemp("replay"))
        return market_chapter(
            MarketResults(market, priced.prices, priced.book, priced.history, replay, history)
        )

    return write


@pytest.fixture(scope="module")
def whole(chapter) -> Chapter:
    return chapter()


def texts(chapter: Chapter, section: str) -> str:
    return " ".join(b.text for b in chapter.sections[section] if isinstance(b, Text))


def frame(chapter: Chapter, name: str) -> pd.DataFrame:
    return next(table.frame for table in chapter.tables if table.name == name)


def test_it_says_who_can_change_prices_and_why_others_cannot(whole):
    prices, abstaining = frame(whole, "recommendations"), frame(whole, "abstentions")

    assert len(prices) + len(abstaining) == 12
    assert f"Of 12 segments (one product at one merchant) {len(prices)} get" in texts(
        whole, "results"
    )
    assert f"{(prices['outcome'] == 'raise').sum()} segments can raise" in texts(whole, "advice")
    assert "a direction to try in small steps, and no optimum" in texts(whole, "advice")
    assert f"of {len(frame(whole, 'replay'))} recommended prices" in texts(whole, "advice")
    assert whole.card is not None
    assert whole.card.key_value == str(len(prices))


def test_products_are_told_apart(whole):
    by_product = frame(whole, "by product").set_index("product")

    assert by_product["median elasticity"].round().to_dict() == {"milk": -1.0, "tea": -4.0}
    assert by_product["segments"].to_dict() == {"milk": 6, "tea": 6}


def test_limits_are_named(whole):
    facts = " ".join(finding.fact for finding in whole.findings)

    assert "not the response to a lasting price" in facts
    assert "The unit cost is an assumption" in facts
    assert "they are directions" in facts
    assert "No season is modelled" in facts


def test_without_a_cost_it_asks_for_one(chapter):
    found = chapter(unit_cost=None)

    assert "No unit cost is given (market.unit_cost)" in texts(found, "advice")
    assert "No unit cost is given: what a price earns is not known." in texts(found, "advice")
    assert "No price is recommended that later rows could be" in texts(found, "advice")
    assert_drawn(found)


def test_every_chart_can_be_drawn(whole):
    assert_drawn(whole)


@pytest.mark.parametrize("weeks", [3, 25])
def test_little_can_be_drawn_as_well(chapter, market_example, weeks):
    assert_drawn(chapter(market_example.sales(stores="a", items=("milk",), weeks=weeks)))


def assert_drawn(chapter: Chapter) -> None:
    assert [chart.name for chart in chapter.charts] == MARKET_CHARTS
    for chart in chapter.charts:
        assert to_svg(vega_lite(chart))
    assert workbook({"market": chapter})
