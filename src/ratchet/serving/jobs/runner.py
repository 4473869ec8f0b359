"""Starts the processes of jobs and watches them; they outlive the service that has started them.

A job's process has a session of its own and writes into its own folder. What it leaves there, a
result or the reason of its failure, is read when it has ended, whoever watches by then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from ratchet.locks import LockedError, locked
from ratchet.serving.jobs.order import FAILURE, ORDER, RESULT, WORK, Order, TrainRequest
from ratchet.serving.jobs.progress import Writer
from ratchet.serving.jobs.store import JobRow, JobStore, State
from ratchet.serving.settings import Settings

LOGGER = logging.getLogger(__name__)

LOG = "log.txt"

_PAUSE = 0.5
_GRACE = 5.0
"""Seconds that processes of a cancelled job get to end by themselves."""
_LAST_LINES = 5


class Process(Protocol):
    """A process that may have been started by an earlier service."""

    pid: int
    started: str | None

    def is_alive(self) -> bool:
        """Whether it runs."""
        ...

    def kill(self, number: int) -> None:
        """Send a signal to it and to all that it has started."""
        ...


Start = Callable[[Path, Order], Process]
Find = Callable[[int, str | None], Process]


class SystemProcess:
    """A process of this machine, with the group that it leads.

    Args:
        pid: its id.
        started: when it began, as the system tells it.
        child: where this process has started it.
    """

    def __init__(
        self, pid: int, started: str | None, child: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.pid, self.started, self._child = pid, started, child

    def is_alive(self) -> bool:
        """Whether it runs; another process that has got its id does not count."""
        if self._child is not None:
            return self._child.poll() is None
        if self.started is not None:
            return _started(self.pid) == self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self, number: int) -> None:
        """Send a signal to its group, also to what is left of it.

        Where another process has got the id by now, the group is not ours any more.
        """
        if self.is_alive() or _started(self.pid) is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


def start_process(folder: Path, order: Order, project: Path) -> SystemProcess:
    """Start the process of a job in a session of its own."""
    command = [sys.executable, "-m", "kedro", "ratchet", "run-job", str(folder)]
    own = {"KEDRO_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    left = ("RATCHET_SERVING", "RATCHET_SERVING_WORKER", "RATCHET_PARENT", "KEDRO_ENV")
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environ = {key: value for key, value in os.environ.items() if key not in left + threads}
    with (folder / LOG).open("ab") as log:
        child = subprocess.Popen(
            command,
            cwd=project,
            env=environ | own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return SystemProcess(child.pid, _started(child.pid), child)


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the machine did; ``None`` where it is not known."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = content.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


class Runner:
    """Lets the jobs of a store run, so many at a time.

    Of several service processes with the same folder one watches; when it ends, another one does.

    Args:
        settings: how many run at a time, and where.
        store: the jobs.
        start: starts the process of a job.
        find: gives a process that is known by its id.
        clock: seconds.
    """

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        start: Start | None = None,
        find: Find = SystemProcess,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.store, self._clock = settings, store, clock
        self._start = start or (
            lambda folder, order: start_process(folder, order, settings.project)
        )
        self._find = find
        self._processes: dict[str, Process] = {}
        self._told: dict[str, float] = {}
        self._host = socket.gethostname()
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self.stopping = asyncio.Event()

    def folder(self, job: str) -> Path:
        """Folder of a job."""
        return self.settings.jobs.folder / job

    async def begin(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Watch no more; what runs goes on running."""
        self.stopping.set()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self.store.close()

    def look(self) -> None:
        """Look at the jobs at once."""
        self._wake.set()

    async def _watch(self) -> None:
        self.settings.jobs.folder.mkdir(parents=True, exist_ok=True)
        path = self.settings.jobs.folder / ".lock"
        while True:
            try:
                with locked(path, "the jobs", seconds=0):
                    while True:
                        await self._try_once()
            except LockedError:  # another service watches
                await asyncio.sleep(_PAUSE * 4)

    async def _try_once(self) -> None:
        try:
            await asyncio.to_thread(self.once)
        except Exception as error:  # of the database: it may come back
            LOGGER.error("Jobs cannot be watched: %s", error)
            await asyncio.sleep(_PAUSE * 4)
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), _PAUSE)

    def once(self) -> None:
        """Look at every job once: note what has ended, end what is to end, start what waits."""
        running = self.store.running()
        for job in running:
            if job.host in (None, self._host):
                self._look_at(job)
        free = self.settings.jobs.at_a_time - len(self.store.running())
        for job in self.store.waiting()[: max(free, 0)]:
            self._start_job(job)

    def _look_at(self, job: JobRow) -> None:
        process = self._process(job)
        if process is None:  # the service ended between taking the job and starting its process
            self.store.wait_again(job.id)
        elif not process.is_alive():
            self._end(job, process)
        elif job.cancel_requested:
            self._tell(job, process)

    def _process(self, job: JobRow) -> Process | None:
        if job.id not in self._processes and job.pid is not None:
            self._processes[job.id] = self._find(job.pid, job.pid_started)
        return self._processes.get(job.id)

    def _tell(self, job: JobRow, process: Process) -> None:
        """Let a process end; one that does not is killed."""
        now = self._clock()
        since = self._told.setdefault(job.id, now)
        if since == now:
            process.kill(signal.SIGTERM)
        elif now - since > _GRACE:
            process.kill(signal.SIGKILL)

    def _end(self, job: JobRow, process: Process) -> None:
        process.kill(signal.SIGKILL)  # whatever it has left behind
        folder = self.folder(job.id)
        status: State = "failed"
        result, error = _read(folder / RESULT), None
        if result is not None:
            status = "completed"
        elif job.cancel_requested:
            status = "cancelled"
        else:
            error = str((_read(folder / FAILURE) or {}).get("error") or _killed(folder))
        shutil.rmtree(folder / WORK, ignore_errors=True)
        self.store.end(job.id, status, result=result, error=error)
        self._processes.pop(job.id, None)
        self._told.pop(job.id, None)

    def _start_job(self, job: JobRow) -> None:
        folder = self.folder(job.id)
        order = Order(
            job=job.id,
            request=TrainRequest.model_validate(job.request),
            actor=job.actor,
            env=self.settings.env,
            processes=self.settings.jobs.training_processes,
            promote=self.settings.jobs.promote,
        )
        if not self.store.start(job.id, self._host):
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ORDER).write_text(order.model_dump_json(), encoding="utf-8")
            Writer(folder).close()
            process = self._start(folder, order)
        except OSError as error:
            self.store.end(job.id, "failed", error=f"its process cannot be started: {error}")
            return
        self._processes[job.id] = process
        self.store.note_process(job.id, process.pid, process.started)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content


def _killed(folder: Path) -> str:
    """What to say of a process that has left nothing."""
    lines = log_tail(folder, _LAST_LINES)
    told = f"; the last it said: {' / '.join(lines)}" if lines else ""
    return (
        f"its process has ended without a result: it was killed, as happens when memory runs "
        f"out{told}"
    )


def log_tail(folder: Path, lines: int) -> list[str]:
    """Last lines of what a job's process has said."""
    try:
        with (folder / LOG).open("rb") as file:
            _back(file, 16 * 1024)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()][-lines:]


def _back(file: IO[bytes], size: int) -> None:
    file.seek(max(0, file.seek(0, os.SEEK_END) - size))
