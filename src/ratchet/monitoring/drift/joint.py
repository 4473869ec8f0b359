"""All columns at once: do they hang together as before?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import special

from ratchet.monitoring.drift.columns import Array, LevelCounts

_FREQUENT = 10  # categories and names of a column that the joint test sees
_FEATURES = 64  # cosines and sines; more of them find little more


def features(columns: Mapping[str, LevelCounts], n_rows: int, seed: int) -> Array:
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
    plain = [block for levels in columns.values() for block in _plain(levels)]
    half = _FEATURES // 2
    if not plain:
        return np.full((n_rows, _FEATURES), 1 / np.sqrt(_FEATURES))
    X = np.column_stack(plain)
    # The kernel is as wide as two rows are apart: sums of as many unit variances as there are.
    directions = rng.standard_normal((X.shape[1], half)) / np.sqrt(2 * X.shape[1])
    angles = X @ directions
    return np.hstack([np.cos(angles), np.sin(angles)]) / np.sqrt(half)


def distance(a: Array, b: Array) -> Array:
    """Squared distance of the means, shape (sets,).

    Args:
        a: sums of the features over the first sets and, last, their rows; shape (sets, k + 1).
        b: the same of the second sets.
    """
    first, second = (sums[:, :-1] / np.maximum(sums[:, -1:], 1) for sums in (a, b))
    return np.square(first - second).sum(axis=1)


def _plain(levels: LevelCounts) -> list[Array]:
    """Columns of mean 0 and variance 1; constant ones are left out."""
    if levels.kind == "number":
        found = [levels.counts @ _scores(np.asarray(levels.counts.sum(axis=0)).ravel())]
    else:
        totals = np.asarray(levels.counts.sum(axis=0)).ravel()
        frequent = np.argsort(-totals, kind="stable")[:_FREQUENT]
        found = list(levels.counts[:, frequent].toarray().T)
    found.append(levels.missing.astype(np.float64))
    return [(x - x.mean()) / x.std() for x in found if x.std() > 1e-12]


def _scores(rows_per_level: Array) -> Array:
    """Normal scores of levels in ascending order; rows of one level share a rank."""
    ranks = np.cumsum(rows_per_level) - (rows_per_level - 1) / 2
    return special.ndtri((ranks - 0.5) / max(rows_per_level.sum(), 1))
