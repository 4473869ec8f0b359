"""Data contracts: what YAML says of the raw columns, as a pandera schema.

The contract is in the parameters of the use case, next to the features and targets that use
its columns; a catalog ``validator:`` could not read it from there, so the first node applies it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ratchet.config import Column, Data, Target, joined_key
from ratchet.dates import read_dates
from ratchet.errors import DataError
from ratchet.values import EXACT, as_integers, as_lists, as_numbers, as_text, without_blanks

if TYPE_CHECKING:
    import pandera.pandas as pa

_SHOWN_ROWS = 5
_CELLS_OF_A_ROW = 8
"""Cells of a table of series and times for each row, up to which it is filled to compare rows."""

_COMMA = r"\s*[+-]?\d+,\d+\s*"
_SIGNED = r"[^\w.,]*\s*[+-]?\d[\d.,' ]*\s*([^\w.,]*|[A-Za-z]{2,3})"
_DTYPES: dict[str, str] = {
    "integer": "int64",
    "number": "float64",
    "string": "str",
    "list": "object",
}
_ROUNDED = (
    ". A float of 2**53 or more may have been another whole number, rounded: deliver the column as "
    "64-bit integers or as text"
)


def read_contract(
    frame: pd.DataFrame,
    columns: Mapping[str, Column],
    key: str,
    *,
    steps: tuple[str, Sequence[str]] | None = None,
    blank: Collection[str] = (),
) -> pd.DataFrame:
    """Check a raw frame and give it types.

    Args:
        frame: the raw rows.
        columns: contract of each column; other columns are dropped.
        key: column whose values must be unique, where there is one.
        steps: where rows are steps, the column of their time and those that name their series,
            none where all are one.
        blank: columns of which no value is known; they need not be there.

    Returns:
        New frame with the columns of the contract, in its order; lists are lists of text, empty
        where the value is empty or missing.

    Raises:
        DataError: a column is missing, or values break the contract: for every column the rule,
            how many rows break it and the first of them.
    """
    if blank:
        given = {name: column for name, column in columns.items() if name not in blank}
        typed = read_contract(frame, given, key, steps=steps)
        nothing = {name: _without_values(columns[name], len(typed)) for name in blank}
        return typed.assign(**nothing)[list(columns)]
    frame = _with_index(frame, columns)
    if missing := [name for name in columns if name not in frame.columns]:
        raise DataError(f"columns {missing} are missing; the file has {list(frame.columns)}")
    if twice := [name for name in columns if (frame.columns == name).sum() > 1]:
        raise DataError(f"columns {twice} are there more than once: which one is meant?")
    if frame.empty:
        raise DataError("the file has no rows")
    frame = frame[list(columns)].reset_index(drop=True)
    dates, unread = _read_dates(frame, columns, steps)
    values, wrong = _read_values(frame, columns)
    read, errors = dates | values, list((unread | wrong).values())
    sound = {name: column for name, column in columns.items() if name in read}
    try:
        chosen = pd.DataFrame({name: read[name] for name in sound}, copy=False)
        typed = _validate(chosen, sound, key)
    except DataError as error:
        errors.append(str(error))
    if errors:
        raise DataError("\n".join(errors))
    return typed


def _without_values(column: Column, n: int) -> pd.Series:
    """A column of the contract without any value, ``n`` rows long."""
    dtypes = {"date": "datetime64[us]", "integer": "Int64", "number": "float64", "string": "str"}
    blank = pd.Series([None] * n, dtype=dtypes.get(column.type, "object"))
    return blank.dt.tz_localize(column.timezone) if column.timezone else blank


def _with_index(frame: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Rows whose index holds a column of the contract, as a Parquet file may have them."""
    missing = [name for name in columns if name not in frame.columns]
    levels = [name for name in missing if name in frame.index.names]
    if levels:
        return frame.reset_index(level=levels)
    unnamed = isinstance(frame.index, pd.DatetimeIndex) and frame.index.name is None
    if unnamed and len(missing) == 1 and columns[missing[0]].type == "date":
        return frame.rename_axis(missing[0]).reset_index()
    return frame


