"""Processes that end together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import wait


def follow_parent() -> None:
    """End this process with its parent, even when that is killed and can tell nobody.

    Ctrl-C at a terminal goes to all its processes; it is for the parent, which ends this one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        kill(os.getpid())


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
