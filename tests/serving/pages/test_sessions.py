"""A browser shows a key once; its cookie cannot be forged, and ends with the key."""

from __future__ import annotations

import stat

import httpx
import pytest

from ratchet.serving.keys import Keys, add_key, revoke_key
from ratchet.serving.routes.sign_in import safe_redirect
from ratchet.serving.sessions import COOKIE, SECONDS, Sessions


@pytest.fixture
def kept(tmp_path):
    now = [1_800_000_000.0]
    token = add_key(tmp_path / "keys.json", "ann.b@x", ["train"])
    keys = Keys(tmp_path / "keys.json")
    return Sessions(tmp_path / "state", keys, clock=lambda: now[0]), keys, token, now


def test_a_cookie_stands_for_its_key_until_it_ends(kept):
    sessions, keys, token, now = kept

    cookie = sessions.make(keys.find(token))

    assert token not in cookie
    assert sessions.find(cookie).name == "ann.b@x"
    now[0] += SECONDS + 1
    assert sessions.find(cookie) is None


def test_another_process_knows_it_too(kept, tmp_path):
    sessions, keys, token, now = kept
    cookie = sessions.make(keys.find(token))

    other = Sessions(tmp_path / "state", keys, clock=lambda: now[0])

    assert other.find(cookie) is not None
    secret = tmp_path / "state" / "session.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert [path.name for path in secret.parent.iterdir()] == ["session.key"]


def test_one_of_another_service_is_none(kept, tmp_path):
    sessions, keys, token, now = kept

    other = Sessions(tmp_path / "elsewhere", keys, clock=lambda: now[0])

    assert sessions.find(other.make(keys.find(token))) is None


@pytest.mark.parametrize("place", range(3))
def test_a_changed_one_is_none(kept, place):
    sessions, keys, token, _ = kept
    parts = sessions.make(keys.find(token)).split(":")
    parts[place] = {0: "Ym9i", 1: "9999999999", 2: "0" * 64}[place]

    assert sessions.find(":".join(parts)) is None


@pytest.mark.parametrize("value", ["", "a", ":::", "é:1:x", "YQ==:x:y", "YQ=:1:y", "/w==:1:é"])
def test_nonsense_is_none(kept, value):
    assert kept[0].find(value) is None


def test_a_revoked_key_takes_its_sessions_along(kept, tmp_path):
    sessions, keys, token, _ = kept
    cookie = sessions.make(keys.find(token))
    revoke_key(tmp_path / "keys.json", "ann.b@x")
    add_key(tmp_path / "keys.json", "ann.b@x", ["operate"])  # the same name, another key
    keys._looked = -10.0

    assert sessions.find(cookie) is None


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("/monitoring", "/monitoring"),
        ("//elsewhere.example", "/"),
        ("/\\elsewhere.example", "/"),
        ("https://elsewhere.example", "/"),
        ("", "/"),
        ("/a\nb", "/"),
    ],
)
def test_nobody_is_led_elsewhere(wanted, place):
    assert safe_redirect(wanted) == place


@pytest.fixture
def guarded(stand):
    token = add_key(stand.settings.keys_file, "ann", ["predict"])
    stand.app.state.service.keys._looked = -10.0
    return stand, token


def sign_in(stand, key: str, place: str = "/try/films") -> httpx.Response:
    return stand.ask("POST", "/sign-in", data={"key": key, "next": place})


def test_a_page_asks_for_a_key_and_is_shown_with_it(guarded):
    stand, token = guarded
    html = {"accept": "text/html"}

    refused = stand.ask("GET", "/try/films", headers=html)
    signed = sign_in(stand, token)
    cookie = signed.headers["set-cookie"]
    shown = stand.ask("GET", "/try/films", headers={**html, "cookie": cookie.partition(";")[0]})

    assert refused.status_code == 401
    assert 'href="/sign-in?next=/try/films"' in refused.text
    assert (signed.status_code, signed.headers["location"]) == (303, "/try/films")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert shown.status_code == 200
    assert "Signed in as ann" in shown.text


def test_a_session_may_do_what_its_key_may(guarded):
    stand, token = guarded
    cookie = sign_in(stand, token).headers["set-cookie"].partition(";")[0]

    told = stand.ask("GET", "/monitoring", headers={"cookie": cookie})

    assert told.status_code == 403
    assert "scope 'operate'" in told.json()["detail"]


def test_a_wrong_key_gets_no_cookie(guarded):
    stand, _ = guarded

    told = sign_in(stand, "rk_wrong")

    assert told.status_code == 401
    assert "set-cookie" not in told.headers
    assert "There is no such key" in told.text


def test_while_its_folder_cannot_be_written_a_sign_in_is_a_503_and_the_log_says_why(
    guarded, caplog
):
    stand, token = guarded
    sessions = stand.app.state.sessions
    sessions._folder = stand.settings.keys_file / "state"  # below a file no folder can be made

    refused = sign_in(stand, token)
    with_cookie = stand.ask("GET", "/try/films", headers={"cookie": f"{COOKIE}=YW5u:9999999999:x"})
    sessions._folder = stand.settings.state

    assert (refused.status_code, with_cookie.status_code) == (503, 503)
    assert str(stand.settings.keys_file) not in refused.text
    assert "session.key, cannot be read or made" in caplog.text
    assert sign_in(stand, token).status_code == 303


def test_a_secret_that_was_cut_off_is_not_used(guarded, caplog):
    stand, token = guarded
    (stand.settings.state / "session.key").write_bytes(b"short")

    assert sign_in(stand, token).status_code == 503
    assert "has 5 bytes instead of 32" in caplog.text


def test_signing_out_forgets(guarded):
    stand, _ = guarded

    told = stand.ask("POST", "/sign-out")

    assert f'{COOKIE}=""' in told.headers["set-cookie"]


def test_pages_of_other_sites_cannot_use_a_session(guarded, film):
    stand, token = guarded
    cookie = sign_in(stand, token).headers["set-cookie"].partition(";")[0]
    headers = {"cookie": cookie, "origin": "http://elsewhere.example"}

    assert stand.post("/predict/films", film, headers=headers).status_code == 403
    assert stand.post("/predict/films", film, headers={"cookie": cookie}).status_code == 200
