"""What was observed of series since their raw file was delivered.

A table in the database of the project. The service writes what is handed in to it, every process
that answers catches up with it, and training and monitoring read it as rows. No module here loads
pandas: a serving process has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from ratchet.database import naive_utc
from ratchet.errors import ConfigError, hide_secrets
from ratchet.monitoring.log_table import INSERTS

_TIMES_PER_QUERY = 200

METADATA = sa.MetaData()
MEASUREMENTS = sa.Table(
    "ratchet_measurements",
    METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    # Number of the last change, by which processes catch up.
    sa.Column("change", sa.BigInteger, nullable=False),
    sa.Column("use_case", sa.Text, nullable=False),
    sa.Column("series", sa.Text, nullable=False),
    sa.Column("row_time", sa.DateTime, nullable=False),
    sa.Column("fields", sa.Text, nullable=False),
    sa.Column("first_fields", sa.Text),
    sa.Column("observed_at", sa.DateTime, nullable=False),
    sa.Column("changed_at", sa.DateTime),
    sa.Column("source", sa.Text, nullable=False),
    sa.UniqueConstraint("use_case", "series", "row_time", name="ratchet_measurements_once"),
)
BY_CHANGE = sa.Index(
    "ratchet_measurements_by_change", MEASUREMENTS.c.use_case, MEASUREMENTS.c.change
)
CHANGES = sa.Table(
    "ratchet_measurement_changes",
    METADATA,
    sa.Column("use_case", sa.Text, primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
)
"""How many changes there were of every use case. Who writes holds its row until all is written, and
so changes can be seen in the order of their numbers only."""


@dataclass(frozen=True)
class Measurement:
    """What was observed of a series at a time.

    Attributes:
        time: the time, in UTC and without zone.
        series: name of the series; empty where the use case has one.
        fields: column of the contract -> value as JSON has it, but for time and series.
        first: column -> the value that was handed in first, where it was corrected.
        change: number of the change by which it became what it is, from 1.
        observed_at: when it was first handed in, in UTC and without zone.
        changed_at: when it was corrected last.
        source: by whom.
    """

    time: datetime
    series: str
    fields: Mapping[str, Any]
    first: Mapping[str, Any] = field(default_factory=dict)
    change: int = 0
    observed_at: datetime | None = None
    changed_at: datetime | None = None
    source: str = ""


@dataclass(frozen=True)
class Written:
    """Result of writing measurements.

    Attributes:
        new: those of times that were not known.
        changed: those that were known with other values.
        same: those that said nothing new.
    """

    new: int = 0
    changed: int = 0
    same: int = 0


class Measurements:
    """Measurements of all use cases.

    What is handed in again is nothing; another value of a known time is a correction, which
    replaces it, and the first one is retained. Columns that are left out stay as they are. Each
    call is one transaction.

    Args:
        engine: of SQLite or PostgreSQL, see ``ratchet.database.connect``.

    Raises:
        ConfigError: another database; or, by any method, one that cannot be reached or changed.
        DatabaseError: by any method: a file of SQLite that cannot be opened, read or written.
    """

    def __init__(self, engine: sa.Engine) -> None:
        if engine.dialect.name not in INSERTS:
            raise ConfigError(
                f"measurements are stored in SQLite or PostgreSQL, not in {engine.dialect.name}"
            )
        self._engine = engine
        self._made = False

    def write(
        self, use_case: str, rows: Sequence[Measurement], *, at: datetime, source: str
    ) -> Written:
        """Write measurements down, each once.

        Args:
            use_case: name of the use case.
            rows: what was observed; of two of one time and series the later one counts.
            at: when they were handed in; without zone, in UTC.
            source: by whom, such as the name of a key.
        """
        if not rows:
            return Written()
        moment = naive_utc(at)
        with self._begin() as connection:
            before = self._count(connection, use_case, len(rows)) - len(rows)
            existing = _existing(connection, use_case, rows)
            changed: dict[tuple[str, datetime], dict[str, Any]] = {}
            for number, row in enumerate(rows, start=before + 1):
                key = row.series, naive_utc(row.time)
                old = changed.get(key) or existing.get(key)
                if (new := _changed(old, row, moment)) is not None:
                    changed[key] = {**new, "change": number}
            records = [
                {"use_case": use_case, "series": series, "row_time": time, "source": source, **new}
                for (series, time), new in changed.items()
            ]
            if records:
                insert = INSERTS[self._engine.dialect.name](MEASUREMENTS)
                update = ("change", "fields", "first_fields", "changed_at")
                connection.execute(
                    insert.on_conflict_do_update(
                        index_elements=["use_case", "series", "row_time"],
                        set_={name: insert.excluded[name] for name in update},
                    ),
                    records,
                )
        came = len(changed.keys() - existing.keys())
        return Written(came, len(changed) - came, len(rows) - len(changed))

    def since(self, use_case: str, change: int = 0, limit: int = 10_000) -> list[Measurement]:
        """Measurements that are new or were corrected after a change, in the order of changes.

        Args:
            use_case: name of the use case.
            change: number of the last change that is known; 0 for all.
            limit: how many are given at most.
        """
        table = MEASUREMENTS.c
        query = (
            sa.select(MEASUREMENTS)
            .where(table.use_case == use_case, table.change > change)
            .order_by(table.change)
            .limit(limit)
        )
        with self._begin() as connection:
            return [_measurement(dict(row)) for row in connection.execute(query).mappings()]

    def rows(self, use_case: str, until: datetime | None = None) -> list[Measurement]:
        """All measurements, in the order of time and series.

        Args:
            use_case: name of the use case.
            until: those of times before this moment; without zone, in UTC.
        """
        table = MEASUREMENTS.c
        query = sa.select(MEASUREMENTS).where(table.use_case == use_case)
        if until is not None:
            query = query.where(table.row_time < naive_utc(until))
        with self._begin() as connection:
            rows = connection.execute(query.order_by(table.row_time, table.series))
            return [_measurement(dict(row)) for row in rows.mappings()]

    def is_there(self) -> bool:
        """Whether anything was ever handed in; no table is made to find out."""
        return bool(sa.inspect(self._engine).has_table(MEASUREMENTS.name))

    def last_change(self, use_case: str) -> int:
        """Up to which number there may be changes; 0 where nothing was ever observed.

        All changes up to it can be seen. Numbers of measurements that said nothing new are left
        out among them.
        """
        query = sa.select(CHANGES.c.last).where(CHANGES.c.use_case == use_case)
        with self._begin() as connection:
            return int(connection.execute(query).scalar() or 0)

    def _count(self, connection: sa.Connection, use_case: str, more: int) -> int:
        """Count changes, and lock the table against other writers until this transaction ends."""
        insert = INSERTS[self._engine.dialect.name](CHANGES)
        counted = insert.values(use_case=use_case, last=more).on_conflict_do_update(
            index_elements=["use_case"], set_={"last": CHANGES.c.last + more}
        )
        return int(connection.execute(counted.returning(CHANGES.c.last)).scalar_one())

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """A transaction, in a database that has the tables."""
        try:
            self._make_tables()
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            where = hide_secrets(self._engine.url.render_as_string(hide_password=True))
            raise ConfigError(f"cannot keep measurements in {where}: {error.orig}") from error

    def _make_tables(self) -> None:
        if self._made:
            return
        for table in (MEASUREMENTS, CHANGES):
            try:
                with self._engine.begin() as connection:
                    connection.execute(CreateTable(table, if_not_exists=True))
                    for index in table.indexes:
                        connection.execute(CreateIndex(index, if_not_exists=True))
            except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
                # PostgreSQL: two that make it at once both find it missing.
                if not sa.inspect(self._engine).has_table(table.name):
                    raise
        self._made = True


def _existing(
    connection: sa.Connection, use_case: str, rows: Sequence[Measurement]
) -> dict[tuple[str, datetime], dict[str, Any]]:
    """Measurements of the times of some rows that are there, by series and time."""
    table = MEASUREMENTS.c
    times = sorted({naive_utc(row.time) for row in rows})
    existing = {}
    for start in range(0, len(times), _TIMES_PER_QUERY):
        query = sa.select(MEASUREMENTS).where(
            table.use_case == use_case, table.row_time.in_(times[start : start + _TIMES_PER_QUERY])
        )
        for row in connection.execute(query).mappings():
            existing[row["series"], row["row_time"]] = dict(row)
    return existing


def _changed(
    old: Mapping[str, Any] | None, row: Measurement, at: datetime
) -> dict[str, Any] | None:
    """Content of the table after a row; ``None`` where it changes nothing."""
    if old is None:
        return {
            "fields": _json(row.fields),
            "first_fields": None,
            "observed_at": at,
            "changed_at": None,
        }
    before = json.loads(old["fields"])
    after = {**before, **row.fields}
    if after == before:
        return None
    other = [name for name, value in row.fields.items() if before.get(name) not in (None, value)]
    first = {name: before[name] for name in other} | json.loads(old["first_fields"] or "{}")
    return {
        "fields": _json(after),
        "first_fields": _json(first) if first else None,
        "observed_at": old["observed_at"],
        "changed_at": at,
    }


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(dict(fields), allow_nan=False, ensure_ascii=False)


def _measurement(row: Mapping[str, Any]) -> Measurement:
    return Measurement(
        time=row["row_time"],
        series=row["series"],
        fields=json.loads(row["fields"]),
        first=json.loads(row["first_fields"] or "{}"),
        change=row["change"],
        observed_at=row["observed_at"],
        changed_at=row["changed_at"],
        source=row["source"],
    )
