"""Which sources of information a fitted model lives on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd


def grouped_permutation_importance(
    loss: Callable[[pd.DataFrame], float],
    X: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    *,
    n_repeats: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Loss added when the columns of one source are shuffled together.

    Breiman (2001), "Random forests", by groups of columns: one genre among twenty columns of
    genres says little when the other nineteen stay in place. Sources with the
    same information hide each other.

    Args:
        loss: gives the loss of the model on rows shaped like ``X``; smaller is better.
        X: rows of shape (n, features).
        groups: source -> its columns.
        n_repeats: number of shuffles.
        seed: seed of the shuffles.

    Returns:
        One row per source, largest first: ``source``, ``importance`` (mean added loss) and
        ``spread`` (its standard deviation over the shuffles).
    """
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(X)) for _ in range(n_repeats)]
    untouched = loss(X)
    rows = []
    for source, columns in groups.items():
        names = list(columns)
        added = [loss(_shuffled(X, names, order)) - untouched for order in orders]
        rows.append((source, float(np.mean(added)), float(np.std(added))))
    table = pd.DataFrame(rows, columns=["source", "importance", "spread"])
    return table.sort_values("importance", ascending=False, ignore_index=True)


def _shuffled(X: pd.DataFrame, names: list[str], order: npt.NDArray[np.int64]) -> pd.DataFrame:
    """The rows with some columns in another order; ``assign`` knows no column called ``self``."""
    shuffled = X.copy(deep=False)
    shuffled[names] = X[names].iloc[order].set_axis(X.index)
    return shuffled
