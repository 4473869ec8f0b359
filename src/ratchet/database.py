"""Where runs, models, decisions and predictions are recorded: one database for all.

SQLite in the project folder by default, any database by its URL.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sqlalchemy import Engine

SQLITE = "sqlite:///"
_WAIT_FOR_LOCK = 30.0  # seconds that one process lets another finish its writing


def tracking_uri(configured: str, project: Path) -> str:
    """Where MLflow tracks: ``MLFLOW_TRACKING_URI`` before what is configured.

    Args:
        configured: URI of the configuration; the relative path of an SQLite file belongs to the
            project.
        project: the project folder.
    """
    return _in_project(os.environ.get("MLFLOW_TRACKING_URI") or configured, project)


def database_url(uri: str, project: Path) -> str:
    """Database of decisions and predictions: that of MLflow, unless it is behind a server.

    Args:
        uri: where MLflow tracks; ``RATCHET_DATABASE_URL`` goes before it.
        project: the project folder, to which the relative path of an SQLite file belongs.

    Raises:
        ConfigError: MLflow tracks to a server, and ``RATCHET_DATABASE_URL`` names no database.
    """
    url = os.environ.get("RATCHET_DATABASE_URL") or uri
    if url.startswith(("http://", "https://", "databricks")):
        raise ConfigError(
            f"runs are tracked by a server ({shown(url)}); set RATCHET_DATABASE_URL to the "
            f"database of decisions and predictions, such as postgresql://host/ratchet"
        )
    return _in_project(url, project)


def _in_project(uri: str, project: Path) -> str:
    if uri.startswith(SQLITE) and not uri.startswith(f"{SQLITE}/"):
        return f"{SQLITE}{project / uri.removeprefix(SQLITE)}"
    return uri


def connect(url: str) -> Engine:
    """Engine of a database; nothing is opened before it is used.

    The folder of an SQLite file is made: the file itself can be.

    Raises:
        ConfigError: SQLAlchemy cannot use the URL, or its driver is not installed.
    """
    import sqlalchemy as sa

    options: dict[str, Any] = {}
    if url.startswith(SQLITE):
        options["connect_args"] = {"timeout": _WAIT_FOR_LOCK}
        Path(url.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    try:
        return sa.create_engine(url, **options)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(f"cannot use the database {shown(url)}: {error}") from error


def mlflow_client(uri: str) -> MlflowClient:
    """MLflow's client of runs and models; the first of a new database makes its tables, in seconds.

    One process of this machine after the other: of two that find no tables, MLflow would let both
    make them, and one fail.
    """
    import mlflow

    name = f"ratchet-{os.getuid()}-{sha256(uri.encode()).hexdigest()[:16]}.lock"
    with (Path(tempfile.gettempdir()) / name).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return mlflow.MlflowClient(uri, uri)


def shown(uri: str) -> str:
    """An address without user and password."""
    return re.sub("//[^/@]*@", "//", uri)
