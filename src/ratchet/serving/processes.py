"""Processes of a service: one, or several behind the same port.

The first process opens the port before it starts workers, and keeps it: while a worker is started
anew, its connections wait in the port instead of being refused.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from tempfile import TemporaryFile

import uvicorn
from fastapi import FastAPI

from ratchet.errors import ConfigError
from ratchet.learning.processes import end_with_parent
from ratchet.serving.children import SETTINGS, WORKER
from ratchet.serving.protocol import protocol
from ratchet.serving.settings import Settings

LOGGER = logging.getLogger(__name__)

_BACKLOG = 2048
_MOST_FILES = 65_536  # of a process: every connection is one
_QUICK_END = 5.0  # seconds; a worker that ends before that will do so again
_PAUSE = 1.0


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C, as the first process or as a worker of it.

    Raises:
        ConfigError: a port is taken, a folder cannot be written, or others could reach it without
            a key.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    _raise_limit_of_files()
    if place := os.environ.pop(WORKER, None):
        number, descriptor, parent = map(int, place.split(":"))
        # Without the process that has started it, it would hold the port against the next service.
        end_with_parent(parent, end=lambda: os.kill(os.getpid(), signal.SIGTERM))
        _run_worker(settings, socket.socket(fileno=descriptor), number)
        return
    for port in settings.metrics_ports:  # told now, and not by the end of each worker
        _open_port(settings.metrics_host, port, "kedro ratchet serve --metrics-port").close()
    check_folders(settings)
    if settings.workers == 1:
        _run_worker(settings, listen(settings), 0)
    else:
        _Workers(settings).run()


def check_folders(settings: Settings) -> None:
    """Make sure that the service can write its own files.

    Raises:
        ConfigError: a folder cannot be made or written.
    """
    folders = {
        "state": (settings.state, "the journal of answers and the secret of sessions"),
        "jobs.folder": (settings.jobs.folder, "the files of searches"),
    }
    for name, (folder, content) in folders.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=folder).close()
        except OSError as error:
            raise ConfigError(
                f"{name}: cannot write in {folder} ({error.strerror}), where {content} are: let "
                f"{name} in conf/*/serving.yml name another folder, or make this one writable for "
                f"the user of the service"
            ) from error


class _Server(uvicorn.Server):
    """Says when it is ready, and lets streams end when it stops."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, message: str) -> None:
        super().__init__(config)
        self._application, self._message = app, message

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # What is there by now stays: a collector that looks at its 100,000 objects again and
            # again would keep a request waiting for some 50 ms each time.
            gc.collect()
            gc.freeze()
            print(self._message, flush=True)  # noqa: T201 - for whoever has started it

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A stream of events ends when it is told so, and not before: we would wait for it.
        self._application.state.stopping.set()
        await super().shutdown(sockets)


def _run_worker(settings: Settings, listener: socket.socket, number: int) -> None:
    from ratchet.serving.parts import application

    run(settings, application(settings, number), listener, number)


def run(settings: Settings, app: FastAPI, listener: socket.socket, number: int = 0) -> None:
    """Let this process serve an application until a signal comes.

    Args:
        settings: the settings.
        app: what answers.
        listener: the open port.
        number: that of this process among the workers.
    """
    config = uvicorn.Config(
        app,
        http=protocol(settings.limits),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=["127.0.0.1", "::1"],  # proxies on this machine
        backlog=_BACKLOG,
        timeout_keep_alive=max(1, round(settings.limits.idle_seconds)),
        timeout_graceful_shutdown=max(1, round(settings.stop_seconds)),
    )
    name = f"Worker {number + 1} of {settings.workers}" if settings.workers > 1 else "Ratchet"
    message = f"{name} serves at {settings.address} (process {os.getpid()})"
    server = _Server(config, app, message)
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again when all is done
        server.run([listener])


def listen(settings: Settings, *, shared: bool = False) -> socket.socket:
    """Open the port.

    Args:
        settings: host and port.
        shared: let further sockets of ours have the same port.

    Raises:
        ConfigError: it cannot be opened.
    """
    way = "kedro ratchet serve --port, or make serve SERVE_PORT=..."
    return _open_port(settings.host, settings.port, way, shared=shared)


def _open_port(host: str, port: int, way: str, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another port: {way}"
        ) from None
    return listener


class _Workers:
    """Several processes, each with a socket of its own on the same port.

    Args:
        settings: the settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        listen(settings).close()  # nobody else's port: sockets that share one would not tell
        self._sockets = [listen(settings, shared=True) for _ in range(settings.workers)]
        self._started = [0.0] * settings.workers
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * settings.workers
        self._ends = False

    def run(self) -> None:
        """Keep the workers running until a signal comes, then let them end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        try:
            while not self._ends:
                self._start_those_that_are_not_there()
                time.sleep(0.1)
        finally:
            self._stop()

    def _end(self, *_: object) -> None:
        self._ends = True

    def _start_those_that_are_not_there(self) -> None:
        for number, process in enumerate(self._processes):
            if process is not None and process.poll() is None:
                continue
            if process is not None:
                LOGGER.error("Worker %d has ended (%s)", number + 1, process.returncode)
                if time.monotonic() - self._started[number] < _QUICK_END:
                    time.sleep(_PAUSE)
            self._started[number] = time.monotonic()
            self._processes[number] = self._start(number)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        descriptor = self._sockets[number].fileno()
        environ = {
            **os.environ,
            SETTINGS: self._settings.model_dump_json(),
            WORKER: f"{number}:{descriptor}:{os.getpid()}",
        }
        command = [sys.executable, "-m", "ratchet.serving"]
        # A session of its own: Ctrl-C goes to this process, which tells the workers.
        return subprocess.Popen(command, env=environ, pass_fds=[descriptor], start_new_session=True)

    def _stop(self) -> None:
        alive = [each for each in self._processes if each is not None and each.poll() is None]
        for process in alive:
            process.terminate()
        _wait(alive, self._settings.stop_seconds + 1)
        for process in alive:
            if process.poll() is None:
                process.kill()


def _wait(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(each.poll() is None for each in processes):
        time.sleep(0.05)


def _raise_limit_of_files() -> None:
    """Let as many connections in as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft < most:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
