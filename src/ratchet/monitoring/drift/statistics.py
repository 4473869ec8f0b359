"""How much the values of a column differ between two sets of rows.

All take counts of levels, for many pairs of sets at once: ``a`` and ``b`` of shape (sets, levels).
A set without values differs from none: its statistic is 0, and the share of missing values tells.
"""

from __future__ import annotations

import numpy as np

from ratchet.monitoring.drift.columns import Array

_GROUPS = 10  # of a number, in the population stability index: deciles, as is usual
_LARGEST = 19  # categories that the index counts one by one; the others count together


def psi(a: Array, b: Array) -> Array:
    """Population stability index, sum of ``(p - q) ln(p / q)`` over the levels.

    Half a row is added to every level, so that an empty one gives no infinite index.

    Args:
        a: counts of the first sets, shape (sets, levels); the levels merged as by ``groups``.
        b: counts of the second sets.

    Returns:
        Shape (sets,), 0 or more.
    """
    there = (a.sum(axis=-1) > 0) & (b.sum(axis=-1) > 0)
    if a.shape[-1] == 0:
        return np.zeros(a.shape[:-1])
    p, q = (_shares(counts + 0.5) for counts in (a, b))
    return np.where(there, ((p - q) * np.log(p / q)).sum(axis=-1), 0.0)


def groups(totals: Array, *, ordered: bool) -> Array:
    """Which levels the stability index counts together.

    Args:
        totals: rows of each level in both sets, shape (levels,).
        ordered: whether the levels are places on an axis: then groups are tenths of the rows.

    Returns:
        Shape (levels, groups), one 1 a row.
    """
    if ordered:
        middle = (np.cumsum(totals) - totals / 2) / max(totals.sum(), 1)
        _, group = np.unique((_GROUPS * middle).astype(int), return_inverse=True)
    else:
        rank = np.empty(len(totals), dtype=int)
        rank[np.argsort(-totals, kind="stable")] = np.arange(len(totals))
        group = np.minimum(rank, _LARGEST)
    return np.eye(int(group.max(initial=-1)) + 1)[group]


def kolmogorov_smirnov(a: Array, b: Array) -> Array:
    """Largest difference of the two distribution functions, shape (sets,), from 0 to 1."""
    return np.abs(_difference(a, b)).max(axis=-1, initial=0.0)


def wasserstein(a: Array, b: Array, points: Array) -> Array:
    """Mean distance by which values have to be moved, in units of ``points``, shape (sets,)."""
    return np.abs(_difference(a, b))[..., :-1] @ np.diff(points)


def unseen(a: Array, b: Array) -> Array:
    """Share of the values of the first sets that the second ones do not have, shape (sets,)."""
    return np.where(b == 0, a, 0.0).sum(axis=-1) / np.maximum(a.sum(axis=-1), 1)


def _difference(a: Array, b: Array) -> Array:
    """Difference of the distribution functions at every level; 0 where a set has no values."""
    there = (a.sum(axis=-1) > 0) & (b.sum(axis=-1) > 0)
    difference = np.cumsum(_shares(a) - _shares(b), axis=-1)
    return np.where(there[..., None], difference, 0.0)


def _shares(counts: Array) -> Array:
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
