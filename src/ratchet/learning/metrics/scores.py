"""Scores with bootstrap intervals, of arrays and of tidy rows; confusion and calibration.

Tidy rows are a frame with truth and prediction of one target, indexed by the row key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.resampling import Resampling, evaluate, interval
from ratchet.learning.metrics.table import (
    CLASSIFICATION,
    FORECASTING,
    METRICS,
    PER_CLASS,
    REGRESSION,
    Array,
    find_metric,
)
from ratchet.learning.metrics.validation import (
    check_same_length,
    classification_rows,
    finite_array,
    forecast_rows,
    label_codes,
)

if TYPE_CHECKING:
    import pandas as pd


Scores = dict[str, dict[str, float]]


def score_classification(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    *,
    resampling: Resampling,
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
        resampling: how rows are drawn.

    Returns:
        ``{metric: {"value": ..., "low": ..., "high": ...}}``.

    Raises:
        ValueError: no rows, shapes that do not fit, labels outside ``classes``, or rows that are
            no probabilities (not finite, negative, sum not 1).
    """
    rows = classification_rows(truth, probabilities, classes)
    check_class_names(classes)
    metrics = [*CLASSIFICATION.values(), *PER_CLASS.values()]
    draws = evaluate(metrics, *rows, resampling)
    scores = {name: interval(draws[name], resampling.confidence) for name in CLASSIFICATION}
    for name in PER_CLASS:
        for label, column in zip(classes, draws[name].T, strict=True):
            scores[f"{name}_{label}"] = interval(column, resampling.confidence)
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
    resampling: Resampling,
) -> Scores:
    """Score a regressor with every metric of ``REGRESSION``.

    Intervals as in ``score_classification``, or over blocks of time as in ``score_forecast``. R2
    of constant truth is 1 for a perfect prediction and 0 otherwise.

    Args:
        truth: shape (n,), in units of the target.
        prediction: shape (n,), same units.
        times: time stamp of each row, shape (n,), where rows of one moment err alike.
        resampling: how rows are drawn.

    Returns:
        ``{metric: {"value": ..., "low": ..., "high": ...}}``.

    Raises:
        ValueError: no rows, shapes that do not fit, or values that are not finite.
    """
    rows = finite_array(truth, "truth", 1), finite_array(prediction, "prediction", 1)
    check_same_length(*rows)
    draws = evaluate(REGRESSION.values(), *rows, resampling, times=times)
    return {name: interval(values, resampling.confidence) for name, values in draws.items()}


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


def score_forecast(
    truth: npt.ArrayLike,
    prediction: npt.ArrayLike,
    *,
    scale: npt.ArrayLike,
    rms: npt.ArrayLike,
    times: npt.ArrayLike,
    resampling: Resampling,
) -> Scores:
    """Score forecasts of one or several series with every metric of ``FORECASTING``.

    MASE, the mean absolute scaled error, is the mean of ``|y - p| / scale``, where the scale is
    the mean absolute error of the (seasonal) naive forecast over the training rows of the series
    (Hyndman & Koehler 2006, International Journal of Forecasting 22): below 1 a forecast errs
    less than the naive one did there. When all series have equally many rows, and each a scale of
    its own, the mean over rows is the mean over series of their MASE.

    RMSSE, the root mean squared scaled error, is ``sqrt(mean(((y - p) / rms)^2))`` with the naive
    forecast's root mean squared error in the place of the scale. Here it is pooled over rows; the
    M5 competition (Makridakis, Spiliotis & Assimakopoulos 2022, International Journal of
    Forecasting 38) takes the root series by series, with the naive forecast one step ahead, and
    then a weighted mean. With one series the two are the same but for the naive forecast.

    Intervals are percentile intervals over blocks of time stamps (``bootstrap_means``). The draws
    depend on the number of time stamps, the horizon and the seed only, so that two models scored
    on the same rows with one seed meet the same draws. A dozen time stamps make a rough interval,
    too narrow rather than too wide, and a single one makes none: its ends are the value.

    Args:
        truth: shape (n,), in units of the target.
        prediction: shape (n,), same units.
        scale: mean absolute naive error of the row's series, shape (n,), same units, above 0.
        rms: root mean squared naive error of the row's series, shape (n,), same units, above 0.
        times: time stamp of each row, shape (n,), in any order; several series may share one.
        resampling: how rows are drawn.

    Returns:
        ``{metric: {"value": ..., "low": ..., "high": ...}}``.

    Raises:
        ValueError: no rows, shapes that do not fit, values that are not finite, a scale or rms
            not above 0, missing time stamps, or a horizon below 1.
    """
    rows = forecast_rows(truth, prediction, scale, rms)
    metrics = FORECASTING.values()
    draws = evaluate(metrics, *rows, resampling, times=times)
    return {name: interval(values, resampling.confidence) for name, values in draws.items()}


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
    rows = (
        finite_array(frame["truth"], "truth", 1),
        finite_array(frame["prediction"], "prediction", 1),
    )
    check_same_length(*rows)
    return rows


