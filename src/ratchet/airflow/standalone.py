"""Airflow on this machine, until Ctrl-C: ``make airflow``. With arguments, a command of Airflow.

Airflow's own ``airflow standalone`` serves logs on all addresses of the machine, insists on the
local executor, and leaves its processes behind when it is ended by a TERM. So its parts are started
here one by one. Whatever the environment sets (``AIRFLOW_HOME``, ``AIRFLOW__CORE__EXECUTOR`` ...)
goes before the defaults of `settings`.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import click

from ratchet.airflow import processes
from ratchet.errors import UserError

AIRFLOW = [sys.executable, "-m", "airflow"]
"""As a module: the script names the folder that the environment was made in."""

DATABASE = [sys.executable, "-m", "ratchet.airflow.database"]

PARTS = {
    "scheduler": ["scheduler", "--skip-serve-logs"],  # logs are read from their files
    "dag processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
    "API server": ["api-server"],
}
"""Part of Airflow -> its command."""

HEARTBEATS = ("scheduler", "dag_processor", "triggerer")
READY_WITHIN = 300.0  # seconds; a minute is usual


def settings(project: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment of Airflow: loopback, SQLite, two tasks at once, no examples, no telemetry.

    Args:
        project: the project folder, which has the folder ``dags``.
        environ: what is set already, and stays. ``AIRFLOW_PORT`` is short for the three settings
            that a port takes.
    """
    port = environ.get("AIRFLOW__API__PORT") or environ.get("AIRFLOW_PORT") or "8080"
    address = f"http://127.0.0.1:{port}"
    home = environ.get("AIRFLOW_HOME") or str(project / ".airflow")
    defaults = {
        "AIRFLOW_HOME": home,
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",  # the local executor forks as many at the start
        # SQLite has one writer at a time; the others wait 5 seconds unless told otherwise.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # A training keeps all cores busy, and the API server then answers late.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
    }
    database = environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "")
    if database.startswith("postgresql+psycopg:"):  # one driver for both; Airflow expects asyncpg
        defaults["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"] = database
    return defaults | dict(environ)


def main() -> None:
    """Start Airflow, say where it is, and stop it on Ctrl-C or TERM; or run a command of it."""
    environ = settings(Path.cwd(), os.environ)
    home = Path(environ["AIRFLOW_HOME"])
    try:
        _check_installed()
        if command := sys.argv[1:]:
            os.execve(sys.executable, [*AIRFLOW, *command], environ)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        home.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds keys and passwords
        with (home / "lock").open("w") as lock:
            _take(lock, home)
            path = home / "airflow.log"
            path.unlink(missing_ok=True)  # what a kill -9 left behind still writes to the old one
            with path.open("a") as log:
                _serve(processes.ProcessGroup(home, environ, log), environ)
    except UserError as error:
        raise SystemExit(f"Error: {error}") from None
    except KeyboardInterrupt:
        pass


def _check_installed() -> None:
    if find_spec("airflow") is None:
        raise UserError("Airflow is not installed: make setup-airflow")


def _take(lock: IO[str], home: Path) -> None:
    """Keep the home for this process; the lock ends with it, however it ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"Airflow runs already, from {home}") from None


def _serve(family: processes.ProcessGroup, environ: Mapping[str, str]) -> None:
    """Start all parts, and watch them until one ends or this process is told to."""
    family.stop()  # what a kill -9 left behind
    _check_port(environ)
    click.echo(f"Starting Airflow, which takes about a minute (log: {family.log})")
    try:
        family.run("database", DATABASE)
        for name, command in PARTS.items():
            family.start(name, [*AIRFLOW, *command])
        _wait_until_ready(family, environ)
        click.echo(_greeting(environ))
        while True:
            family.check()
            time.sleep(1)
    finally:
        click.echo("Stopping Airflow")
        # A task that is stopped tells the API server so, and is tried again at the next start.
        family.stop(last="API server")


def _check_port(environ: Mapping[str, str]) -> None:
    host, port = environ["AIRFLOW__API__HOST"], int(environ["AIRFLOW__API__PORT"])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UserError(
                f"cannot listen on {host}:{port} ({error.strerror}); "
                f"choose another port: make airflow AIRFLOW_PORT=..."
            ) from None


def _wait_until_ready(family: processes.ProcessGroup, environ: Mapping[str, str]) -> None:
    """Wait for the API server, and for a heartbeat of every other part."""
    begin = time.time()
    while time.time() < begin + READY_WITHIN:
        family.check()
        if _beats(environ, begin):
            return
        time.sleep(0.5)
    raise UserError(f"Airflow is not healthy after {READY_WITHIN:.0f} s; see {family.log}")


def _beats(environ: Mapping[str, str], since: float) -> bool:
    """Whether every part has shown a sign of life; those of an earlier start do not count."""
    from datetime import datetime

    with suppress(OSError, ValueError):
        health = _health(environ)
        last = [health[part][f"latest_{part}_heartbeat"] for part in HEARTBEATS]
        return all(beat and datetime.fromisoformat(beat).timestamp() > since for beat in last)
    return False


def _health(environ: Mapping[str, str]) -> dict[str, Any]:
    host, port = environ["AIRFLOW__API__HOST"], environ["AIRFLOW__API__PORT"]
    url = f"http://{host}:{port}/api/v2/monitor/health"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=10) as answer:
        health: dict[str, Any] = json.load(answer)
    return health


def _greeting(environ: Mapping[str, str]) -> str:
    """The address, and the login where Airflow has made one up."""
    address = f"Airflow is ready: {environ['AIRFLOW__API__BASE_URL']}"
    passwords = Path(environ["AIRFLOW_HOME"]) / "simple_auth_manager_passwords.json.generated"
    if not passwords.exists():
        return address
    logins = json.loads(passwords.read_text())
    return "\n".join([address, *(f"  user {u}, password {p}" for u, p in logins.items())])


if __name__ == "__main__":
    main()
