"""What a browser is told when something is missing: a page in words, and never a guess."""

from __future__ import annotations

import pytest

from ratchet.errors import DatabaseError
from ratchet.serving.overview import Overview
from ratchet.serving.pages import with_code

HTML = {"accept": "text/html"}


def test_a_database_that_is_away_is_told_in_a_page_and_in_json(stand, monkeypatch):
    def away(*_):
        raise DatabaseError("postgresql://ann:secret@db is away")

    monkeypatch.setattr("ratchet.serving.routes.home.use_case_json", away)

    page, told = stand.ask("GET", "/", headers=HTML), stand.ask("GET", "/")

    assert (page.status_code, told.status_code) == (503, 503)
    assert "<h1>The database cannot be used</h1>" in page.text
    assert page.headers["retry-after"] == "5"
    assert "secret" not in page.text + told.text
    assert "script-src 'self'" in page.headers["content-security-policy"]


def test_the_monitoring_does_not_say_none_where_it_does_not_know(stand, tmp_path):
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database at all, but long enough to be looked at" * 30)
    stand.app.state.overview = Overview(f"sqlite:///{damaged}", tmp_path)

    page = stand.ask("GET", "/monitoring").text

    assert page.count("Not known while the database does not answer.") == 3
    assert "No decision yet" not in page


def test_where_there_are_no_keys_nobody_is_asked_for_one(stand):
    page = stand.ask("GET", "/sign-in", headers=HTML).text

    assert "No keys exist" in page
    assert "<form" not in page


@pytest.mark.parametrize("referer", ["http://127.0.0.1:8000/advanced-training?job=a1", None])
def test_after_signing_in_one_comes_back_to_the_page_with_the_form(stand, referer):
    from ratchet.serving.keys import add_key

    add_key(stand.settings.keys_file, "ann", ["train"])
    stand.app.state.service.keys._looked = -10.0
    headers = HTML | ({"referer": referer} if referer else {})

    told = stand.ask("POST", "/advanced-training/a1/cancel", headers=headers)

    assert told.status_code == 401
    place = "/advanced-training%3Fjob%3Da1" if referer else "/"
    assert f'href="/sign-in?next={place}"' in told.text


def test_networks_are_a_page_for_people_and_json_for_programs(stand):
    page, told = stand.ask("GET", "/models-info", headers=HTML), stand.ask("GET", "/models-info")

    assert "One LSTM; its last output is read." in page.text
    assert told.json()["total"] == 30


def test_code_in_a_message_stays_text():
    assert with_code("`kedro run` <b>`<i>`") == (
        "<code>kedro run</code> &lt;b&gt;<code>&lt;i&gt;</code>"
    )
