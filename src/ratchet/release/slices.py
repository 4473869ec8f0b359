"""Groups of rows in which a new model must not be much worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

_QUARTERS = 4
_FEW = 12
"""Numbers of at most so many values are names of groups, such as the hours of an afternoon."""

Mask = npt.NDArray[np.bool_]


def slices_of(rows: pd.DataFrame, columns: Sequence[str]) -> dict[str, Mask]:
    """Cut rows into groups by the values of some columns, each column by itself.

    A row belongs to a group of every name that a list holds. Numbers with many values, and times,
    are cut into quarters of equally many rows. A row without a value belongs to no group, and all
    rows together are none.

    Args:
        rows: n rows with the columns.
        columns: columns that make groups.

    Returns:
        ``<column>=<value>`` -> which rows belong to it, shape (n,).
    """
    found = {
        f"{column}={value}": mask
        for column in columns
        for value, mask in _groups(rows[column])
        if mask.sum() < len(rows)
    }
    return dict(sorted(found.items()))


def _groups(values: pd.Series) -> Iterator[tuple[Any, Mask]]:
    present = values.dropna()
    if present.empty:
        return
    if isinstance(present.iloc[0], (list, tuple, np.ndarray)):
        listed = present.explode().dropna()
        for name, members in listed.groupby(listed):
            yield name, values.index.isin(members.index)
        return
    if present.nunique() > _FEW and (
        pd.api.types.is_numeric_dtype(present) or pd.api.types.is_datetime64_any_dtype(present)
    ):
        quarters = pd.qcut(present, _QUARTERS, duplicates="drop")
        present = quarters.map(_span)
    for value in present.unique():
        yield value, (present == value).reindex(values.index, fill_value=False).to_numpy()


def _span(quarter: pd.Interval) -> str:
    ends = (quarter.left, quarter.right)
    if isinstance(quarter.left, pd.Timestamp):
        return " to ".join(str(end.date()) for end in ends)
    return " to ".join(f"{end:.6g}" for end in ends)
