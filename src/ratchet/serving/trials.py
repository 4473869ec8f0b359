"""A challenger that answers beside the champion: unseen, or its share of the requests."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec

from ratchet.compiled.answers import Answer, RequestError, Row
from ratchet.monitoring.log_table import SHADOW
from ratchet.serving.child_processes import SETTINGS, WORKER
from ratchet.serving.protocols import AnswerBatch, AnswerLog, QueueFullError, Serving
from ratchet.serving.settings import Settings

LOGGER = logging.getLogger(__name__)

MOST_WAITING = 2_000
"""Rows that may wait for a shadow: what comes beyond is not answered by it."""

_AT_ONCE = 8
"""Rows that a shadow answers before it looks whether a request has come."""

_PAUSE_SECONDS = 0.002


def is_challengers(subject: str, champion: Serving, challenger: Serving, share: float) -> bool:
    """Whether the challenger answers a subject in a split.

    The same subject always gets the same arm of a trial, in every process; trials are independent.

    Args:
        subject: whom the answers are for.
        champion: the version that serves.
        challenger: the version beside it.
        share: share of the subjects that the challenger answers.
    """
    trial = f"{champion.name}:{champion.version}:{challenger.version}:"
    drawn = hashlib.sha256(f"{trial}{subject}".encode()).digest()[:8]
    return int.from_bytes(drawn) < share * 2**64


def subject_hash(subject: str) -> str:
    """What the log keeps of a subject: enough to count subjects, and not its name."""
    return hashlib.sha256(subject.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class _Task:
    challenger: Serving
    rows: Sequence[Row]
    request: str
    actor: str | None


class Shadow:
    """Lets challengers answer what champions have answered, after the response is sent.

    Args:
        log: where their answers go.
        is_idle: whether no request is being answered.
        leave_out: called with use case and number of rows that are left out.
        most_waiting: rows that may wait.
    """

    def __init__(
        self,
        log: AnswerLog,
        is_idle: Callable[[], bool],
        leave_out: Callable[[str, int], None],
        *,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._log = log
        self._is_idle = is_idle
        self._leave_out = leave_out
        self._most_waiting = most_waiting
        self._tasks: asyncio.Queue[_Task] = asyncio.Queue()
        self._runner: asyncio.Task[None] | None = None
        self.waiting = 0

    async def start(self) -> None:
        """Begin to answer."""
        self._runner = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what waits is left out."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
            self._runner = None

    def offer(
        self, challenger: Serving, rows: Sequence[Row], request: str, actor: str | None
    ) -> None:
        """Have rows answered later; under load some are left out, which is counted."""
        if self._runner is None or self.waiting + len(rows) > self._most_waiting:
            self._leave_out(challenger.name, len(rows))
            return
        self.waiting += len(rows)
        self._tasks.put_nowait(_Task(challenger, rows, request, actor))

    async def _run(self) -> None:
        while True:
            task = await self._tasks.get()
            try:
                await self._answer(task)
            except QueueFullError:  # the answers that clients wait for go first
                self._leave_out(task.challenger.name, len(task.rows))
            except Exception as error:  # whatever a challenger does, the champion answers
                LOGGER.warning(
                    "version %s of %s has failed in the shadow: %s",
                    *(task.challenger.version, task.challenger.name, error),
                )
                self._log.write_error(
                    task.challenger, task.rows, task.request, type(error).__name__, SHADOW
                )
            finally:
                self.waiting -= len(task.rows)

    async def _answer(self, task: _Task) -> None:
        answers: list[Answer] = []
        spent = 0.0
        # Of a path later rows look at what earlier ones say.
        size = len(task.rows) if task.challenger.use_case.features.path else _AT_ONCE
        for first in range(0, len(task.rows), size):
            while not self._is_idle():
                await asyncio.sleep(_PAUSE_SECONDS)
            started = time.perf_counter()
            try:
                result = task.challenger.answerer.answer(task.rows[first : first + size])
                answers += await result if inspect.isawaitable(result) else result
            except RequestError as error:
                raise ValueError(f"it cannot answer what the champion can: {error}") from error
            spent += (time.perf_counter() - started) * 1e3
            await asyncio.sleep(0)
        now = datetime.now(UTC)
        self._log.write(
            AnswerBatch(task.challenger, task.rows, answers, task.request, now, spent, task.actor),
            SHADOW,
        )


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
    figures: dict[str, object] | None
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
        if find_spec("kedro") is None:
            return 1, "", "it takes Kedro, which this image does not have: kedro ratchet trial"
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
