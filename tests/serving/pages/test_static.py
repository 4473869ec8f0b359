"""Static files are kept by browsers as long as they stay the same, and every page finds its own."""

from __future__ import annotations

import re

import pytest


@pytest.mark.parametrize("path", ["/", "/monitoring", "/try/films", "/sign-in", "/docs"])
def test_what_a_page_names_is_there_and_may_be_kept(stand, path):
    page = stand.ask("GET", path, headers={"accept": "text/html"})
    names = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)

    assert names
    for name in names:
        told = stand.ask("GET", name)
        assert told.status_code == 200, name
        assert "max-age" in told.headers["cache-control"]


@pytest.mark.parametrize("path", ["/", "/monitoring", "/try/films", "/sign-in"])
def test_pages_hold_no_script_and_no_style(stand, path):
    page = stand.ask("GET", path, headers={"accept": "text/html"})

    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert not re.search(r"<style|style=|<script(?![^>]*src=)| on[a-z]+=", page.text)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page.text)  # nothing from elsewhere
