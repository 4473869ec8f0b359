"""Predictions and truth, a row each, and their scores."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ratchet.config import SERIES_PREFIX, Features, Target, series_columns
from ratchet.frames import DataFrame, Series
from ratchet.learning.metrics import Resampling, class_rows, score_all
from ratchet.modelling.target_scaling import to_target_units

CONFIDENT = 0.8
"""Probability from which a prediction is called confident in evaluation and report."""


def tidy(predicted: Any, y: Series, frame: DataFrame, target: Target) -> DataFrame:
    """Truth and prediction of every row, and what else its scores need.

    Args:
        predicted: probabilities of the classes in alphabetical order, or values.
        y: the truth, indexed by the row key.
        frame: train, validation or test, which holds the rows of ``y``.
        target: what is predicted.

    Returns:
        ``truth`` and ``prediction``; for classes ``probability_<class>``; for series ``series``,
        ``time`` and the scale of the row, see ``series_columns``; for other rows that
        follow the time ``time``.
    """
    if target.is_classes:
        classes = sorted(target.classes or [])  # the order of scikit-learn's classes_
        rows = class_rows(predicted, classes, y.index)
        rows.insert(0, "truth", y)
        return rows
    rows = pd.DataFrame({"truth": y, "prediction": predicted})
    if target.follows_time:
        return rows.assign(time=frame.loc[y.index, f"{SERIES_PREFIX}time"])
    return rows.join(series_columns(frame.loc[y.index])) if target.is_series else rows


def held_out_values(held_out: DataFrame, frame: DataFrame, target: Target) -> Series:
    """Held-out predictions of numbers, in units of the target and inside of its bounds."""
    values = held_out["prediction"]
    values = to_target_units(values, frame.loc[values.index], target)
    return values.clip(*(target.bounds or (None, None)))


def probabilities(rows: DataFrame, target: Target) -> DataFrame:
    """Probabilities of the classes, in the order of the parameters."""
    return rows[[f"probability_{name}" for name in target.classes or []]]


def score(
    rows: DataFrame, target: Target, features: Features, seed: int
) -> dict[str, dict[str, float]]:
    """Every metric of the task: metric -> value, low, high."""
    return score_all(
        target.task,
        rows,
        classes=target.classes,
        by_time=target.follows_time,
        resampling=Resampling(seed, horizon=features.horizon),
    )
