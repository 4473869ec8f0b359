"""The parts of the rows, and how the columns start that are made of them."""

from __future__ import annotations

from typing import Any

from ratchet.params import (
    AHEAD_PREFIX,
    HISTORY_PREFIX,
    LAG_PREFIXES,
    NAIVE_PREFIX,
    WINDOW_PREFIX,
    Data,
    Split,
)

STATIC_PREFIX = "static_"
"""How columns start that describe a series as a whole, as its training part shows it."""

SPLITS = ("train", "validation", "test")

COMPUTED = (
    HISTORY_PREFIX,
    WINDOW_PREFIX,
    AHEAD_PREFIX,
    *LAG_PREFIXES,
    NAIVE_PREFIX,
    STATIC_PREFIX,
)
"""How columns start that are features, but no column of the rows."""


def part_of(n: int, split: Split) -> Any:
    """Part of each of ``n`` rows or steps in their order, as its place in ``SPLITS``."""
    import numpy as np

    bounds = np.cumsum([1 - split.validation - split.test, split.validation])
    ends = (bounds * n + 1e-9).astype(int)  # the slack is for rounding: 1 - 0.3 - 0.2
    return np.searchsorted(ends, np.arange(n), "right")


def count_train(steps: int, data: Data) -> int:
    """How many of the first steps are for training."""
    return int((part_of(steps, data.split) == 0).sum())
