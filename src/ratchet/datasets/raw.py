"""The raw rows of a use case, read as the contract of its columns says.

pandas guesses what a value means: ``NA`` would be missing, ``01`` the number 1, a long number of a
column with gaps another number. What was guessed away before the contract sees the rows cannot be
brought back, so the reader is told first.
"""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from ratchet.config import Data
from ratchet.errors import DataError

LOGGER = logging.getLogger(__name__)

DEFAULT_MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""What ``pandas.read_csv`` takes for missing by default; it has no public name for it."""

_TEXT = ("csv", "excel", "table", "fwf")
_TYPED = ("json", "sqlquery", "sqltable", "sqlitequery")
_NUMBER_OPTIONS = ("thousands", "decimal", "true_values", "false_values")
_NUMBERED = re.compile(r"(.+)\.(\d+)")
_OF_THE_FORMAT = {
    *("sep", "delimiter", "encoding", "encoding_errors", "compression", "engine", "skiprows"),
    *("comment", "quotechar", "quoting", "doublequote", "escapechar", "lineterminator"),
    *("skip_blank_lines", "skipinitialspace", "sheet_name", "storage_options"),
}
"""Arguments of a reader that say how a file is written, and not what its columns hold."""


def guesses_types(config: Mapping[str, Any]) -> bool:
    """Whether pandas guesses types when it reads a catalog entry."""
    return _format(config) in (*_TEXT, *_TYPED)


def _format(config: Mapping[str, Any]) -> str:
    """What is read: ``csv``, ``excel``, ``json`` ..."""
    package, _, kind = str(config.get("type", "")).rpartition(".")
    if package.rpartition(".")[2] not in ("pandas", "datasets"):
        return ""  # polars, say, takes other arguments
    kind = kind.lower().removesuffix("dataset")
    return str(config.get("file_format", "")).lower() if kind == "generic" else kind


class RawDataset(AbstractDataset[NoReturn, Any]):
    """The catalog entry ``<use_case>.raw``, and the contract that its columns are read by.

    Of text files (CSV, Excel), columns that the contract declares as text or lists are read as they
    stand, and only empty cells are missing; so are whole numbers and dates, which the contract then
    reads exactly, where no function prepares the rows; databases then give nullable types.
    ``load_args`` of the entry win.

    Args:
        name: name of the entry.
        config: the entry, as Kedro resolves it.
        data: parameters ``data`` of the use case.
        load_version: version to load, where the entry is versioned.
        save_version: version of this run.
    """

    def __init__(
        self,
        *,
        name: str,
        config: Mapping[str, Any],
        data: Mapping[str, Any] | Data,
        load_version: str | None = None,
        save_version: str | None = None,
    ) -> None:
        self._name = name
        self._config = {key: value for key, value in config.items() if key != "validator"}
        self._data = data
        self._versions = (load_version, save_version)
        self.metadata = config.get("metadata")

    def load(self) -> Any:
        """Read the rows.

        Raises:
            DataError: a column of the contract occurs more than once in the header, or rows have
                more values than the header has names.
        """
        data, arguments = Data.model_validate(self._data), dict(self._config.get("load_args") or {})
        if (form := _format(self._config)) in _TYPED:
            return self._dataset(typed_arguments(form, arguments, data)).load()
        if arguments.get("engine") == "pyarrow":  # it infers types and takes no na_values by column
            del arguments["engine"]
        header = self._dataset({**_of_the_header(arguments), "nrows": 1, "dtype": "str"}).load()
        if not isinstance(header, pd.DataFrame):  # several sheets
            return self._dataset(arguments).load()
        names = [*header.columns, *(name for name in header.index.names if name is not None)]
        self._check_header(names, arguments, data)
        if arguments.get("index_col") is None:
            self._check_width(header)
        return self._dataset(text_arguments(names, arguments, data)).load()

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: raw data stay as delivered."""
        raise DatasetError(f"{self._name} is read only")

    @property
    def _filepath(self) -> Any:
        return getattr(self._as_given, "_filepath", None)

    @cached_property
    def _as_given(self) -> Any:
        return self._dataset(self._config.get("load_args"))

    def _dataset(self, load_args: Mapping[str, Any] | None) -> Any:
        config = dict(self._config)
        if load_args:
            config["load_args"] = dict(load_args)
        return AbstractDataset.from_config(self._name, config, *self._versions)

    def _check_header(self, names: Sequence[Any], given: Mapping[str, Any], data: Data) -> None:
        """Tell columns that stand more than once, which pandas numbers: ``size``, ``size.1``."""
        numbered = [_NUMBERED.fullmatch(str(name)) for name in names]
        doubtful = {match[1] for match in numbered if match and match[1] in names}
        if not doubtful or "names" in given or given.get("header", 0) not in (0, "infer"):
            return
        form = {key: value for key, value in given.items() if key in _OF_THE_FORMAT}
        first = self._dataset({**form, "header": None, "nrows": 1, "dtype": "str"}).load()
        header = first.iloc[0].tolist()
        twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
        if meant := [name for name in twice if name in data.columns]:
            raise DataError(
                f"columns {meant} stand more than once in the header: which one is meant? Rename "
                f"the others in the file, or name all columns in load_args of {self._name} in the "
                f"catalog (header: 0, names: [...])"
            )
        for name in set(twice) & doubtful:
            LOGGER.warning("%s: '%s' occurs more than once in the header", self._name, name)

    def _check_width(self, head: pd.DataFrame) -> None:
        """Tell rows that are longer than the header: pandas takes their first values for names."""
        if head.empty or isinstance(head.index, pd.RangeIndex):
            return
        more = head.index.nlevels
        raise DataError(
            f"the rows have {more} value{'s' if more > 1 else ''} more than the header has names "
            f"(row 0 begins with {head.index[0]!r}). Say by load_args of {self._name} in the "
            f"catalog what is meant: index_col: false, where rows end with a separator; index_col: "
            f"0, where the first column has no name; or all names (header: 0, names: [...])"
        )

    def _exists(self) -> bool:
        return bool(self._as_given.exists())

    def _describe(self) -> dict[str, object]:
        shown = ("type", "filepath", "load_args")
        return {key: self._config[key] for key in shown if key in self._config}


