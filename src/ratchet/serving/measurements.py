"""Measurements that are handed in: written down once, and seen by every version that is ready.

A measurement is checked by the version that serves, written to the database, and then taken by all
versions in the order of the database's changes, so that champion, rollback target and challenger,
of this process and of others, see the same.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from ratchet.compiled.answers import Answerer, RequestError, Row
from ratchet.compiled.contract import Contract, contract_of
from ratchet.compiled.series_answerer import SeriesAnswerer
from ratchet.config import UseCase, series_name
from ratchet.errors import ConfigError, DatabaseError
from ratchet.monitoring.measurements import Measurement, Measurements, Written
from ratchet.serving.bundle_worker import SlowAnswerer
from ratchet.serving.protocols import IngestResult, Models, Serving, UnavailableError

LOGGER = logging.getLogger(__name__)

_AT_ONCE = 5_000
"""Measurements that are taken in one go."""


class StoredMeasurements:
    """Where ``POST /observe`` hands measurements to.

    Args:
        store: the table of them.
        models: what serves.
        ready: gives all versions of a use case that are held ready.
    """

    def __init__(
        self, store: Measurements, models: Models, ready: Callable[[str], Sequence[Serving]]
    ) -> None:
        self._store = store
        self._models = models
        self._ready = ready
        self._seen: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._turn = threading.Lock()

    async def take(self, use_case: str, rows: Sequence[Row], actor: str | None) -> IngestResult:
        """Take measurements of steps that are over; the same ones again change nothing.

        Raises:
            RequestError: the use case has no series, or the first row that breaks the contract.
                None of the rows is taken then.
            UnavailableError: the database cannot take them at present.
        """
        serving = self._models.champion(use_case)
        if serving is None or serving.use_case.data.series is None:
            raise RequestError(
                f"{use_case} has no series that go on: its rows come with the raw file, and what "
                f"came true of answers by POST /truth/{use_case}"
            )
        try:
            written = await asyncio.to_thread(self._take, serving, rows, actor)
        except (ConfigError, DatabaseError) as error:
            LOGGER.error("%s: measurements are not taken: %s", use_case, error)
            raise UnavailableError(
                "the database takes no measurements at present; hand them in again later"
            ) from error
        return IngestResult(written.new, written.changed, written.same)

    def _take(self, serving: Serving, rows: Sequence[Row], actor: str | None) -> Written:
        measured = measurements_of(rows, serving.use_case)
        if isinstance(serving.answerer, SeriesAnswerer):
            serving.answerer.check_measured(rows)
        name, now = serving.name, datetime.now(UTC)
        written = self._store.write(name, measured, at=now, source=actor or "service")
        self.catch_up(name)
        return written

    def prepare(self, serving: Serving) -> None:
        """Bring a version up to date before it serves."""
        with self._turn:
            self._catch_up(serving)

    def catch_up(self, use_case: str) -> None:
        """Let all versions of a use case see what was handed in since, here or elsewhere."""
        with self._turn:
            last = self._store.last_change(use_case)
            for serving in self._ready(use_case):
                if self._seen.get(serving.answerer, 0) != last:
                    self._catch_up(serving)

    def _catch_up(self, serving: Serving) -> None:
        answerer = serving.answerer
        if not isinstance(answerer, SeriesAnswerer | SlowAnswerer):
            return
        last = self._store.last_change(serving.name)  # all up to it can be seen
        if self._seen.get(answerer, 0) > last:  # an older copy of the database has taken its place
            self._seen[answerer] = 0
        while changes := self._store.since(serving.name, self._seen.get(answerer, 0), _AT_ONCE):
            take(answerer, [row_of(one, serving.use_case) for one in changes])
            self._seen[answerer] = changes[-1].change
        self._seen[answerer] = max(last, self._seen.get(answerer, 0))


def take(answerer: Answerer | SlowAnswerer, rows: Sequence[Row]) -> None:
    """Let a version take measurements; those that it cannot take are left out and logged.

    They were right when they were handed in, by the contract of another version. Nor may one on
    which a version fails keep it from all others, now and after every start. The
    error does not always name the row, so that the rows are halved until it is alone.
    """
    waiting = [rows]
    while waiting:
        part = waiting.pop()
        try:
            answerer.observe(part)
        except Exception as error:
            if len(part) > 1:
                half = len(part) // 2
                waiting += [part[half:], part[:half]]
            else:
                is_expected = isinstance(error, RequestError)
                LOGGER.warning(
                    "a measurement is left out: %s: %s", part[0], error, exc_info=not is_expected
                )


def measurements_of(rows: Sequence[Row], use_case: UseCase) -> list[Measurement]:
    """Rows that are handed in as they are written down.

    Raises:
        RequestError: the first row that breaks the contract.
    """
    data = use_case.data
    contract: Contract = contract_of(use_case, measured=True)
    assert data.series is not None
    assert data.time is not None
    names = (data.time, *data.series.columns)
    kept = {*data.series.id_columns}  # they cannot be read off the name of the series
    measurements = []
    for number, (row, values) in enumerate(zip(rows, contract.read_rows(rows), strict=True)):
        fields = {n: value for n, value in row.items() if n not in names or n in kept}
        if not fields.keys() - kept:
            missing = ", ".join(name for name in data.columns if name not in names)
            raise RequestError(f"expected what was measured, any of {missing}", row=number)
        series = series_name(values, data.series.columns) or ""
        measurements.append(Measurement(time=values[data.time], series=series, fields=fields))
    return measurements


def row_of(measurement: Measurement, use_case: UseCase) -> Row:
    """A measurement as it was handed in, with its time in UTC where it has a time zone."""
    data = use_case.data
    assert data.series is not None
    assert data.time is not None
    zone = "" if data.timezone is None else "+00:00"
    row = {data.time: f"{measurement.time.isoformat()}{zone}", **measurement.fields}
    if data.series.id is None or data.series.id_columns:
        return row
    return {data.series.id: measurement.series, **row}
