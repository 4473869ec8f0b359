"""The service over real connections: slow clients, idle ones, signals, workers, imports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn

from ratchet.errors import ConfigError
from ratchet.serving.processes import check_folders, protocol
from ratchet.serving.settings import Jobs, Limits, Settings

HEAVY = (
    "pandas",
    "tensorflow",
    "sklearn",
    "scipy",
    "skops",
    "pandera",
    "mlflow",
    "kedro",
    "xgboost",
    "keras",
)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def free_ports() -> int:
    """The first of two ports that follow each other."""
    while True:
        first = free_port()
        with suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", first + 1))
            return first


@contextmanager
def running(stand: Any, limits: Limits | None = None) -> Iterator[int]:
    """A server in a thread of this process, with the protocol of the service."""
    port = free_port()
    config = uvicorn.Config(
        stand.app,
        port=port,
        http=protocol(limits or Limits()),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(10)


def connect(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(sent)
    return connection


HALF_A_HEAD = b"POST /predict/films HTTP/1.1\r\nHost: 127.0.0.1\r\n"
HALF_A_BODY = (
    HALF_A_HEAD + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n" + b'{"film": 7,'
)


def test_others_are_answered_beside_200_silent_and_half_open_connections(stand, film):
    with running(stand) as port:
        silent = [connect(port) for _ in range(120)]
        silent += [connect(port, HALF_A_HEAD) for _ in range(40)]
        silent += [connect(port, HALF_A_BODY) for _ in range(40)]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            found = [client.post("/predict/films", json=film) for _ in range(20)]
        for connection in silent:
            connection.close()

    assert [response.status_code for response in found] == [200] * 20


@pytest.mark.parametrize("sent", [b"", b"\r\n", HALF_A_HEAD], ids=["nothing", "blank", "half"])
def test_a_client_that_says_nothing_more_is_left(stand, sent):
    limits = Limits(idle_seconds=0.2, body_seconds=0.2)
    with running(stand, limits) as port, connect(port, sent) as connection:
        started = time.monotonic()

        assert connection.recv(1000) == b""
        assert time.monotonic() - started < 5


def test_a_head_without_end_is_refused(stand):
    with running(stand) as port, connect(port, HALF_A_HEAD) as connection:
        connection.sendall(b"X-Much: " + b"x" * 70_000)

        assert connection.recv(1000).startswith(b"HTTP/1.1 400")


async def large_answer(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        headers = [(b"content-length", b"20000000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(20_000_000)})


@pytest.mark.parametrize("is_read", [False, True])
def test_an_answer_that_is_not_read_is_dropped(is_read):
    limits = Limits(idle_seconds=0.3)
    with running(SimpleNamespace(app=large_answer), limits) as port, connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        size = 0
        if not is_read:
            time.sleep(1.5)
        with suppress(ConnectionError):
            while size < 20_000_000 and (content := connection.recv(1_000_000)):
                size += len(content)
                time.sleep(0.02)

    assert (size > 20_000_000) is is_read


def test_a_body_that_does_not_come_is_a_408(make_stand):
    stand = make_stand(limits={"body_seconds": 0.2})
    with running(stand) as port, connect(port, HALF_A_BODY) as connection:
        told = connection.recv(10_000)

    assert told.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in told.lower()


def test_what_is_no_http_is_refused_and_others_are_answered(stand, film):
    with running(stand) as port:
        with connect(port, b"\x16\x03\x01\x02\x00\x01\x00\xff\r\n\r\n") as connection:
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")
        url = f"http://127.0.0.1:{port}/predict/films"
        assert httpx.post(url, json=film, timeout=10).status_code == 200


@contextmanager
def started(*lines: str, **settings: Any) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The serving process, with its output; ready when the block begins."""
    port = free_port()
    given = json.dumps({"port": port, "use_cases": ["films"], **settings})
    process = subprocess.Popen(
        [sys.executable, "-m", "ratchet.serving", "--settings", given],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=settings["state"],
    )
    assert process.stdout is not None
    try:
        for line in lines:
            assert line in process.stdout.readline()
        yield process, port
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def test_the_process_serves_until_a_signal_comes(tmp_path):
    with started("Ratchet serves at", state=str(tmp_path)) as (process, port):
        base = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{base}/health/live", timeout=10).status_code == 200
        idle = connect(port)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        took = time.monotonic() - begun
        idle.close()

    assert took < 5
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base}/health/live", timeout=1)


@pytest.mark.parametrize("name", ["port", "metrics_port"])
def test_a_port_that_is_taken_is_named(tmp_path, name):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        given = json.dumps({"port": free_port(), name: port})
        done = subprocess.run(
            [sys.executable, "-m", "ratchet.serving", "--settings", given],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )

    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["state", "jobs.folder"])
def test_a_folder_that_cannot_be_written_is_named_at_the_start(tmp_path, name):
    (tmp_path / "file").touch()
    folders = {"state": tmp_path / "state", "jobs.folder": tmp_path / "jobs"}
    folders[name] = tmp_path / "file" / "below"
    settings = Settings(state=folders["state"], jobs=Jobs(folder=folders["jobs.folder"]))

    with pytest.raises(ConfigError, match=f"{name}: cannot write in .*below .*serving.yml"):
        check_folders(settings)


def test_workers_share_a_port_and_one_that_is_killed_comes_back(tmp_path):
    metrics = free_ports()
    ready = ("serves at", "serves at")
    with started(*ready, state=str(tmp_path), workers=2, metrics_port=metrics) as (process, port):
        base = f"http://127.0.0.1:{port}"
        for _ in range(20):
            assert httpx.get(f"{base}/health/live", timeout=10).status_code == 200
        counted = sum(_requests(metrics + worker) for worker in range(2))
        children = _children(process.pid)
        os.kill(children[0], signal.SIGKILL)
        codes = [httpx.get(f"{base}/health/live", timeout=20).status_code for _ in range(10)]
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        took = time.monotonic() - begun
        alive = [child for child in children if Path(f"/proc/{child}").exists()]

    assert counted == 20
    assert codes == [200] * 10
    assert took < 6
    assert alive == []


def test_workers_end_with_the_process_that_has_started_them(tmp_path):
    metrics = free_ports()
    ready = ("serves at", "serves at")
    with started(*ready, state=str(tmp_path), workers=2, metrics_port=metrics) as (process, _):
        children = _children(process.pid)
        process.kill()
        until = time.monotonic() + 10
        while time.monotonic() < until and any(Path(f"/proc/{one}").exists() for one in children):
            time.sleep(0.1)

        assert len(children) == 2
        assert not any(Path(f"/proc/{one}").exists() for one in children)


def _requests(port: int) -> float:
    told = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    lines = [line for line in told.splitlines() if line.startswith("ratchet_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if "/health/live" in line)


def _children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in listed.split()]


def test_the_serving_process_loads_nothing_heavy(tmp_path):
    code = (
        "import sys\n"
        "from ratchet.serving.processes import application\n"
        "from ratchet.serving.settings import Settings\n"
        "application(Settings())\n"
        "import ratchet.serving.processes\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    assert done.stdout.split() == []


def test_checked_parameters_are_read_without_pandas(use_cases, tmp_path):
    path = tmp_path / "use_case.json"
    path.write_text(json.dumps(use_cases["power"].model_dump(mode="json")))  # bounds: Infinity
    code = (
        "import json, sys\n"
        "from ratchet.config import CHECKED, UseCase\n"
        f"content = json.load(open({str(path)!r}))\n"
        "print(UseCase.model_validate(content, context=CHECKED).data.ahead)\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["1D"]
