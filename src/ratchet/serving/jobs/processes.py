"""Processes of jobs on this machine, which outlive the service that has started them.

A process holds a lock in its job's folder from before it exists to after its end, however it ends:
the lock is taken by the service and handed on. So a service that comes later knows whether there
still is one, also where its predecessor died before it could note the process's id.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ratchet.learning.atomic_files import write_text
from ratchet.serving.jobs.specification import Order
from ratchet.serving.jobs.store import JobRow

LOG = "log.txt"
_LOCK = ".lock"
_PROCESS = "process.json"
"""Id and beginning of the process, as it has written them itself."""

_PROC = Path("/proc")


class Process(Protocol):
    """What does a job; it may have been started by an earlier service."""

    pid: int | None
    started: str | None

    @property
    def code(self) -> int | None:
        """Exit code of one that has ended, below 0 for a signal; ``None`` where it is unknown."""
        ...

    def is_alive(self) -> bool:
        """Whether it runs."""
        ...

    def kill(self, number: int) -> None:
        """Send a signal to it and to all that it has started."""
        ...


class SystemProcess:
    """A process of this machine, with the group that it leads.

    Args:
        pid: its id.
        started: when it began, as the system says.
        child: where this process has started it.
    """

    def __init__(
        self, pid: int, started: str | None, child: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.pid: int | None = pid
        self.started, self._id, self._child = started, pid, child

    @property
    def code(self) -> int | None:
        """Its exit code, where it is a child of this process."""
        return None if self._child is None else self._child.poll()

    def is_alive(self) -> bool:
        """Whether it runs; another process that has got its id does not count."""
        if self._child is not None:
            return self._child.poll() is None
        if self.started is not None:
            return began(self._id) == self.started
        try:
            os.kill(self._id, 0)
        except (ProcessLookupError, PermissionError):  # the id belongs to another process by now
            return False
        return True

    def kill(self, number: int) -> None:
        """Send a signal to its group, also to what is left of it.

        Where another process has got the id by now, the group is not ours any more.
        """
        if self.is_alive() or began(self._id) is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._id, number)


class UnknownProcess:
    """A process that runs, as its lock says, and has not yet written which it is."""

    pid: int | None = None
    started: str | None = None
    code: int | None = None

    def is_alive(self) -> bool:
        """It runs."""
        return True

    def kill(self, number: int) -> None:
        """Does nothing: the id of the process is not known yet."""


Start = Callable[[Path, Order], Process]
Find = Callable[[int, str | None], Process]


class LocalEngine:
    """Starts jobs as processes of this machine, and finds those of earlier services.

    Args:
        start: starts the process of a job.
        find: gives a process that is known by its id.
    """

    def __init__(self, start: Start, find: Find = SystemProcess) -> None:
        self.start, self._find = start, find
        self.host = socket.gethostname()

    def find(self, job: JobRow, folder: Path) -> Process | None:
        """The process of a job; ``None`` where none is recorded."""
        if job.pid is not None and job.host == self.host:
            return self._find(job.pid, job.pid_started)
        if not is_running(folder):
            return None
        try:
            content = json.loads((folder / _PROCESS).read_text(encoding="utf-8"))
            return self._find(int(content["pid"]), content["started"])
        except (OSError, ValueError, KeyError, TypeError):
            return UnknownProcess()

    def sees(self, job: JobRow, folder: Path) -> bool:
        """Whether a job is one of this machine, or of a machine that shared the folder with it.

        Only one service watches a folder at a time. A container that was created again has another
        name, and the jobs of the one before it are dead unless their lock is held.
        """
        return job.host in (None, self.host) or (folder / _LOCK).exists()


def start_process(folder: Path, order: Order, project: Path) -> SystemProcess:
    """Start the process of a job in a session of its own.

    Raises:
        OSError: it cannot be started, or another one works in the folder.
    """
    command = [sys.executable, "-m", "kedro", "ratchet", "run-job", str(folder)]
    own = {"KEDRO_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    left = ("RATCHET_SERVING", "RATCHET_SERVING_WORKER", "RATCHET_PARENT", "KEDRO_ENV")
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environ = {key: value for key, value in os.environ.items() if key not in left + threads}
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with (folder / LOG).open("ab") as log:
            child = subprocess.Popen(
                command,
                cwd=project,
                env=environ | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock],  # a lock is held until its last descriptor is closed
            )
    finally:
        os.close(lock)
    # One that has ended already has no beginning any more: no other process may be taken for it.
    unknown = "ended" if _PROC.is_dir() else None
    return SystemProcess(child.pid, began(child.pid) or unknown, child)


def note_own_process(folder: Path) -> None:
    """Let the process of a job write down its id, for others that find its lock."""
    content = {"pid": os.getpid(), "started": began(os.getpid())}
    write_text(folder / _PROCESS, json.dumps(content))


def is_running(folder: Path) -> bool:
    """Whether a process works in the folder of a job."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def began(pid: int) -> str | None:
    """When a process began, in ticks since the machine did; ``None`` where it is not known."""
    try:
        content = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = content.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
