"""Importance of the sources of features: where each feature comes from, and how much it matters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.config import (
    AHEAD_PREFIX,
    HISTORY_PREFIX,
    LAG_PREFIXES,
    NAIVE_PREFIX,
    SERIES_PREFIX,
    STEP,
    WINDOW_PREFIX,
    Features,
    Target,
    apart,
)

_STEP = re.compile(r"_\d+$")


def columns_by_source(
    columns: Sequence[str], made_of: Mapping[str, str], features: Features, target: Target
) -> dict[str, list[str]]:
    """Columns of each source, for an importance that shuffles them together.

    All that was computed from earlier values of the target counts as one source, called like the
    target; so does every other column that a window follows, with its calendar or known values.

    Args:
        columns: columns that a model sees.
        made_of: column -> the column of the features that it was encoded from.
        features: what those were made of.
        target: what is predicted.

    Returns:
        Source, as ``config.names.apart`` calls it -> its columns. Columns that scale a series are
        no source.
    """
    groups: dict[str, list[str]] = {}
    for column in columns:
        if not column.startswith(SERIES_PREFIX):
            source = _source(made_of.get(column, column), features, target)
            groups.setdefault(source, []).append(column)
    return groups


def _source(column: str, features: Features, target: Target) -> str:
    """Source of a column of the features; a column of no other source is its own source."""
    if column.startswith((*LAG_PREFIXES, NAIVE_PREFIX)):
        return apart(target.column)
    entities = features.history.entities if features.history else []
    past = [*features.windows.past, target.column] if features.windows else []
    for prefix, sources in (
        (WINDOW_PREFIX, past),
        (AHEAD_PREFIX, [*features.columns, *past, STEP]),
        (HISTORY_PREFIX, entities),
    ):
        if column.startswith(prefix):
            rest = _STEP.sub("", column.removeprefix(prefix))
            source = _longest(rest, sources)
            if source == STEP:
                return source
            if source is not None:
                return f"{prefix}{source}" if prefix == HISTORY_PREFIX else apart(source)
    return column


def _longest(name: str, sources: Sequence[str]) -> str | None:
    """The longest source that a name is, or starts with before a ``_``."""
    fitting = [s for s in sources if name == s or name.startswith(f"{s}_")]
    return max(fitting, key=len, default=None)


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
