"""Take the pictures of the service's pages that the guides show.

    kedro run                               # a whole run: models that serve, decisions
    kedro ratchet serve --port 8123         # in another terminal; without keys
    python docs/images/take_pictures.py http://127.0.0.1:8123

It asks for some hundred predictions of prices for two minutes, starts a fast search of six networks
on prices with a lookback of 10, and waits for its end. Chromium and the package `playwright` of the
development lock are needed.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

FOLDER = Path(__file__).parent
NETWORKS = (1, 2, 6, 7, 8, 10)
SIZE = {"width": 1000, "height": 690}


def main(address: str) -> None:
    """Take all pictures of a service."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
        _ask(address)
        page.goto(f"{address}/monitoring")
        page.screenshot(path=FOLDER / "monitoring-page.png")
        _start(page, address)
        page.wait_for_selector("#trials:has-text('2 of 6')", timeout=600_000)
        _take(page, page.locator("#job"), "search-running")
        page.wait_for_selector("#ranking", timeout=900_000)
        _take(page, page.locator("#job"), "search-ranking")
        browser.close()


def _ask(address: str) -> None:
    """Ask for predictions, more and less often, so that the charts have something to show."""
    body = json.dumps({"date": "2023-09-19"}).encode()
    for second in range(120):
        for _ in range(2 + second // 10 % 4):
            headers = {"content-type": "application/json"}
            request = urllib.request.Request(f"{address}/predict/prices", body, headers)
            with suppress(urllib.error.HTTPError):  # the version is being opened
                urllib.request.urlopen(request).close()
        time.sleep(1)


def _start(page: Page, address: str) -> None:
    page.goto(f"{address}/advanced-training")
    for button in page.locator("[data-choose=none]").all():
        button.click()
    for number in NETWORKS:
        page.check(f"[name=model_ids][value='{number}']")
    page.fill("#lookback", "10")
    page.click("text=Start the search")


def _take(page: Page, place: Locator, name: str) -> None:
    page.evaluate("scrollTo(0, 0)")
    box = place.bounding_box()
    assert box is not None
    clip = {"x": 0, "y": box["y"], "width": SIZE["width"], "height": min(box["height"], 720)}
    page.screenshot(path=FOLDER / f"{name}.png", full_page=True, clip=clip)


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
