"""Every decision about what serves, in order: written once, never changed, never removed."""

from __future__ import annotations

import logging
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
    canonical,
    details_of,
    digest_of,
    faults,
    moment_of,
    moment_text,
    number_of,
    quarantined_of,
    state_of,
)
from ratchet.registry.ledger_table import TABLE, make, missing_guards

LOGGER = logging.getLogger(__name__)

GUARDS = "the ledger"
"""What a finding is about that is about all use cases."""

CLOCKS_DIFFER = timedelta(minutes=5)
"""By which clocks of machines may differ without a word."""

__all__ = ["ConflictError", "Entry", "Ledger", "State"]


class ConflictError(UserError):
    """Somebody else has decided meanwhile: nothing was changed."""


class Ledger:
    """The table of decisions.

    It is the truth about what serves; the registry's aliases follow it. A row is written in one
    transaction, and only if the newest row is still the one that the decision was made on.

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
            use_case: what it is about.
            event: one of ``chain.EVENTS``.
            version: the version that was judged, or serves from now on.
            champion: what serves from now on.
            previous: the way back from now on.
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
        make(self.engine)
        row: dict[str, Any] = {"use_case": use_case, "seq": expect + 1, "event": event}
        row |= {"version": version, "champion": champion, "previous": previous}
        row |= {
            "actor": one_line(actor),
            "reason": hide_secrets(one_line(reason)),
            "details": canonical(details or {}),
        }
        try:
            with self.engine.begin() as connection, _any_text(connection):
                last = _newest(connection, use_case)
                if (last["seq"] if last else 0) != expect:
                    raise self.conflict(use_case, event)
                row |= self._link(last, quarantined)
                row["digest"] = digest_of(row)
                connection.execute(TABLE.insert().values(row))
        except sa.exc.IntegrityError:  # another process wrote this number a moment ago
            raise self.conflict(use_case, event) from None
        return _entry(row)

    def _link(self, last: Row | None, quarantined: Sequence[str] | None) -> dict[str, Any]:
        """What a row takes from the one before it."""
        at = self._now()
        if last is None:
            return _link(at, START, canonical(quarantined or ()))
        # The clock of another machine may be behind, or have been ahead: the order counts.
        before = _entry(last).at
        if before > at + CLOCKS_DIFFER:
            LOGGER.warning(
                "%s: this machine's clock (%s) is behind decision %d (%s): one of the two is wrong",
                *(last["use_case"], moment_text(at), last["seq"], last["at"]),
            )
        at = max(at, before + timedelta(microseconds=1))
        kept = last["quarantined"] if quarantined is None else canonical(quarantined)
        return _link(at, last["digest"], kept)

    def conflict(self, use_case: str, event: str) -> ConflictError:
        """The error of a decision that came too late; says which one came first."""
        winner = self.newest(use_case)
        told = "another process is writing" if winner is None else describe(winner)
        return ConflictError(
            f"{use_case}: no {event}, since another decision came first: {told}\n"
            f"(kedro ratchet ledger --use-case {use_case} shows it; decide anew)"
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
        """Number and digest of the newest decision about each use case: a cheap look for moves."""
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
        found = {row["use_case"] for row in self._rows(None, ("use_case",))}
        return sorted(name for name in found if isinstance(name, str))

    def state(self, use_case: str) -> State:
        """What serves, the way back, and on which decision that rests."""
        columns = ("seq", "at", "event", "version", "champion", "previous", "quarantined")
        rows = self._rows(use_case, columns)
        try:
            return state_of(rows)
        except ValueError as error:
            raise DataError(
                f"the decisions about {use_case} cannot be read: they were changed in the database "
                f"(kedro ratchet ledger --verify): {error}"
            ) from error

    def serving(self, use_case: str, moment: datetime | None = None) -> Entry | None:
        """The decision since which the champion of a moment served.

        Args:
            use_case: of which.
            moment: when; now by default. Without a time zone it is taken to be in UTC.
        """
        brought = None
        until = None if moment is None else moment_text(moment)
        for row in self._rows(use_case):
            if until is not None and row["at"] > until:
                break
            if brought is None or row["champion"] != brought["champion"]:
                brought = row
        return None if brought is None or brought["champion"] is None else _entry(brought)

    def champion_at(self, use_case: str, moment: datetime) -> str | None:
        """The version that served at a moment (UTC unless it has a time zone)."""
        entry = self.serving(use_case, moment)
        return None if entry is None else entry.champion

    def entry(self, use_case: str, seq: int) -> Entry | None:
        """One decision by its number."""
        rows = [row for row in self._rows(use_case) if row["seq"] == seq]
        return _entry(rows[0]) if rows else None

    def digest(self, use_case: str, seq: int) -> str | None:
        """Digest of one decision."""
        rows = self._rows(use_case, ("seq", "digest"))
        return next((row["digest"] for row in rows if row["seq"] == seq), None)

    def noted(self, use_case: str, version: str, name: str) -> Any:
        """A detail as it was first written down about a version; None where none has it."""
        rows = self._rows(use_case)
        entries = (_entry(row) for row in rows if row["version"] == version)
        return next((found for each in entries if (found := each.details.get(name))), None)

    def verify(self, anchors: Mapping[str, tuple[int, str]] | None = None) -> list[str]:
        """What is wrong with the chain: a line for each row changed, deleted, inserted or moved.

        Args:
            anchors: use case -> number and digest of a decision known to have been written, as
                ``Registry.anchors`` gives them: without one a cut-off end cannot be seen.
        """
        guards = [
            f"{GUARDS}: the trigger {name} is gone or changed: rows could be changed since"
            for name in missing_guards(self.engine)
        ]
        return [*guards, *faults(self._rows(), anchors or {})]

    def ahead(self, use_case: str) -> str:
        """What is wrong with the clocks of those that decided; empty where nothing is."""
        try:
            newest = self.newest(use_case)
        except DataError:  # which is told elsewhere
            return ""
        if newest is None or newest.at <= self._now() + CLOCKS_DIFFER:
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
    """Let SQLite give text that is not UTF-8, too, as somebody may have written it."""
    raw: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    raw.text_factory = lambda content: content.decode("utf-8", "backslashreplace")
    try:
        yield
    finally:
        raw.text_factory = str


def describe(entry: Entry) -> str:
    """One line about a decision."""
    about = "" if entry.version is None else f" version {entry.version}"
    when = f"{entry.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"decision {entry.seq}, {entry.event}{about}, {when} by {entry.actor}: {entry.reason}"


def _link(at: datetime, parent: str, quarantined: str) -> dict[str, Any]:
    return {"at": moment_text(at), "parent": parent, "quarantined": quarantined}


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
