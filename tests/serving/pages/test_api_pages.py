"""The pages of the API in a browser: files of our own, under a policy without inline script."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("path", "shown"), [("/docs", ".opblock-tag-section"), ("/redoc", "[data-section-id]")]
)
def test_the_api_is_described_without_anything_from_elsewhere(stand, serve, browser, path, shown):
    said: list[str] = []
    asked: list[str] = []
    with serve(stand.app) as address:
        page = browser.new_page()
        page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}{path}")
        page.wait_for_selector(shown, timeout=20_000)
        told = page.inner_text("body")
        page.close()

    assert "Predict: Films" in told
    assert said == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
