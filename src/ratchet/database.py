"""Where runs, models, decisions and predictions are recorded: one database for all.

SQLite in the project folder by default, any database by its URL.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.errors import ConfigError, DatabaseError, hide_secrets
from ratchet.locks import SECONDS, locked

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sqlalchemy import Engine, ExceptionContext

SQLITE = "sqlite:///"
_MADE = b"made"
"""Content of the lock's file once MLflow's tables are there."""
_POSTGRESQL_LOCK = "SELECT pg_advisory_lock(7262746369)"
"""Any number of our own would do; the session ends with the block."""
_DAMAGED = (
    "is damaged",
    "put a copy of it back, or move it away: the next run begins a new one, in which nothing "
    "serves yet",
)
_FULL = ("cannot be written", "make room on its disk and run the same command again")
_READ_ONLY = ("cannot be written", "look at the permissions of the file and of its folder")
_TROUBLE = {
    "file is not a database": _DAMAGED,
    "database disk image is malformed": _DAMAGED,
    "no such table": _DAMAGED,
    "database or disk is full": _FULL,
    "disk I/O error": _FULL,
    "attempt to write a readonly database": _READ_ONLY,
    "unable to open database file": ("cannot be opened", _READ_ONLY[1]),
}
"""What SQLite says -> what it means, and the way out."""

LOCK_SECONDS = 30.0
"""How long a command lets another process finish its writing to a file of SQLite."""

SERVICE_LOCK_SECONDS = 1.5
"""How long a request waits for others: its client is rather asked to come again."""


def naive_utc(moment: datetime) -> datetime:
    """A moment as tables hold it: in UTC, without time zone; one without is taken to be in UTC."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return datetime.combine(moment.date(), moment.time())  # not of pandas


def tracking_uri(configured: str, project: Path) -> str:
    """Where MLflow tracks.

    Args:
        configured: ``tracking_uri`` of the globals, in which ``config.kedro_loader`` has put that
            of the environment variable.
        project: the project folder, to which the relative path of an SQLite file belongs.
    """
    return _in_project(configured, project)


def database_url(uri: str, project: Path, configured: str | None = None) -> str:
    """Database of decisions and predictions: that of MLflow, unless another one is configured.

    Args:
        uri: where MLflow tracks.
        project: the project folder, to which the relative path of an SQLite file belongs.
        configured: ``database_url`` of the globals, which goes before ``uri``.

    Raises:
        ConfigError: MLflow tracks to a server, and no database is configured.
    """
    url = configured or uri
    if url.startswith(("http://", "https://", "databricks")):
        raise ConfigError(
            f"runs are tracked by a server ({hide_secrets(url)}); set RATCHET_DATABASE_URL, or "
            f"`database_url` in the globals.yml that has this tracking_uri, to the database of "
            f"decisions and predictions, such as postgresql://host/ratchet"
        )
    return _in_project(url, project)


def _in_project(uri: str, project: Path) -> str:
    if uri.startswith(SQLITE) and not uri.startswith(f"{SQLITE}/"):
        return f"{SQLITE}{project / uri.removeprefix(SQLITE)}"
    return uri


