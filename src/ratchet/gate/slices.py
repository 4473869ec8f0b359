"""Slices, in which a model must not be much worse, and groups of rows that are not independent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.config import UseCase
from ratchet.learning.metrics import entities_from_keys

_QUARTERS = 4
_MAX_NAMES = 12
"""Numbers of at most so many values are names of slices, such as the hours of an afternoon."""

Mask = npt.NDArray[np.bool_]


def slices_of(rows: pd.DataFrame, columns: Sequence[str]) -> dict[str, Mask]:
    """Cut rows into slices by the values of some columns, each column by itself.

    A row belongs to a slice of every name that a list holds. Numbers with many values, and times,
    are cut at their quartiles. A row without a value belongs to no slice, and all rows together
    are none.

    Args:
        rows: n rows with the columns.
        columns: columns that make slices.

    Returns:
        ``<column>=<value>`` -> which rows belong to it, shape (n,).
    """
    slices = {
        f"{column}={value}": mask
        for column in columns
        for value, mask in _slices(rows[column])
        if mask.sum() < len(rows)
    }
    return dict(sorted(slices.items()))


def groups_of(rows: pd.DataFrame, use_case: UseCase) -> npt.NDArray[Any] | None:
    """Group of each row: by ``release.groups``, else by an entity in the row keys.

    Steps of series need none: all series of one time are drawn together.

    Args:
        rows: prepared rows, indexed by row key.
        use_case: the parameters.

    Returns:
        A name for each row, shape (n,); ``None`` where every row is a group of its own.
    """
    named = use_case.release.groups
    if named is not None:
        return None if named == use_case.data.key else rows[named].to_numpy()
    if columns := use_case.data.key_columns:
        # Rows that are near in time are drawn together; without a time, those of one first column.
        return None if use_case.data.time else rows[columns[0]].to_numpy()
    return None if use_case.data.series else entities_from_keys(rows.index)


def _slices(values: pd.Series) -> Iterator[tuple[Any, Mask]]:
    present = values.dropna()
    if present.empty:
        return
    if isinstance(present.iloc[0], (list, tuple, np.ndarray)):
        listed = present.explode().dropna()
        for name, members in listed.groupby(listed):
            yield name, values.index.isin(members.index)
        return
    if present.nunique() > _MAX_NAMES and (
        pd.api.types.is_numeric_dtype(present) or pd.api.types.is_datetime64_any_dtype(present)
    ):
        # Without labels: pandas 3.0 fails to make them of ends that lie very close together.
        quarters, ends = pd.qcut(present, _QUARTERS, labels=False, retbins=True, duplicates="drop")
        present = quarters.map(lambda quarter: _span(ends[int(quarter)], ends[int(quarter) + 1]))
    for value in present.unique():
        yield value, (present == value).reindex(values.index, fill_value=False).to_numpy()


def _span(*ends: Any) -> str:
    if isinstance(ends[0], pd.Timestamp):
        return " to ".join(str(end.date()) for end in ends)
    return " to ".join(f"{end:.6g}" for end in ends)
