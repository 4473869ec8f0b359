"""Processes that end together, and that take no more than they may."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

PARENT = "RATCHET_PARENT"
"""Environment variable of a run that is to end with the process of this id."""

_PAUSE = 0.5
"""Seconds between two looks at who the parent is."""


@dataclass(frozen=True)
class ProcessLimits:
    """What a process may take that opens a bundle.

    Attributes:
        memory_mb: memory for data; TensorFlow alone asks for 1.5 GB, most of it never touched.
        cpu_seconds: of all its threads; 0 for any number.
    """

    memory_mb: int = 6_000
    cpu_seconds: int = 240

    def apply(self) -> None:
        """Let this process have no more."""
        memory = self.memory_mb * 1_000_000
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        if self.cpu_seconds:
            resource.setrlimit(resource.RLIMIT_CPU, (self.cpu_seconds, self.cpu_seconds + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_with_parent(parent: int, end: Callable[[], object] | None = None) -> None:
    """End this process with its parent, even when that is killed and cannot signal it.

    It looks at the parent again and again. Linux could send a signal instead (PR_SET_PDEATHSIG),
    but does so when the thread ends that has started this process, and not when its process does.

    Ctrl-C at a terminal goes to all its processes; it is for the parent, which ends this one.

    Args:
        parent: id of the process that has started this one; by now it may be gone.
        end: ends this process; by default it is killed with all that it has started.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(parent, end), daemon=True).start()


def _follow(parent: int, end: Callable[[], object] | None) -> None:
    while os.getppid() == parent:  # an orphan has another one
        time.sleep(_PAUSE)
    if end is None:
        kill_tree(os.getpid())
    else:
        end()


@contextmanager
def joblib_ends_with_parent(**options: Any) -> Iterator[None]:
    """Let the workers of joblib end with this process: idle ones would stay for five minutes.

    Args:
        options: of joblib's ``loky`` backend.
    """
    from joblib import parallel_config

    with parallel_config("loky", initializer=end_with_parent, initargs=(os.getpid(),), **options):
        yield


def kill_tree(pid: int | None) -> None:
    """Kill a process and all that it has started, but for those that tidy up after it."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if pid != os.getpid():
            process.suspend()  # it starts no more, and does not complain of those that it loses
        for one in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                if not any("resource_tracker import main" in word for word in one.cmdline()):
                    one.kill()