def connect(url: str, lock_seconds: float | None = None) -> Engine:
    """Engine of a database; nothing is opened before it is used.

    The folder of an SQLite file is made: the file itself can be.

    Args:
        url: as SQLAlchemy takes it.
        lock_seconds: how long a statement waits for a lock; by default ``LOCK_SECONDS`` for
            SQLite, and as long as the server has it for other databases.

    Raises:
        ConfigError: SQLAlchemy cannot use the URL, or its driver is not installed.
    """
    import sqlalchemy as sa

    options: dict[str, dict[str, float]] = {}
    if url.startswith(SQLITE):
        options["connect_args"] = {"timeout": lock_seconds or LOCK_SECONDS}
        Path(url.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    try:
        engine = sa.create_engine(url, **options)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(f"cannot use the database {hide_secrets(url)}: {error}") from error
    sa.event.listen(engine, "handle_error", _explain)
    if url.startswith(SQLITE):
        _follow_file(engine, Path(url.removeprefix(SQLITE).partition("?")[0]), hide_secrets(url))
    if lock_seconds is not None and engine.dialect.name == "postgresql":
        sa.event.listen(engine, "connect", _lock_timeout(lock_seconds))
    return engine


def _follow_file(engine: Engine, path: Path, name: str) -> None:
    """Let no connection write to a file that is no longer the database.

    An open file goes on without its name: what is written to it after another one has taken its
    place, or its folder was moved, would be lost without a word.

    Args:
        engine: engine of the file.
        path: the file.
        name: how messages call the database.
    """
    import sqlalchemy as sa

    identity: list[tuple[int, int] | None] = [None]

    def check_there(*_: Any) -> None:
        if identity[0] is not None and _identity(path) is None:
            raise DatabaseError(f"the database {name} is gone: put it back where it was")

    def note(_: Any, record: Any) -> None:
        record.info["file"] = identity[0] = _identity(path)

    def check_same(_: Any, record: Any, __: Any) -> None:
        check_there()
        if record.info["file"] != _identity(path):
            raise sa.exc.DisconnectionError  # upon which the pool connects again

    sa.event.listen(engine, "do_connect", check_there)
    sa.event.listen(engine, "connect", note)
    sa.event.listen(engine, "checkout", check_same)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file has a name at present; ``None`` where there is none, as in memory."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _lock_timeout(seconds: float) -> Callable[[Any, Any], None]:
    def set_timeout(connection: Any, _: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{seconds * 1000:.0f}ms'")
        connection.commit()

    return set_timeout


def _explain(context: ExceptionContext) -> None:
    """Raise what a user can mend, in place of the error of a driver."""
    if context.engine is not None:
        url = context.engine.url.render_as_string(hide_password=True)
        if reason := explain_sqlite_error(context.original_exception, hide_secrets(url)):
            raise DatabaseError(reason) from context.original_exception


def explain_sqlite_error(error: BaseException, name: str = "of the project") -> str | None:
    """What is wrong with a file of SQLite that cannot be read or written, and what to do.

    Args:
        error: what SQLite, SQLAlchemy or MLflow has raised.
        name: how the message calls the database.

    Returns:
        ``None`` where it is another error, such as a value that is there already.
    """
    if "sqlite3." not in f"{type(error).__module__}.{error}":
        return None
    for text, (state, way_out) in _TROUBLE.items():
        if text in str(error):
            return f"the database {name} {state} ({text}): {way_out}"
    return None


def mlflow_client(uri: str) -> MlflowClient:
    """MLflow's client of runs and models; the first of a new database makes its tables, in seconds.

    One process after the other: of two that find no tables, MLflow would let both make them, and
    one fail. Once they exist, no process waits.

    Raises:
        LockedError: another process is at it, and does not end.
        DatabaseError: the file is damaged, full or may not be written.
    """
    try:
        return _mlflow_client(uri)
    except Exception as error:  # of MLflow, and of SQLAlchemy
        if reason := explain_sqlite_error(error, hide_secrets(uri)):
            raise DatabaseError(reason) from error
        raise


def _mlflow_client(uri: str) -> MlflowClient:
    import mlflow

    if uri.startswith("postgresql"):
        with connect(uri).connect() as connection:
            connection.exec_driver_sql(f"SET lock_timeout = '{SECONDS:.0f}s'")
            connection.exec_driver_sql(_POSTGRESQL_LOCK)
            return mlflow.MlflowClient(uri, uri)
    if not uri.startswith(SQLITE):  # a server makes its own
        return mlflow.MlflowClient(uri, uri)
    path = Path(uri.removeprefix(SQLITE).partition("?")[0])
    lock = path.with_name(f"{path.name}.lock")
    if _is_made(path, lock):
        return mlflow.MlflowClient(uri, uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(lock, f"making the tables of {path}") as descriptor:
        client = mlflow.MlflowClient(uri, uri)
        os.write(descriptor, _MADE)
        return client


def _is_made(path: Path, lock: Path) -> bool:
    """Whether a database has the tables of MLflow, and no process is still creating them."""
    try:
        if not lock.is_file() or not lock.read_bytes().startswith(_MADE):
            return False
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return bool(database.execute("SELECT count(*) FROM alembic_version").fetchone()[0])
    except (OSError, sqlite3.Error):
        return False
