"""What is known of trials: asked of ``kedro ratchet trial``, when somebody looks, now and then.

The comparison takes pandas, and so a process of its own; the page shows what it said last.
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
        found: the figures, as ``Trial.to_json`` gives them; ``None`` where there are none.
        why: why there are none.
    """

    at: float
    found: dict[str, Any] | None
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
        self._run = run or self._ask
        self._known: dict[tuple[str, str, str], TrialVerdict] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    def look(self, use_case: str, champion: str, challenger: str) -> TrialVerdict | None:
        """What is known of a trial by now; what is old, or not known yet, is asked for."""
        key = (use_case, champion, challenger)
        known = self._known.get(key)
        is_new = known is not None and self._clock() - known.at < EVERY
        if not is_new and use_case not in self._tasks:
            self._tasks[use_case] = asyncio.create_task(self._learn(key))
        return known

    async def stop(self) -> None:
        """Ask no more."""
        for task in list(self._tasks.values()):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _learn(self, key: tuple[str, str, str]) -> None:
        use_case, *versions = key
        try:
            async with self._turn:
                code, said, errors = await self._run(use_case)
            self._known[key] = self._read(code, said, errors, versions)
        finally:
            self._tasks.pop(use_case, None)

    def _read(self, code: int, said: str, errors: str, versions: list[str]) -> TrialVerdict:
        now = self._clock()
        if code:
            lines = errors.strip().splitlines()
            why = lines[-1].removeprefix("Error: ") if lines else "it could not be asked for"
            return TrialVerdict(now, None, why[:300])
        try:
            found = json.loads(said)
            is_of_these = list(map(str, found["versions"])) == versions
        except (ValueError, KeyError, TypeError):
            return TrialVerdict(now, None, "it cannot be read")
        return TrialVerdict(now, found if is_of_these else None, "" if is_of_these else "too early")

    async def _ask(self, use_case: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "kedro", "ratchet", "trial", "-u", use_case, "--json"]
        command += ["--env", self._settings.env] if self._settings.env else []
        environ = {key: v for key, v in os.environ.items() if key not in (SETTINGS, WORKER)}
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *("nice", "-n", str(_NICE), *command),
            cwd=self._settings.project,
            env={**environ, "KEDRO_DISABLE_TELEMETRY": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
        )
        try:
            async with asyncio.timeout(_LONGEST):
                said, errors = await child.communicate()
        except TimeoutError:
            return 1, "", f"no answer within {_LONGEST:.0f} s"
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return child.returncode or 0, said.decode(), errors.decode()
