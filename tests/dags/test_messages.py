"""What Airflow's own processes say: to the webhook, and in notes; without Airflow."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("dags_on_the_path")


class Server(HTTPServer):
    """Answers with a token and takes down what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, Any, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.seen.append((self.command, self.path, body, self.headers["Authorization"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"access_token": "t"}')

    do_POST = do_PATCH = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_failure_is_told_by_the_command_of_the_project(monkeypatch):
    from ratchet_dags import messages

    called: list[Any] = []
    monkeypatch.setattr(messages, "manifest", lambda: {"runner": {"python": sys.executable}})
    monkeypatch.setattr(messages.subprocess, "run", lambda words, **more: called.append(words))

    messages.failed({"dag": SimpleNamespace(dag_id="retrain_films"), "run_id": "r1"})
    messages.late("retrain_films", 6.0, {"dag_run": {"dag_run_id": "r2"}})

    failed, late = called
    assert failed[1:] == [
        *("-m", "kedro", "ratchet", "notify", "--event", "failure"),
        "retrain_films: run r1 failed; `kedro ratchet ledger` says what serves",
    ]
    assert late[-1] == "retrain_films: run r2 is not done after 6 hours"


def test_without_the_project_the_address_of_the_environment_is_told(monkeypatch, server):
    from ratchet_dags import messages

    monkeypatch.setattr(messages, "manifest", lambda: {"runner": {"python": "no/such/python"}})
    monkeypatch.setenv("RATCHET_WEBHOOK_URL", server.url)

    messages.notify("alert", "late")

    assert server.seen == [("POST", "/", {"event": "alert", "text": "late"}, None)]


def test_trouble_with_the_webhook_names_no_address(monkeypatch, caplog):
    from ratchet_dags import messages

    monkeypatch.setattr(messages, "manifest", lambda: {"runner": {"python": "no/such/python"}})
    monkeypatch.setenv("RATCHET_WEBHOOK_URL", "http://127.0.0.1:1/secret")

    messages.notify("alert", "late")

    assert "no message could be sent: URLError" in caplog.text
    assert "secret" not in caplog.text


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, server: Server) -> dict[tuple[str, str], Any]:
    """Settings of Airflow, whose API is the server."""
    given: dict[tuple[str, str], Any] = {("api", "base_url"): server.url}
    module = ModuleType("airflow.sdk.configuration")

    def read(section: str, key: str, fallback: Any = None) -> Any:
        return given.get((section, key), fallback)

    module.conf = SimpleNamespace(get=read, getboolean=read)  # type: ignore[attr-defined]
    for name in ("airflow", "airflow.sdk"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "airflow.sdk.configuration", module)
    for name in ("RATCHET_AIRFLOW_USER", "RATCHET_AIRFLOW_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return given


TI = SimpleNamespace(dag_id="retrain_films", run_id="manual__2026-11-01T02:00:00+00:00")
RUN = "/api/v2/dags/retrain_films/dagRuns/manual__2026-11-01T02%3A00%3A00%2B00%3A00"


def test_notes_are_written_as_the_user_of_the_environment(configured, server, monkeypatch):
    from ratchet_dags.notes import note

    monkeypatch.setenv("RATCHET_AIRFLOW_USER", "ann")
    monkeypatch.setenv("RATCHET_AIRFLOW_PASSWORD", "secret")

    note(TI, "x" * 2000, "gate")

    login, at_run, at_task = server.seen
    assert login == ("POST", "/auth/token", {"username": "ann", "password": "secret"}, None)
    assert at_run == ("PATCH", RUN, {"note": "x" * 998 + " …"}, "Bearer t")
    assert at_task[:2] == ("PATCH", f"{RUN}/taskInstances/gate")


def test_notes_where_no_login_is_asked_for(configured, server):
    from ratchet_dags.notes import note

    configured["core", "simple_auth_manager_all_admins"] = True

    note(TI, "so")

    assert [seen[:2] for seen in server.seen] == [("GET", "/auth/token"), ("PATCH", RUN)]


def test_notes_with_simple_logins_of_this_machine(configured, server, monkeypatch, tmp_path):
    from ratchet_dags.notes import note

    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    (tmp_path / "simple_auth_manager_passwords.json.generated").write_text('{"admin": "p"}')

    note(TI, "so")

    assert server.seen[0][2] == {"username": "admin", "password": "p"}


def test_a_note_that_cannot_be_written_hurts_nothing(
    configured, server, monkeypatch, caplog, tmp_path
):
    from ratchet_dags.notes import note

    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))

    with caplog.at_level(logging.INFO):
        note(TI, "so")

    assert "no note is written: FileNotFoundError" in caplog.text
    assert server.seen == []
