"""What serves, and where answers, measurements and truth go: what the routes need of the rest.

The routes know the protocols of this module only. Behind them stand the ledger's watcher and the
stores; ``Fixed`` is the simplest thing that serves, for tests and for trying a version out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from ratchet.compiled.answers import Answer, Answerer, Row
from ratchet.config import UseCase
from ratchet.monitoring.log_table import CHAMPION
from ratchet.serving.log_entries import Entry
from ratchet.serving.request_context import Assignment

if TYPE_CHECKING:
    from ratchet.learning.demand.book import DemandBook


class AsyncAnswerer(Protocol):
    """A version that cannot be compiled: another process answers in its place."""

    def answer(self, rows: Sequence[Row]) -> Awaitable[list[Answer]]:
        """Answer rows, in their order.

        Raises:
            RequestError: the first row that cannot be answered.
        """
        ...


@dataclass(frozen=True)
class Serving:
    """A version of a use case that answers.

    Attributes:
        use_case: the parameters that the models were made with.
        name: name of the use case.
        version: number of the version.
        digest: SHA-256 of its manifest.
        since: since when it serves (UTC).
        trained_until: time of the last row that it has learned from.
        answerer: answers rows.
        inputs: columns that a row to be answered is asked for -> whether they may be left out.
        examples: rows that it was tried on, as they are asked.
        degraded: why it answers slowly; ``None`` where it is compiled.
        prices: what prices the segments of a market, where there is one.
    """

    use_case: UseCase
    name: str
    version: str
    digest: str
    since: datetime
    answerer: Answerer | AsyncAnswerer
    inputs: Mapping[str, bool]
    trained_until: datetime | None = None
    examples: Sequence[Row] = field(default=())
    degraded: str | None = None
    prices: DemandBook | None = None


class Models(Protocol):
    """The versions that serve at this moment."""

    def use_cases(self) -> Sequence[str]:
        """Names of all use cases, whether or not something serves."""
        ...

    def champion(self, use_case: str) -> Serving | None:
        """What answers; ``None`` where nothing serves yet."""
        ...

    def challenger(self, use_case: str) -> Serving | None:
        """What answers beside it, where something does."""
        ...

    def problems(self) -> Mapping[str, str]:
        """Use case -> why what should serve does not, without paths."""
        ...

    async def start(self) -> None:
        """Begin to follow the ledger."""
        ...

    async def stop(self) -> None:
        """End all that was started."""
        ...


@dataclass(frozen=True)
class AnswerBatch:
    """Rows that one version has answered for one request.

    Attributes:
        serving: the version.
        rows: what was asked, as the version's contract calls it.
        answers: what was answered, in the same order.
        request: id of the request.
        at: when (UTC).
        latency_ms: how long the answers took, of all rows.
        actor: who asked, where a key said so.
        assignment: of a split, how the version was chosen.
    """

    serving: Serving
    rows: Sequence[Row]
    answers: Sequence[Answer]
    request: str
    at: datetime
    latency_ms: float
    actor: str | None = None
    assignment: Assignment | None = None


class QueueFullError(Exception):
    """Answers come faster than they can be written down."""


class UnavailableError(Exception):
    """What was handed in cannot be kept at present; the message says why, and what to do."""


class AnswerLog(Protocol):
    """Takes answers for the prediction log, without making the caller wait."""

    async def start(self) -> None:
        """Begin to take answers, and to write what earlier processes have left."""
        ...

    async def stop(self) -> None:
        """Write what waits, and end."""
        ...

    @property
    def problem(self) -> str | None:
        """Why answers do not reach the database; ``None`` where they do."""
        ...

    @property
    def waiting(self) -> int:
        """Answers that are not in the database yet."""
        ...

    def write(self, answered: AnswerBatch, arm: str = CHAMPION) -> None:
        """Take the answers of a request before they are sent.

        Args:
            answered: the answers.
            arm: for what they were given, see ``monitoring.log_table``.

        Raises:
            QueueFullError: too many wait already; nothing was taken.
        """
        ...

    def append(self, entry: Entry) -> None:
        """Take an entry as it is, such as a recommended price, before the answer is sent.

        Raises:
            QueueFullError: too many wait already; it was not taken.
        """
        ...

    def write_error(
        self,
        serving: Serving,
        rows: Sequence[Row],
        request: str,
        why: str,
        arm: str = CHAMPION,
        assignment: Assignment | None = None,
    ) -> None:
        """Note that a version has failed on rows that are as they should be."""
        ...


@dataclass(frozen=True)
class IngestResult:
    """Result of handing rows in.

    Attributes:
        new: rows that were not known.
        changed: rows that were known with other values.
        same: rows that were known as they are.
        unknown: rows whose truth was handed in and that no answer is about.
    """

    new: int
    changed: int = 0
    same: int = 0
    unknown: int = 0


class Measurements(Protocol):
    """Durable store of what was measured, which forecasts, monitoring and training read."""

    async def take(self, use_case: str, rows: Sequence[Row], actor: str | None) -> IngestResult:
        """Take measurements of steps that are over; the same ones again change nothing.

        Raises:
            RequestError: the first row that breaks the contract. None of the rows is taken then.
            UnavailableError: the database cannot take them at present.
        """
        ...


class Truths(Protocol):
    """Joins what came true to what was answered."""

    async def take(self, use_case: str, rows: Sequence[Row], actor: str | None) -> IngestResult:
        """Take the truth of rows: each with its ``key`` and the targets that are known.

        Raises:
            RequestError: the first row that cannot be used. None of the rows is taken then.
            UnavailableError: the database cannot take it at present.
        """
        ...


class Fixed:
    """Versions that are given and never change.

    Args:
        serving: the champion of each use case.
        others: names of use cases in which nothing serves.
        troubles: use case -> why what should serve does not.
        challengers: versions that answer beside them.
    """

    def __init__(
        self,
        serving: Sequence[Serving],
        others: Sequence[str] = (),
        troubles: Mapping[str, str] | None = None,
        challengers: Sequence[Serving] = (),
    ) -> None:
        self._champions = {each.name: each for each in serving}
        self._challengers = {each.name: each for each in challengers}
        self._others, self._troubles = others, dict(troubles or {})

    def use_cases(self) -> Sequence[str]:
        """Names of all use cases."""
        return [*self._champions, *self._others]

    def champion(self, use_case: str) -> Serving | None:
        """The version that was given."""
        return self._champions.get(use_case)

    def challenger(self, use_case: str) -> Serving | None:
        """The version that was given beside it."""
        return self._challengers.get(use_case)

    def problems(self) -> Mapping[str, str]:
        """Those that were given."""
        return self._troubles

    async def start(self) -> None:
        """Nothing follows anything."""

    async def stop(self) -> None:
        """Nothing was started."""
