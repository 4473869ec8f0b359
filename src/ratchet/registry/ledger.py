"""The ledger: every decision about what serves, in an append-only table guarded by triggers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from ratchet.errors import DataError, UserError, hide_secrets
from ratchet.registry.ledger_chain import (
    EVENTS,
    START,
    Entry,
    Row,
    State,
    canonical_json,
    details_of,
    digest_of,
    find_faults,
    moment_of,
    moment_text,
    number_of,
    quarantined_of,
    state_of,
)

LOGGER = logging.getLogger(__name__)

TABLE = sa.Table(
    "ratchet_ledger",
    sa.MetaData(),
    sa.Column("use_case", sa.String(200), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("event", sa.String(20), nullable=False),
    sa.Column("version", sa.String(40)),
    sa.Column("champion", sa.String(40)),
    sa.Column("previous", sa.String(40)),
    sa.Column("quarantined", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("parent", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
)

_REFUSAL = "ratchet_ledger is append-only"

_SQLITE_TRIGGERS = (
    *(
        f"CREATE TRIGGER IF NOT EXISTS ratchet_ledger_no_{event.lower()} BEFORE {event} "
        f"ON ratchet_ledger BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        for event in ("UPDATE", "DELETE")
    ),
    # INSERT OR REPLACE removes the old row without asking the trigger above.
    "CREATE TRIGGER IF NOT EXISTS ratchet_ledger_no_replace BEFORE INSERT ON ratchet_ledger "
    "WHEN EXISTS (SELECT 1 FROM ratchet_ledger WHERE use_case = NEW.use_case AND seq = NEW.seq) "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
)

_POSTGRESQL_TRIGGERS = (
    "CREATE OR REPLACE FUNCTION ratchet_ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
    "CREATE TRIGGER ratchet_ledger_no_change BEFORE UPDATE OR DELETE ON ratchet_ledger "
    "FOR EACH ROW EXECUTE FUNCTION ratchet_ledger_refuse()",
    "CREATE TRIGGER ratchet_ledger_no_truncate BEFORE TRUNCATE ON ratchet_ledger "
    "FOR EACH STATEMENT EXECUTE FUNCTION ratchet_ledger_refuse()",
)
_POSTGRESQL_LOCK = "SELECT pg_advisory_xact_lock(7262746368)"
"""Two processes that find no table must not both make it; any number of our own would do."""

_TRIGGER_STATEMENTS = {"sqlite": _SQLITE_TRIGGERS, "postgresql": _POSTGRESQL_TRIGGERS}

WHOLE_LEDGER = "the ledger"
"""Name of all use cases together, in lines about faults."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""Difference between the clocks of machines that is not reported."""

__all__ = ["ConflictError", "Entry", "Ledger", "State"]


class ConflictError(UserError):
    """Another decision came first: nothing was changed."""