def _read_dates(
    frame: pd.DataFrame, columns: Mapping[str, Column], steps: tuple[str, Sequence[str]] | None
) -> tuple[dict[str, pd.Series], dict[str, str]]:
    """Columns of dates, and by name what is wrong with those that cannot be read."""
    dates: dict[str, pd.Series] = {}
    unread: dict[str, str] = {}
    time, series = steps or (None, ())
    of_series = pd.Series(0, index=frame.index)
    if len(series) == 1:
        of_series = frame[series[0]]
    elif series:
        of_series = frame.groupby(list(series), sort=False, dropna=False).ngroup()
    for name in [name for name, column in columns.items() if column.type == "date"]:
        of_steps = of_series if name == time else None
        try:
            dates[name] = read_dates(frame[name], columns[name], name, of_steps)
        except DataError as error:
            unread[name] = str(error)
    return dates, unread


def _read_values(
    frame: pd.DataFrame, columns: Mapping[str, Column]
) -> tuple[dict[str, pd.Series], dict[str, str]]:
    """Other columns by what their values mean, and by name what is wrong with those of others."""
    read: dict[str, pd.Series] = {}
    unread: dict[str, str] = {}
    for name, column in columns.items():
        values, wrong = frame[name], pd.Series(False, index=frame.index)
        if column.type == "string":
            read[name] = as_text(values)
        elif column.type == "list":
            read[name] = as_lists(values, column.separator)
        elif column.type == "number":
            read[name], wrong = as_numbers(without_blanks(values))
        elif column.type == "integer":
            read[name], wrong = as_integers(without_blanks(values))
            wrong |= False if column.nullable else read[name].isna()
        if wrong.any():
            del read[name]
            rounded = any(isinstance(c, float) and abs(c) >= EXACT for c in values[wrong])
            examples = show_rows(values[wrong], len(values)) + (_ROUNDED if rounded else "")
            examples += _signs(values[wrong]) if column.type == "number" else ""
            unread[name] = f"column '{name}': expected type {column.type}; {examples}"
    return read, unread


def _signs(wrong: pd.Series) -> str:
    """What helps where numbers have a decimal comma, or signs such as those of currencies."""
    texts = wrong.astype(str)
    if texts.str.fullmatch(_COMMA).all():
        return (
            ". Where the comma is the decimal separator: load_args: {decimal: ','} in the catalog"
        )
    if texts.str.fullmatch(_SIGNED).all():
        return (
            ". Signs of currencies and thousands are taken away by data.prepare.function: "
            "ratchet.use_cases.common.plain_numbers"
        )
    return ""


