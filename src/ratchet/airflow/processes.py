"""Processes that are started together, and stopped together with all that they have started."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from ratchet.errors import UserError

MARK = "RATCHET_AIRFLOW"
"""Environment variable that all descendants have, also those that have lost their parent."""

TERM_SECONDS = 20.0


class ProcessGroup:
    """Processes that share an environment and a log.

    Args:
        home: their folder. What was started from it earlier, and still runs, belongs to them.
        environ: their environment.
        log: file that gets what they print.
    """

    def __init__(self, home: Path, environ: Mapping[str, str], log: IO[str]) -> None:
        # setproctitle, which Airflow uses, otherwise writes over the memory that has the mark.
        self._environ = {**environ, MARK: str(home.resolve()), "SPT_NOENV": "1"}
        self._log = log
        self._parts: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def log(self) -> str:
        """Path of the log."""
        return self._log.name

    def run(self, name: str, command: Sequence[str]) -> None:
        """Run a command to its end.

        Raises:
            UserError: it has failed.
        """
        self.start(name, command)
        code = self._parts[name].wait()
        if code:
            raise UserError(self._failure(name, code))
        del self._parts[name]

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process in a session of its own, out of the reach of a terminal's Ctrl-C."""
        self._parts[name] = subprocess.Popen(
            command,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def check(self) -> None:
        """Nothing that was started has ended.

        Raises:
            UserError: one has ended.
        """
        for name, part in self._parts.items():
            if (code := part.poll()) is not None:
                raise UserError(self._failure(name, code))

    def _failure(self, name: str, code: int) -> str:
        last = "\n".join(Path(self.log).read_text(errors="replace").splitlines()[-15:])
        return f"{name} has ended with code {code}. The log, {self.log}, ends with:\n{last}"

    def stop(self, last: str | None = None) -> None:
        """TERM all, wait, KILL what is left.

        Args:
            last: name of the one that the others still talk to while they end.
        """
        members = list(self._members())
        spared = self._parts[last].pid if last in self._parts else None
        self._end([member for member in members if member.pid != spared])
        self._end([member for member in members if member.pid == spared])
        self._end(list(self._members()), signal.SIGKILL)

    @staticmethod
    def _end(members: list[psutil.Process], how: int = signal.SIGTERM) -> None:
        for member in members:
            with suppress(psutil.Error):
                member.send_signal(how)
        psutil.wait_procs(members, timeout=TERM_SECONDS)

    def _members(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == self._environ[MARK]:
                    yield process
