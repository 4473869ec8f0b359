"""Names of metrics: their better direction, and scikit-learn's scorers for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ratchet.learning.metrics.table import (
    CLASSIFICATION,
    FORECASTING,
    METRICS,
    PER_CLASS,
    REGRESSION,
    Metric,
)

_OURS = {"neg_wape"}
"""Scorers that scikit-learn does not have."""


def scorers(task: str) -> dict[str, str]:
    """Give scikit-learn's scorers that a search of a task can use, and our name of each metric."""
    return {metric.scorer: metric.name for metric in METRICS[task].values() if metric.scorer}


SCORERS = scorers("classification") | scorers("regression")
"""scikit-learn scorer -> our name of the metric, where targets are learned in their own units."""


@dataclass(frozen=True)
class UnitScorer:
    """Scores a regressor by a metric of ``REGRESSION`` in units of the target, greater is better.

    Attributes:
        metric: name of the metric.
        logs: whether the estimator learns and predicts logarithms of the target.
    """

    metric: str
    logs: bool = False

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """Score rows ``X`` with targets ``y``, shape (n,), as the estimator learns them."""
        pair = [np.asarray(values, dtype=float) for values in (y, estimator.predict(X))]
        truth, prediction = map(np.exp, pair) if self.logs else pair
        metric = REGRESSION[self.metric]
        value = float(metric.value(metric.statistics(truth, prediction).mean(axis=0)))
        return value if metric.greater_is_better else 0.0 - value


def scorer_of(scoring: str, *, logs: bool = False) -> str | Callable[[Any, Any, Any], float]:
    """Give what scikit-learn takes for ``scoring``: a name of its own where it has one.

    Args:
        scoring: a key of ``scorers(task)``.
        logs: whether a regressor learns logarithms of the target; the score is in its units.
    """
    return UnitScorer(SCORERS[scoring], logs) if logs or scoring in _OURS else scoring


def greater_is_better(name: str) -> bool:
    """Say whether a larger value of a metric, such as ``rmse`` or ``f1_Alto``, is better.

    Raises:
        ValueError: an unknown metric, or one that does not rank (``spread``).
    """
    prefix, _, label = name.partition("_")
    metric = CLASSIFICATION.get(name) or FORECASTING.get(name)
    metric = metric or (PER_CLASS.get(prefix) if label else None)
    if metric is None:
        known = [*CLASSIFICATION, *FORECASTING, *(f"{name}_<class>" for name in PER_CLASS)]
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(known)}")
    if metric.greater_is_better is None:
        raise ValueError(f"{name!r} has no better direction")
    return metric.greater_is_better


def find_metric(name: str, task: str, classes: Sequence[str] = ()) -> Metric:
    """Give the metric of a name, also of one class (``recall_Alto``), with a single value.

    Args:
        name: name of the metric.
        task: a key of ``METRICS``.
        classes: the labels that can occur, for classification.

    Raises:
        ValueError: the task has no such metric.
    """
    table = METRICS.get(task, {})
    if name in table:
        return table[name]
    prefix, _, label = name.partition("_")
    if task == "classification" and prefix in PER_CLASS and label in classes:
        metric, code = PER_CLASS[prefix], list(classes).index(label)
        return replace(metric, name=name, value=lambda means: metric.value(means)[..., code])
    known = [*table, *(f"{part}_<class>" for part in PER_CLASS if task == "classification")]
    raise ValueError(f"{task} has no metric {name!r}; known: {', '.join(known)}")


def is_better(name: str, a: float, b: float) -> bool:
    """Say whether ``a`` is strictly better than ``b`` in the metric ``name``.

    Raises:
        ValueError: a value that is not finite (it would compare as "not worse"), or a metric that
            is unknown or does not rank.
    """
    if not (math.isfinite(a) and math.isfinite(b)):
        raise ValueError(f"{name}: cannot compare {a} with {b}")
    return a > b if greater_is_better(name) else a < b


def from_scorer(scoring: str, score: float, task: str | None = None) -> tuple[str, float]:
    """Turn a score of scikit-learn's ``cv_results_`` into our name and sign.

    Args:
        scoring: a key of ``scorers(task)``, e.g. ``neg_log_loss``.
        score: its value; NaN, the score of a fit that failed, stays NaN.
        task: a key of ``METRICS``; may be left out where targets are learned in their own units.

    Returns:
        Name and value of the metric, e.g. ``("log_loss", 0.4)`` for ``("neg_log_loss", -0.4)``,
        or ``("mase", 0.7)`` for ``("neg_mean_absolute_error", -0.7)`` of ``forecasting``.

    Raises:
        ValueError: a scorer without a metric of ours.
    """
    names = SCORERS if task is None else scorers(task)
    if scoring not in names:
        raise ValueError(f"unknown scoring {scoring!r}; known: {', '.join(names)}")
    # 0.0 - score and not -score: a perfect loss is 0.0, not -0.0.
    return names[scoring], 0.0 - score if scoring.startswith("neg_") else score
