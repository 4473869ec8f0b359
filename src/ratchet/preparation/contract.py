"""Raw rows under their contract."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pkgutil import resolve_name
from typing import Any

import pandas as pd

from ratchet.config import Column, Data, Derived, Target, UseCase
from ratchet.dates import local
from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame
from ratchet.preparation.observed_rows import MeasuredRow, add_measured_rows
from ratchet.preparation.raw_schema import (
    check_future,
    check_steps,
    check_target,
    join_series,
    joined_columns,
    read_contract,
    show_rows,
)
from ratchet.preparation.required_columns import RequiredColumns
from ratchet.preparation.row_features import derive_columns
from ratchet.values import without_blanks

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(\D.*)?", re.DOTALL)
"""A date that is written out: pandas would read ``5`` as a day of this month, and ``now``."""


def typed_rows(
    raw: DataFrame,
    data: Data,
    targets: Mapping[str, Target],
    as_of: Any = None,
    measured: Sequence[MeasuredRow] = (),
) -> DataFrame:
    """Prepare the raw rows, check them against their contract, type them, cut them at ``as_of``.

    Args:
        raw: rows as delivered.
        data: how the raw rows become rows, and the contract of their columns.
        targets: the columns to predict.
        as_of: last day whose rows are seen, or ``None`` for all.
        measured: what the service was handed in since, see ``add_measured_rows``.

    Raises:
        DataError: the rows break the contract, a target cannot be predicted or is known of a time
            to come, or no row is left before ``as_of``.
        ConfigError: ``as_of`` is no date, the use case has no time column to cut at, or the
            function that prepares the raw rows fails.
    """
    rows = raw if data.prepare is None else _prepare(raw, data.prepare)
    typed = read_contract(rows, data.columns, data.key, steps=_steps(data))
    typed = _without_others(join_keys(join_series(typed, data), data), data)
    if data.series and data.time:
        check_steps(typed, data.time, data.series.columns)
    typed = add_measured_rows(typed, measured, data)
    for name, target in targets.items():
        if target.column in typed:
            check_target(name, typed[target.column], target)
    _check_future(typed, data, targets)
    if as_of is None:
        return typed
    if data.time is None:
        raise ConfigError("parameter as_of: the use case names no data.time column to cut at")
    day = read_day(as_of)
    cut = typed[local(typed[data.time]).dt.normalize() <= day].reset_index(drop=True)
    if cut.empty:
        first = typed[data.time].min().date()
        raise DataError(f"column '{data.time}': no row up to as_of={day.date()}, first is {first}")
    return cut


def _without_others(typed: DataFrame, data: Data) -> DataFrame:
    """Typed rows, in which numbers that have to be above 0 and are not are missing."""
    above = {name: typed[name].where(typed[name] > 0) for name in data.positive if name in typed}
    return typed.assign(**above) if above else typed


def join_keys(typed: DataFrame, data: Data) -> DataFrame:
    """Typed rows with their key, where several columns name a row together.

    Raises:
        DataError: rows with the same values in all of these columns: how many, and the first.
    """
    if not data.key_columns:
        return typed
    keys = joined_columns(typed, data.key_columns)
    if (twice := keys.duplicated()).any():
        raise DataError(
            f"columns {data.key_columns}: expected no two rows that have the same values in all of "
            f"them (data.key); {show_rows(keys[twice], len(keys))}. Leave out what is there twice, "
            f"add the rows up in data.prepare, or name a further column in data.key"
        )
    typed = typed.copy(deep=False)
    typed.insert(0, data.key, keys)
    return typed


def _check_future(typed: DataFrame, data: Data, targets: Mapping[str, Target]) -> None:
    """Make sure that no truth is known before its time.

    A single row of the year 2200 would be the last one that a model knows, and none that follows
    would be new. Rows of the future whose truth is not known are plans: they are answered.

    Raises:
        DataError: how many rows lie too far ahead and have a truth, and the first of them.
    """
    if data.time is None or data.ahead is None:
        return
    zone = typed[data.time].dt.tz
    now = pd.Timestamp.now(zone or "UTC")
    limit = (now if zone else now.tz_localize(None)) + pd.Timedelta(data.ahead)
    late = typed[data.time] > limit
    if not late.any():
        return
    columns, rows = [target.column for target in targets.values()], typed
    if data.series is None and not set(columns) <= set(typed.columns):
        rows = derive_columns(typed.dropna(subset=data.required), data)
    has_truth = rows[[name for name in columns if name in rows]].notna().any(axis=1)
    wrong = late & has_truth.reindex(typed.index, fill_value=False)
    check_future(typed[data.time], wrong, limit, data.ahead)


def _steps(data: Data) -> tuple[str, list[str]] | None:
    """Columns that identify steps: their time, and their series where there are several."""
    return (data.time, data.series.columns) if data.series and data.time else None


def _prepare(raw: DataFrame, prepare: Derived) -> DataFrame:
    try:
        return resolve_name(prepare.function)(raw, **prepare.arguments)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"parameter data.prepare: {prepare.function}: {type(error).__name__}: {error}"
        ) from error


def read_day(as_of: Any) -> Any:
    """Read the last day whose rows are seen.

    Raises:
        ConfigError: it is no date.
    """
    day: Any = pd.NaT
    # pandas would take a number for nanoseconds since 1970.
    if isinstance(as_of, dt.date) or (isinstance(as_of, str) and _DAY.fullmatch(as_of)):
        with suppress(ValueError):
            day = pd.Timestamp(as_of)
    if day is pd.NaT:
        raise ConfigError(f"parameter as_of: expected a date such as 2020-01-31, got {as_of!r}")
    return day.tz_localize(None).normalize()


def typed_fields(fields: DataFrame, use_case: UseCase) -> DataFrame:
    """Check and type rows that are to be answered, whose truth may not be known.

    Args:
        fields: rows with the columns of the contract, as ``data.prepare`` makes them where there is
            one; lists as text or as lists. Columns that may be empty, and those that an answer does
            not need, may be left out.
        use_case: the parameters.

    Returns:
        Rows as ``typed_rows`` gives them; what is not known is missing.

    Raises:
        DataError: a column is missing, or values break the contract.
    """
    data, required = use_case.data, RequiredColumns(use_case)
    if fields.empty:
        raise DataError("there are no rows to answer")
    rows = fields.reset_index(drop=True)
    columns = {
        name: column if name in required.columns else column.model_copy(update={"nullable": True})
        for name, column in data.columns.items()
    }
    blank = [
        name
        for name, column in columns.items()
        if column.nullable and name not in required.required and _is_blank(rows, name, column)
    ]
    typed = read_contract(rows, columns, data.key, steps=_steps(data), blank=blank)
    typed = _without_others(join_keys(join_series(typed, data), data), data)
    if data.series and data.time:
        check_steps(typed, data.time, data.series.columns)
    return typed


def _is_blank(rows: DataFrame, name: str, column: Column) -> bool:
    if name not in rows:
        return True
    values = rows[name] if column.type in ("string", "list") else without_blanks(rows[name])
    return bool(values.isna().all())
