"""The table of jobs: request, sender, state and result of each."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from ratchet.database import SERVICE_LOCK_SECONDS, connect
from ratchet.errors import DatabaseError, UserError

State = Literal["queued", "running", "completed", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("completed", "failed", "cancelled")
"""States that nothing changes any more."""

METADATA = sa.MetaData()
JOBS = sa.Table(
    "ratchet_jobs",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("seq", sa.Text, nullable=False, unique=True),  # sorts by the time of its making
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("actor", sa.Text),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("started_at", sa.DateTime),
    sa.Column("ended_at", sa.DateTime),
    sa.Column("host", sa.Text),
    sa.Column("pid", sa.BigInteger),
    sa.Column("pid_started", sa.Text),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("result", sa.Text),
    sa.Column("error", sa.Text),
    sa.UniqueConstraint("actor", "idempotency_key", name="ratchet_jobs_once"),
)


class ReusedKeyError(UserError):
    """An Idempotency-Key came with another request before."""


@dataclass(frozen=True)
class JobRow:
    """The present state of a job.

    Attributes:
        id: its name.
        status: see ``State``.
        request: the search.
        actor: who has sent it.
        created_at: when (UTC).
        started_at: since when it runs.
        ended_at: when it ended.
        host: machine that its process is on; ``airflow:`` of a DAG run.
        pid: id of the process.
        pid_started: when that process began, as the system says: ids are used again.
        cancel_requested: whether it is to end.
        result: what its process left.
        error: why it failed, or why it cannot be started at present.
    """

    id: str
    status: State
    request: dict[str, Any]
    actor: str | None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    host: str | None = None
    pid: int | None = None
    pid_started: str | None = None
    cancel_requested: bool = False
    result: dict[str, Any] | None = None
    error: str | None = None


class JobStore:
    """Jobs in a database; the table is made when it is first used.

    By any method a ``DatabaseError`` is raised where the database cannot be reached or is locked.
    Every change of state is one statement that names the state it starts from, so that of two
    processes which try one succeeds.

    Args:
        url: of the database, as SQLAlchemy takes it.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect(url, SERVICE_LOCK_SECONDS)
        self._made = False

    def add(
        self, request: Mapping[str, Any], actor: str | None, idempotency_key: str | None = None
    ) -> tuple[JobRow, bool]:
        """Write a job down; the one that is there where the key was used before.

        Returns:
            The job, and whether it is new.

        Raises:
            ReusedKeyError: the key was used for another request.
        """
        text, now = json.dumps(request, sort_keys=True), _now()
        name = uuid.uuid4().hex[:12]
        values = {
            "id": name,
            "seq": f"{now:%Y%m%d%H%M%S%f}{name}",
            "status": "queued",
            "request": text,
            # Without keys there is one client; NULL would be another one each time.
            "actor": actor or "",
            "idempotency_key": idempotency_key,
            "created_at": now,
            "cancel_requested": False,
        }
        try:
            with self._begin() as connection:
                connection.execute(sa.insert(JOBS).values(values))
        except sa.exc.IntegrityError:
            existing = self._by_key(actor or "", idempotency_key)
            if existing is None:
                raise
            if json.dumps(existing.request, sort_keys=True) != text:
                raise ReusedKeyError(
                    "Idempotency-Key: this key came with another body before"
                ) from None
            return existing, False
        return self._existing(name), True

    def get(self, name: str) -> JobRow | None:
        """A job, if there is such."""
        rows = self._select(JOBS.c.id == name)
        return rows[0] if rows else None

    def newest(self, most: int = 50) -> list[JobRow]:
        """The newest jobs, the newest first."""
        return self._select(sa.true(), most=most)

    def waiting(self) -> list[JobRow]:
        """Those that wait, the oldest first."""
        return self._select(JOBS.c.status == "queued")[::-1]

    def running(self) -> list[JobRow]:
        """Those that run, the oldest first."""
        return self._select(JOBS.c.status == "running")[::-1]

    def start(self, name: str, host: str) -> bool:
        """Take a job that waits; whether it did."""
        values = {"status": "running", "started_at": _now(), "host": host, "pid": None}
        values |= {"pid_started": None, "error": None}
        return self._change(name, ["queued"], values)

    def note_process(self, name: str, pid: int, started: str | None) -> None:
        """Note the process of a job that runs."""
        self._change(name, ["running"], {"pid": pid, "pid_started": started})

    def wait_again(self, name: str, why: str | None = None) -> bool:
        """Put back a job whose process was not started, and say why."""
        values = {"status": "queued", "started_at": None, "error": why}
        return self._change(name, ["running"], values)

    def ended(self, names: Sequence[str]) -> list[str]:
        """Those of the named jobs that have ended, the newest first."""
        query = (
            sa.select(JOBS.c.id)
            .where(JOBS.c.id.in_(names), JOBS.c.status.in_(ENDED))
            .order_by(JOBS.c.seq.desc())
        )
        with self._begin() as connection:
            return [str(name) for name in connection.execute(query).scalars()]

    def end(
        self,
        name: str,
        status: State,
        *,
        result: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> bool:
        """End a job that runs; whether it did."""
        values = {
            "status": status,
            "ended_at": _now(),
            "result": None if result is None else json.dumps(result),
            "error": error,
        }
        return self._change(name, ["running"], values)

    def cancel(self, name: str) -> None:
        """End a job that waits; ask that one that runs is ended."""
        values = {"status": "cancelled", "ended_at": _now(), "cancel_requested": True}
        values["error"] = None
        if not self._change(name, ["queued"], values):
            self._change(name, ["running"], {"cancel_requested": True})

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _change(self, name: str, states: Sequence[str], values: Mapping[str, Any]) -> bool:
        change = sa.update(JOBS).where(JOBS.c.id == name, JOBS.c.status.in_(states))
        with self._begin() as connection:
            return bool(connection.execute(change.values(**values)).rowcount)

    def _existing(self, name: str) -> JobRow:
        rows = self.get(name)
        assert rows is not None
        return rows

    def _by_key(self, actor: str, key: str | None) -> JobRow | None:
        rows = self._select(sa.and_(JOBS.c.actor == actor, JOBS.c.idempotency_key == key))
        return rows[0] if rows else None

    def _select(self, condition: Any, most: int = 1000) -> list[JobRow]:
        names = JobRow.__dataclass_fields__
        columns = [JOBS.c[name] for name in names]
        query = sa.select(*columns).where(condition).order_by(JOBS.c.seq.desc()).limit(most)
        with self._begin() as connection:
            return [_row(dict(rows)) for rows in connection.execute(query).mappings()]

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """A transaction, in a database that has the table."""
        try:
            if not self._made:
                with self._engine.begin() as connection:
                    connection.execute(sa.schema.CreateTable(JOBS, if_not_exists=True))
                self._made = True
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise DatabaseError(f"the jobs cannot be read or written: {error.orig}") from error


def _row(rows: Mapping[str, Any]) -> JobRow:
    values = dict(rows)
    values["request"] = json.loads(values["request"])
    values["result"] = json.loads(values["result"]) if values["result"] else None
    values["actor"] = values["actor"] or None
    return JobRow(**values)


def _now() -> datetime:
    """Now, in UTC and without saying so, as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)
