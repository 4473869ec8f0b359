"""Scores of a model, each with its bootstrap interval.

Every metric here is a function of means of per-row statistics: accuracy of the mean of the hits,
F1 of the mean one-hot rows of truth, prediction and hit, R2 of the means of y, y^2 and (y - p)^2.
Drawing rows anew only re-weights these means, so a bootstrap draw is one product of row counts
with the table of statistics, and all metrics share the draws.

A new metric is one function of the means and one line in a table below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
Scores = dict[str, dict[str, float]]


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
    return -np.log(np.clip((truth * probabilities).sum(axis=1, keepdims=True), eps, 1 - eps))


def _brier_rows(truth: Array, probabilities: Array) -> Array:
    # Halved for two classes, as is customary and as scikit-learn does: in 0..1 then, else 0..2.
    scale = 0.5 if truth.shape[1] == 2 else 1.0
    return scale * np.square(probabilities - truth).sum(axis=1, keepdims=True)


def _error_rows(truth: Array, prediction: Array) -> Array:
    return np.column_stack([np.square(truth - prediction), np.abs(truth - prediction)])


def _r2_rows(truth: Array, prediction: Array) -> Array:
    return np.column_stack([_centred_powers(truth), np.square(truth - prediction)])


def _spread_rows(truth: Array, prediction: Array) -> Array:
    return _centred_powers(prediction)


def _centred_powers(values: Array) -> Array:
    # Variance ignores the shift; without it E[y^2] - E[y]^2 cancels when the mean is large.
    centred = values - np.median(values)
    return np.column_stack([centred, np.square(centred)])


def _ratio(numerator: Array, denominator: Array) -> Array:
    # 0 where the denominator is 0, the `zero_division=0` of scikit-learn.
    return np.divide(
        numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0
    )


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


def score_classification(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> Scores:
    """Scores a classifier with every metric of ``CLASSIFICATION`` and ``PER_CLASS``.

    The prediction is the class of largest probability. Intervals are percentile intervals over
    rows drawn with replacement (Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch.
    13). The rows drawn depend on their number and the seed only, so that two models scored on the
    same rows with one seed meet the same draws.

    Args:
        truth: labels, shape (n,).
        probabilities: shape (n, n_classes), columns in the order of ``classes``.
        classes: the labels that can occur.
        n_bootstrap: number of draws.
        confidence: share of the draws inside the interval, between 0 and 1.
        seed: seed of the draws.

    Returns:
        ``{metric: {"value": ..., "low": ..., "high": ...}}``.

    Raises:
        ValueError: no rows, shapes that do not fit, labels outside ``classes``, or rows that are
            no probabilities (not finite, negative, sum not 1).
    """
    rows = _classification_rows(truth, probabilities, classes)
    taken = [f"{name}_{label}" for name in PER_CLASS for label in classes]
    if clash := set(taken) & set(CLASSIFICATION):
        raise ValueError(f"class names make the metrics ambiguous: {sorted(clash)}")
    metrics = [*CLASSIFICATION.values(), *PER_CLASS.values()]
    draws = _evaluate(metrics, *rows, n_bootstrap, confidence, seed)
    scores = {name: _interval(draws[name], confidence) for name in CLASSIFICATION}
    for name in PER_CLASS:
        for label, column in zip(classes, draws[name].T, strict=True):
            scores[f"{name}_{label}"] = _interval(column, confidence)
    return scores


def score_regression(
    truth: npt.ArrayLike,
    prediction: npt.ArrayLike,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> Scores:
    """Scores a regressor with every metric of ``REGRESSION``.

    Intervals as in ``score_classification``. R2 of constant truth is 1 for a perfect prediction
    and 0 otherwise.

    Args:
        truth: shape (n,), in units of the target.
        prediction: shape (n,), same units.
        n_bootstrap: number of draws.
        confidence: share of the draws inside the interval, between 0 and 1.
        seed: seed of the draws.

    Returns:
        ``{metric: {"value": ..., "low": ..., "high": ...}}``.

    Raises:
        ValueError: no rows, shapes that do not fit, or values that are not finite.
    """
    rows = _finite(truth, "truth", 1), _finite(prediction, "prediction", 1)
    _same_length(*rows)
    draws = _evaluate(REGRESSION.values(), *rows, n_bootstrap, confidence, seed)
    return {name: _interval(values, confidence) for name, values in draws.items()}


def bootstrap_means(statistics: Array, n_bootstrap: int, seed: int) -> Array:
    """Means of the columns over rows drawn with replacement.

    Draw by draw, so that memory stays at the size of ``statistics`` for any number of draws.

    Args:
        statistics: shape (n, k).
        n_bootstrap: number of draws.
        seed: seed of the draws; with n it decides which rows are drawn.

    Returns:
        Shape (n_bootstrap, k).
    """
    rng = np.random.default_rng(seed)
    n_rows = len(statistics)
    means = np.empty((n_bootstrap, statistics.shape[1]))
    for mean in means:
        counts = np.bincount(rng.integers(n_rows, size=n_rows), minlength=n_rows)
        mean[:] = counts @ statistics / n_rows
    return means


def confusion(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Counts of rows by true and predicted label.

    Args:
        truth: labels, shape (n,).
        prediction: labels, shape (n,).
        classes: the labels that can occur.

    Returns:
        ``{true label: {predicted label: number of rows}}``, complete with zeros.

    Raises:
        ValueError: no rows, lengths that differ, or labels outside ``classes``.
    """
    rows = _codes(truth, "truth", classes), _codes(prediction, "prediction", classes)
    _same_length(*rows)
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, rows, 1)
    return {
        label: dict(zip(classes, row, strict=True))
        for label, row in zip(classes, counts.tolist(), strict=True)
    }


