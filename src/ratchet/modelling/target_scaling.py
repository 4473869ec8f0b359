"""The terms in which a target is learned, and what each family of models sees of a row.

The next value of a series is learned relative to the latest value of the series and to its scale,
``z = (y - level) / scale``; a row of its model input brings both. Other targets are learned as they
are, or as their logarithm.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from ratchet.config import (
    AHEAD_PREFIX,
    LAG_PREFIXES,
    NAIVE_PREFIX,
    SERIES_LEVEL,
    SERIES_PREFIX,
    SERIES_SCALE,
    TARGET_PREFIX,
    WINDOW_PREFIX,
    Target,
    Windows,
)
from ratchet.frames import DataFrame, Series
from ratchet.values import as_text

Family = Literal["classical", "unscaled", "recurrent"]


def features_and_target(frame: DataFrame, target: Target) -> tuple[DataFrame, Series]:
    """Features and one target of the rows that have it.

    Args:
        frame: train, validation or test.
        target: the target; classes come as text, numbers as float.

    Returns:
        Features of shape (n, features) and targets of shape (n,), both indexed by the row key.
    """
    column = f"{TARGET_PREFIX}{target.column}"
    rows = frame[frame[column].notna()]
    y = as_text(rows[column]) if target.is_classes else rows[column].astype(float)
    return rows.loc[:, ~rows.columns.str.startswith(TARGET_PREFIX)], y


def features_and_scaled_target(
    frame: DataFrame, target: Target, family: Family = "classical"
) -> tuple[DataFrame, Series]:
    """Features and target of the rows that have it, as models learn them.

    Args:
        frame: train, validation or test.
        target: the target.
        family: of a series, recurrent candidates see the windows with what is known ahead at each
            of their steps; classical ones see the windows of earlier values, naive forecasts, and
            what is known of the target time; unscaled ones also the terms of the row, level and
            scale. Of other rows all see all.

    Returns:
        Features of shape (n, features) and targets of shape (n,), both indexed by the row key.
    """
    X, y = features_and_target(frame, target)
    if not target.is_series:
        return _rows(X, y, target)
    z, names = (y - X[SERIES_LEVEL]) / X[SERIES_SCALE], X.columns.str
    if family == "recurrent":
        return X.loc[:, names.startswith((WINDOW_PREFIX, AHEAD_PREFIX))], z
    seen = ~names.startswith((AHEAD_PREFIX, SERIES_PREFIX))
    if family == "unscaled":
        seen |= X.columns.isin([SERIES_LEVEL, SERIES_SCALE])
    # Lags say nearly the same as one another: single precision is too little for linear models.
    return X.loc[:, seen].astype("float64"), z


def scaled_columns(
    columns: Iterable[str], target: Target, windows: Windows
) -> dict[str, list[str]]:
    """Columns of a series that are scaled as its target is.

    Args:
        columns: of the model input.
        target: the target.
        windows: what else is seen of the past.

    Returns:
        ``by_level``, less the level and divided by the scale of the row; and ``by_scale``, divided
        alone, see ``learning.features.windows.View.rescaled``.
    """
    own = f"{WINDOW_PREFIX}{target.column}" if windows.past.get(target.column) == "value" else None
    scaled: dict[str, list[str]] = {"by_level": [], "by_scale": []}
    for column in columns:
        stem = column.rpartition("_")[0]
        if stem == "rolling_std":
            scaled["by_scale"].append(column)
        elif stem == own or column.startswith((*LAG_PREFIXES, NAIVE_PREFIX)):
            scaled["by_level"].append(column)
    return scaled


def _rows(X: DataFrame, y: Series, target: Target) -> tuple[DataFrame, Series]:
    """Rows that are no steps of a series, as models learn them; of logarithms those above 0."""
    X = X.loc[:, ~X.columns.str.startswith(SERIES_PREFIX)]
    if not target.in_logs:
        return X, y
    above = y > 0
    return X[above], np.log(y[above])


def scored_features(frame: DataFrame, target: Target, family: Family = "classical") -> DataFrame:
    """Features of all rows that have the target, as models of a family see them.

    Of logarithms also those that are not learned from: their predictions are scored, too.
    """
    if target.is_series:
        return features_and_scaled_target(frame, target, family)[0]
    X, _ = features_and_target(frame, target)
    return X.loc[:, ~X.columns.str.startswith(SERIES_PREFIX)]


def to_target_units(values: Series, frame: DataFrame, target: Target) -> Series:
    """Outputs of models, converted to units of the target.

    Args:
        values: shape (n,), indexed like the frame.
        frame: the rows, of a series with the terms of each.
        target: what is predicted.
    """
    if target.in_logs:
        return np.exp(values)
    if not target.is_series:
        return values
    return frame[SERIES_LEVEL] + frame[SERIES_SCALE] * values
