"""What was answered, written down before the answer is sent, and brought to the database later."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet.errors import UserError
from ratchet.serving.children import command, environment
from ratchet.serving.journal import Journal, LogFullError, Place
from ratchet.serving.records import Entry, as_line
from ratchet.serving.writer import Joined

LOGGER = logging.getLogger(__name__)

__all__ = ["AnswerLog", "Entry", "Joined", "LogFullError", "LogStatus", "LogUnavailableError"]

LIMIT_BYTES = 256_000_000
"""Bytes that may wait for the database; beyond that no answer is given any more."""

SYNC_SECONDS = 0.05
"""How often the disk is waited for: what a power cut can take."""

QUIET_SECONDS = 10.0
"""Silence of the writer from which on it is told, where something waits."""

TRUTH_SECONDS = 20.0
"""How long somebody who hands truth in waits for the database."""

_LARGEST_LINE = 64_000_000


class LogUnavailableError(UserError):
    """The database cannot take truth at present; nothing of it was kept."""


@dataclass(frozen=True)
class LogStatus:
    """How the log is.

    Attributes:
        state: ``ok``; ``behind`` where the database does not take what waits; ``full`` where
            nothing is answered any more.
        pending: requests that were answered and are not in the database yet.
        pending_bytes: their size in the journal.
        error: why the database does not take them.
        lost: answers that were damaged in the journal, or that the database refused.
    """

    state: str
    pending: int
    pending_bytes: int
    error: str | None
    lost: int


class AnswerLog:
    """The prediction log as the service writes it: a journal, and a process that empties it.

    Args:
        folder: folder of the journals, shared by all processes of a project.
        database_url: database of the prediction log.
        limit_bytes: bytes that may wait for it.
    """

    def __init__(self, folder: Path, database_url: str, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._url = database_url
        self._limit = limit_bytes
        self._journal: Journal | None = None
        self._sizes: dict[int, Place] = {}
        self._written = Place()
        self._error: str | None = None
        self._lost = 0
        self._told_at = time.monotonic()
        self._process: asyncio.subprocess.Process | None = None
        self._questions: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._asked = 0
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

    def write(self, entry: Entry) -> None:
        """Write an answer down; it may be sent afterwards.

        Raises:
            LogFullError: it cannot be, and must not be sent.
        """
        if self._journal is None:
            raise LogFullError("the log of predictions is not open")
        if self.pending_bytes > self._limit:
            raise LogFullError(
                f"{self.pending_bytes / 1e6:.0f} MB of answers wait for the database, "
                f"{self._limit / 1e6:.0f} MB may: {self._error or 'it is too slow'}"
            )
        self._journal.append(as_line(entry))
        self._sizes[self._journal.place.segment] = self._journal.place

    @property
    def pending(self) -> int:
        """Requests that were answered and are not in the database yet."""
        return sum(place.lines for place in self._sizes.values()) - self._written.lines

    @property
    def pending_bytes(self) -> int:
        """Their size."""
        return sum(place.size for place in self._sizes.values()) - self._written.size

    def status(self) -> LogStatus:
        """How the log is."""
        error = self._error
        silence = time.monotonic() - self._told_at
        if error is None and self.pending and silence > QUIET_SECONDS:
            error = f"the database has taken nothing for {silence:.0f} s"
        is_full = self.pending_bytes > self._limit
        state = "full" if is_full else "behind" if error else "ok"
        return LogStatus(state, self.pending, self.pending_bytes, error, self._lost)

    async def join_truth(
        self, use_case: str, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, Joined]:
        """Write down what came true; when this returns, the database has it.

        Answers that were given before are written first. Handed in again it changes nothing.

        Args:
            use_case: of which.
            rows: ``key``, and ``values``: target -> a number, or the name of a class.

        Returns:
            Target -> how many answers got it.

        Raises:
            LogUnavailableError: the database cannot be reached, or is locked.
        """
        question = {"use_case": use_case, "rows": list(rows)}
        end = time.monotonic() + TRUTH_SECONDS
        while True:
            try:
                told = await asyncio.wait_for(self._ask(question), end - time.monotonic())
            except TimeoutError:
                raise LogUnavailableError(
                    f"the database did not take the truth within {TRUTH_SECONDS:.0f} s; hand it "
                    f"in again later"
                ) from None
            except ConnectionError:  # the process has died; the same again changes nothing
                await asyncio.sleep(0.1)
                continue
            if "error" in told:
                raise LogUnavailableError(f"{told['error']}; hand it in again later")
            return {target: Joined(**one) for target, one in told["joined"].items()}

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            raise ConnectionError
        self._asked += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._questions[number := self._asked] = answer
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
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            try:
                await loop.run_in_executor(None, journal.sync)
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
            *command("ratchet.serving.writer", str(self._folder), self._journal.owner),
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
                self._take(json.loads(line))
        code = await process.wait()
        LOGGER.warning("the writer of the prediction log has died (%d); another one starts", code)
        self._error = f"its process has died ({code})"
        for answer in self._questions.values():
            if not answer.done():
                answer.set_exception(ConnectionError())

    def _take(self, told: dict[str, Any]) -> None:
        if "id" in told:
            answer = self._questions.get(told["id"])
            if answer is not None and not answer.done():
                answer.set_result(told)
            return
        self._told_at = time.monotonic()
        self._error, self._lost = told["error"], told["lost"]
        self._written = Place(told["segment"], told["size"], told["lines"])
        for number in [one for one in self._sizes if one < told["segment"]]:
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
