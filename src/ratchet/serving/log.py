"""What was answered, written down before the answer is sent, and brought to the database later."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ratchet.compiled.answers import RequestError, Row
from ratchet.compiled.field_values import LARGEST_NUMBER, Field, shown
from ratchet.config import Target, joined_key
from ratchet.monitoring.log_table import CHAMPION, WITHOUT_PAST
from ratchet.serving.child_processes import command, environment
from ratchet.serving.journal import Journal, JournalPosition, LogFullError
from ratchet.serving.log_entries import Entry, as_line, of_split
from ratchet.serving.log_writer import JoinResult
from ratchet.serving.protocols import (
    AnswerBatch,
    IngestResult,
    Models,
    QueueFullError,
    Serving,
    UnavailableError,
)
from ratchet.serving.request_context import Assignment

LOGGER = logging.getLogger(__name__)

QUEUE_ROWS = 20_000
"""Answers that may wait for the database; beyond that none is given any more."""

SYNC_SECONDS = 0.05
"""How often the disk is waited for: what a power cut can take."""

QUIET_SECONDS = 10.0
"""Time in which nothing is written that is reported as a problem, where something waits."""

TRUTH_SECONDS = 20.0
"""How long a request that hands truth in waits for the database."""

_LARGEST_LINE = 64_000_000


@dataclass(frozen=True)
class LogStatus:
    """How the log is.

    Attributes:
        state: ``ok``; ``behind`` where the database does not take what waits; ``full`` where
            nothing is answered any more.
        waiting: answers that are not in the database yet.
        waiting_bytes: their size in the journal.
        problem: why the database does not take them.
        lost: answers that were damaged in the journal, or that the database refused.
    """

    state: str
    waiting: int
    waiting_bytes: int
    problem: str | None
    lost: int


class JournaledLog:
    """The prediction log as the service writes it: a journal, and a process that empties it.

    Args:
        folder: folder of the journals, shared by all processes of a project.
        database_url: database of the prediction log.
        queue_rows: answers that may wait for it.
    """

    def __init__(self, folder: Path, database_url: str, *, queue_rows: int = QUEUE_ROWS) -> None:
        self._folder = folder
        self._url = database_url
        self._limit = queue_rows
        self._journal: Journal | None = None
        self._sizes: dict[int, JournalPosition] = {}
        self._written = JournalPosition()
        self._error: str | None = None
        self._lost = 0
        self._progressed_at = time.monotonic()
        self._process: asyncio.subprocess.Process | None = None
        self._questions: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last_question = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin a journal, and the process that empties it and those of dead processes."""
        self._journal = Journal(self._folder)
        self._tasks = [
            asyncio.create_task(self._sync_often()),
            asyncio.create_task(self._keep_writing()),
        ]

    async def stop(self, seconds: float = 10.0) -> None:
        """Let the rest be written, for so long; what is left then the next start writes."""
        if self._journal is None:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._journal.close()  # so that the writer may take it for its own, and remove it
        self._journal = None
        if self._process is not None:
            await _end(self._process, seconds)

    def write(self, answered: AnswerBatch, arm: str = CHAMPION) -> None:
        """Write the answers of a request down; they may be sent afterwards.

        Args:
            answered: the answers.
            arm: for what they were given: ``champion``, or ``shadow`` where they are not returned.

        Raises:
            QueueFullError: they cannot be, and must not be sent.
        """
        share = answered.latency_ms / max(len(answered.answers), 1)
        serving, answers = answered.serving, answered.answers
        second = [answer for answer in answers if answer.basis]  # which is not its usual self
        first = [answer for answer in answers if not answer.basis] if second else answers
        for name, some in ((arm, first), (WITHOUT_PAST, second)):
            if some:
                head = (serving.name, serving.version, name, answered.request)
                split = of_split(answered.assignment)
                self.append(Entry(*head, answered.at, share, some, **split))

    def write_error(
        self,
        serving: Serving,
        rows: Sequence[Row],
        request: str,
        why: str,
        arm: str = CHAMPION,
        assignment: Assignment | None = None,
    ) -> None:
        """Write down that a version has failed on rows; where that cannot be, only say so."""
        named = serving.use_case.data.identity
        key = joined_key(rows[0].get(name) or "" for name in named) if rows else ""
        now = datetime.now(UTC)
        head = (serving.name, serving.version, arm, request, now, math.nan)
        try:
            self.append(Entry(*head, error=why, row_key=key, **of_split(assignment)))
        except QueueFullError as error:
            LOGGER.error("Request %s: its failure is not in the log: %s", request, error)

    def append(self, entry: Entry) -> None:
        """Write an entry to the journal.

        Raises:
            QueueFullError: too much waits for the database, or the disk is full.
        """
        if self._journal is None:
            raise QueueFullError("the log of predictions is not open")
        if self.waiting >= self._limit:
            raise QueueFullError(
                f"{self.waiting:,} answers wait for the database, {self._limit:,} may: "
                f"{self._error or 'it is too slow'}"
            )
        try:
            self._journal.append(as_line(entry), entry.rows)
        except LogFullError as error:
            self._error = str(error)
            self._make_room(self._journal)
            raise QueueFullError(str(error)) from error
        self._sizes[self._journal.place.segment] = self._journal.place

    def _make_room(self, journal: Journal) -> None:
        """Have the file removed whose answers are all in the database.

        The disk may be full of nothing else, and the writer leaves the last file alone.
        """
        if journal.place.size and not self.waiting:
            with suppress(OSError):
                journal.start_segment()
                self._sizes[journal.place.segment] = journal.place

    @property
    def waiting(self) -> int:
        """Answers that are not in the database yet."""
        return sum(position.rows for position in self._sizes.values()) - self._written.rows

    @property
    def problem(self) -> str | None:
        """Why answers do not reach the database; ``None`` where they do."""
        return self.status().problem

    def status(self) -> LogStatus:
        """How the log is."""
        problem, waiting = self._error, self.waiting
        silence = time.monotonic() - self._progressed_at
        if problem is None and waiting and silence > QUIET_SECONDS:
            problem = f"the database has taken nothing for {silence:.0f} s"
        state = "full" if waiting >= self._limit else "behind" if problem else "ok"
        size = sum(position.size for position in self._sizes.values()) - self._written.size
        return LogStatus(state, waiting, size, problem, self._lost)

    async def join_truth(self, use_case: str, rows: Sequence[Mapping[str, Any]]) -> JoinResult:
        """Write down what came true; when this returns, the database has it.

        Answers that were given before are written first. Handed in again it changes nothing.

        Args:
            use_case: of which.
            rows: ``key``, and ``values``: target -> a number, or the name of a class.

        Raises:
            UnavailableError: the database cannot be reached, or is locked.
        """
        question = {"use_case": use_case, "rows": list(rows)}
        end = time.monotonic() + TRUTH_SECONDS
        while True:
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    message = await self._send_question(question)
            except TimeoutError:
                raise UnavailableError(
                    f"the database did not take the truth within {TRUTH_SECONDS:.0f} s; hand it "
                    f"in again later"
                ) from None
            except ConnectionError:  # the process has died; the same again changes nothing
                await asyncio.sleep(0.1)
                continue
            if "error" in message:
                LOGGER.error("%s: truth is not taken: %s", use_case, message["error"])
                raise UnavailableError("the database takes no truth at present; hand it in later")
            return JoinResult(**message["joined"])

    async def _send_question(self, question: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            raise ConnectionError
        self._last_question += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._questions[number := self._last_question] = answer
        try:
            process.stdin.write(json.dumps({"id": number, **question}).encode() + b"\n")
            await process.stdin.drain()
            return await answer
        finally:
            del self._questions[number]

    async def _sync_often(self) -> None:
        journal = self._journal
        assert journal is not None
        loop = asyncio.get_running_loop()
        # Threads of others may all be waiting for a database.
        with ThreadPoolExecutor(1, "journal") as executor:
            while True:
                await asyncio.sleep(SYNC_SECONDS)
                try:
                    await loop.run_in_executor(executor, journal.sync)
                except OSError as error:
                    LOGGER.error("the journal of answers cannot be written: %s", error)

    async def _keep_writing(self) -> None:
        """Have a process that empties the journal; where it dies, another one."""
        while True:
            started = time.monotonic()
            try:
                await self._write_until_dead()
            except OSError as error:  # no process can be started at present
                self._error = f"no process for the log of predictions: {error}"
            if time.monotonic() - started < 1:
                await asyncio.sleep(1)

    async def _write_until_dead(self) -> None:
        assert self._journal is not None
        process = self._process = await asyncio.create_subprocess_exec(
            *command("ratchet.serving.log_writer", str(self._folder), self._journal.owner),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
            limit=_LARGEST_LINE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(ConnectionError):
            process.stdin.write(self._url.encode() + b"\n")
            async for line in process.stdout:
                self._receive(json.loads(line))
        code = await process.wait()
        LOGGER.warning("the writer of the prediction log has died (%d); another one starts", code)
        self._error = f"its process has died ({code})"
        for answer in self._questions.values():
            if not answer.done():
                answer.set_exception(ConnectionError())

    def _receive(self, message: dict[str, Any]) -> None:
        if "id" in message:
            answer = self._questions.get(message["id"])
            if answer is not None and not answer.done():
                answer.set_result(message)
            return
        self._error, self._lost = message["error"], message["lost"]
        before = self._written
        self._written = JournalPosition(message["segment"], message["size"], message["rows"])
        if self._written != before or not self.waiting:
            self._progressed_at = time.monotonic()
        for number in [one for one in self._sizes if one < message["segment"]]:
            del self._sizes[number]


async def _end(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Close what a writer listens to, whereupon it writes the rest and ends."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        LOGGER.warning("answers that wait in the journal are written at the next start")
        process.kill()
        await process.wait()


class TruthJoiner:
    """Takes what came true of rows that were answered.

    Args:
        log: where their answers are.
        models: what serves, with the targets.
    """

    def __init__(self, log: JournaledLog, models: Models) -> None:
        self._log = log
        self._models = models

    async def take(self, use_case: str, rows: Sequence[Row], actor: str | None) -> IngestResult:
        """Take the truth of rows: each with its ``key`` and the targets that are known.

        Raises:
            RequestError: the first row that cannot be used. None of the rows is taken then.
            UnavailableError: the database cannot take it at present.
        """
        serving = self._models.champion(use_case)
        targets = serving.use_case.targets if serving is not None else {}
        read = [read_truth(row, targets, number) for number, row in enumerate(rows)]
        joined = await self._log.join_truth(use_case, read)
        LOGGER.info("%s: truth of %d rows by %s: %s", use_case, len(rows), actor, joined)
        return IngestResult(joined.new, joined.changed, joined.same, joined.unknown)


def read_truth(row: Row, targets: Mapping[str, Target], number: int = 0) -> dict[str, Any]:
    """The key and the truths of a row.

    Args:
        row: as it was handed in.
        targets: what may be true, by name.
        number: number of the row in the request.

    Raises:
        RequestError: the key or a value is missing or wrong.
    """
    key = row.get("key")
    if not isinstance(key, str | int) or isinstance(key, bool) or key == "":
        raise _wrong("key", number, f"expected the key of the answer, as text; got {shown(key)}")
    if unknown := [name for name in row if name != "key" and name not in targets]:
        existing = ", ".join(["key", *targets])
        raise _wrong(unknown[0], number, f"there is no such field; there are {existing}")
    values = {
        name: _value(value, name, targets[name], number)
        for name, value in row.items()
        if name != "key" and value is not None
    }
    if not values:
        raise _wrong(None, number, f"expected what came true: {', '.join(targets)}")
    return {"key": str(key), "values": values}


def _value(value: Any, name: str, target: Target, number: int) -> float | str:
    if target.classes is not None:
        if value in target.classes:
            return str(value)
        raise _wrong(
            name, number, f"expected one of {', '.join(target.classes)}; got {shown(value)}"
        )
    low, high = target.bounds or (-math.inf, math.inf)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_within = is_number and low <= value <= high
    if is_within and abs(value) <= LARGEST_NUMBER:
        return float(value)
    ends = (end if math.isfinite(end) else None for end in (low, high))
    expected = Field("number", low=next(ends), high=next(ends)).expected
    hint = f"; models hold numbers up to {LARGEST_NUMBER:.2g}" if is_within else ""
    raise _wrong(name, number, f"expected {expected}, got {shown(value)}{hint}")


def _wrong(field: str | None, number: int, message: str) -> RequestError:
    return RequestError(message, field=field, row=number)
