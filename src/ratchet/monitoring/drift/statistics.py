"""How much the values of a column differ between two sets of rows, and all columns together.

Distances take counts of levels, for many pairs of sets at once: ``a`` and ``b`` of shape (sets,
levels). A set without values differs from none: its statistic is 0, and the share of missing
values shows it. ``measure`` brings them to one scale, and from there back to what people read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from ratchet.monitoring.drift.columns import Array, LevelCounts
from ratchet.monitoring.drift.null_distribution import Chunks, standardise

_GROUPS = 10  # of a number, in the population stability index: deciles, as is usual
_LARGEST = 19  # categories that the index counts one by one; the others count together


def psi(a: Array, b: Array) -> Array:
    """Population stability index, sum of ``(p - q) ln(p / q)`` over the levels.

    Half a row is added to every level, so that an empty one gives no infinite index.

    Args:
        a: counts of the first sets, shape (sets, levels); the levels merged as by ``psi_groups``.
        b: counts of the second sets.

    Returns:
        Shape (sets,), 0 or more.
    """
    present = (a.sum(axis=-1) > 0) & (b.sum(axis=-1) > 0)
    if a.shape[-1] == 0:
        return np.zeros(a.shape[:-1])
    p, q = (_shares(counts + 0.5) for counts in (a, b))
    return np.where(present, ((p - q) * np.log(p / q)).sum(axis=-1), 0.0)


def psi_groups(totals: Array, *, ordered: bool) -> Array:
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


def new_category_share(a: Array, b: Array) -> Array:
    """Share of the values of the first sets whose level the second ones lack, shape (sets,)."""
    return np.where(b == 0, a, 0.0).sum(axis=-1) / np.maximum(a.sum(axis=-1), 1)


def _difference(a: Array, b: Array) -> Array:
    """Difference of the distribution functions at every level; 0 where a set has no values."""
    present = (a.sum(axis=-1) > 0) & (b.sum(axis=-1) > 0)
    difference = np.cumsum(_shares(a) - _shares(b), axis=-1)
    return np.where(present[..., None], difference, 0.0)


def _shares(counts: Array) -> Array:
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)


_FLOORS = {
    "psi": 0.6,
    "ks": 0.3,
    "wasserstein": 0.3,
    "missing": 1.25,
    "unseen": 1.25,
    "distance": 0.05,
}
"""Smallest widths of the scaled statistics: half of what they have for independent rows of a
continuous column, and for shares all of it, so that a first missing value is no alarm."""


@dataclass(frozen=True)
class Statistic:
    """A statistic of one column, brought to the scale that all share.

    Attributes:
        name: such as ``ks``.
        value: of the window, as people read it.
        z: standardised, of the window and of every chunk, shape (1 + chunks,).
        read: what a standardised value means for the window, as people read it.
    """

    name: str
    value: float
    z: Array
    read: Callable[[float], float]


def measure(levels: LevelCounts, chunks: Chunks) -> list[Statistic]:
    """Statistics of a column.

    They grow with the root of the effective number of values, ``n m / (n + m)``, and are scaled
    by it: chunks may hold fewer values than the window, because of missing ones or of their size.

    Args:
        levels: the column.
        chunks: the window and the chunks.
    """
    a, b = chunks.split(levels.counts)
    root = np.sqrt(_effective(a.sum(axis=1), b.sum(axis=1)))
    statistics = [_missing(levels, chunks)]
    together = psi_groups(a[0] + b[0], ordered=levels.points is not None)
    index = psi(a @ together, b @ together)
    statistics.append(_scaled("psi", index, root, chunks, power=2))
    if levels.points is not None:
        statistics.append(_scaled("ks", kolmogorov_smirnov(a, b), root, chunks))
        moved = wasserstein(a, b, levels.points / levels.spread)
        statistics.append(_scaled("wasserstein", moved, root, chunks))
    else:
        statistics.append(_new_categories(new_category_share(a, b), chunks))
    return statistics


def measure_joint(features: Array, chunks: Chunks) -> Statistic:
    """The statistic of all columns together.

    Args:
        features: shape (n + m, k), as ``joint_features`` gives them.
        chunks: the window and the chunks.
    """
    a, b = chunks.split(np.column_stack([features, np.ones(len(features))]))
    root = np.sqrt(_effective(a[:, -1], b[:, -1]))
    return _scaled("distance", joint_distance(a, b), root, chunks, power=2)


def _effective(a: Array, b: Array) -> Array:
    return a * b / np.maximum(a + b, 1)


def _scaled(name: str, values: Array, root: Array, chunks: Chunks, power: int = 1) -> Statistic:
    """A statistic whose root of order ``power`` shrinks like the root of the number of rows."""
    z, centre, width = standardise(values ** (1 / power) * root, _FLOORS[name], chunks.apart)

    def read(limit: float) -> float:
        scaled = max(centre + width * limit, 0.0)
        return float((scaled / root[0]) ** power) if root[0] else math.nan

    return Statistic(name, float(values[0]), z, read)


def _missing(levels: LevelCounts, chunks: Chunks) -> Statistic:
    """Change of the share of missing values, on the scale that gives shares one variance."""
    a, b = chunks.split(np.column_stack([levels.missing, np.ones(len(levels.missing))]))
    before, now = (np.arcsin(np.sqrt(np.clip(x[:, 0] / x[:, 1], 0, 1))) for x in (b, a))
    root = 2 * np.sqrt(_effective(a[:, 1], b[:, 1]))
    z, centre, width = standardise(np.abs(now - before) * root, _FLOORS["missing"], chunks.apart)

    def read(limit: float) -> float:
        return _share(before[0] + max(centre + width * limit, 0.0) / root[0])

    return Statistic("missing", float(a[0, 0] / a[0, 1]), z, read)


def _new_categories(shares: Array, chunks: Chunks) -> Statistic:
    root = 2 * math.sqrt(chunks.size)
    scaled = np.arcsin(np.sqrt(shares)) * root
    z, centre, width = standardise(scaled, _FLOORS["unseen"], chunks.apart)

    def read(limit: float) -> float:
        return _share(max(centre + width * limit, 0.0) / root)

    return Statistic("unseen", float(shares[0]), z, read)


def _share(angle: float) -> float:
    return float(np.sin(min(angle, math.pi / 2)) ** 2)


_FREQUENT = 10  # categories and names of a column that the joint test sees
_FEATURES = 64  # cosines and sines; more of them find little more


def joint_features(columns: Mapping[str, LevelCounts], n_rows: int, seed: int) -> Array:
    """Random features whose means differ where the joint distributions differ.

    The squared distance of the means of two sets is an estimate of their maximum mean discrepancy
    with a Gaussian kernel (Gretton et al. 2012, Journal of Machine Learning Research 13), by the
    random features of Rahimi & Recht (2007), in one pass over the rows. Numbers enter by their
    normal scores, so that no heavy tail hides the rest, with 0 and a mark where they are missing;
    of categories and lists the most frequent enter.

    Args:
        columns: the columns, each over the same rows.
        n_rows: how many rows that is.
        seed: seed of the features.

    Returns:
        Shape (rows, features); of length 1 in every row.
    """
    rng = np.random.default_rng(seed)
    blocks = [block for levels in columns.values() for block in _unit_columns(levels)]
    half = _FEATURES // 2
    if not blocks:
        return np.full((n_rows, _FEATURES), 1 / np.sqrt(_FEATURES))
    X = np.column_stack(blocks)
    # The kernel is as wide as two rows are apart: sums of as many unit variances as there are.
    directions = rng.standard_normal((X.shape[1], half)) / np.sqrt(2 * X.shape[1])
    angles = X @ directions
    return np.hstack([np.cos(angles), np.sin(angles)]) / np.sqrt(half)


def joint_distance(a: Array, b: Array) -> Array:
    """Squared distance of the means, shape (sets,).

    Args:
        a: sums of the features over the first sets and, last, their rows; shape (sets, k + 1).
        b: the same of the second sets.
    """
    first, second = (sums[:, :-1] / np.maximum(sums[:, -1:], 1) for sums in (a, b))
    return np.square(first - second).sum(axis=1)


def _unit_columns(levels: LevelCounts) -> list[Array]:
    """Columns of mean 0 and variance 1; constant ones are left out."""
    if levels.kind == "number":
        blocks = [levels.counts @ _scores(np.asarray(levels.counts.sum(axis=0)).ravel())]
    else:
        totals = np.asarray(levels.counts.sum(axis=0)).ravel()
        frequent = np.argsort(-totals, kind="stable")[:_FREQUENT]
        blocks = list(levels.counts[:, frequent].toarray().T)
    blocks.append(levels.missing.astype(np.float64))
    return [(x - x.mean()) / x.std() for x in blocks if x.std() > 1e-12]


def _scores(rows_per_level: Array) -> Array:
    """Normal scores of levels in ascending order; rows of one level share a rank."""
    ranks = np.cumsum(rows_per_level) - (rows_per_level - 1) / 2
    return special.ndtri((ranks - 0.5) / max(rows_per_level.sum(), 1))
