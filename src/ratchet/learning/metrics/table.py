"""The table of metrics, look-up by name, and scikit-learn's scorers for them.

A new metric is one function of the means and one line in a table below; one that needs another
statistic of the rows brings a second function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

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
            regression both have shape (n,); for forecasting truth has shape (n, 3), the value
            with its ``scale`` and ``rms``, and prediction (n,).
        value: means (..., k) -> metric (...), or (..., n_classes) in ``PER_CLASS``.
        scorer: name of the same metric as a scorer, see ``scorer_of``; ``neg_`` turns the sign.
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


def _share_of_error_rows(truth: Array, prediction: Array) -> Array:
    return np.column_stack([np.abs(truth - prediction), np.abs(truth)])


def _r2_rows(truth: Array, prediction: Array) -> Array:
    return np.column_stack([_centred_powers(truth), np.square(truth - prediction)])


def _spread_rows(_truth: Array, prediction: Array) -> Array:
    return _centred_powers(prediction)


def _scaled_error_rows(truth: Array, prediction: Array) -> Array:
    value, scale, rms = truth.T
    error = value - prediction
    return np.column_stack([np.square(error / rms), np.abs(error) / scale])


@cache  # keeps statistics shared between metrics
def _of_values(statistics: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    return lambda truth, prediction: statistics(truth[:, 0], prediction)


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


def _wape(means: Array) -> Array:
    error, size = means[..., 0], means[..., 1]
    # Where all truth is 0, any error is infinitely many times as large.
    without_size = np.where(error > 0, np.inf, 0.0)
    return np.where(size > 0, _ratio(error, size), without_size)


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
    Metric("wape", False, _share_of_error_rows, _wape, "neg_wape"),
    Metric("spread", None, _spread_rows, _spread),
)
"""Metrics of a regressor; ``rmse``, ``mae`` and ``spread`` (the standard deviation of the
predictions) are in units of the target. ``wape``, the weighted absolute percentage error, is the
sum of the absolute errors divided by the sum of the absolute truth, a share; infinite where all
truth is 0 and the prediction is not. scikit-learn has no scorer of it, see ``scorer_of``."""

FORECASTING = _table(
    *(
        replace(metric, statistics=_of_values(metric.statistics), scorer=None)
        for metric in REGRESSION.values()
    ),
    Metric("mase", False, _scaled_error_rows, _mae, "neg_mean_absolute_error"),
    Metric("rmsse", False, _scaled_error_rows, _rmse),
)
"""Metrics of a forecast: those of a regressor, in units of the target, and two without a unit.
Searches learn the target divided by the scale, where the mean absolute error is ``mase`` (the
mean squared one is not ``rmsse``, whose unit is another)."""

METRICS = {
    "classification": CLASSIFICATION,
    "regression": REGRESSION,
    "forecasting": FORECASTING,
}
"""Task -> its metrics."""


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
        names = [*CLASSIFICATION, *FORECASTING, *(f"{name}_<class>" for name in PER_CLASS)]
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(names)}")
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
    names = [*table, *(f"{part}_<class>" for part in PER_CLASS if task == "classification")]
    raise ValueError(f"{task} has no metric {name!r}; known: {', '.join(names)}")


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
