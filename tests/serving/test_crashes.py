"""The service and its children are killed: it comes back, and no answer that was sent is lost."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ratchet.database import connect
from ratchet.monitoring.prediction_log import PredictionLog
from tests.serving.test_version_watcher import PROGRAM, Decisions, children_of

pytestmark = pytest.mark.slow  # services that are killed

ROOT = Path(__file__).parents[2]
SERVICE = """
import runpy, sys
from pathlib import Path
import uvicorn
from ratchet.database import connect
from ratchet.registry.ledger import Ledger
from ratchet.serving.app import create_app
from ratchet.serving.version_transfer import VersionSource
from ratchet.serving.log import JournaledLog
from ratchet.serving.version_opener import VersionOpener
from ratchet.serving.settings import Settings
from ratchet.serving.version_watcher import Watcher

folder, url, port, tiny = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
Tiny, loader = runpy.run_path(tiny)["Tiny"], [sys.executable, "-P", tiny]
source = VersionSource(url, str(folder / "bundles"), url)
ledger = Ledger(connect(url))
watcher = Watcher(ledger, VersionOpener(ledger, source, Tiny, loader=loader), poll_seconds=0.05)
log = JournaledLog(folder / "journal", url)
settings = Settings(port=port, state=folder, keys_file=folder / "keys.json")
app = create_app(settings, watcher, log=log)
uvicorn.run(app, port=port, log_config=None, access_log=False)
"""


@pytest.fixture
def decisions(tmp_path, use_cases):
    return Decisions(tmp_path, use_cases["films"])


@contextmanager
def serving(decisions, port):
    arguments = [str(decisions.folder), decisions.url, str(port), PROGRAM]
    command = [sys.executable, "-c", SERVICE, *arguments]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def ask(port):
    """Version and id of an answer; nothing where none came."""
    try:
        film = {"film": 1}
        response = httpx.post(f"http://127.0.0.1:{port}/predict/films", json=film, timeout=5)
    except httpx.TransportError:
        return None
    told = response.json()
    return (told["model_version"], told["request_id"]) if response.status_code == 200 else None


def test_it_comes_back_after_every_kill_and_loses_nothing(decisions):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    chance, sent = random.Random(5), []

    def until(version, seconds=30):
        end = time.monotonic() + seconds
        while True:
            assert time.monotonic() < end, f"version {version} does not serve"
            if found := ask(port):
                sent.append(found[1])
                if found[0] == version:
                    return
            time.sleep(0.01)

    decisions.decide("promote", "1")
    for number in range(2, 4):
        with serving(decisions, port) as service:
            until(str(number - 1))
            for _ in range(2):  # the writer, or a loader where one is at work
                children = children_of(service.pid)
                if children:
                    os.kill(chance.choice(children), signal.SIGKILL)
                until(str(number - 1))
            decisions.decide("promote", str(number))
            time.sleep(chance.uniform(0, 0.5))
            if found := ask(port):
                sent.append(found[1])
            service.kill()
    with serving(decisions, port):
        until("3")

    logged = PredictionLog(connect(decisions.url)).rows("films")["request"]
    assert len(sent) >= 7
    assert set(sent) <= set(logged)
    assert not logged.duplicated().any()