class Ledger:
    """The table of decisions, which alone says what serves; the registry's aliases follow it.

    A row is written in one transaction, and only if the newest row is still the one that the
    decision was made on.

    Args:
        engine: database; the table is made before the first row is written.
        now: clock.
    """

    def __init__(self, engine: Engine, now: Callable[[], datetime] | None = None) -> None:
        self.engine = engine
        self._now = now or (lambda: datetime.now(UTC))
        self._made = False

    def append(
        self,
        use_case: str,
        event: str,
        *,
        version: str | None,
        champion: str | None,
        previous: str | None,
        actor: str,
        reason: str,
        details: Mapping[str, Any] | None = None,
        quarantined: Sequence[str] | None = None,
        expect: int,
    ) -> Entry:
        """Write one decision.

        Args:
            use_case: name of the use case.
            event: one of ``ledger_chain.EVENTS``.
            version: the version that was judged, or serves from now on.
            champion: what serves from now on.
            previous: the rollback target from now on.
            actor: ``user@host``, or the run that decides.
            reason: one line.
            details: all numbers.
            quarantined: all versions in quarantine from now on; by default those of before.
            expect: number of the newest decision that this one knows of, 0 for none.

        Raises:
            ConflictError: there is a newer decision; says which.
        """
        if event not in EVENTS:
            raise ValueError(f"event: unknown '{event}'; allowed are {list(EVENTS)}")
        create_table(self.engine)
        try:
            with self.engine.begin() as connection, _any_text(connection):
                last = _newest(connection, use_case)
                if (last["seq"] if last else 0) != expect:
                    raise self.conflict(use_case, event)
                if quarantined is None and last is not None:
                    in_quarantine = last["quarantined"]
                else:
                    in_quarantine = canonical_json(quarantined or ())
                row: dict[str, object] = {
                    "use_case": use_case,
                    "seq": expect + 1,
                    "at": moment_text(self._time_after(last)),
                    "event": event,
                    "version": version,
                    "champion": champion,
                    "previous": previous,
                    "quarantined": in_quarantine,
                    "actor": one_line(actor),
                    "reason": hide_secrets(one_line(reason)),
                    "details": canonical_json(details or {}),
                    "parent": last["digest"] if last else START,
                }
                row["digest"] = digest_of(row)
                connection.execute(TABLE.insert().values(row))
        except sa.exc.IntegrityError:  # another process wrote this number a moment ago
            raise self.conflict(use_case, event) from None
        return _entry(row)

    def copy(self, engine: Engine, use_cases: Sequence[str]) -> None:
        """Copy all decisions about some use cases, as they are, into an empty database."""
        rows = [row for name in use_cases for row in self._rows(name)]
        create_table(engine)
        with engine.begin() as connection:
            connection.execute(TABLE.insert(), rows)

    def _time_after(self, last: Row | None) -> datetime:
        """Now, or just after the last decision: clocks of machines differ, and the order counts."""
        at = self._now()
        if last is None:
            return at
        before = _entry(last).at
        if before > at + CLOCK_TOLERANCE:
            LOGGER.warning(
                "%s: this machine's clock (%s) is behind decision %d (%s): one of the two is wrong",
                *(last["use_case"], moment_text(at), last["seq"], last["at"]),
            )
        return max(at, before + timedelta(microseconds=1))

    def conflict(self, use_case: str, event: str) -> ConflictError:
        """The error of a decision that came too late; says which one came first."""
        winner = self.newest(use_case)
        decision = "another process is writing" if winner is None else describe_entry(winner)
        return ConflictError(
            f"{use_case}: no {event}, since another decision came first: {decision}\n"
            f"(kedro ratchet ledger --use-case {use_case} shows it; decide again)"
        )

    def entries(self, use_case: str | None = None) -> list[Entry]:
        """All decisions, oldest first within each use case."""
        return [_entry(row) for row in self._rows(use_case)]

    def newest(self, use_case: str) -> Entry | None:
        """The last decision, if there is one."""
        if not self._exists():
            return None
        with self.engine.connect() as connection, _any_text(connection):
            row = _newest(connection, use_case)
        return None if row is None else _entry(row)

    def count(self, use_case: str | None = None) -> int:
        """How many decisions there are."""
        return len(self._rows(use_case, ("seq",)))

    def newest_decisions(self) -> dict[str, tuple[int, str]]:
        """Number and digest of the newest decision about each use case, in one cheap query."""
        if not self._exists():
            return {}
        newest = sa.select(TABLE.c.use_case, sa.func.max(TABLE.c.seq).label("seq"))
        last = newest.group_by(TABLE.c.use_case).subquery()
        is_last = sa.and_(TABLE.c.use_case == last.c.use_case, TABLE.c.seq == last.c.seq)
        query = sa.select(TABLE.c.use_case, TABLE.c.seq, TABLE.c.digest).join(last, is_last)
        with self.engine.connect() as connection, _any_text(connection):
            return {str(name): (seq, digest) for name, seq, digest in connection.execute(query)}

    def use_cases(self) -> list[str]:
        """Use cases about which something was decided, by name."""
        names = {row["use_case"] for row in self._rows(None, ("use_case",))}
        return sorted(name for name in names if isinstance(name, str))

    def state(self, use_case: str) -> State:
        """What serves, the rollback target, and the decision that this rests on."""
        columns = ("seq", "at", "event", "version", "champion", "previous", "quarantined")
        rows = self._rows(use_case, columns)
        try:
            return state_of(rows)
        except ValueError as error:
            raise DataError(
                f"the decisions about {use_case} cannot be read: they were changed in the database "
                f"(kedro ratchet ledger --verify): {error}"
            ) from error

    def serving_since(self, use_case: str, moment: datetime | None = None) -> Entry | None:
        """The decision that let the champion of a moment serve; None where nothing served.

        Args:
            use_case: name of the use case.
            moment: now by default. Without a time zone it is taken to be in UTC.
        """
        change = None
        until = None if moment is None else moment_text(moment)
        for row in self._rows(use_case):
            if until is not None and row["at"] > until:
                break
            if change is None or row["champion"] != change["champion"]:
                change = row
        return None if change is None or change["champion"] is None else _entry(change)

    def champion_at(self, use_case: str, moment: datetime) -> str | None:
        """The version that served at a moment (UTC unless it has a time zone)."""
        entry = self.serving_since(use_case, moment)
        return None if entry is None else entry.champion

    def entry(self, use_case: str, seq: int) -> Entry | None:
        """One decision by its number."""
        rows = [row for row in self._rows(use_case) if row["seq"] == seq]
        return _entry(rows[0]) if rows else None

    def digest(self, use_case: str, seq: int) -> str | None:
        """Digest of one decision."""
        rows = self._rows(use_case, ("seq", "digest"))
        return next((row["digest"] for row in rows if row["seq"] == seq), None)

    def first_detail(self, use_case: str, version: str, name: str) -> Any:
        """A detail as it was first recorded about a version; None where no decision has it."""
        rows = self._rows(use_case)
        details = (_entry(row).details.get(name) for row in rows if row["version"] == version)
        return next(filter(None, details), None)

    def verify(self, anchors: Mapping[str, tuple[int, str]] | None = None) -> list[str]:
        """What is wrong with the chain: a line for each row changed, deleted, inserted or moved.

        Args:
            anchors: use case -> number and digest of a decision known to have been written, see
                ``ledger_checkpoint``: without one a cut-off end cannot be seen.
        """
        triggers = [
            f"{WHOLE_LEDGER}: the trigger {name} is gone or changed: rows could be changed since"
            for name in missing_triggers(self.engine)
        ]
        return [*triggers, *find_faults(self._rows(), anchors or {})]

    def clock_warning(self, use_case: str) -> str:
        """A line about a newest decision that is dated in the future; empty where it is not."""
        try:
            newest = self.newest(use_case)
        except DataError:  # which ``verify`` reports
            return ""
        if newest is None or newest.at <= self._now() + CLOCK_TOLERANCE:
            return ""
        return (
            f"{use_case}: decision {newest.seq} is dated {newest.at:%Y-%m-%d %H:%M} UTC, which is "
            f"yet to come: the clock of {newest.actor} was ahead, or that of this machine is behind"
        )

    def _rows(self, use_case: str | None = None, columns: Sequence[str] = ()) -> list[Row]:
        """Rows in their order; by default all, with all columns."""
        if not self._exists():
            return []
        query = sa.select(*(TABLE.c[name] for name in columns or TABLE.c.keys()))
        if use_case is not None:
            query = query.where(TABLE.c.use_case == use_case)
        query = query.order_by(TABLE.c.use_case, TABLE.c.seq)
        with self.engine.connect() as connection, _any_text(connection):
            return [dict(row) for row in connection.execute(query).mappings()]

    def _exists(self) -> bool:
        self._made = self._made or sa.inspect(self.engine).has_table(TABLE.name)
        return self._made