def greater_is_better(name: str) -> bool:
    """Says whether a larger value of a metric, such as ``rmse`` or ``f1_Alto``, is better.

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
    """Says whether ``a`` is strictly better than ``b`` in the metric ``name``.

    Raises:
        ValueError: a value that is not finite (it would compare as "not worse"), or a metric that
            is unknown or does not rank.
    """
    if not (math.isfinite(a) and math.isfinite(b)):
        raise ValueError(f"{name}: cannot compare {a} with {b}")
    return a > b if greater_is_better(name) else a < b


def from_scorer(scoring: str, score: float) -> tuple[str, float]:
    """Turns a score of scikit-learn's ``cv_results_`` into our name and sign.

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


def calibration_table(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str], n_bins: int = 10
) -> pd.DataFrame:
    """Compares predicted probabilities with observed shares, class by class.

    Args:
        truth: labels, shape (n,).
        probabilities: shape (n, n_classes), columns in the order of ``classes``.
        classes: the labels that can occur.
        n_bins: bins of equal count per class; equal probabilities share a bin, so that with many
            ties there are fewer bins.

    Returns:
        One row per class and bin that has rows, in order of probability: ``class``,
        ``mean_probability``, ``observed_share``, ``count``.

    Raises:
        ValueError: as ``score_classification``, or ``n_bins`` below 1.
    """
    import pandas as pd

    hits, predicted = _classification_rows(truth, probabilities, classes)
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, not {n_bins}")
    n_rows = len(predicted)
    bins = np.floor((pd.DataFrame(predicted).rank().to_numpy() - 0.5) * n_bins / n_rows)
    long = pd.DataFrame(
        {
            "class": np.tile(np.arange(len(classes)), n_rows),
            "bin": bins.ravel(),
            "mean_probability": predicted.ravel(),
            "observed_share": hits.ravel(),
        }
    )
    groups = long.groupby(["class", "bin"])
    table = groups.mean().assign(count=groups.size()).reset_index().drop(columns="bin")
    return table.assign(**{"class": [classes[code] for code in table["class"]]})


