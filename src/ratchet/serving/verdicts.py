"""How trials stand, by ``kedro ratchet trial``, which is run now and then when somebody looks.

The comparison takes pandas, and so a process of its own; the page shows its last output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ratchet.serving.children import SETTINGS, WORKER
from ratchet.serving.settings import Settings

EVERY = 600.0
"""Seconds for which a verdict counts as new."""

_LONGEST = 180.0
_NICE = 10

Run = Callable[[str], Awaitable[tuple[int, str, str]]]
"""Asks for the trial of a use case; gives the exit code, what was said, and the errors."""


@dataclass(frozen=True)
class TrialVerdict:
    """What was said of a trial.

    Attributes:
        at: when, in seconds since 1970.
        figures: as ``Trial.to_json`` gives them; ``None`` where there are none.
        why: why there are none.
    """

    at: float
    figures: dict[str, Any] | None
    why: str = ""


class TrialVerdicts:
    """Asks for the trials of use cases, one after the other, and remembers what was said.

    Args:
        settings: project and environment.
        run: asks.
        clock: seconds since 1970.
    """

    def __init__(
        self, settings: Settings, run: Run | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings, self._clock = settings, clock
        self._run = run or self._call_command
        self._cached: dict[tuple[str, str, str], TrialVerdict] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    def look(self, use_case: str, champion: str, challenger: str) -> TrialVerdict | None:
        """The cached verdict on a trial; an old or missing one is computed in the background."""
        key = (use_case, champion, challenger)
        cached = self._cached.get(key)
        is_new = cached is not None and self._clock() - cached.at < EVERY
        if not is_new and use_case not in self._tasks:
            self._tasks[use_case] = asyncio.create_task(self._refresh(key))
        return cached

    async def stop(self) -> None:
        """Ask no more."""
        for task in list(self._tasks.values()):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _refresh(self, key: tuple[str, str, str]) -> None:
        use_case, *versions = key
        try:
            async with self._turn:
                code, output, errors = await self._run(use_case)
            self._cached[key] = self._read(code, output, errors, versions)
        finally:
            self._tasks.pop(use_case, None)

    def _read(self, code: int, output: str, errors: str, versions: list[str]) -> TrialVerdict:
        now = self._clock()
        if code:
            lines = errors.strip().splitlines()
            why = lines[-1].removeprefix("Error: ") if lines else "it could not be computed"
            return TrialVerdict(now, None, why[:300])
        try:
            trial = json.loads(output)
            is_of_these = list(map(str, trial["versions"])) == versions
        except (ValueError, KeyError, TypeError):
            return TrialVerdict(now, None, "it cannot be read")
        return TrialVerdict(now, trial if is_of_these else None, "" if is_of_these else "too early")

    async def _call_command(self, use_case: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "kedro", "ratchet", "trial", "-u", use_case, "--json"]
        command += ["--env", self._settings.env] if self._settings.env else []
        environ = {key: v for key, v in os.environ.items() if key not in (SETTINGS, WORKER)}
        pipe = asyncio.subprocess.PIPE
        try:
            child = await asyncio.create_subprocess_exec(
                *("nice", "-n", str(_NICE), *command),
                cwd=self._settings.project,
                env={**environ, "KEDRO_DISABLE_TELEMETRY": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
            )
        except OSError as error:
            return 1, "", f"the comparison cannot be started: {error.strerror}"
        try:
            async with asyncio.timeout(_LONGEST):
                output, errors = await child.communicate()
        except TimeoutError:
            return 1, "", f"no answer within {_LONGEST:.0f} s"
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return child.returncode or 0, output.decode(), errors.decode()
