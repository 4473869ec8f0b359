"""The status page says everything, whatever is absent, and cannot be broken by what it shows."""

from __future__ import annotations

import datetime as dt
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from ratchet.reports.status.html import FAILS, PRODUCTION, PROMOTION, production_chart, render
from ratchet.reports.vega_lite import vega_lite

NOW = dt.datetime(2026, 11, 25, 16, 30, tzinfo=dt.UTC)


class Text(HTMLParser):
    """Text outside of scripts and styles, and which elements were left open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)


def text_of(html: str) -> str:
    parser = Text()
    parser.feed(re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL))
    assert parser.open == []
    return re.sub(r"\s+", " ", "".join(parser.words))


def test_every_condition(every_condition):
    text = text_of(render(every_condition, NOW))

    for said in (
        "Written 2026-11-25 16:30 UTC",
        "version 7: stack for success and ridge for rating",
        "encoder.skops is missing in bundle 5",
        "A new training is asked for",
        "Severity HIGH",
        "What to do: kedro ratchet rollback --use-case films",
        "none: no model was promoted yet",
        "Nothing was decided yet",
        "Nothing was predicted since the promotion.",
        "1.1% better, 2% are asked",
        "8.1% better on 1,343 fresh rows",
    ):
        assert said in text


def test_a_page_without_charts_needs_no_library(every_condition):
    small = render([every_condition[3]], NOW)

    assert len(small) < 20_000
    assert "window.vegaEmbed=" not in small
    assert "window.vegaEmbed=" in render(every_condition, NOW)


def test_no_use_case():
    assert "Overview" in text_of(render([], NOW))


def test_nothing_that_is_shown_is_taken_for_html(status, make_entry):
    evil = "</script><script>alert(1)</script>"
    page = render(
        [
            status(
                title=evil,
                target=evil,
                problems=[evil],
                decisions=[make_entry("promote", "3", 4, evil, actor=evil)],
            )
        ],
        NOW,
    )

    assert "<script>alert" not in page
    assert evil in text_of(page)


def drawn(status, group: str) -> pd.DataFrame:
    """Rows of a group that its chart is drawn from."""
    rows = pd.read_csv(io.StringIO(vega_lite(production_chart(status))["data"]["values"]))
    return rows[rows["group"] == group]


def test_windows_are_points_beside_the_interval_of_the_promotion(status):
    windows, promotion = drawn(status(), PRODUCTION), drawn(status(), PROMOTION)

    assert production_chart(status()).with_points == PRODUCTION
    assert len(windows) == 6
    assert (windows["high"] - windows["y"]).iloc[0] == pytest.approx(0.05)
    assert (windows["y"] - windows["low"]).iloc[0] == pytest.approx(0.04)
    assert {*promotion["low"], *promotion["high"]} == {0.46, 0.54}
    assert [*promotion["y"]] == [0.5, 0.5]


def test_windows_of_paths_stand_beside_the_same_steps_at_the_promotion(
    status, make_watch, make_window
):
    """Errors grow with the step: the score over all steps says nothing of the next one."""
    steps = [make_window(0, 0.2, mase_promoted=0.2), make_window(1, 0.55, mase_promoted=0.5)]
    paths = status(promoted={"value": 0.4, "low": 0.3, "high": 0.5}, watch=make_watch(*steps))

    promotion, fails = drawn(paths, PROMOTION), drawn(paths, FAILS)

    assert paths.worse_by == pytest.approx(0.1)
    assert [*promotion["y"]] == [0.2, 0.2, 0.5, 0.5]
    assert [*fails["y"]] == pytest.approx([0.21, 0.21, 0.525, 0.525])
    assert [*promotion["x"]] == [*fails["x"]]
    assert promotion["low"].isna().all()
    page = text_of(render([paths], NOW))
    assert re.search(r"336 rows: 10.0% worse than the 0.50* of the same steps at the", page)
    assert "same steps at the promotion" not in text_of(render([status()], NOW))


def test_a_single_window_without_interval(status, make_watch, make_window):
    lonely = make_watch(make_window(0, 0.5, mase_low=None))

    (point,) = drawn(status(watch=lonely), PRODUCTION).itertuples()

    assert point.y == 0.5
    assert pd.isna(point.low)


def test_nothing_to_draw(status, make_watch, make_window):
    without_time = make_watch(make_window(0, 0.5, start=None, end=None))

    assert production_chart(status(watch=None)) is None
    assert production_chart(status(watch=make_watch())) is None
    assert production_chart(status(watch=without_time)) is None
    assert production_chart(status(promoted=None)) is None


def test_windows_without_score_are_in_the_table_only(status, make_watch, make_window):
    some = make_watch(make_window(0, 0.5), make_window(1, None, note="3 rows, 20 are needed"))

    assert len(production_chart(status(watch=some)).frame) == 3
    assert "3 rows, 20 are needed" in text_of(render([status(watch=some)], NOW))


def test_dates_are_not_broken(status, make_entry):
    page = render(
        [status(decisions=[make_entry("hold", "4", 25, "<b> on 2026-10-25 & later")])], NOW
    )

    assert '&lt;b&gt; on <span class="date">2026-10-25</span> &amp; later' in page
