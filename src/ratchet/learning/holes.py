"""Holes of series, filled by a rule where what forecasts look at would be missing.

Only NumPy is loaded: the service answers with it alone.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Fill = float | Literal["previous", "interpolate"]
"""What a hole holds: a number, the value before it, or what lies on the line to the value after."""


def fill_holes(values: npt.NDArray[np.float64], fill: Fill, limit: int) -> npt.NDArray[np.float64]:
    """A panel whose short holes between two values are filled.

    Args:
        values: shape (steps, series), NaN where nothing is known.
        fill: the rule.
        limit: steps of a hole up to which it is filled; longer ones stay, as do steps before the
            first value and after the last one.
    """
    n, known = len(values), np.isfinite(values)
    at = np.arange(n)[:, None]
    before = np.maximum.accumulate(np.where(known, at, -1), axis=0)
    after = np.minimum.accumulate(np.where(known, at, n)[::-1], axis=0)[::-1]
    holes = ~known & (before >= 0) & (after < n) & (after - before <= limit + 1)
    if not holes.any():
        return values
    if isinstance(fill, str):
        held = np.take_along_axis(values, np.maximum(before, 0), axis=0)
    else:
        held = np.full_like(values, fill)
    if fill == "interpolate":
        following = np.take_along_axis(values, np.minimum(after, n - 1), axis=0)
        held = held + (following - held) * (at - before) / np.maximum(after - before, 1)
    return np.where(holes, held, values)
