"""Rows of an SQLite file, read only."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from kedro.io import AbstractDataset, DatasetError


class SQLiteQueryDataset(AbstractDataset[NoReturn, pd.DataFrame]):
    """Result of a query on an SQLite file.

    ``pandas.SQLQueryDataset`` takes a connection string, so that a relative path is looked for
    where the command was typed and a missing file is created empty. Here the path belongs to the
    project and the file is opened read only.

    Args:
        filepath: the SQLite file.
        sql: the query.
        load_args: further arguments of ``pandas.read_sql_query``.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(
        self,
        *,
        filepath: str,
        sql: str,
        load_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._filepath = Path(filepath)
        self._sql = sql
        self._load_args = load_args or {}
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """Run the query.

        Raises:
            DatasetError: the file is missing or the query does not fit it.
        """
        if not self._exists():
            raise DatasetError(f"{self._filepath}: no such file")
        connection = sqlite3.connect(f"{self._filepath.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return pd.read_sql_query(self._sql, connection, **self._load_args)
        except (pd.errors.DatabaseError, sqlite3.DatabaseError) as error:
            reason = str(error).splitlines()[-1]
            raise DatasetError(f"{self._filepath}: the query failed: {reason}") from error
        finally:
            connection.close()

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: raw data stay as delivered."""
        raise DatasetError(f"{self._filepath} is read only")

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
