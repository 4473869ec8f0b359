"""Nodes of data understanding."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any

from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame, Series
from ratchet.params import Column, Data, Derived, read_targets

_SHOWN_VALUES = 10


def read_rows(raw: DataFrame, data: Data, targets: dict[str, Any], as_of: Any) -> DataFrame:
    """Prepare the raw rows, check them against their contract, type them, cut them at ``as_of``.

    Args:
        raw: rows as delivered.
        data: how the raw rows become rows, and the contract of their columns.
        targets: the columns to predict.
        as_of: last day whose rows are seen, or ``None`` for all.

    Raises:
        DataError: the rows break the contract, a target cannot be predicted, or no row is left
            before ``as_of``.
        ConfigError: ``as_of`` is no date, the use case has no time column to cut at, or the
            function that prepares the raw rows fails.
    """
    from ratchet.schemas import check_steps, check_target, read_contract

    rows = raw if data.prepare is None else _prepare(raw, data.prepare)
    typed = read_contract(rows, data.columns, data.key)
    if data.series and data.time:
        check_steps(typed, data.time, data.series.id)
    for name, target in read_targets(targets).items():
        if target.column in typed:
            check_target(name, typed[target.column], target)
    if as_of is None:
        return typed
    if data.time is None:
        raise ConfigError("parameter as_of: the use case names no data.time column to cut at")
    day = _read_day(as_of)
    cut = typed[typed[data.time].dt.normalize() <= day].reset_index(drop=True)
    if cut.empty:
        first = typed[data.time].min().date()
        raise DataError(f"column '{data.time}': no row up to as_of={day.date()}, first is {first}")
    return cut


def _prepare(raw: DataFrame, prepare: Derived) -> DataFrame:
    from kedro.utils import load_obj

    try:
        return load_obj(prepare.function)(raw, **prepare.arguments)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"parameter data.prepare: {prepare.function}: {type(error).__name__}: {error}"
        ) from error


def _read_day(as_of: Any) -> Any:
    import pandas as pd

    day: Any = pd.NaT
    if isinstance(as_of, str | dt.date):  # pandas would take a number for nanoseconds since 1970
        with suppress(ValueError):
            day = pd.Timestamp(as_of)
    if day is pd.NaT:
        raise ConfigError(f"parameter as_of: expected a date such as 2020-01-31, got {as_of!r}")
    return day.tz_localize(None).normalize()


def profile_rows(typed: DataFrame, data: Data) -> dict[str, Any]:
    """Describe the rows: how many, over which time, and what every column holds and lacks.

    Returns:
        ``rows``, ``span`` (first and last day, if there is time) and ``columns``: name -> type,
        missing, distinct, and range and mean of numbers, range of dates or most frequent values.
    """
    profile: dict[str, Any] = {"rows": len(typed)}
    if data.time:
        profile["span"] = [str(day.date()) for day in typed[data.time].agg(["min", "max"])]
    profile["columns"] = {
        name: _profile_column(typed[name], column) for name, column in data.columns.items()
    }
    return profile


def _profile_column(values: Series, column: Column) -> dict[str, Any]:
    missing = values.isna()
    if column.type == "list":
        missing |= values.str.len() == 0
    present = values[~missing]
    profile: dict[str, Any] = {"type": column.type, "missing": int(missing.sum())}
    if present.empty and column.type in ("integer", "number", "date"):
        return profile
    if column.type in ("integer", "number"):
        statistics = present.agg(["min", "median", "mean", "max", "std"])
        profile |= {str(name): float(value) for name, value in statistics.dropna().items()}
    elif column.type == "date":
        profile |= {name: str(present.agg(name).date()) for name in ("min", "max")}
    else:
        counts = present.explode().value_counts()
        profile["distinct"] = len(counts)
        profile["most_frequent"] = {str(k): int(n) for k, n in counts.head(_SHOWN_VALUES).items()}
    return profile
