"""Every statistic of a column, for the window and all chunks, and back to what people read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ratchet.monitoring.drift import joint, statistics
from ratchet.monitoring.drift.columns import Array, LevelCounts
from ratchet.monitoring.drift.null_distribution import Chunks, standardise

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
    found = [_missing(levels, chunks)]
    together = statistics.groups(a[0] + b[0], ordered=levels.points is not None)
    index = statistics.psi(a @ together, b @ together)
    found.append(_scaled("psi", index, root, chunks, power=2))
    if levels.points is not None:
        found.append(_scaled("ks", statistics.kolmogorov_smirnov(a, b), root, chunks))
        moved = statistics.wasserstein(a, b, levels.points / levels.spread)
        found.append(_scaled("wasserstein", moved, root, chunks))
    else:
        found.append(_unseen(statistics.unseen(a, b), chunks))
    return found


def measure_joint(features: Array, chunks: Chunks) -> Statistic:
    """The statistic of all columns together.

    Args:
        features: shape (n + m, k), as ``joint.features`` gives them.
        chunks: the window and the chunks.
    """
    a, b = chunks.split(np.column_stack([features, np.ones(len(features))]))
    root = np.sqrt(_effective(a[:, -1], b[:, -1]))
    return _scaled("distance", joint.distance(a, b), root, chunks, power=2)


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


def _unseen(shares: Array, chunks: Chunks) -> Statistic:
    root = 2 * math.sqrt(chunks.size)
    scaled = np.arcsin(np.sqrt(shares)) * root
    z, centre, width = standardise(scaled, _FLOORS["unseen"], chunks.apart)

    def read(limit: float) -> float:
        return _share(max(centre + width * limit, 0.0) / root)

    return Statistic("unseen", float(shares[0]), z, read)


def _share(angle: float) -> float:
    return float(np.sin(min(angle, math.pi / 2)) ** 2)
