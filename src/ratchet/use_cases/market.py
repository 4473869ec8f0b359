"""Raw files of markets: regions that hold others, and prices with signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import nnls

_MOST_TOTALS = 50
_PART = 0.5
"""Weight in a sum from which on a name is one of its parts."""


def without_totals(
    frame: pd.DataFrame,
    *,
    column: str,
    quantity: str,
    within: Sequence[str],
    tolerance: float = 0.001,
) -> pd.DataFrame:
    """Leave out rows of names that are the sum of others, and of those that hold others.

    A region whose quantity is, in all rows together, that of some other regions is their total. The
    names that are no part of it lie within its parts, as it holds all there is: then the parts are
    sums, too, though what is left of them is not in the file. What stays is counted once.

    Args:
        frame: rows as delivered.
        column: column of the names, such as regions.
        quantity: column of what adds up.
        within: columns whose values together are a row of each name, such as product and week.
        tolerance: share of the quantity of a total by which its parts may miss it.

    Returns:
        The rows of all other names.

    Raises:
        KeyError: there is no such column.
    """
    sums = frame.pivot_table(index=list(within), columns=column, values=quantity, aggfunc="sum")
    table = sums.dropna()
    dropped: list[str] = []
    for _ in range(_MOST_TOTALS):
        names = [name for name in table if name not in dropped]
        first = _first_total(table[names], tolerance)
        if first is None:
            break
        total, parts = first
        inside = {*names} - {total, *parts}
        dropped += [total, *(parts if inside else [])]
    return frame[~frame[column].isin(dropped)].reset_index(drop=True)


def unit_cost_by_name(frame: pd.DataFrame, *, column: str, costs: Mapping[str, float]) -> pd.Series:
    """Say what a unit costs by the name of its product, or of whatever else decides on it.

    Args:
        frame: rows with the column.
        column: column of the names.
        costs: name -> cost of a unit; others have none, and so get no price.

    Returns:
        The cost of each row.
    """
    return frame[column].map(costs).astype("float64")


def _first_total(table: pd.DataFrame, tolerance: float) -> tuple[str, list[str]] | None:
    """The largest name that is the sum of others, with its parts."""
    size = table.sum().sort_values(ascending=False)
    for name in size.index[: max(len(size) // 2, 1)] if len(size) > 2 else []:
        others = table.drop(columns=name)
        scale = float(np.abs(table[name]).max())
        if not scale:
            continue
        weights, _ = nnls(others.to_numpy(dtype=float) / scale, table[name].to_numpy() / scale)
        parts = [str(other) for other, w in zip(others, weights, strict=True) if w > _PART]
        missed = np.abs(table[parts].sum(axis=1) - table[name]).sum()
        if len(parts) > 1 and missed <= tolerance * size[name]:
            return str(name), parts
    return None
