"""The page of searches, as people use it: by mouse, by keyboard, without script, on a telephone."""

from __future__ import annotations

import re
import time

import pytest

from ratchet.serving.jobs.specification import TrainRequest


def fill(page, **texts):
    for name, text in texts.items():
        page.fill(f"[name={name}]", text)


def begin(workshop):
    """A job that the service has started."""
    request = TrainRequest(use_case="power", model_ids=[1, 6]).model_dump(mode="json")
    job, _ = workshop.runner.store.add(request, None)
    until = time.monotonic() + 10
    while not workshop.processes and time.monotonic() < until:
        time.sleep(0.05)
    return job.id, workshop.processes[0]


def test_a_fast_search_is_started_watched_and_its_ranking_read(workshop, serve, open_page):
    with serve(workshop.stand.app) as address:
        page = open_page(f"{address}/advanced-training")
        for choice in page.locator("[data-choose=none]").all():
            choice.click()
        page.check("text=6 gru")
        page.check("label:has-text('1 lstm') >> nth=0")
        page.select_option("#use_case", "power")
        assert page.text_content("#size") == "2 networks, 2 trials in all"
        page.click("text=Start the search")

        page.wait_for_selector(".badge.running")
        process = workshop.processes[0]
        page.wait_for_selector("#stage:has-text('training the networks')")
        process.trial(1, 2, 0.125)
        page.wait_for_selector("#trials:has-text('1 of 2')")
        assert page.text_content("#best") == "0.125"
        assert page.text_content("#left") == "60 s"
        assert page.text_content("#live") == "1 of 2 trials, best loss 0.125"
        process.writer.write("log", text="a line of the log")
        page.wait_for_selector("#log:has-text('a line of the log')")
        process.finish()

        page.wait_for_selector("#ranking")
        rows = page.locator("#ranking tbody tr").all_inner_texts()
        assert [re.split(r"\s+", row.strip())[:4] for row in rows] == [
            ["1st", "gru", "6", "3.25"],
            ["2nd", "lstm", "1", "4.5"],
        ]
        assert "Winner: gru" in page.text_content(".champion")
        assert page.text_content("#live") == "The search has ended: completed"
        assert "gru, RMSE 3.25" in page.inner_text("#history")


def test_a_page_that_lost_the_service_says_so_and_goes_on(workshop, serve, browser):
    with serve(workshop.stand.app) as address:
        _, process = begin(workshop)
        page = browser.new_page()
        # As a proxy in front of a service that starts: a browser does not ask again by itself.
        page.route("**/jobs/**", lambda route: route.fulfill(status=503))
        page.goto(f"{address}/advanced-training")
        page.wait_for_selector("#connection:has-text('does not answer')", timeout=15_000)
        process.trial(1, 2, 0.125)

        page.unroute("**/jobs/**")
        page.wait_for_selector("#trials:has-text('1 of 2')", timeout=15_000)

        assert page.is_hidden("#connection")
        page.context.close()


def test_a_search_is_cancelled_by_keyboard(workshop, serve, open_page):
    with serve(workshop.stand.app) as address:
        job, _ = begin(workshop)
        page = open_page(f"{address}/advanced-training")
        page.wait_for_selector(".badge.running")

        page.focus("text=Cancel this search")
        page.keyboard.press("Enter")

        page.wait_for_selector("text=The search was cancelled.")
        assert f"job={job}" in page.url


@pytest.mark.parametrize("state", ["new", "running", "completed", "refused"])
def test_nothing_bars_anybody_from_the_page(workshop, serve, open_page, barriers, look, state):
    with serve(workshop.stand.app) as address:
        if state in ("running", "completed"):
            _, process = begin(workshop)
            process.trial(1, 2, 0.125)
            process.writer.write("log", text="x" * 150)
            if state == "completed":
                process.finish()
        page = open_page(f"{address}/advanced-training", **look)
        if state == "completed":
            page.click("#history a")
            page.wait_for_selector("#ranking")
            assert page.locator("#ranking .medal").count() == 2
        if state == "refused":
            page.evaluate("document.querySelector('#search').noValidate = true")
            fill(page, lookback="0")
            page.click("text=Start the search")
            page.wait_for_selector("[role=alert]")
        assert barriers(page) == []


def test_the_page_works_without_script(workshop, serve, open_page):
    with serve(workshop.stand.app) as address:
        page = open_page(f"{address}/advanced-training", java_script_enabled=False)
        page.select_option("#use_case", "power")
        page.click("text=Start the search")

        page.wait_for_selector("#job")
        content = page.content()

    assert 'http-equiv="refresh"' in content
    assert "queued" in content or "running" in content