def class_rows(probabilities: Array, classes: Sequence[str], index: pd.Index) -> pd.DataFrame:
    """Tidy rows of a classifier, without the truth.

    Args:
        probabilities: shape (n, n_classes), columns in the order of ``classes``.
        classes: the labels that can occur.
        index: row keys.

    Returns:
        ``prediction``, the class of largest probability, and ``probability_<class>``.
    """
    import pandas as pd

    names = [f"probability_{name}" for name in classes]
    rows = pd.DataFrame(probabilities, columns=names, index=index)
    rows.insert(0, "prediction", [classes[i] for i in probabilities.argmax(axis=1)])
    return rows


def score_rows(
    metric: str,
    task: str,
    frame: pd.DataFrame,
    *,
    classes: Sequence[str] | None = None,
    resampling: Resampling,
) -> dict[str, float]:
    """Score tidy rows in one metric, also one of a class such as ``recall_Alto``.

    Args:
        metric: name of a metric of the task.
        task: a key of ``METRICS``.
        frame: see ``tidy_rows``; for forecasting with ``time``.
        classes: the labels that can occur, for classification.
        resampling: how rows are drawn.

    Returns:
        ``value``, ``low`` and ``high``.

    Raises:
        ValueError: a metric that the task does not have, or rows that cannot be scored.
    """
    definition = find_metric(metric, task, classes or [])
    rows = tidy_rows(frame, task, classes)
    times = frame["time"] if task == "forecasting" else None
    draws = evaluate([definition], *rows, resampling, times=times)
    return interval(draws[metric], resampling.confidence)


def score_all(
    task: str,
    frame: pd.DataFrame,
    *,
    classes: Sequence[str] | None = None,
    by_time: bool = False,
    resampling: Resampling,
) -> Scores:
    """Score tidy rows with every metric of their task.

    Args:
        task: a key of ``METRICS``.
        frame: see ``tidy_rows``; for forecasting with ``time``.
        classes: the labels that can occur, for classification.
        by_time: whether rows of a regression have a ``time`` too, by which they are drawn.
        resampling: how rows are drawn.

    Returns:
        Metric -> ``value`` and the ends ``low``, ``high`` of its interval.

    Raises:
        KeyError: a column is missing.
        ValueError: rows that cannot be scored.
    """
    if task == "classification":
        odds = frame[[f"probability_{name}" for name in classes or []]]
        return score_classification(frame["truth"], odds, classes or [], resampling=resampling)
    pair = frame["truth"], frame["prediction"]
    if task == "forecasting":
        return score_forecast(
            *pair,
            scale=frame["scale"],
            rms=frame["rms"],
            times=frame["time"],
            resampling=resampling,
        )
    times = frame["time"] if by_time else None
    return score_regression(*pair, times=times, resampling=resampling)


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


def calibration_table(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str], n_bins: int = 10
) -> pd.DataFrame:
    """Compare predicted probabilities with observed shares, class by class.

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

    hits, predicted = classification_rows(truth, probabilities, classes)
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
    """Average the gap between predicted probability and observed share over classes and bins.

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
