"""The services of ``compose.yaml`` as plain processes of this machine.

Commands, variables and health checks are read from the file; hosts, ports and folders are replaced.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from ratchet.airflow.standalone import TERM_SECONDS, ProcessGroup
from ratchet.errors import UserError

DEPLOY = Path(__file__).resolve().parent
HOST = "127.0.0.1"
TOOLS = ("airflow", "celery", "kedro", "mlflow")
"""Commands of the images that are Python modules here."""

T = TypeVar("T")


@dataclass(frozen=True)
class Places:
    """Where the hosts, ports and folders of the containers are on this machine.

    Attributes:
        folder: of the run.
        ports: port in ``compose.yaml`` -> free port of this machine.
    """

    folder: Path
    ports: Mapping[int, int]

    @property
    def project(self) -> Path:
        """``/app`` of the containers."""
        return self.folder / "project"

    @property
    def secrets(self) -> Path:
        """``/run/secrets`` of the containers."""
        return self.folder / "secrets"

    def url(self, port: int) -> str:
        """Address of what listens on a port in ``compose.yaml``."""
        return f"http://{HOST}:{self.ports[port]}"


AIRFLOW, MLFLOW, SERVE, METRICS, PROMETHEUS, S3, REDIS, POSTGRESQL = PORTS = (
    *(8080, 5000, 8000, 9464, 9090, 8333, 6379, 5432),
)


def free_ports() -> dict[int, int]:
    """A port for each of `PORTS` that nothing listens on."""
    with ExitStack() as stack:
        listeners = {port: stack.enter_context(socket.socket()) for port in PORTS}
        for listener in listeners.values():
            listener.bind((HOST, 0))
        return {port: listener.getsockname()[1] for port, listener in listeners.items()}


_VARIABLE = re.compile(r"\$(?:\$|\{(\w+):-([^}]*)\})")
_OF_CONTAINER = re.compile(
    r"(?<![\w.-])(?:mlflow|airflow-api-server|s3|redis|serve|127\.0\.0\.1):(?P<port>\d+)"
    r"|--port=(?P<option>\d+)"
    r"|(?P<any>0\.0\.0\.0)"
    r"|(?<![\w./])(?P<folder>/run/secrets|/etc/prometheus|/prometheus|/app|/tmp)(?![\w.-])"
)


def localise(text: str, places: Places, name: str) -> str:
    """A text of ``compose.yaml`` with the addresses and folders of this machine.

    Args:
        text: such as a variable; ``${NAME:-default}`` becomes the default.
        places: where everything is.
        name: the service, which has a ``/tmp`` of its own.
    """
    folders = {
        "/run/secrets": places.secrets,
        "/etc/prometheus": places.folder / "prometheus",
        "/prometheus": places.folder / "prometheus/data",
        "/app": places.project,
        "/tmp": places.folder / "tmp" / name,
    }

    def here(found: re.Match[str]) -> str:
        if found["folder"]:
            return str(folders[found["folder"]])
        if found["option"]:
            return f"--port={places.ports[int(found['option'])]}"
        return f"{HOST}:{places.ports[int(found['port'])]}" if found["port"] else HOST

    filled = _VARIABLE.sub(lambda found: found[2] if found[1] else "$", text)
    return _OF_CONTAINER.sub(here, filled)


@dataclass(frozen=True)
class Process:
    """What a container of ``compose.yaml`` runs, on this machine.

    Attributes:
        command: program and arguments.
        environ: variables beside those of all processes.
        health: command of the health check, where there is one.
    """

    command: list[str]
    environ: dict[str, str]
    health: list[str] | None


@cache
def compose() -> dict[str, Any]:
    """The services of ``compose.yaml``."""
    services: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return services


@cache
def entrypoints() -> dict[str, list[str]]:
    """Stage of the ``Dockerfile`` -> its entry point."""
    found, stage = dict[str, list[str]](), ""
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            stage = rest.split()[-1]
        elif instruction == "ENTRYPOINT":
            found[stage] = json.loads(rest)
    return found


def process_of(name: str, places: Places, command: Sequence[str] | None = None) -> Process:
    """The process of a service.

    Args:
        name: of the service.
        places: where everything is.
        command: in place of the one in the file, as with ``docker compose run``.
    """
    service = compose()[name]
    ours = entrypoints().get(service["build"]["target"], []) if "build" in service else []
    words = [*service.get("entrypoint", ours), *(command or service.get("command", []))]
    test = service.get("healthcheck", {}).get("test")
    if test is not None:
        test = ["sh", "-c", *test[1:]] if test[0] == "CMD-SHELL" else test[1:]

    def local(texts: Sequence[object]) -> list[str]:
        return [localise(str(text), places, name) for text in texts]

    environ = service.get("environment", {})
    return Process(
        command=local(words),
        environ=dict(zip(environ, local(list(environ.values())), strict=True)),
        health=None if test is None else local(test),
    )


def make_tools(folder: Path) -> None:
    """Commands of the images: scripts of an environment break when it is moved, modules do not."""
    folder.mkdir()
    scripts = {name: f'exec "{sys.executable}" -m {name} "$@"' for name in TOOLS}
    scripts |= {"python": f'exec "{sys.executable}" "$@"', "dumb-init": 'shift; exec "$@"'}
    for name, line in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)


def environment(places: Places, environ: Mapping[str, str]) -> dict[str, str]:
    """What all processes share: this process's environment without its own settings.

    Args:
        places: where everything is.
        environ: of this process.
    """
    ours = ("AIRFLOW", "MLFLOW_", "RATCHET_", "AWS_", "PG")
    kept = {name: value for name, value in environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "PATH": f"{places.folder / 'bin'}:{environ['PATH']}",
        "HOSTNAME": socket.gethostname(),
        "PGPORT": str(places.ports[POSTGRESQL]),
        "NO_PROXY": f"{HOST},localhost",
        "no_proxy": f"{HOST},localhost",
        "KEDRO_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "true",
        # In a container the API server has the port 8080, which is the default.
        "AIRFLOW__API__PORT": str(places.ports[AIRFLOW]),
    }


class Container(ProcessGroup):
    """A process with those that it starts, ended as a container is."""

    def stop(self, last: str | None = None) -> None:
        """TERM the first process, which ends its own in the right order; then end what is left."""
        for part in self._parts.values():
            part.terminate()
        for part in self._parts.values():
            with suppress(subprocess.TimeoutExpired):
                part.wait(TERM_SECONDS)
        super().stop(last)


class Stack:
    """Processes by name, each in a session of its own and with a log of its own.

    Args:
        places: where everything is; the logs are in ``logs``.
        environ: variables of all processes.
    """

    def __init__(self, places: Places, environ: Mapping[str, str]) -> None:
        self.places = places
        self.logs = places.folder / "logs"
        self._environ = environ
        self._groups: dict[str, Container] = {}
        self._start = time.monotonic()
        self.logs.mkdir()

    def say(self, text: str) -> None:
        """Print what has been reached, and when."""
        click.echo(f"{time.monotonic() - self._start:6.1f} s  {text}")

    def start(
        self, name: str, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> None:
        """Start a process that is to run until the end."""
        self._group(name, environ or {}).start(name, command)

    def run(
        self, name: str, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> None:
        """Run a command to its end.

        Raises:
            UserError: it has failed; with the end of its log.
        """
        self._group(name, environ or {}).run(name, command)

    def _group(self, name: str, environ: Mapping[str, str]) -> Container:
        log = (self.logs / f"{name}.log").open("a")
        group = Container(self.places.folder / name, {**self._environ, **environ}, log)
        self._groups[name] = group
        return group

    def start_service(self, name: str) -> None:
        """Start a service as ``compose.yaml`` has it."""
        process = self._process(name)
        self.start(name, process.command, process.environ)

    def run_service(self, name: str, command: Sequence[str] | None = None) -> None:
        """Run a service of ``compose.yaml`` to its end, with another command if one is given."""
        process = self._process(name, command)
        self.run(name, process.command, process.environ)

    def wait_until_healthy(self, name: str) -> None:
        """Wait for the health check that ``compose.yaml`` has for a service."""
        process = self._process(name)
        assert process.health is not None
        check, environ = process.health, {**self._environ, **process.environ}
        with (self.logs / f"{name}-health.log").open("a") as log:
            self.wait_for(
                lambda: (
                    not subprocess.run(
                        check,
                        env=environ,
                        stdout=log,
                        stderr=log,
                        stdin=subprocess.DEVNULL,
                        check=False,
                    ).returncode
                ),
                f"{name}: healthy",
            )

    def _process(self, name: str, command: Sequence[str] | None = None) -> Process:
        (self.places.folder / "tmp" / name).mkdir(parents=True, exist_ok=True)
        return process_of(name, self.places, command)

    def check(self) -> None:
        """Nothing has ended that is to run.

        Raises:
            UserError: it has.
        """
        for group in self._groups.values():
            group.check()

    def wait_for(self, find: Callable[[], T], what: str, within: float = 600.0) -> T:
        """Wait for something to be there; it.

        Raises:
            UserError: it is not there in time, or a process has ended.
        """
        end = time.monotonic() + within
        while not (found := find()):
            self.check()
            if time.monotonic() > end:
                raise UserError(f"{what}: not within {within:.0f} s")
            time.sleep(0.5)
        return found

    def stop(self, stores: Sequence[str] = ()) -> None:
        """End everything with all that it has started; the stores when nothing uses them."""
        clients = [group for name, group in self._groups.items() if name not in stores]
        with ThreadPoolExecutor(max(1, len(clients))) as pool:
            list(pool.map(Container.stop, clients))
        for name in stores:
            if name in self._groups:
                self._groups[name].stop()
