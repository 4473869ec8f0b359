"""The table of metrics.

A new metric is one function of the means and one line in a table below; one that needs another
statistic of the rows brings a second function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A function of means of per-row statistics.

    Attributes:
        name: name in scores and reports; in ``PER_CLASS`` the part before ``_<class>``.
        greater_is_better: ``None`` for a metric that describes and does not rank.
        statistics: truth and prediction, one row each, -> the rows' statistics (n, k). For
            classification both have shape (n, n_classes), one-hot labels and probabilities; for
            regression both have shape (n,).
        value: means (..., k) -> metric (...), or (..., n_classes) in ``PER_CLASS``.
        scorer: scikit-learn's name of the same metric; ``neg_`` turns the sign.
    """

    name: str
    greater_is_better: bool | None
    statistics: Callable[[Array, Array], Array]
    value: Callable[[Array], Array]
    scorer: str | None = None


def _cells(truth: Array, probabilities: Array) -> Array:
    predicted = np.eye(truth.shape[1])[probabilities.argmax(axis=1)]
    return np.hstack([truth, predicted, truth * predicted])


def _log_loss_rows(truth: Array, probabilities: Array) -> Array:
    eps = np.finfo(np.float64).eps
    likelihood: Array = (truth * probabilities).sum(axis=1, keepdims=True)
    return -np.log(np.clip(likelihood, eps, 1 - eps))


def _brier_rows(truth: Array, probabilities: Array) -> Array:
    # Halved for two classes, as is customary and as scikit-learn does: in 0..1 then, else 0..2.
    squares: Array = np.square(probabilities - truth).sum(axis=1, keepdims=True)
    return squares / 2 if truth.shape[1] == 2 else squares


def _error_rows(truth: Array, prediction: Array) -> Array:
    return np.column_stack([np.square(truth - prediction), np.abs(truth - prediction)])


def _r2_rows(truth: Array, prediction: Array) -> Array:
    return np.column_stack([_centred_powers(truth), np.square(truth - prediction)])


def _spread_rows(_truth: Array, prediction: Array) -> Array:
    return _centred_powers(prediction)


def _centred_powers(values: Array) -> Array:
    # Variance ignores the shift; without it E[y^2] - E[y]^2 cancels when the mean is large.
    centred = values - np.median(values)
    return np.column_stack([centred, np.square(centred)])


def _ratio(numerator: Array, denominator: Array) -> Array:
    # 0 where the denominator is 0, the `zero_division=0` of scikit-learn.
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _variance(mean: Array, mean_square: Array) -> Array:
    variance = mean_square - np.square(mean)
    # A draw of equal values leaves rounding noise, which is no variance.
    return np.where(variance > 1e-12 * mean_square, variance, 0.0)


def _accuracy(means: Array) -> Array:
    hit = np.split(means, 3, axis=-1)[2]
    return np.asarray(hit.sum(axis=-1))


def _precision(means: Array) -> Array:
    _, predicted, hit = np.split(means, 3, axis=-1)
    return _ratio(hit, predicted)


def _recall(means: Array) -> Array:
    truth, _, hit = np.split(means, 3, axis=-1)
    return _ratio(hit, truth)


def _f1(means: Array) -> Array:
    truth, predicted, hit = np.split(means, 3, axis=-1)
    return _ratio(2 * hit, truth + predicted)


def _balanced_accuracy(means: Array) -> Array:
    truth = np.split(means, 3, axis=-1)[0]
    return np.asarray(_recall(means).sum(axis=-1) / (truth > 0).sum(axis=-1))


def _f1_macro(means: Array) -> Array:
    truth, predicted, _ = np.split(means, 3, axis=-1)
    return np.asarray(_f1(means).sum(axis=-1) / (truth + predicted > 0).sum(axis=-1))


def _f1_weighted(means: Array) -> Array:
    truth = np.split(means, 3, axis=-1)[0]
    return np.asarray((_f1(means) * truth).sum(axis=-1))


def _r2(means: Array) -> Array:
    variance = _variance(means[..., 0], means[..., 1])
    error = means[..., 2]
    # Constant truth: 1 for a perfect prediction, else 0, as in scikit-learn.
    constant = np.where(error > 0, 0.0, 1.0)
    return np.where(variance > 0, 1 - _ratio(error, variance), constant)


