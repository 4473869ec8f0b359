"""Scores with bootstrap intervals, and the confusion of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.bootstrap import evaluate, interval
from ratchet.learning.metrics.rows import (
    check_same_length,
    classification_rows,
    finite,
    label_codes,
)
from ratchet.learning.metrics.table import CLASSIFICATION, PER_CLASS, REGRESSION

Scores = dict[str, dict[str, float]]


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
    draws = evaluate(metrics, *rows, n_bootstrap, seed)
    scores = {name: interval(draws[name], confidence) for name in CLASSIFICATION}
    for name in PER_CLASS:
        for label, column in zip(classes, draws[name].T, strict=True):
            scores[f"{name}_{label}"] = interval(column, confidence)
    return scores


def check_class_names(classes: Sequence[str]) -> None:
    """Make sure that the scores of every class have names of their own.

    Raises:
        ValueError: such as ``macro``, whose F1 would be ``f1_macro``; or ``a`` beside ``a_low``,
            whose scores would be called like the lower ends of the others.
    """
    if nameless := [label for label in classes if not label.strip()]:
        raise ValueError(f"{nameless}: a class without a name is no better than a missing value")
    if twice := {label for label in classes if list(classes).count(label) > 1}:
        raise ValueError(f"{sorted(twice)} stand among them more than once")
    taken = {f"{name}_{label}" for name in PER_CLASS for label in classes}
    ends = {f"{name}_{end}" for name in taken for end in ("low", "high")}
    if clash := taken & (set(CLASSIFICATION) | ends):
        raise ValueError(
            f"class names make the metrics ambiguous: {sorted(clash)}; call the classes otherwise, "
            f"in the file or in data.prepare"
        )


def score_regression(
    truth: npt.ArrayLike,
    prediction: npt.ArrayLike,
    *,
    times: npt.ArrayLike | None = None,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> Scores:
    """Score a regressor with every metric of ``REGRESSION``.

    Intervals as in ``score_classification``, or over blocks of time as in ``score_forecast``. R2
    of constant truth is 1 for a perfect prediction and 0 otherwise.

    Args:
        truth: shape (n,), in units of the target.
        prediction: shape (n,), same units.
        times: time stamp of each row, shape (n,), where rows of one moment err alike.
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
    draws = evaluate(REGRESSION.values(), *rows, n_bootstrap, seed, times=times)
    return {name: interval(values, confidence) for name, values in draws.items()}


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
