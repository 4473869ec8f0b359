"""Tidy rows: truth and prediction of one target in a frame, indexed by the row key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ratchet.learning.metrics.bootstrap import evaluate, interval
from ratchet.learning.metrics.forecasts import score_forecast
from ratchet.learning.metrics.names import find_metric
from ratchet.learning.metrics.rows import (
    check_same_length,
    classification_rows,
    finite,
    forecast_rows,
)
from ratchet.learning.metrics.scores import Scores, score_classification, score_regression
from ratchet.learning.metrics.table import METRICS, Array

if TYPE_CHECKING:
    import pandas as pd

TRUTH_COLUMNS = {
    "classification": ["truth"],
    "regression": ["truth"],
    "forecasting": ["truth", "scale", "rms", "time"],
}
"""Task -> columns of tidy rows that no model predicts."""


def tidy_rows(
    frame: pd.DataFrame, task: str, classes: Sequence[str] | None = None
) -> tuple[Array, Array]:
    """Give tidy rows as the metrics of a task take them.

    Args:
        frame: ``truth``; for classes ``probability_<class>``, else ``prediction``; for
            forecasting also ``scale`` and ``rms``.
        task: a key of ``METRICS``.
        classes: the labels that can occur, for classification.

    Returns:
        Truth and prediction, see ``Metric.statistics``.

    Raises:
        ValueError: an unknown task, columns that are missing, or rows that cannot be scored.
    """
    if task not in METRICS:
        raise ValueError(f"unknown task {task!r}; known: {', '.join(METRICS)}")
    predicted = [f"probability_{name}" for name in classes or []]
    needed = [*TRUTH_COLUMNS[task], *(predicted if task == "classification" else ["prediction"])]
    if missing := [name for name in needed if name not in frame.columns]:
        raise ValueError(f"columns {missing} are missing")
    if task == "classification":
        return classification_rows(frame["truth"], frame[predicted], classes or [])
    if task == "forecasting":
        return forecast_rows(*(frame[name] for name in ("truth", "prediction", "scale", "rms")))
    rows = finite(frame["truth"], "truth", 1), finite(frame["prediction"], "prediction", 1)
    check_same_length(*rows)
    return rows


def score_rows(
    metric: str,
    task: str,
    frame: pd.DataFrame,
    *,
    classes: Sequence[str] | None = None,
    horizon: int = 1,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> dict[str, float]:
    """Score tidy rows in one metric, also one of a class such as ``recall_Alto``.

    Args:
        metric: name of a metric of the task.
        task: a key of ``METRICS``.
        frame: see ``tidy_rows``; for forecasting with ``time``.
        classes: the labels that can occur, for classification.
        horizon: steps of time between the origin of a forecast and its row.
        n_bootstrap: number of draws.
        confidence: share of the draws inside the interval, between 0 and 1.
        seed: seed of the draws.

    Returns:
        ``value``, ``low`` and ``high``.

    Raises:
        ValueError: a metric that the task does not have, or rows that cannot be scored.
    """
    found = find_metric(metric, task, classes or [])
    rows = tidy_rows(frame, task, classes)
    times = frame["time"] if task == "forecasting" else None
    draws = evaluate([found], *rows, n_bootstrap, seed, times=times, horizon=horizon)
    return interval(draws[metric], confidence)


def score_all(
    task: str,
    frame: pd.DataFrame,
    *,
    classes: Sequence[str] | None = None,
    horizon: int = 1,
    by_time: bool = False,
    n_bootstrap: int = 1000,
    seed: int,
) -> Scores:
    """Score tidy rows with every metric of their task.

    Args:
        task: a key of ``METRICS``.
        frame: see ``tidy_rows``; for forecasting with ``time``.
        classes: the labels that can occur, for classification.
        horizon: steps of time between the origin of a forecast and its row.
        by_time: whether rows of a regression have a ``time`` too, by which they are drawn.
        n_bootstrap: number of draws.
        seed: seed of the draws.

    Returns:
        Metric -> ``value`` and the ends ``low``, ``high`` of its 95 % interval.

    Raises:
        KeyError: a column is missing.
        ValueError: rows that cannot be scored.
    """
    if task == "classification":
        odds = frame[[f"probability_{name}" for name in classes or []]]
        return score_classification(
            frame["truth"], odds, classes or [], n_bootstrap=n_bootstrap, seed=seed
        )
    pair = frame["truth"], frame["prediction"]
    if task == "forecasting":
        return score_forecast(
            *pair,
            scale=frame["scale"],
            rms=frame["rms"],
            times=frame["time"],
            horizon=horizon,
            n_bootstrap=n_bootstrap,
            seed=seed,
        )
    times = frame["time"] if by_time else None
    return score_regression(*pair, times=times, n_bootstrap=n_bootstrap, seed=seed)


def check_same_rows(one: pd.DataFrame, other: pd.DataFrame, task: str) -> None:
    """Make sure that two models are compared on the same rows, and on the same truth.

    Args:
        one: tidy rows of a model, as ``tidy_rows`` takes them.
        other: those of another model.
        task: a key of ``METRICS``.

    Raises:
        ValueError: row keys that occur twice, that differ or stand in another order, or a truth
            (of series: a time, a scale) that differs.
    """
    if not one.index.is_unique:
        raise ValueError(f"row keys occur twice: {list(one.index[one.index.duplicated()][:3])}")
    if not one.index.equals(other.index):
        apart = [str(key) for key in one.index.symmetric_difference(other.index)[:3]]
        shown = f", such as {', '.join(apart)}" if apart else " in their order"
        raise ValueError(f"row keys of the two models differ{shown}")
    for name in TRUTH_COLUMNS[task]:
        if not (one[name].astype(object).to_numpy() == other[name].astype(object).to_numpy()).all():
            raise ValueError(f"the two models have another {name} for the same row")
