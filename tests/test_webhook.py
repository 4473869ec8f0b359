"""Messages reach whoever listens, and nobody who does not listen hurts a run."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.config import MissingConfigException

from ratchet import progress, webhook
from ratchet.hooks.progress import NotificationHooks


class Listener:
    """Keeps what it is told, and answers with a status."""

    def __init__(self, status: int) -> None:
        self.heard: list[dict[str, Any]] = []
        self.location = ""
        heard, outer = self.heard, self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                heard.append(json.loads(self.rfile.read(length)))
                self.send_response(status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def listener(request) -> Iterator[Listener]:
    listener = Listener(getattr(request, "param", 200))
    yield listener
    listener.server.shutdown()
    listener.server.server_close()


@pytest.fixture(autouse=True)
def nobody_afterwards(monkeypatch) -> Iterator[None]:
    monkeypatch.delenv(webhook.ADDRESS, raising=False)
    yield
    webhook.configure({})


def hooks(credentials: dict[str, Any]) -> NotificationHooks:
    hooks = NotificationHooks()
    hooks.after_context_created(SimpleNamespace(config_loader={"credentials": credentials}))
    hooks.before_pipeline_run(
        {"pipeline_names": ["recurrent"], "namespaces": ["stock"]}, SimpleNamespace(nodes=[1, 2])
    )
    return hooks


def test_a_run_is_told_from_start_to_end(listener):
    running = hooks({"webhook": {"url": listener.url}})
    with progress.search_progress("networks", "loss") as on_progress:
        on_progress(0, 108, math.nan)
        on_progress(3, 108, 0.5, 3)  # half a minute has not gone by
    running.after_pipeline_run(SimpleNamespace(nodes=[]), None)

    assert [message["event"] for message in listener.heard] == ["start", "progress", "end"]
    start, search, end = listener.heard
    assert start["nodes"] == 2
    assert start["text"] == "recurrent stock: started"
    assert (search["done"], search["total"]) == (0, 108)
    assert "best" not in search  # JSON knows no NaN
    assert end["text"].startswith("recurrent stock: done after")


def test_every_alert_is_told(listener):
    alert = {"name": "r2_drop", "level": "warning", "value": 0.2, "threshold": 0.05}
    alert |= {"text": "R2 fell", "advice": "look"}
    pipeline = SimpleNamespace(nodes=[SimpleNamespace(outputs=["films.watch", "films.drift"])])
    catalog = SimpleNamespace(load={"films.watch": {"alerts": [alert]}}.__getitem__)

    hooks({"webhook": listener.url}).after_pipeline_run(pipeline, catalog)

    _, told, _ = listener.heard
    assert (told["event"], told["name"], told["value"]) == ("alert", "r2_drop", 0.2)
    assert told["text"] == "R2 fell: look"


def test_a_failure_is_told(listener, monkeypatch):
    monkeypatch.setenv(webhook.ADDRESS, listener.url)
    hooks({"webhook": {"url": "http://elsewhere.invalid"}}).on_pipeline_error(ValueError("oops"))

    assert listener.heard[-1]["event"] == "failure"
    assert "oops" in listener.heard[-1]["text"]


def test_progress_is_told_again_after_a_while(listener, monkeypatch):
    monkeypatch.setattr(webhook, "PAUSE", 0.0)
    told = webhook.configure({"webhook": {"url": listener.url}})
    told.progress("networks", 1, 4, -0.25)
    told.progress("networks", 2, 4, -0.125)
    told.wait()

    assert [message["best"] for message in listener.heard] == [-0.25, -0.125]
    assert listener.heard[1]["text"] == "networks: 2 of 4, best -0.125"


def test_without_an_address_nothing_happens():
    running = hooks({})
    running.after_pipeline_run(SimpleNamespace(nodes=[]), None)

    with progress.search_progress("networks", "loss") as on_progress:
        assert on_progress is None
    assert webhook.current()._thread is None


def test_an_empty_address_is_none(caplog):
    """As an unset variable of Compose is."""
    hook = webhook.Webhook("")
    hook.send("start", "It begins.")
    hook.wait()

    assert caplog.records == []
    assert hook._thread is None


def test_the_address_alone_will_do(listener):
    told = webhook.configure({"webhook": listener.url})
    told.send("start", "one")
    told.wait()

    assert [message["text"] for message in listener.heard] == ["one"]


def test_missing_credentials_are_no_error():
    class NoCredentials(dict):
        def __missing__(self, key):
            raise MissingConfigException(key)

    started = NotificationHooks()
    started.after_context_created(SimpleNamespace(config_loader=NoCredentials()))

    assert webhook.current().url is None


@pytest.mark.parametrize("listener", [500], indirect=True)
def test_an_address_that_fails_is_told_once_and_kept_secret(listener, caplog):
    told = webhook.configure({"webhook": {"url": listener.url}})
    with caplog.at_level(logging.WARNING):
        told.send("start", "one")
        told.send("end", "two")
        told.wait()

    assert len(listener.heard) == 2
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/secret", "file:///secret"])
def test_an_address_that_nobody_answers_does_not_hurt(url, caplog):
    told = webhook.configure({"webhook": {"url": url}})
    told.send("start", "one")
    told.wait()

    assert "secret" not in caplog.text
    assert "does not work" in caplog.text


def test_whoever_does_not_listen_is_not_waited_for(monkeypatch):
    """Messages that cannot be sent wait in a queue of limited length; the run goes on."""
    told = webhook.configure({"webhook": {"url": "http://127.0.0.1:1"}})
    blocked = threading.Event()
    monkeypatch.setattr(told, "_post", lambda message: blocked.wait(10))
    monkeypatch.setattr(webhook, "TIMEOUT", 0.05)
    for _ in range(200):
        told.send("progress", "again")
    told.wait()
    blocked.set()

    assert told._messages.unfinished_tasks > 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirection_is_followed(listener, status, caplog):
    """An address that sends us on could make this machine ask what only it reaches."""
    sender = Listener(status)
    sender.location = listener.url
    caplog.set_level(logging.WARNING)
    hook = webhook.Webhook(sender.url)

    hook.send("start", "x: started")
    hook.wait()

    assert len(sender.heard) == 1
    assert listener.heard == []
    assert [r.getMessage() for r in caplog.records] == [
        f"The webhook does not work: HTTPError {status}"
    ]
    sender.server.shutdown()
    sender.server.server_close()
