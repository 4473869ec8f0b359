"""Has jobs started and watches them; they outlive the service that has started them.

Where a job runs is up to an engine: as a process of this machine, or as a run of Airflow. Either
way it writes into a folder of its own. What it leaves there, a result or the reason of its failure,
is read when it has ended, by whichever process watches then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from ratchet.errors import UserError
from ratchet.learning.atomic_files import write_text
from ratchet.locks import LockedError, locked
from ratchet.serving.jobs import airflow, progress
from ratchet.serving.jobs.processes import (
    LOG,
    Find,
    LocalEngine,
    Process,
    Start,
    SystemProcess,
    start_process,
)
from ratchet.serving.jobs.specification import (
    FAILURE,
    ORDER,
    RESULT,
    SEARCHED,
    WORK,
    Order,
    TrainRequest,
)
from ratchet.serving.jobs.store import JobRow, JobStore, State
from ratchet.serving.settings import Settings

LOGGER = logging.getLogger(__name__)

_PAUSE = 0.5
_PAUSE_AFTER_ERROR = 2.0
_RETRY = 15.0
"""Seconds after which an engine that could not be reached is tried again."""
_GRACE = 5.0
"""Seconds that processes of a cancelled job get to end by themselves."""
_LAST_LINES = 5


class Engine(Protocol):
    """Where jobs run."""

    host: str
    """What is noted as the host of its jobs."""

    def start(self, folder: Path, order: Order) -> Process:
        """Start a job.

        Raises:
            airflow.UnavailableError: it cannot be reached at present.
            OSError: the job cannot be started.
            UserError: the same.
        """
        ...

    def find(self, job: JobRow, folder: Path) -> Process | None:
        """What runs, or ran, for a job; ``None`` where nothing was started that is known of."""
        ...


class Runner:
    """Lets the jobs of a store run, so many at a time.

    Of several service processes with the same folder one watches; when it ends, another one does.

    Args:
        settings: how many run at a time, and where.
        store: the jobs.
        start: starts the process of a job on this machine.
        find: gives a process of this machine that is known by its id.
        clock: seconds.

    Raises:
        ConfigError: jobs are to run in Airflow, and there are no credentials for it.
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
        self._local = LocalEngine(
            start or (lambda folder, order: start_process(folder, order, settings.project)), find
        )
        self._airflow: airflow.AirflowEngine | None = None
        if settings.jobs.engine == "airflow":
            self._airflow = airflow.AirflowEngine(
                settings.jobs.airflow, settings.project, clock=clock
            )
        self._processes: dict[str, Process] = {}
        self._cancelled_at: dict[str, float] = {}
        self._retry_at = 0.0
        self._is_pruned = False
        self._is_failing = False
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
        path = self.settings.jobs.folder / ".lock"
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with locked(path, "the jobs", seconds=0):
                    while True:
                        await self._try_once()
            except LockedError:  # another service watches
                await asyncio.sleep(_PAUSE_AFTER_ERROR)
            except OSError as error:
                LOGGER.error("Jobs cannot be watched: %s", error)
                await asyncio.sleep(_PAUSE_AFTER_ERROR)

    async def _try_once(self) -> None:
        try:
            await asyncio.to_thread(self.once)
        except Exception as error:  # of the database: it may come back
            if not self._is_failing:
                LOGGER.error("Jobs cannot be watched: %s", error)
            self._is_failing = True
            await asyncio.sleep(_PAUSE_AFTER_ERROR)
        else:
            self._is_failing = False
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), _PAUSE)

    def once(self) -> None:
        """Look at every job once: note what has ended, end what is to end, start what waits."""
        for job in self._watched():
            self._look_at(job)
        if not self._is_pruned:
            self._prune()
        if self._clock() < self._retry_at:
            return
        running = [job for job in self._watched() if self._engine_of(job) is not None]
        free = self.settings.jobs.at_a_time - len(running)
        for job in self.store.waiting()[: max(free, 0)]:
            self._start_job(job)

    def _watched(self) -> list[JobRow]:
        """Jobs that run here or in Airflow; those of machines with folders of their own do not."""
        return [
            job
            for job in self.store.running()
            if job.host == airflow.HOST or self._local.sees(job, self.folder(job.id))
        ]

    def _engine_of(self, job: JobRow) -> Engine | None:
        return self._airflow if job.host == airflow.HOST else self._local

    def _look_at(self, job: JobRow) -> None:
        engine = self._engine_of(job)
        if engine is None:  # jobs ran in Airflow before the setting was changed
            if job.cancel_requested or self._has_ended(job):
                self._end(job, None)
            return
        if job.id not in self._processes and self._clock() < self._retry_at:
            return
        try:
            process = self._process(job, engine)
        except UserError as error:
            LOGGER.warning("Job %s cannot be looked at: %s", job.id, error)
            self._retry_at = self._clock() + _RETRY
            return
        if process is None:
            self._settle(job)
        elif not process.is_alive():
            self._end(job, process)
        elif job.cancel_requested:
            self._stop(job, process)

    def _process(self, job: JobRow, engine: Engine) -> Process | None:
        if job.id in self._processes:
            return self._processes[job.id]
        process = engine.find(job, self.folder(job.id))
        if process is not None and (process.pid is not None or job.host == airflow.HOST):
            self._processes[job.id] = process
            if job.pid is None and process.pid is not None:
                self.store.note_process(job.id, process.pid, process.started)
        return process

    def _settle(self, job: JobRow) -> None:
        """Decide about a job without a process: the service died while it was starting one.

        It may have run without being noted, and has ended then; otherwise it waits again. One that
        was noted on a machine that is no more has died with it.
        """
        if job.cancel_requested or job.pid is not None or self._has_ended(job):
            self._end(job, None)
        else:
            self.store.wait_again(job.id)

    def _has_ended(self, job: JobRow) -> bool:
        return any((self.folder(job.id) / name).exists() for name in (RESULT, FAILURE))

    def _stop(self, job: JobRow, process: Process) -> None:
        """Let a process end; one that does not is killed."""
        now = self._clock()
        since = self._cancelled_at.setdefault(job.id, now)
        if since == now:
            process.kill(signal.SIGTERM)
        elif now - since > _GRACE:
            process.kill(signal.SIGKILL)

    def _end(self, job: JobRow, process: Process | None) -> None:
        if process is not None:
            process.kill(signal.SIGKILL)  # whatever it has left behind
        folder = self.folder(job.id)
        status: State = "failed"
        result, error = _read(folder / RESULT), None
        if result is not None:
            status = "completed"
        elif job.cancel_requested:
            status = "cancelled"
        else:
            failure = (_read(folder / FAILURE) or {}).get("error")
            error = str(failure or _why_ended(folder, process))
        result = result or _read(folder / SEARCHED)  # found before it was ended
        shutil.rmtree(folder / WORK, ignore_errors=True)
        self.store.end(job.id, status, result=result, error=error)
        self._processes.pop(job.id, None)
        self._cancelled_at.pop(job.id, None)
        self._is_pruned = False

    def _prune(self) -> None:
        """Remove the files of old jobs; the database keeps their results."""
        with suppress(FileNotFoundError):
            names = [path.name for path in self.settings.jobs.folder.iterdir() if path.is_dir()]
            for name in self.store.ended(names)[self.settings.jobs.keep :]:
                shutil.rmtree(self.folder(name), ignore_errors=True)
        self._is_pruned = True

    def _start_job(self, job: JobRow) -> None:
        engine: Engine = self._airflow or self._local
        if not self.store.start(job.id, engine.host):
            return
        try:
            process = engine.start(*self._prepared(job))
        except airflow.UnavailableError as error:
            self.store.wait_again(job.id, str(error))
            self._retry_at = self._clock() + _RETRY
            LOGGER.error("Job %s waits: %s", job.id, error)
            return
        except (OSError, ValueError, UserError) as error:
            self.store.end(job.id, "failed", error=f"it cannot be started: {error}")
            return
        self._processes[job.id] = process
        if process.pid is not None:
            self.store.note_process(job.id, process.pid, process.started)

    def _prepared(self, job: JobRow) -> tuple[Path, Order]:
        """The folder of a job, and its order, which is written there.

        Raises:
            ValueError: the request is one of another release.
        """
        folder = self.folder(job.id)
        order = Order(
            job=job.id,
            request=TrainRequest.model_validate(job.request),
            actor=job.actor,
            env=self.settings.env,
            processes=self.settings.jobs.training_processes,
            promote=self.settings.jobs.promote,
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / ORDER, order.model_dump_json())
        progress.Writer(folder).close()
        return folder, order


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content


def _why_ended(folder: Path, process: Process | None) -> str:
    """What to say of a process that has left nothing."""
    if isinstance(process, airflow.DagRun):
        why = process.reason
    elif process is not None and (process.code or 0) > 0:
        why = f"its process has ended with exit code {process.code}, without a result"
    else:
        why = (
            "its process has ended without a result: it was killed, as happens when memory runs out"
        )
    state = progress.summary(folder)
    stage = f", at the stage '{state['stage']}'" if state["stage"] else ""
    lines = log_tail(folder, _LAST_LINES) or state["log"][-_LAST_LINES:]
    last = f"; its last lines: {' / '.join(lines)}" if lines else ""
    return f"{why}{stage}{last}"


def log_tail(folder: Path, lines: int) -> list[str]:
    """Last lines of what a job's process has written."""
    try:
        with (folder / LOG).open("rb") as file:
            _seek_tail(file, 16 * 1024)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()][-lines:]


def _seek_tail(file: IO[bytes], size: int) -> None:
    file.seek(max(0, file.seek(0, os.SEEK_END) - size))