def _first(means: Array) -> Array:
    return means[..., 0]


def _rmse(means: Array) -> Array:
    return np.sqrt(means[..., 0])


def _mae(means: Array) -> Array:
    return means[..., 1]


def _spread(means: Array) -> Array:
    return np.sqrt(_variance(means[..., 0], means[..., 1]))


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


CLASSIFICATION = _table(
    Metric("accuracy", True, _cells, _accuracy, "accuracy"),
    Metric("balanced_accuracy", True, _cells, _balanced_accuracy, "balanced_accuracy"),
    Metric("f1_macro", True, _cells, _f1_macro, "f1_macro"),
    Metric("f1_weighted", True, _cells, _f1_weighted, "f1_weighted"),
    Metric("log_loss", False, _log_loss_rows, _first, "neg_log_loss"),
    Metric("brier", False, _brier_rows, _first, "neg_brier_score"),
)
"""Metrics of a classifier. A class that occurs neither in truth nor in prediction is left out of
``f1_macro``, and one that does not occur in truth out of ``balanced_accuracy``."""

PER_CLASS = _table(
    Metric("precision", True, _cells, _precision),
    Metric("recall", True, _cells, _recall),
    Metric("f1", True, _cells, _f1),
)
"""Metrics of each class, reported as ``<name>_<class>``; 0 where there is nothing to divide by."""

REGRESSION = _table(
    Metric("r2", True, _r2_rows, _r2, "r2"),
    Metric("rmse", False, _error_rows, _rmse, "neg_root_mean_squared_error"),
    Metric("mae", False, _error_rows, _mae, "neg_mean_absolute_error"),
    Metric("spread", None, _spread_rows, _spread),
)
"""Metrics of a regressor; ``rmse``, ``mae`` and ``spread`` (the standard deviation of the
predictions) are in units of the target."""

SCORERS = {
    metric.scorer: metric.name
    for metric in (*CLASSIFICATION.values(), *REGRESSION.values())
    if metric.scorer
}
"""scikit-learn scorer -> our name of the metric."""


def greater_is_better(name: str) -> bool:
    """Say whether a larger value of a metric, such as ``rmse`` or ``f1_Alto``, is better.

    Raises:
        ValueError: an unknown metric, or one that does not rank (``spread``).
    """
    prefix, _, label = name.partition("_")
    metric = CLASSIFICATION.get(name) or REGRESSION.get(name)
    metric = metric or (PER_CLASS.get(prefix) if label else None)
    if metric is None:
        known = [*CLASSIFICATION, *REGRESSION, *(f"{name}_<class>" for name in PER_CLASS)]
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(known)}")
    if metric.greater_is_better is None:
        raise ValueError(f"{name!r} has no better direction")
    return metric.greater_is_better


def is_better(name: str, a: float, b: float) -> bool:
    """Say whether ``a`` is strictly better than ``b`` in the metric ``name``.

    Raises:
        ValueError: a value that is not finite (it would compare as "not worse"), or a metric that
            is unknown or does not rank.
    """
    if not (math.isfinite(a) and math.isfinite(b)):
        raise ValueError(f"{name}: cannot compare {a} with {b}")
    return a > b if greater_is_better(name) else a < b


def from_scorer(scoring: str, score: float) -> tuple[str, float]:
    """Turn a score of scikit-learn's ``cv_results_`` into our name and sign.

    Args:
        scoring: a key of ``SCORERS``, e.g. ``neg_log_loss``.
        score: its value; NaN, the score of a fit that failed, stays NaN.

    Returns:
        Name and value of the metric, e.g. ``("log_loss", 0.4)`` for ``("neg_log_loss", -0.4)``.

    Raises:
        ValueError: a scorer without a metric of ours.
    """
    if scoring not in SCORERS:
        raise ValueError(f"unknown scoring {scoring!r}; known: {', '.join(SCORERS)}")
    # 0.0 - score and not -score: a perfect loss is 0.0, not -0.0.
    return SCORERS[scoring], 0.0 - score if scoring.startswith("neg_") else score
