"""The table of decisions, and the triggers that let rows be added only."""

from __future__ import annotations

import logging
import re

import sqlalchemy as sa
from sqlalchemy import Engine

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
    gone = missing_guards(engine)
    if gone:
        LOGGER.warning("triggers of the ledger are gone and made anew: %s", ", ".join(gone))
    with engine.begin() as connection:
        for name in gone:
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        if dialect == "postgresql":
            connection.exec_driver_sql(_POSTGRESQL_LOCK)
            if sa.inspect(connection).has_table(TABLE.name):
                return
        connection.execute(sa.schema.CreateTable(TABLE, if_not_exists=True))
        for statement in _GUARDS.get(dialect, ()):
            connection.exec_driver_sql(statement)


def missing_guards(engine: Engine) -> list[str]:
    """Names of the triggers that are gone, switched off, or other than they were made."""
    dialect = engine.dialect.name
    if dialect not in _GUARDS or not sa.inspect(engine).has_table(TABLE.name):
        return []
    expected = {name: text for text in _GUARDS[dialect] if (name := _trigger(text))}
    query = _TRIGGERS[dialect]
    with engine.connect() as connection:
        found = {str(row[0]): row[1] for row in connection.exec_driver_sql(query)}
    return [
        name
        for name, text in expected.items()
        if name not in found or (dialect == "sqlite" and _body(found[name]) != _body(text))
    ]


_TRIGGERS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname, '' FROM pg_trigger WHERE tgenabled <> 'D' "
    f"AND tgrelid = '{TABLE.name}'::regclass",
}


def _trigger(statement: str) -> str:
    """Name of the trigger that a statement makes; empty where it makes something else."""
    found = re.match(r"CREATE TRIGGER (?:IF NOT EXISTS )?(\w+)", statement)
    return found[1] if found else ""


def _body(statement: str) -> str:
    return statement.partition(" BEFORE ")[2]