def expected_calibration_error(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str], n_bins: int = 10
) -> float:
    """Mean gap between predicted probability and observed share, over classes and bins.

    The class-wise form (Kull et al. 2019) with bins of equal count (Nixon et al. 2019): the gaps
    of ``calibration_table`` weighted by their counts. 0 is perfect; with few rows per bin even a
    perfect model shows sampling noise.

    Args:
        truth: labels, shape (n,).
        probabilities: shape (n, n_classes), columns in the order of ``classes``.
        classes: the labels that can occur.
        n_bins: bins of equal count per class.

    Returns:
        A share between 0 and 1.

    Raises:
        ValueError: as ``calibration_table``.
    """
    table = calibration_table(truth, probabilities, classes, n_bins)
    gap = (table["mean_probability"] - table["observed_share"]).abs()
    return float(np.average(gap.to_numpy(), weights=table["count"].to_numpy()))


def _evaluate(
    metrics: Iterable[Metric],
    truth: Array,
    prediction: Array,
    n_bootstrap: int,
    confidence: float,
    seed: int,
) -> dict[str, Array]:
    """Metrics over all rows (index 0) and over each draw (index 1 and up)."""
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap must be at least 1, not {n_bootstrap}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    sources = list(dict.fromkeys(metric.statistics for metric in metrics))
    blocks = [source(truth, prediction) for source in sources]
    table = np.hstack(blocks)
    means = np.vstack([table.mean(axis=0), bootstrap_means(table, n_bootstrap, seed)])
    ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
    parts = dict(zip(sources, np.split(means, ends, axis=1), strict=True))
    return {metric.name: metric.value(parts[metric.statistics]) for metric in metrics}


def _interval(draws: Array, confidence: float) -> dict[str, float]:
    low, high = np.quantile(draws[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(draws[0]), "low": float(low), "high": float(high)}


def _classification_rows(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str]
) -> tuple[Array, Array]:
    rows = _finite(probabilities, "probabilities", 2)
    codes = _codes(truth, "truth", classes)
    _same_length(codes, rows)
    if rows.shape[1] != len(classes):
        raise ValueError(f"{rows.shape[1]} columns of probabilities for {len(classes)} classes")
    # The tolerance of a softmax in single precision.
    wrong = (rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1) - 1) > 1e-4)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"row {row} is no set of probabilities: {rows[row].tolist()}")
    return np.eye(len(classes))[codes], rows


def _codes(labels: npt.ArrayLike, name: str, classes: Sequence[str]) -> npt.NDArray[np.intp]:
    position = {label: code for code, label in enumerate(classes)}
    if len(position) < max(len(classes), 2):
        raise ValueError(f"classes must be two or more different labels, not {list(classes)}")
    values = np.asarray(labels, dtype=object)
    _check_shape(values, name, 1)
    codes = np.array([position.get(value, -1) for value in values.tolist()])
    if (codes < 0).any():
        unknown = sorted({str(value) for value in values[codes < 0]})
        raise ValueError(f"{name} has labels outside the classes {list(classes)}: {unknown[:5]}")
    return codes


def _finite(values: npt.ArrayLike, name: str, ndim: int) -> Array:
    array = np.asarray(values, dtype=np.float64)
    _check_shape(array, name, ndim)
    bad = ~np.isfinite(array)
    if bad.any():
        first = int(np.argwhere(bad)[0, 0])
        raise ValueError(f"{name} has {int(bad.sum())} values not finite, first in row {first}")
    return array


def _check_shape(array: npt.NDArray[np.generic], name: str, ndim: int) -> None:
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), not shape {array.shape}")
    if len(array) == 0:
        raise ValueError(f"{name} has no rows")


def _same_length(truth: npt.NDArray[np.generic], prediction: npt.NDArray[np.generic]) -> None:
    if len(truth) != len(prediction):
        raise ValueError(f"{len(truth)} rows of truth, {len(prediction)} of prediction")
