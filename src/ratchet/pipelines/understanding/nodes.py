"""Nodes of data understanding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ratchet.config import Column, Data
from ratchet.frames import DataFrame, Series
from ratchet.preparation import typed_rows

_SHOWN_VALUES = 10


def read_rows(
    raw: DataFrame,
    data: Data,
    targets: dict[str, Any],
    as_of: Any,
    measured: Sequence[Any] = (),
) -> DataFrame:
    """Prepare the raw rows, check them against their contract, type them, cut them at ``as_of``.

    Args:
        raw: rows as delivered.
        data: how the raw rows become rows, and the contract of their columns.
        targets: the columns to predict.
        as_of: last day whose rows are seen, or ``None`` for all.
        measured: what the service was handed in since.
    """
    return typed_rows(raw, data, targets, as_of, measured)


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
