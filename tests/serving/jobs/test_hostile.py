"""Names and texts that hold markup are shown as they are, and run nothing, wherever they stand."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest
import sqlalchemy as sa

from ratchet.monitoring.log_table import PREDICTIONS, LogTable
from ratchet.registry.ledger import Ledger
from ratchet.serving.jobs.specification import TrainRequest
from ratchet.serving.overview import Overview

pytestmark = pytest.mark.slow  # a browser, and all pages

MARKUP = [
    "</textarea></script><script>window.ran = 1</script>",
    "\"'onmouseover=\"window.ran = 1\" autofocus onfocus='window.ran = 1'",
    "<img src=x onerror='window.ran = 1'>{{ 7 * 7 }}${window.ran = 1}",
]
LONG = "a_name_without_any_place_to_break_it_" * 6
TEXT = " ".join([*MARKUP, LONG])


@pytest.fixture
def hostile(make_workshop, tmp_path):
    """A service whose use case, columns, classes, jobs, alerts and decisions hold markup."""
    workshop = make_workshop()
    url = f"sqlite:///{tmp_path / 'all.db'}"
    stand = workshop.stand
    serving = stand.serving[0]
    case = serving.use_case
    about = case.about.model_copy(update={"title": TEXT, "question": TEXT})
    columns = {**case.data.columns, MARKUP[1]: case.data.columns["title"]}
    columns["certificate"] = columns["certificate"].model_copy(update={"values": MARKUP})
    columns["studio"] = columns["studio"].model_copy(update={"values": MARKUP})
    success = case.targets["success"].model_copy(update={"classes": MARKUP})
    rating = case.targets["rating"].model_copy(update={"unit": TEXT})
    use_case = case.model_copy(
        update={
            "about": about,
            "data": case.data.model_copy(update={"columns": columns}),
            "targets": {MARKUP[0]: success, "rating": rating},
        }
    )
    changed = replace(
        serving,
        use_case=use_case,
        version=MARKUP[2],
        inputs={**serving.inputs, MARKUP[1]: True},
        examples=[{**serving.examples[0], "title": TEXT, MARKUP[1]: TEXT}],
        degraded=TEXT,
    )
    changed.answerer._serving = lambda: changed
    stand.models._champions["films"] = changed
    _write_history(url)
    alert = {"level": "critical", "text": TEXT, "advice": TEXT}
    content = {"action": "none", "reason": TEXT, "alerts": [alert], "drift": None}
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "watch.json").write_text(json.dumps(content))
    stand.app.state.overview = Overview(url, tmp_path)
    request = TrainRequest(use_case="power", model_ids=[1]).model_dump(mode="json")
    job, _ = workshop.runner.store.add(request, TEXT)
    workshop.runner.store.start(job.id, "here")
    workshop.runner.store.end(job.id, "failed", error=TEXT)
    return workshop, job.id


def _write_history(url: str) -> None:
    names = [column.name for column in PREDICTIONS.columns if column.name != "id"]
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    row = dict.fromkeys(names) | {
        **{"use_case": MARKUP[0], "target": TEXT, "version": TEXT, "arm": TEXT, "request": "1"},
        **{"source": "service", "failed": False, "predicted_at": now, "truth_at": now},
        **{"truth_label": "a", "row_key": "1", "prediction_label": TEXT},
    }
    engine = sa.create_engine(url)
    LogTable(engine).insert([row])
    decision = {"champion": "1", "previous": None, "actor": TEXT, "reason": TEXT, "expect": 0}
    Ledger(engine).append("films", "promote", version="1", **decision)
    engine.dispose()


PAGES = ["/", "/monitoring", "/try/films", "/advanced-training?job={job}", "/docs"]
PAGES += [f"/try/{MARKUP[2]}", f"/sign-in?next=/{MARKUP[1]}", f"/advanced-training?job={MARKUP[0]}"]


def test_markup_is_text_on_every_page(hostile, serve, browser, barriers):
    workshop, job = hostile
    said: list[str] = []
    with serve(workshop.stand.app) as address:
        context = browser.new_context(viewport={"width": 360, "height": 800})
        for path in PAGES:
            page = context.new_page()
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("console", lambda line: said.append(line.text))
            page.goto(f"{address}{path.replace('{job}', job)}")
            if path == "/docs":
                page.wait_for_selector(".opblock-tag-section", timeout=20_000)
                for block in page.locator(".opblock-summary-control:has-text('Predict')").all():
                    block.click()
            if path == "/try/films":
                assert MARKUP[1] in page.inner_text("form")
                page.click("main button")
                page.wait_for_selector("#answer")
            page.mouse.move(100, 300)
            assert page.evaluate("window.ran") is None, path
            assert "49$" not in page.content(), path
            if path != "/docs":
                assert barriers(page) == [], path
            page.close()
        context.close()
    assert [line for line in said if "status of 40" not in line] == []


def test_markup_in_events_of_a_search_is_text(workshop, serve, open_page):
    with serve(workshop.stand.app) as address:
        request = TrainRequest(use_case="power", model_ids=[1]).model_dump(mode="json")
        job, _ = workshop.runner.store.add(request, None)
        page = open_page(f"{address}/advanced-training?job={job.id}")
        page.wait_for_selector(".badge.running")
        process = workshop.processes[0]
        process.writer.write("stage", name=TEXT)
        process.writer.write("log", text=TEXT)
        params = {MARKUP[2]: TEXT}
        process.writer.write(
            "trial", done=1, total=2, best=0.5, params=params, score=0.5, seconds_left=1
        )
        page.wait_for_selector("#trials:has-text('1 of 2')")

        assert MARKUP[0] in page.inner_text("#log")
        assert MARKUP[0] in page.inner_text("#stage")
        assert MARKUP[2] in page.inner_text("#last")
        page.reload()
        assert MARKUP[2] in page.inner_text("#last")
        assert page.evaluate("window.ran") is None
