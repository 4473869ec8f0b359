"""A challenger that answers beside the champion: unseen, or its share of the requests."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ratchet.compiled.answers import Answer, RequestError, Row
from ratchet.monitoring.log_table import SHADOW
from ratchet.serving.models import AnswerBatch, AnswerLog, QueueFullError, Serving

LOGGER = logging.getLogger(__name__)

MOST_WAITING = 2_000
"""Rows that may wait for a shadow: what comes beyond is not answered by it."""

_AT_ONCE = 8
"""Rows that a shadow answers before it looks whether a request has come."""

_PAUSE_SECONDS = 0.002


def is_challengers(subject: str, champion: Serving, challenger: Serving, share: float) -> bool:
    """Whether a challenger answers somebody in a split.

    The same subject always gets the same arm of a trial, in every process; each trial draws anew.

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
    """Lets challengers answer what champions have answered, while nobody waits.

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
            except QueueFullError:  # the answers that somebody waits for go first
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
        for first in range(0, len(task.rows), _AT_ONCE):
            while not self._is_idle():
                await asyncio.sleep(_PAUSE_SECONDS)
            started = time.perf_counter()
            try:
                result = task.challenger.answerer.answer(task.rows[first : first + _AT_ONCE])
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
