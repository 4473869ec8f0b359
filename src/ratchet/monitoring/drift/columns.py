"""Columns as counts of levels: what all statistics of drift are made of.

A number becomes one of a few hundred levels along its axis, a category or a name in a list is a
level of its own. How often each level occurs in a set of rows is then one product with a sparse
matrix, whatever the column holds, for hundreds of sets at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

Array = npt.NDArray[np.float64]
Kind = Literal["number", "category", "list", "date"]

_GRID = 256  # levels of a number: they miss at most 1/256 of a difference of distributions
_TAIL = 32  # values at either end that are levels of their own, however far out they lie
_FARTHEST = 1e100  # beyond, differences of values overflow


@dataclass(frozen=True)
class LevelCounts:
    """A column of the reference, and below it the same column of the current rows.

    Attributes:
        kind: what the column holds.
        counts: how often each row has each level, shape (rows, levels).
        points: place of each level on the axis of a number, ascending; None for the others.
        names: the levels of a category or list as text; empty for numbers.
        missing: rows without a value, shape (rows,).
        spread: distance of the quartiles of the reference by that of a normal distribution of
            standard deviation 1; the standard deviation where they coincide, or else 1.
    """

    kind: Kind
    counts: sparse.csr_matrix
    points: Array | None
    names: list[str]
    missing: npt.NDArray[np.bool_]
    spread: float = 1.0


def kind_of(reference: pd.Series, current: pd.Series | None = None) -> Kind:
    """What a column holds, by its type; by its first value where it can hold anything.

    Args:
        reference: the column.
        current: the same column, which tells where the reference has no value at all.
    """
    types = pd.api.types
    is_number = types.is_numeric_dtype(reference) and not types.is_bool_dtype(reference)
    present = reference[np.isfinite(reference)] if is_number else reference.dropna()
    if present.empty and current is not None:
        return kind_of(current)
    if is_number:
        return "number"
    if types.is_datetime64_any_dtype(reference):
        return "date"
    return "category" if present.empty else _kind_of_value(present.iloc[0])


def _kind_of_value(value: object) -> Kind:
    if isinstance(value, list | tuple | set | np.ndarray):
        return "list"
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return "number"
    return "date" if hasattr(value, "toordinal") else "category"


def encode(reference: pd.Series, current: pd.Series) -> LevelCounts:
    """Levels of a column.

    Infinite numbers and text among numbers count as missing, empty lists too.

    Args:
        reference: the column, shape (n,), no dates.
        current: the column, shape (m,).

    Returns:
        Rows of the reference first.
    """
    kind = kind_of(reference, current)
    if kind == "number":
        return _numbers(reference, current)
    if kind == "list":
        return _lists(reference, current)
    text = pd.concat([_texts(reference), _texts(current)], ignore_index=True)
    codes, names = pd.factorize(text)
    return LevelCounts(kind, _one_hot(codes, len(names)), None, [str(n) for n in names], codes < 0)


def numbers(values: pd.Series) -> Array:
    """Values as floats, NaN where they are missing, infinite or no number."""
    array = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.clip(np.where(np.isfinite(array), array, np.nan), -_FARTHEST, _FARTHEST)


def _numbers(reference: pd.Series, current: pd.Series) -> LevelCounts:
    before = numbers(reference)
    values = np.concatenate([before, numbers(current)])
    missing = np.isnan(values)
    points = _grid(np.sort(values[~missing]))
    codes = np.where(missing, -1, np.searchsorted(points, values))
    return LevelCounts("number", _one_hot(codes, len(points)), points, [], missing, _spread(before))


def _grid(ordered: Array) -> Array:
    """Points on the axis: quantiles, and every value near the ends."""
    points = np.unique(ordered)
    if len(points) <= _GRID:
        return points
    places = np.linspace(0, len(ordered) - 1, _GRID).astype(int)
    return np.unique(np.concatenate([ordered[places], points[:_TAIL], points[-_TAIL:]]))


def _spread(values: Array) -> float:
    present = values[~np.isnan(values)]
    if len(present) == 0:
        return 1.0
    low, high = np.quantile(present, [0.25, 0.75])
    return float((high - low) / 1.349 or present.std() or 1.0)


def _texts(values: pd.Series) -> pd.Series:
    return values.astype(object).where(values.notna(), None).map(str, na_action="ignore")


def _lists(reference: pd.Series, current: pd.Series) -> LevelCounts:
    rows = pd.concat([reference, current], ignore_index=True).astype(object)
    names: pd.Series[Any] = rows.where(rows.notna(), None).map(_names_in)
    exploded = names.explode().dropna()
    codes, levels = pd.factorize(exploded)
    counts = sparse.csr_matrix(
        (np.ones(len(codes)), (exploded.index.to_numpy(), codes)), shape=(len(rows), len(levels))
    )
    missing = names.map(len).to_numpy() == 0
    return LevelCounts("list", counts, None, [str(level) for level in levels], missing)


def _names_in(value: object) -> list[str]:
    if isinstance(value, list | tuple | set | np.ndarray):
        return [str(name) for name in value]
    return [] if value is None else [str(value)]


def _one_hot(codes: npt.NDArray[np.intp], n_levels: int) -> sparse.csr_matrix:
    """One level a row; a code below 0 has none."""
    rows = np.flatnonzero(codes >= 0)
    return sparse.csr_matrix(
        (np.ones(len(rows)), (rows, codes[rows])), shape=(len(codes), n_levels)
    )
