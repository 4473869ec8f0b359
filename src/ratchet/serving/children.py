"""Child processes of the service: how they are started, and that they end with it."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import ratchet


@dataclass(frozen=True)
class Limits:
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


def command(module: str, *arguments: str) -> list[str]:
    """A command that runs a module of ours, without modules of the current folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Environment of a child: our sources, and one thread, for the parent answers meanwhile."""
    source = str(Path(ratchet.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**os.environ, **quiet, "PYTHONPATH": paths}


def own_output() -> int:
    """Standard output for what this process says alone; what libraries print goes elsewhere."""
    output = os.dup(1)
    os.dup2(2, 1)
    return output


def follow_parent() -> None:
    """End this process when its parent has ended, whatever it is doing."""
    threading.Thread(target=_follow, args=[os.getppid()], daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
