"""The table of decisions, and the triggers that let rows be added only."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Engine

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

_SQLITE_GUARDS = (
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

_POSTGRESQL_GUARDS = (
    "CREATE OR REPLACE FUNCTION ratchet_ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
    "CREATE TRIGGER ratchet_ledger_no_change BEFORE UPDATE OR DELETE ON ratchet_ledger "
    "FOR EACH ROW EXECUTE FUNCTION ratchet_ledger_refuse()",
    "CREATE TRIGGER ratchet_ledger_no_truncate BEFORE TRUNCATE ON ratchet_ledger "
    "FOR EACH STATEMENT EXECUTE FUNCTION ratchet_ledger_refuse()",
)
_POSTGRESQL_LOCK = "SELECT pg_advisory_xact_lock(7262746368)"
"""Two processes that find no table must not both make it; any number of our own would do."""

_GUARDS = {"sqlite": _SQLITE_GUARDS, "postgresql": _POSTGRESQL_GUARDS}


def make(engine: Engine) -> None:
    """Make the table and what guards it, where they are missing.

    SQLite commits statement by statement: after a kill between two, the rest follows next time.
    PostgreSQL makes all of it or nothing. Other databases get the table alone.
    """
    dialect = engine.dialect.name
    if dialect != "sqlite" and sa.inspect(engine).has_table(TABLE.name):
        return
    with engine.begin() as connection:
        if dialect == "postgresql":
            connection.exec_driver_sql(_POSTGRESQL_LOCK)
            if sa.inspect(connection).has_table(TABLE.name):
                return
        connection.execute(sa.schema.CreateTable(TABLE, if_not_exists=True))
        for statement in _GUARDS.get(dialect, ()):
            connection.exec_driver_sql(statement)