def joined_columns(typed: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Several columns as one text, see ``joined_key``; each combination is joined once."""
    codes = typed.groupby(list(names), sort=False, observed=True).ngroup().to_numpy()
    first = typed[list(names)].iloc[np.unique(codes, return_index=True)[1]]
    cells = [first[name].astype(object).tolist() for name in names]
    joined = pd.Series([joined_key(parts) for parts in zip(*cells, strict=True)], dtype="str")
    return joined.take(codes).set_axis(typed.index)


def join_series(typed: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Typed rows with the name of their series, where several columns name it together."""
    if data.series is None or not data.series.id_columns:
        return typed
    names = joined_columns(typed, data.series.id_columns)
    return typed.assign(**{str(data.series.id): names})


def check_steps(typed: pd.DataFrame, time: str, series: Sequence[str]) -> None:
    """Make sure that no series has two rows at one time.

    Args:
        typed: rows that keep their contract.
        time: column of the time; rows without one are left out later.
        series: columns that name the series; without any all rows are one.

    Raises:
        DataError: how many rows come again, and the first of them.
    """
    named = [*series, time]
    if _are_distinct(typed, named):
        return
    twice = typed[time].notna() & typed.duplicated(named, keep="first")
    if not twice.any():
        return
    moments = typed.loc[twice, named].astype(str).agg(", ".join, axis=1)
    of_series = f" for each {' and '.join(map(repr, series))}" if series else ""
    raise DataError(
        f"column '{time}': expected every time once{of_series}; {show_rows(moments, len(typed))}. "
        f"{_distinguishing_columns(typed, named)}"
    )


def _are_distinct(typed: pd.DataFrame, named: Sequence[str]) -> bool:
    """Whether no two rows have the same values in some columns, where that is known quickly.

    Series that have a row at most of their steps fill a table of both, which takes less time and
    memory than hashing the rows. False where there is no such table, or a value is missing.
    """
    places, size = np.zeros(len(typed), dtype=np.int64), 1
    for name in named:
        codes, distinct = pd.factorize(typed[name])
        size *= len(distinct)
        if size > _CELLS_OF_A_ROW * len(typed) or (codes < 0).any():
            return False
        places *= len(distinct)
        places += codes
    taken = np.zeros(size, dtype=bool)
    taken[places] = True
    return int(np.count_nonzero(taken)) == len(typed)


def _distinguishing_columns(typed: pd.DataFrame, named: list[str]) -> str:
    """Columns that may distinguish the rows of one time, and what to do about it."""
    plain = [str(name) for name in typed if name not in named and _is_plain(typed[name])]
    apart = [name for name in plain if not typed.duplicated([*named, name]).any()]
    ways_out = [
        f"Column '{name}' tells them apart: where it names the series, write data.series.id: "
        f"{_listed([*named[:-1], name])}; where it is the hour of the day, have it joined to the "
        f"time by data.prepare.function: ratchet.use_cases.common.join_hour"
        for name in apart[:1]
    ]
    clock = typed[named[-1]]
    if clock.dt.tz is None and (clock != clock.dt.normalize()).any():
        ways_out.append(
            f"A local time comes twice when daylight-saving time ends: name the place whose clock "
            f"it is in data.columns.{named[-1]}.timezone (Europe/Berlin), or give times in UTC"
        )
    return ". ".join(ways_out) or (
        "Leave out what is there twice, or name the column of the series in data.series.id"
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def _is_plain(values: pd.Series) -> bool:
    """Whether a column can name something: text, or few whole numbers that come again."""
    if pd.api.types.is_float_dtype(values):
        return False
    return values.dtype != object and values.nunique() < len(values)


def check_target(name: str, values: pd.Series, target: Target) -> None:
    """Make sure that a column can be predicted; missing values may be left out later.

    Args:
        name: name of the target.
        values: the column, raw or derived.
        target: classes or bounds of the column.

    Raises:
        DataError: no value is there, a class is unknown, or a number is not finite or out of
            bounds: the rule, how many rows break it and the first of them.
    """
    present = values.dropna()
    where = f"column '{target.column}' (target '{name}')"
    if present.empty:
        raise DataError(f"{where}: expected at least one value, found none in {len(values)} rows")
    if target.task == "classification":
        rule, right = f"one of {target.classes}", as_text(present).isin(target.classes or [])
    else:
        low, high = target.bounds or (-np.inf, np.inf)
        numbers = pd.to_numeric(present, errors="coerce")
        rule = f"numbers from {low:g} to {high:g}" if target.bounds else "finite numbers"
        right = np.isfinite(numbers) & numbers.between(low, high)
    if not right.all():
        raise DataError(f"{where}: expected {rule}; {show_rows(present[~right], len(values))}")


def check_future(times: pd.Series, wrong: pd.Series, limit: pd.Timestamp, ahead: str) -> None:
    """Make sure that no truth is known before its time.

    Args:
        times: time of every row.
        wrong: whether a row is beyond the limit and has a truth.
        limit: now, and how far ahead of it a row may lie.
        ahead: how far that is.

    Raises:
        DataError: how many rows are wrong, and the first of them.
    """
    if wrong.any():
        raise DataError(
            f"column '{times.name}': expected no row after {limit:%Y-%m-%d %H:%M} whose truth is "
            f"known, for nothing is known of a time to come; "
            f"{show_rows(times[wrong].astype(str), len(times))}. Correct the times, or leave the "
            f"truth empty where they are plans; where the clock of the data is ahead of the "
            f"world's, data.ahead says how far (now {ahead}; null: any)"
        )


def _validate(frame: pd.DataFrame, columns: Mapping[str, Column], key: str) -> pd.DataFrame:
    if (typed := _sound(frame, columns, key)) is not None:
        return typed
    schema = pa.DataFrameSchema(
        {name: _schema(column, unique=name == key) for name, column in columns.items()}
    )
    try:
        return schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise DataError(_explain(error.failure_cases, columns, len(frame))) from None


def _sound(frame: pd.DataFrame, columns: Mapping[str, Column], key: str) -> pd.DataFrame | None:
    """The typed frame if nothing is wrong with it; what is, pandera finds out.

    A request is a single row, for which pandera takes longer than all else.
    """
    try:
        typed = frame.astype({n: _dtype(c) for n, c in columns.items() if c.type != "date"})
    except (TypeError, ValueError):
        return None
    sound = all(_is_sound(typed[name], column) for name, column in columns.items())
    return typed if sound and (key not in columns or typed[key].is_unique) else None


def _is_sound(values: pd.Series, column: Column) -> bool:
    present = values.dropna()
    if present.empty or (len(present) < len(values) and not column.nullable):
        return False
    low, high = _bound(column, column.low), _bound(column, column.high)
    return bool(
        (column.type != "number" or np.isfinite(present).all())
        and (low is None or (present >= low).all())
        and (high is None or (present <= high).all())
        and (column.values is None or _among(column.values, present).all())
    )


def _schema(column: Column, *, unique: bool) -> pa.Column:
    checks = [pa.Check(_has_values, name="all_null", ignore_na=False)]
    if column.type == "number":
        checks.append(pa.Check(np.isfinite, name="finite"))
    if column.low is not None:
        checks.append(pa.Check.ge(_bound(column, column.low)))
    if column.high is not None:
        checks.append(pa.Check.le(_bound(column, column.high)))
    if column.values is not None:
        checks.append(pa.Check(partial(_among, column.values), name="isin"))
    # Dates are read already; pandera would count them in nanoseconds, which end in 2262.
    dtype = None if column.type == "date" else _dtype(column)
    return pa.Column(dtype, checks, nullable=column.nullable, unique=unique, coerce=True)


def _dtype(column: Column) -> str:
    if column.type == "integer" and column.nullable:  # numpy's integers know no missing value
        return "Int64"
    return _DTYPES[column.type]


def _among(allowed: list[str], values: pd.Series) -> pd.Series:
    """Which values, or of lists which in all their parts, are allowed."""
    if values.dtype == object:
        return values.map(lambda parts: set(parts) <= set(allowed))
    return as_text(values).isin(allowed)


def _has_values(values: pd.Series) -> bool:
    return bool(values.notna().any())


def _bound(column: Column, value: Any) -> Any:
    if value is None or column.type != "date":
        return value
    return pd.Timestamp(value, tz=column.timezone)


def _rule(check: str, column: Column) -> str:
    """What was expected, in words, of a pandera check that failed."""
    words = {
        "not_nullable": "a value in every row",
        "field_uniqueness": "no value twice",
        "all_null": "at least one value",
        "finite": "finite numbers",
        "greater_than_or_equal_to": f"nothing below {column.low}",
        "less_than_or_equal_to": f"nothing above {column.high}",
        "isin": f"one of {column.values}",
        "coerce_dtype": f"type {column.type}",
        "dtype": f"type {column.type}",
    }
    return words.get(check.split("(", maxsplit=1)[0], check)


def _explain(failures: pd.DataFrame, columns: Mapping[str, Column], n_rows: int) -> str:
    """One line per column and rule: how many rows break it, and the first of them."""
    by_row = failures[failures["index"].notna()]
    # A column that could not be converted fails its other checks only in consequence.
    whole = failures[failures["index"].isna() & ~failures["column"].isin(by_row["column"])]
    lines = [
        f"column '{name}': expected {_rule(check, columns[name])}, found none in {n_rows} rows"
        for name, check in zip(whole["column"], whole["check"], strict=True)
    ]
    by_row = by_row.assign(
        rule=[
            _rule(check, columns[name])
            for name, check in zip(by_row["column"], by_row["check"], strict=True)
        ]
    ).drop_duplicates(["column", "rule", "index"])
    for (name, rule), rows in by_row.groupby(["column", "rule"], sort=False):
        wrong = rows.set_index("index")["failure_case"]
        lines.append(f"column '{name}': expected {rule}; {show_rows(wrong, n_rows)}")
    return "\n".join(lines)


def show_rows(wrong: pd.Series, n_rows: int) -> str:
    """How many rows are wrong, and the first of them; the first row after the header is row 0."""
    first = ", ".join(f"row {row}: {value!r}" for row, value in wrong.head(_SHOWN_ROWS).items())
    return f"{len(wrong)} of {n_rows} rows differ ({first})"
