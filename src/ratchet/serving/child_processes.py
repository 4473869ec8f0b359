"""Child processes of the service: how they are started, and that they end with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import ratchet

SETTINGS = "RATCHET_SERVING"
"""Environment variable with the settings: unlike arguments, others do not see it."""

WORKER = "RATCHET_SERVING_WORKER"
"""Environment variable of a process of several behind a port: its number, the file descriptor of
its socket, and the id of the process that has started it."""


def command(module: str, *arguments: str) -> list[str]:
    """A command that runs a module of ours, without modules of the current folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


LOADER = command("ratchet.serving.version_loader")
"""Opens versions, see ``loader``."""


def environment() -> dict[str, str]:
    """Environment of a child: our sources, and one thread, for the parent answers meanwhile."""
    source = str(Path(ratchet.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**os.environ, **quiet, "PYTHONPATH": paths}


class LoaderProcess:
    """A process that takes a request on its standard input, and answers over a socket.

    Args:
        program: its command.
    """

    def __init__(self, program: Sequence[str]) -> None:
        self.connection, output = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with output:
            self._process = subprocess.Popen(
                program,
                stdin=subprocess.PIPE,
                stdout=output.fileno(),
                bufsize=0,
                env=environment(),
                # Linux shares cores between sessions before it looks at single processes: in one
                # session with the process that answers it would take from that one's share.
                start_new_session=True,
            )
        self.connection.setblocking(False)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def request(self, line: bytes) -> None:
        """Send the request.

        Raises:
            BrokenPipeError: the process has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(line)

    def end(self) -> None:
        """End it, whatever it is doing, and wait for that."""
        self.connection.close()
        self._process.kill()
        self._process.communicate()


_AHEAD: dict[tuple[str, ...], LoaderProcess] = {}


def start_ahead(program: Sequence[str]) -> None:
    """Start a child that will be needed, so that it imports its libraries meanwhile."""
    _AHEAD[tuple(program)] = LoaderProcess(program)


def take_or_start(program: Sequence[str]) -> LoaderProcess:
    """The child that was started ahead by the same command, or else a new one."""
    ahead = _AHEAD.pop(tuple(program), None)
    return ahead if ahead is not None and ahead.is_alive else LoaderProcess(program)


def end_ahead() -> None:
    """End what was started ahead and is not needed after all."""
    while _AHEAD:
        _, process = _AHEAD.popitem()
        process.end()


def give_way(niceness: int) -> None:
    """Let other processes go before this one, and wake up without taking a core from them."""
    os.nice(niceness)
    with suppress(OSError):  # no permission in some sandboxes
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with suppress(OSError):  # of the session, where the kernel has groups of them
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")


def own_output() -> int:
    """Standard output for what this process says alone; what libraries print goes elsewhere."""
    output = os.dup(1)
    os.dup2(2, 1)
    return output


def end_at_once() -> None:
    """End this process, whatever its threads are doing."""
    os._exit(1)