def _of_the_header(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without those that do not go with reading the header alone."""
    left_out = ("nrows", "skipfooter", "chunksize", "iterator", "dtype", "converters")
    return {key: value for key, value in given.items() if key not in left_out}


def text_arguments(names: Sequence[Any], given: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """Arguments of a reader of text, so that it leaves to the contract what the contract declares.

    Args:
        names: columns of the file.
        given: arguments of the catalog entry; what they say of a column wins.
        data: the contract, and whether a function prepares the rows first.

    Returns:
        The arguments with ``dtype`` and ``na_values`` by column.
    """
    kinds = {name: data.columns[name].type for name in names if name in data.columns}
    text = {name for name, kind in kinds.items() if kind in ("string", "list")}
    exact = {name for name, kind in kinds.items() if kind in ("integer", "date")}
    if data.prepare:
        exact = set()
    elif any(option in given for option in _NUMBER_OPTIONS):  # which are of no use to dates
        exact = {name for name in exact if kinds[name] == "date"}
    arguments, types = dict(given), given.get("dtype") or {}
    if isinstance(types, Mapping):
        free = (text | exact).difference(given.get("converters") or {})
        arguments["dtype"] = {name: object for name in names if name in free} | dict(types)
    if "keep_default_na" not in given and "na_filter" not in given:
        arguments["keep_default_na"] = False
        arguments["na_values"] = {
            name: [*(("",) if name in text else DEFAULT_MISSING), *_missing(given, name)]
            for name in names
        }
    return arguments


def _missing(given: Mapping[str, Any], name: Any) -> list[Any]:
    """What else the catalog entry says is missing in a column."""
    values = given.get("na_values")
    if isinstance(values, Mapping):
        values = values.get(name)
    if values is None:
        return []
    return list(values) if isinstance(values, list | tuple | set) else [values]


def typed_arguments(form: str, given: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """Arguments of a reader of typed values, so that it makes no floats of what was none.

    A function that prepares the rows gets them as ever, but for text that JSON would read as
    numbers. Long numbers of JSON become floats where there are gaps, which the contract refuses.

    Args:
        form: the format, such as ``json``.
        given: arguments of the catalog entry, which win.
        data: the contract, and whether a function prepares the rows first.
    """
    if form == "json":
        kinds = ("string",) if data.prepare else ("string", "integer", "date")
        exact_columns = [name for name, column in data.columns.items() if column.type in kinds]
        # JSON knows no dates: pandas would make some of numbers in columns called "date" and so on.
        read = {} if data.prepare else {"convert_dates": False}
        types = {"dtype": dict.fromkeys(exact_columns, object)} if exact_columns else {}
        return read | types | dict(given)
    exact = {"coerce_float": False, "dtype_backend": "numpy_nullable"}
    return dict(given) if data.prepare else exact | dict(given)


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
        metadata: Mapping[str, object] | None = None,
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

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._filepath)}
