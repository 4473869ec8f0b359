"""Processes that end together."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

PARENT = "RATCHET_PARENT"
"""Environment variable of a run that is to end with the process of this id."""

_PAUSE = 0.5
"""Seconds between two looks at who the parent is."""


def follow_parent(parent: int) -> None:
    """End this process with its parent, even when that is killed and can tell nobody.

    It looks at the parent again and again. Linux could send a signal instead (PR_SET_PDEATHSIG),
    but does so when the thread ends that has started this process, and not when its process does.

    Ctrl-C at a terminal goes to all its processes; it is for the parent, which ends this one.

    Args:
        parent: id of the process that has started this one; by now it may be gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:  # an orphan has another one
        time.sleep(_PAUSE)
    kill(os.getpid())


@contextmanager
def joblib_follows(**options: Any) -> Iterator[None]:
    """Let the workers of joblib end with this process: idle ones would stay for five minutes.

    Args:
        options: of joblib's ``loky`` backend.
    """
    from joblib import parallel_config

    with parallel_config("loky", initializer=follow_parent, initargs=(os.getpid(),), **options):
        yield


def kill(pid: int | None) -> None:
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
