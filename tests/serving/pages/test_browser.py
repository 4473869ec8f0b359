"""Pages in a browser: alive, without script, and open to everybody."""

from __future__ import annotations

import datetime as dt
import json

import httpx
import pytest
import sqlalchemy as sa

from ratchet.serving.overview import Overview
from ratchet.serving.request_statistics import Traffic

pytestmark = pytest.mark.slow  # a browser

FILM = {"film": 7, "title": "A day", "runtime": 95, "released": "2012-06-08", "date": "2012-06-08"}
FILM |= {"year": 2012, "genres": ["Drama"], "countries": ["USA"]}


@pytest.fixture
def watched(stand, tmp_path):
    """A service whose monitoring has something to tell."""
    from ratchet.monitoring.log_table import PREDICTIONS, LogTable

    url = f"sqlite:///{tmp_path / 'all.db'}"
    names = [column.name for column in PREDICTIONS.columns if column.name != "id"]
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    row = dict.fromkeys(names) | {
        **{"use_case": "films", "target": "success", "version": "3", "arm": "champion"},
        **{"source": "service", "failed": False, "predicted_at": now, "truth_at": now},
        **{"truth_label": "Bajo"},
    }
    labels = ["Alto", "Medio", "Bajo", "Bajo"]
    engine = sa.create_engine(url)
    LogTable(engine).insert(
        [
            {**row, "row_key": str(n), "request": str(n), "prediction_label": label}
            for n, label in enumerate(labels)
        ]
    )
    engine.dispose()
    alert = {"level": "critical", "text": "accuracy has fallen", "advice": "look at the report"}
    content = {"action": "none", "reason": "-", "alerts": [alert], "drift": None}
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "watch.json").write_text(json.dumps(content))
    stand.app.state.overview = Overview(url, tmp_path)
    stand.app.state.traffic = Traffic(stand.app.state.service.metrics)
    return stand


def test_the_monitoring_is_alive(watched, serve, open_page):
    with serve(watched.app) as address:
        page = open_page(f"{address}/monitoring")
        assert "accuracy has fallen" in page.inner_text("#live")
        assert "50.0 %" in page.inner_text("table:has-text('Bajo')")
        page.click("summary")

        for _ in range(5):
            httpx.post(f"{address}/predict/films", json=FILM).raise_for_status()
        page.wait_for_selector(
            ".tiles div:has-text('99th percentile') dd:has-text(' ms')", timeout=15_000
        )

        assert page.get_attribute("details", "open") is not None  # it stays open
        page.click("#pause")
        assert page.get_attribute("#pause", "aria-pressed") == "true"


def test_the_monitoring_says_that_the_service_is_gone_and_that_it_is_back(watched, serve, browser):
    with serve(watched.app) as address:
        page = browser.new_page()
        page.goto(f"{address}/monitoring")
        page.context.set_offline(True)
        page.wait_for_selector("#age.lost:has-text('does not answer')", timeout=15_000)
        assert "does not answer" in page.text_content("#said")

        page.context.set_offline(False)
        page.wait_for_selector("#age:has-text('up to date')", timeout=15_000)

        assert page.text_content("#said") == "The service answers again."
        page.context.close()


@pytest.mark.parametrize("path", ["/", "/monitoring", "/try/films", "/try/power", "/try/nothing"])
def test_nothing_bars_anybody(watched, serve, open_page, barriers, look, path):
    with serve(watched.app) as address:
        page = open_page(f"{address}{path}", **look)

        assert barriers(page) == []


@pytest.mark.parametrize("right", [True, False])
def test_an_answer_bars_nobody(watched, serve, open_page, barriers, look, right):
    with serve(watched.app) as address:
        page = open_page(f"{address}/try/films", **look, java_script_enabled=True)
        if not right:
            page.evaluate("document.querySelector('form').noValidate = true")
            page.fill("[name=runtime]", "")
        page.click("button")

        assert page.is_visible("#answer" if right else "[role=alert]")
        assert barriers(page) == []


def test_pages_are_told_apart_by_keyboard(watched, serve, open_page):
    with serve(watched.app) as address:
        page = open_page(f"{address}/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.url.endswith("#content")
        names = page.locator("nav a").all_inner_texts()
        assert {"Monitoring", "Network search"} <= set(names)
