"""Airflow on this machine, until Ctrl-C: ``make airflow``. With arguments, a command of Airflow.

Airflow's own ``airflow standalone`` serves logs on all addresses of the machine, insists on the
local executor, and leaves its processes behind when it is ended by a TERM. So its parts are started
here one by one. Whatever the environment sets (``AIRFLOW_HOME``, ``AIRFLOW__CORE__EXECUTOR`` ...)
goes before the defaults of `settings`.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import click
import psutil

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
        # SQLite has one writer at a time; the others wait 5 seconds by default.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
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
                _serve(ProcessGroup(home, environ, log), environ)
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


def _serve(group: ProcessGroup, environ: Mapping[str, str]) -> None:
    """Start all parts, and watch them until one ends or this process receives SIGTERM or SIGINT."""
    group.stop()  # what a kill -9 left behind
    _check_port(environ)
    click.echo(f"Starting Airflow, which takes about a minute (log: {group.log})")
    try:
        group.run("database", DATABASE)
        for name, command in PARTS.items():
            group.start(name, [*AIRFLOW, *command])
        _wait_until_ready(group, environ)
        click.echo(_greeting(environ))
        while True:
            group.check()
            time.sleep(1)
    finally:
        click.echo("Stopping Airflow")
        # A task that is stopped tells the API server so, and is tried again at the next start.
        group.stop(last="API server")


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


def _wait_until_ready(group: ProcessGroup, environ: Mapping[str, str]) -> None:
    """Wait for the API server, and for a heartbeat of every other part."""
    begin = time.time()
    while time.time() < begin + READY_WITHIN:
        group.check()
        if _beats(environ, begin):
            return
        time.sleep(0.5)
    raise UserError(f"Airflow is not healthy after {READY_WITHIN:.0f} s; see {group.log}")


def _beats(environ: Mapping[str, str], since: float) -> bool:
    """Whether every part has shown a sign of life; those of an earlier start do not count."""
    with suppress(OSError, ValueError):
        health = _health(environ)
        last = [health[part][f"latest_{part}_heartbeat"] for part in HEARTBEATS]
        return all(beat and dt.datetime.fromisoformat(beat).timestamp() > since for beat in last)
    return False


def _health(environ: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    host, port = environ["AIRFLOW__API__HOST"], environ["AIRFLOW__API__PORT"]
    url = f"http://{host}:{port}/api/v2/monitor/health"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=10) as answer:
        health: Mapping[str, Mapping[str, str]] = json.load(answer)
    return health


def _greeting(environ: Mapping[str, str]) -> str:
    """The address, and the login where Airflow has made one up."""
    address = f"Airflow is ready: {environ['AIRFLOW__API__BASE_URL']}"
    passwords = Path(environ["AIRFLOW_HOME"]) / "simple_auth_manager_passwords.json.generated"
    if not passwords.exists():
        return address
    logins = json.loads(passwords.read_text())
    return "\n".join([address, *(f"  user {u}, password {p}" for u, p in logins.items())])


MARK = "RATCHET_AIRFLOW"
"""Environment variable that all descendants have, also those that have lost their parent."""

TERM_SECONDS = 20.0


class ProcessGroup:
    """Processes that share an environment and a log.

    Args:
        home: their folder. What was started from it earlier, and still runs, belongs to them.
        environ: their environment.
        log: file that gets what they print.
    """

    def __init__(self, home: Path, environ: Mapping[str, str], log: IO[str]) -> None:
        # setproctitle, which Airflow uses, otherwise writes over the memory that has the mark.
        self._environ = {**environ, MARK: str(home.resolve()), "SPT_NOENV": "1"}
        self._log = log
        self._parts: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def log(self) -> str:
        """Path of the log."""
        return self._log.name

    def run(self, name: str, command: Sequence[str]) -> None:
        """Run a command to its end.

        Raises:
            UserError: it has failed.
        """
        self.start(name, command)
        code = self._parts[name].wait()
        if code:
            raise UserError(self._failure(name, code))
        del self._parts[name]

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process in a session of its own, out of the reach of a terminal's Ctrl-C."""
        self._parts[name] = subprocess.Popen(
            command,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def check(self) -> None:
        """Nothing that was started has ended.

        Raises:
            UserError: one has ended.
        """
        for name, part in self._parts.items():
            if (code := part.poll()) is not None:
                raise UserError(self._failure(name, code))

    def _failure(self, name: str, code: int) -> str:
        last = "\n".join(Path(self.log).read_text(errors="replace").splitlines()[-15:])
        return f"{name} has ended with code {code}. The log, {self.log}, ends with:\n{last}"

    def stop(self, last: str | None = None) -> None:
        """TERM all, wait, KILL what is left.

        Args:
            last: name of the one that the others still talk to while they end.
        """
        members = list(self._members())
        spared = self._parts[last].pid if last in self._parts else None
        self._end([member for member in members if member.pid != spared])
        self._end([member for member in members if member.pid == spared])
        self._end(list(self._members()), signal.SIGKILL)

    @staticmethod
    def _end(members: list[psutil.Process], how: int = signal.SIGTERM) -> None:
        for member in members:
            with suppress(psutil.Error):
                member.send_signal(how)
        psutil.wait_procs(members, timeout=TERM_SECONDS)

    def _members(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == self._environ[MARK]:
                    yield process


if __name__ == "__main__":
    main()
