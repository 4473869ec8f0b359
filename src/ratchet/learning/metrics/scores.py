"""Scores with bootstrap intervals, and the confusion of classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.rows import (
    check_same_length,
    classification_rows,
    finite,
    label_codes,
)
from ratchet.learning.metrics.table import CLASSIFICATION, PER_CLASS, REGRESSION, Array, Metric

Scores = dict[str, dict[str, float]]

_DRAWS_AT_ONCE = 8  # one pass over the statistics serves 8 draws: 4-7 x faster than one by one


def score_classification(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> Scores:
    """Score a classifier with every metric of ``CLASSIFICATION`` and ``PER_CLASS``.

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
    rows = classification_rows(truth, probabilities, classes)
    check_class_names(classes)
    metrics = [*CLASSIFICATION.values(), *PER_CLASS.values()]
    draws = _evaluate(metrics, *rows, n_bootstrap, seed)
    scores = {name: _interval(draws[name], confidence) for name in CLASSIFICATION}
    for name in PER_CLASS:
        for label, column in zip(classes, draws[name].T, strict=True):
            scores[f"{name}_{label}"] = _interval(column, confidence)
    return scores


def check_class_names(classes: Sequence[str]) -> None:
    """Make sure that no score of a class is called like a score of all classes.

    Raises:
        ValueError: such as ``macro``, whose F1 would be ``f1_macro``.
    """
    taken = [f"{name}_{label}" for name in PER_CLASS for label in classes]
    if clash := set(taken) & set(CLASSIFICATION):
        raise ValueError(f"class names make the metrics ambiguous: {sorted(clash)}")


def score_regression(
    truth: npt.ArrayLike,
    prediction: npt.ArrayLike,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> Scores:
    """Score a regressor with every metric of ``REGRESSION``.

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
    rows = finite(truth, "truth", 1), finite(prediction, "prediction", 1)
    check_same_length(*rows)
    draws = _evaluate(REGRESSION.values(), *rows, n_bootstrap, seed)
    return {name: _interval(values, confidence) for name, values in draws.items()}


def bootstrap_means(statistics: Array, n_bootstrap: int, seed: int) -> Array:
    """Average the columns over rows drawn with replacement.

    Memory grows with n and not with the number of draws.

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
    counts = np.empty((_DRAWS_AT_ONCE, n_rows))
    for start in range(0, n_bootstrap, _DRAWS_AT_ONCE):
        batch = means[start : start + _DRAWS_AT_ONCE]
        for draw in range(len(batch)):
            counts[draw] = np.bincount(rng.integers(n_rows, size=n_rows), minlength=n_rows)
        batch[:] = counts[: len(batch)] @ statistics / n_rows
    return means


def confusion(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Count rows by true and predicted label.

    Args:
        truth: labels, shape (n,).
        prediction: labels, shape (n,).
        classes: the labels that can occur.

    Returns:
        ``{true label: {predicted label: number of rows}}``, complete with zeros.

    Raises:
        ValueError: no rows, lengths that differ, or labels outside ``classes``.
    """
    rows = label_codes(truth, "truth", classes), label_codes(prediction, "prediction", classes)
    check_same_length(*rows)
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, rows, 1)
    return {
        label: dict(zip(classes, row, strict=True))
        for label, row in zip(classes, counts.tolist(), strict=True)
    }


def _evaluate(
    metrics: Collection[Metric],
    truth: Array,
    prediction: Array,
    n_bootstrap: int,
    seed: int,
) -> dict[str, Array]:
    """Metrics over all rows (index 0) and over each draw (index 1 and up)."""
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap must be at least 1, not {n_bootstrap}")
    sources = list(dict.fromkeys(metric.statistics for metric in metrics))
    with np.errstate(over="ignore"):  # said in words below
        blocks = [source(truth, prediction) for source in sources]
    table = np.hstack(blocks)
    if not np.isfinite(table).all():
        raise ValueError("values are too large to be squared")
    means = np.vstack([table.mean(axis=0), bootstrap_means(table, n_bootstrap, seed)])
    ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
    parts = dict(zip(sources, np.split(means, ends, axis=1), strict=True))
    return {metric.name: metric.value(parts[metric.statistics]) for metric in metrics}


def _interval(draws: Array, confidence: float) -> dict[str, float]:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    low, high = np.quantile(draws[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(draws[0]), "low": float(low), "high": float(high)}
