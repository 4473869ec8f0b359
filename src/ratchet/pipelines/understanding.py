"""Data understanding: the contract of the raw file, typed rows and their profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kedro.pipeline import Pipeline, node

from ratchet.config import Column, Data, UseCase, read_targets
from ratchet.frames import DataFrame, Series

_SHOWN_VALUES = 10


def read_rows(
    raw: DataFrame,
    data: Data,
    targets: Mapping[str, Any],
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
    from ratchet.preparation import contract

    return contract.typed_rows(raw, data, read_targets(targets), as_of, measured)


def profile_rows(typed: DataFrame, data: Data) -> dict[str, object]:
    """Describe the rows: how many, over which time, and what every column holds and lacks.

    Returns:
        ``rows``, ``span`` (first and last day, if there is time) and ``columns``: name -> type,
        missing, distinct, and range and mean of numbers, range of dates or most frequent values.
    """
    profile: dict[str, object] = {"rows": len(typed)}
    if data.time:
        profile["span"] = [str(day.date()) for day in typed[data.time].agg(["min", "max"])]
    profile["columns"] = {
        name: _profile_column(typed[name], column) for name, column in data.columns.items()
    }
    return profile


def _profile_column(values: Series, column: Column) -> dict[str, object]:
    missing = values.isna()
    if column.type == "list":
        missing |= values.str.len() == 0
    present = values[~missing]
    profile: dict[str, object] = {"type": column.type, "missing": int(missing.sum())}
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


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    return Pipeline(
        [
            node(
                read_rows,
                inputs=["raw", "params:data", "params:targets", "params:as_of", "measured"],
                outputs="typed",
                name="read_rows",
            ),
            node(
                profile_rows,
                inputs=["typed", "params:data"],
                outputs="profile",
                name="profile_rows",
            ),
        ],
        namespace=name,
        parameters={"params:as_of"},
        tags="understanding",
    )