@contextmanager
def _any_text(connection: Connection) -> Iterator[None]:
    """Let SQLite give text that is not UTF-8, too, which other programs may have written."""
    if connection.dialect.name != "sqlite":
        yield
        return
    raw: Any = connection.connection.driver_connection
    raw.text_factory = lambda content: content.decode("utf-8", "backslashreplace")
    try:
        yield
    finally:
        raw.text_factory = str


def describe_entry(entry: Entry) -> str:
    """One line about a decision."""
    about = "" if entry.version is None else f" version {entry.version}"
    when = f"{entry.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"decision {entry.seq}, {entry.event}{about}, {when} by {entry.actor}: {entry.reason}"


def _newest(connection: Connection, use_case: str) -> Row | None:
    query = sa.select(TABLE).where(TABLE.c.use_case == use_case)
    row = connection.execute(query.order_by(TABLE.c.seq.desc()).limit(1)).mappings().first()
    return None if row is None else dict(row)


def _entry(row: Row) -> Entry:
    try:
        read = {"seq": number_of(row), "at": moment_of(row), "details": details_of(row)}
        return Entry(**{**row, **read, "quarantined": quarantined_of(row)})
    except ValueError as error:
        raise DataError(
            f"decision {row['seq']} about {row['use_case']} cannot be read: it was changed in the "
            f"database (kedro ratchet ledger --verify): {error}"
        ) from error


