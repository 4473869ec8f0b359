"""Processes of a service: one, or several behind the same port.

The first process opens the port before it starts workers, and keeps it: while a worker is
restarted, its connections wait in the port instead of being refused.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ratchet.compiled.serialization import loads
from ratchet.database import SERVICE_LOCK_SECONDS, connect
from ratchet.errors import ConfigError
from ratchet.learning.processes import end_with_parent
from ratchet.monitoring.measurements import Measurements
from ratchet.registry import EXPORTED_LEDGER
from ratchet.registry.ledger import Ledger
from ratchet.serving.app import create_app
from ratchet.serving.child_processes import SETTINGS, WORKER
from ratchet.serving.jobs.runner import Runner
from ratchet.serving.jobs.store import JobStore
from ratchet.serving.log import JournaledLog, TruthJoiner
from ratchet.serving.measurements import StoredMeasurements
from ratchet.serving.overview import Overview
from ratchet.serving.settings import Limits, Settings
from ratchet.serving.version_opener import VersionOpener
from ratchet.serving.version_transfer import VersionSource
from ratchet.serving.version_watcher import Notice, Watcher, log_notice
from ratchet.webhook import ADDRESS, Webhook

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
    if worker := os.environ.pop(WORKER, None):
        number, descriptor, parent = map(int, worker.split(":"))
        # Without the process that has started it, it would hold the port against the next service.
        end_with_parent(parent, end=lambda: os.kill(os.getpid(), signal.SIGTERM))
        _run_worker(settings, socket.socket(fileno=descriptor), number)
        return
    for port in settings.metrics_ports:  # fails here, and not later in each worker
        _open_port(settings.metrics_host, port, "kedro ratchet serve --metrics-port").close()
    check_export(settings)
    check_folders(settings)
    if settings.workers == 1:
        _run_worker(settings, listen(settings), 0)
    else:
        _Workers(settings).run()


def check_export(settings: Settings) -> None:
    """Make sure that a folder of exported models is one.

    Raises:
        ConfigError: there is no ledger in it.
    """
    if settings.models is not None and not (settings.models / EXPORTED_LEDGER).is_file():
        raise ConfigError(
            f"models: {settings.models} has no {EXPORTED_LEDGER}: expected a folder that `kedro "
            f"ratchet export` has written"
        )


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
            print(self._message, flush=True)  # noqa: T201 - for the user who has started it

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A stream of events ends only on request; otherwise the shutdown would wait for it.
        self._application.state.stopping.set()
        await super().shutdown(sockets)


def _run_worker(settings: Settings, listener: socket.socket, number: int) -> None:

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
        forwarded_allow_ips=["127.0.0.1", "::1", *settings.trusted_proxies],
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
        listen(settings).close()  # fails if the port is taken: sockets that share one do not
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
        # A session of its own: Ctrl-C goes to this process, which stops the workers.
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


JOURNAL = "journal"
"""Folder of the journals, in that of the service's own files."""


def application(settings: Settings, worker: int = 0) -> FastAPI:
    """The application with its models, stores and background tasks.

    Args:
        settings: the settings.
        worker: number of this process, of several behind the same port.
    """
    folder, url = settings.state / JOURNAL, settings.database_url
    engine = connect(url, SERVICE_LOCK_SECONDS)
    ledger = Ledger(connect(settings.ledger_url))  # in no request, and so it may wait for locks
    opener = opener_of(settings, ledger)
    models = watcher_of(settings, ledger, opener)
    measurements = StoredMeasurements(Measurements(engine), models, models.ready)
    opener.on_prepare(measurements.prepare)
    models.on_poll(lambda: catch_up(models, measurements))
    log = JournaledLog(folder, url, queue_rows=settings.queue_rows)
    return create_app(
        settings,
        models,
        log=log,
        measurements=measurements,
        truths=TruthJoiner(log, models),
        runner=Runner(settings, JobStore(url)),
        overview=Overview(url, settings.model_output, settings.ledger_url),
        worker=worker,
    )


def catch_up(models: Watcher, measurements: StoredMeasurements) -> None:
    """Let forecasts see what other processes were handed."""
    for name in models.use_cases():
        serving = models.champion(name)
        if serving is not None and serving.use_case.data.series is not None:
            measurements.catch_up(name)


def opener_of(settings: Settings, ledger: Ledger) -> VersionOpener:
    """What opens the versions of a project."""
    url = settings.ledger_url
    # MLflow is asked for versions only that the ledger has no digest of.
    tracking = settings.tracking_uri or url
    source = VersionSource(tracking, str(settings.versions), url, settings.compiled)
    return VersionOpener(ledger, source, loads)


def watcher_of(settings: Settings, ledger: Ledger, opener: VersionOpener) -> Watcher:
    """What follows the ledger of a project."""
    return Watcher(
        ledger,
        opener,
        use_cases=settings.use_cases,
        shadows=lambda name: settings.shadow or name in settings.split,
        poll_seconds=settings.poll_seconds,
        notify=notify_by(Webhook(os.environ.get(ADDRESS))),
    )


def notify_by(webhook: Webhook) -> Callable[[Notice], None]:
    """Write notices to the log, and send them where there is an address for messages."""

    def notify(notice: Notice) -> None:
        log_notice(notice)
        about = {"use_case": notice.use_case, "version": notice.version, "advice": notice.advice}
        webhook.send("alert", f"{notice.text}: {notice.advice}", **about)

    return notify


LARGEST_HEAD = 64 * 1024
"""Bytes of a request before its body."""

LEAST_READ = 16 * 1024
"""Bytes of an answer that a client has to read within ``idle_seconds``."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection that is closed when its client is silent for too long."""

    limits = Limits()
    """Seconds; a subclass has its own, see ``protocol``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._end: asyncio.TimerHandle | None = None
        self._reading_end: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._close_after(self.limits.idle_seconds)

    def data_received(self, data: bytes) -> None:
        """Read on; what is no request yet does not count as one."""
        super().data_received(data)
        self._head_bytes += len(data)
        if self._is_in_head and self._head_bytes > LARGEST_HEAD:
            self.send_400_response(f"The head of a request may have {LARGEST_HEAD} bytes.")
            return
        cycle: RequestResponseCycle | None = self.cycle
        if self._end is None and (cycle is None or cycle.response_complete):
            self._close_after(self.limits.idle_seconds)

    def on_message_begin(self) -> None:
        """A request has begun: its headers have to follow."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0
        self._close_after(self.limits.body_seconds)

    def on_headers_complete(self) -> None:
        """From here on the application minds the time."""
        self._is_in_head = False
        self._stop_clock()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock with the connection."""
        self._stop_clock()
        self._stop_reading_clock()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered: it has some time."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """The client has read enough."""
        self._stop_reading_clock()
        super().resume_writing()

    def _expect_reading(self) -> None:
        self._stop_reading_clock()
        unread = self.transport.get_write_buffer_size()

        def check() -> None:
            if self.transport.get_write_buffer_size() > unread - LEAST_READ:
                self.transport.abort()  # what is left of the answer goes with it
            else:
                self._expect_reading()

        self._reading_end = self.loop.call_later(self.limits.idle_seconds, check)

    def _stop_reading_clock(self) -> None:
        if self._reading_end is not None:
            self._reading_end.cancel()
            self._reading_end = None

    def _close_after(self, seconds: float) -> None:
        self._stop_clock()
        self._end = self.loop.call_later(seconds, self.transport.close)

    def _stop_clock(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None


def protocol(limits: Limits) -> type[BoundedProtocol]:
    """The protocol with the limits of a service."""
    return type("Protocol", (BoundedProtocol,), {"limits": limits})