def one_line(value: str) -> str:
    """Text that every database takes: one line, valid UTF-8, no NUL."""
    clean = value.encode("utf-8", "replace").decode()
    return " ".join(clean.replace("\0", " ").split())


def create_table(engine: Engine) -> None:
    """Make the table and its triggers, where they are missing.

    SQLite commits statement by statement: after a kill between two, the rest follows next time.
    PostgreSQL makes all of it or nothing. Other databases get the table alone.
    """
    dialect = engine.dialect.name
    if dialect != "sqlite" and sa.inspect(engine).has_table(TABLE.name):
        return
    missing = missing_triggers(engine)
    if missing:
        LOGGER.warning("triggers of the ledger are gone and created again: %s", ", ".join(missing))
    with engine.begin() as connection:
        for name in missing:
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        if dialect == "postgresql":
            connection.exec_driver_sql(_POSTGRESQL_LOCK)
            if sa.inspect(connection).has_table(TABLE.name):
                return
        connection.execute(sa.schema.CreateTable(TABLE, if_not_exists=True))
        for statement in _TRIGGER_STATEMENTS.get(dialect, ()):
            connection.exec_driver_sql(statement)


def missing_triggers(engine: Engine) -> list[str]:
    """Names of the triggers that are gone, switched off, or changed."""
    dialect = engine.dialect.name
    if dialect not in _TRIGGER_STATEMENTS or not sa.inspect(engine).has_table(TABLE.name):
        return []
    expected = {name: text for text in _TRIGGER_STATEMENTS[dialect] if (name := _trigger(text))}
    query = _TRIGGER_QUERIES[dialect]
    with engine.connect() as connection:
        present = {str(row[0]): row[1] for row in connection.exec_driver_sql(query)}
    return [
        name
        for name, text in expected.items()
        if name not in present or (dialect == "sqlite" and _body(present[name]) != _body(text))
    ]


_TRIGGER_QUERIES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname, '' FROM pg_trigger WHERE tgenabled <> 'D' "
    f"AND tgrelid = '{TABLE.name}'::regclass",
}


def _trigger(statement: str) -> str:
    """Name of the trigger that a statement makes; empty where it makes something else."""
    match = re.match(r"CREATE TRIGGER (?:IF NOT EXISTS )?(\w+)", statement)
    return match[1] if match else ""


def _body(statement: str) -> str:
    return statement.partition(" BEFORE ")[2]
