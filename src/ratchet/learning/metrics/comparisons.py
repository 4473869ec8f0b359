"""Two models on the same rows: paired bootstrap of the difference, and the Diebold-Mariano test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.resampling import (
    Resampling,
    ResamplingUnits,
    bootstrap_means,
    bounds,
    interval,
    resampling_units,
    statistics_of,
)
from ratchet.learning.metrics.scores import check_same_rows, tidy_rows
from ratchet.learning.metrics.table import (
    FORECASTING,
    Array,
    Metric,
    find_metric,
    greater_is_better,
)
from ratchet.learning.metrics.validation import (
    check_same_length,
    finite_array,
    forecast_rows,
    group_codes,
    time_codes,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Gain:
    """By how much a model is better than a baseline.

    Attributes:
        metric: the metric.
        baseline: score of the baseline: ``value``, and ``low`` and ``high`` of its interval.
        model: score of the model.
        difference: between the scores, above 0 where the model is better, whichever way the
            metric goes: ``value``, and one-sided bounds ``low`` and ``high``.
        share: the same as a share of the size of the baseline's score; ``None`` if that is 0, or
            is 0 in some of the draws.
        rows: number of rows.
        drawn: what was drawn together for the bounds.
    """

    metric: str
    baseline: dict[str, float]
    model: dict[str, float]
    difference: dict[str, float]
    share: dict[str, float] | None
    rows: int
    drawn: ResamplingUnits


def paired_gain(
    metric: str,
    task: str,
    baseline: pd.DataFrame,
    model: pd.DataFrame,
    *,
    classes: Sequence[str] | None = None,
    times: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    season: int | None = 1,
    resampling: Resampling,
) -> Gain:
    """Say by how much a model is better than a baseline, on the same rows.

    Both meet the same draws: what makes a row hard for both falls out, and the bounds are closer
    than the two scores suggest. Rows whose errors may be alike are drawn together, and the bounds
    are wider for it, see ``resampling_units`` and ``bounds``.

    Args:
        metric: name of a metric of the task, also of one class.
        task: a key of ``METRICS``.
        baseline: tidy rows of the model to beat, see ``tidy_rows``; for forecasting with ``time``.
        model: tidy rows of the model.
        classes: the labels that can occur, for classification.
        times: time stamp of each row; by default those of the column ``time``, where rows have it.
        groups: what each row belongs to, such as a customer; a row without one is its own group.
        season: steps of time of a season; 1 for none, ``None`` as in ``resampling_units``.
        resampling: how rows are drawn; its confidence is that of each of the two one-sided bounds
            of the gain, and of the intervals of the two scores.

    Raises:
        ValueError: a metric that the task does not have or that does not rank, rows that differ,
            that cannot be scored, or of which there are too few for bounds.
    """
    if times is None and "time" in baseline:
        has_times = task == "forecasting" or baseline["time"].notna().all()
        times = baseline["time"] if has_times else None
    truth, first = tidy_rows(baseline, task, classes)
    _, second = tidy_rows(model, task, classes)
    check_same_rows(baseline, model, task)
    return paired_gain_of_arrays(
        find_metric(metric, task, classes or []),
        truth,
        first,
        second,
        times=times,
        groups=groups,
        season=season,
        resampling=resampling,
    )


def paired_gain_of_arrays(
    metric: Metric,
    truth: Array,
    baseline: Array,
    model: Array,
    *,
    times: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    season: int | None = 1,
    resampling: Resampling,
) -> Gain:
    """``paired_gain`` of rows as the metrics take them.

    Args:
        metric: a metric that ranks and has one number, see ``find_metric``.
        truth: see ``Metric.statistics``.
        baseline: predictions of the model to beat, in the same form.
        model: predictions of the model.
        times: time stamp of each row, shape (n,), where rows have one.
        groups: what each row belongs to, shape (n,).
        season: steps of time of a season; 1 for none, ``None`` as in ``resampling_units``.
        resampling: as of ``paired_gain``.
    """
    if metric.greater_is_better is None:
        raise ValueError(f"{metric.name!r} has no better direction")
    both = np.hstack([statistics_of(metric.statistics, truth, p) for p in (baseline, model)])
    units = resampling_units(
        influence_values(metric, both),
        times=None if times is None else time_codes(times, len(truth)),
        groups=None if groups is None else group_codes(groups, len(truth)),
        horizon=resampling.horizon,
        season=season,
    )
    width = units.width(resampling.confidence)
    first, second = _paired_draws(metric, both, resampling, times=units.codes, block=units.block)
    difference = second - first if metric.greater_is_better else first - second
    if not np.isfinite(difference).all():
        raise ValueError(f"{metric.name} of these rows is no number")
    shares = relative_to_baseline(difference, first)
    return Gain(
        metric=metric.name,
        baseline=interval(first, resampling.confidence),
        model=interval(second, resampling.confidence),
        difference=_bounded(difference, width),
        share=_bounded(shares, width) if np.isfinite(shares).all() else None,
        rows=len(truth),
        drawn=units,
    )


GAIN_TO_FIND = 0.10
"""Gain, as a share of the score to beat, whose chance of being shown is told with a comparison."""

_POINTS = 4000
"""Quantiles of the estimated standard error over which a power is averaged."""


def power_of_comparison(
    result: Gain,
    confidence: float,
    share: float = GAIN_TO_FIND,
    min_gain: float | None = None,
    *,
    times_as_many: float = 1.0,
) -> float | None:
    """Probability that rows like these show a gain of a given size, and more than a minimum.

    A gain is shown where its lower bound is above 0 and its value above the minimum. The value is
    normal around the true gain, and the bound is that of a t test (see ``ResamplingUnits.width``):
    without a minimum this is the noncentral t distribution (Cohen 1988, Statistical Power Analysis
    for the Behavioral Sciences, chapter 2). The standard error is that of the paired differences
    of these rows; it goes with the ratio of the two scores, which a larger gain makes smaller.

    Args:
        result: the gain of a model over a baseline on the rows.
        confidence: level of the bounds in ``result``.
        share: the true gain, as a share of the baseline's score.
        min_gain: share that the value has to exceed; ``None`` where the bound alone decides.
        times_as_many: of how many times as many rows like these: the standard error falls with the
            root of that, and the degrees of freedom grow with the number of units, or of blocks
            of time, whose length grows with the root of the number of times.

    Returns:
        From 0 to 1; ``None`` where the gain has no share, or no spread.
    """
    from scipy.special import gammaincinv, ndtr, stdtrit

    if result.share is None:
        return None
    own_freedom = result.drawn.freedom
    own_quantile = float(stdtrit(own_freedom, confidence))
    more = math.sqrt(times_as_many) if result.drawn.by == "time" else times_as_many
    freedom = own_freedom * more
    quantile = float(stdtrit(freedom, confidence))
    sign = 1 if greater_is_better(result.metric) else -1
    value, low = result.share["value"], result.share["low"]
    ratio, at_share = 1 + sign * value, 1 + sign * share
    error = (value - low) / own_quantile * at_share / ratio if ratio > 0 else 0.0
    error /= math.sqrt(times_as_many)
    if not error > 0:
        return None
    places = (np.arange(_POINTS) + 0.5) / _POINTS
    estimates = error * np.sqrt(2 * gammaincinv(freedom / 2, places) / freedom)  # chi distribution
    needed = quantile * estimates
    if min_gain is not None:
        needed = np.maximum(needed, min_gain)
    return float(ndtr((share - needed) / error).mean())


def influence_values(metric: Metric, statistics: Array) -> Array:
    """Say what each row adds to the gain of a model over a baseline.

    The gain is a function of means; its derivatives, by differences, tell how it moves with each
    row.

    Args:
        metric: a metric with one number.
        statistics: those of the baseline beside those of the model, shape (n, 2k).

    Returns:
        Shape (n,), of mean 0; the share of the baseline's score, or the difference where that is 0.
    """
    means, steps = statistics.mean(axis=0), 1e-4 * statistics.std(axis=0)
    moved = np.vstack([means, means + np.diag(steps), means - np.diag(steps)])
    first, second = (metric.value(half) for half in np.split(moved, 2, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):  # said in words below
        gain = (second - first) / np.abs(first) if first[0] else second - first
    up, down = np.split(gain[1:], 2)
    slopes = np.divide(up - down, 2 * steps, out=np.zeros_like(steps), where=steps > 0)
    if not np.isfinite(slopes).all():
        raise ValueError(f"{metric.name} of these rows is no number")
    return np.asarray((statistics - means) @ slopes)


def relative_to_baseline(difference: Array, baseline: Array) -> Array:
    """Differences as shares of the size of the baseline's score; infinite where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = difference / np.abs(baseline)
    return np.where(difference == 0, np.where(baseline == 0, 0.0, shares), shares)


def _paired_draws(
    metric: Metric,
    both: Array,
    resampling: Resampling,
    *,
    times: npt.ArrayLike | None,
    block: int | None = None,
) -> list[Array]:
    """Scores of both over all rows (index 0) and over the same draws (index 1 and up)."""
    draws = bootstrap_means(both, resampling, times=times, block=block)
    means = np.vstack([both.mean(axis=0), draws])
    return [metric.value(half) for half in np.split(means, 2, axis=1)]


def _bounded(draws: Array, width: float) -> dict[str, float]:
    low, high = bounds(draws, width)
    return {"value": float(draws[0]), "low": float(low), "high": float(high)}


def paired_difference(
    truth: npt.ArrayLike,
    baseline: npt.ArrayLike,
    model: npt.ArrayLike,
    *,
    scale: npt.ArrayLike,
    times: npt.ArrayLike,
    resampling: Resampling,
) -> dict[str, float]:
    """Say by how much a model's MASE is below that of a baseline, such as persistence.

    Both meet the same draws (those of ``score_forecast``): what makes a time hard for both falls
    out, and the interval is narrower than those of the two scores suggest. Above 0 the model is
    better; when the interval holds 0, these rows do not tell the two apart.

    Args:
        truth: shape (n,), in units of the target.
        baseline: forecasts to beat, shape (n,), same units.
        model: forecasts, shape (n,), same units.
        scale: mean absolute naive error of the row's series, shape (n,), same units, above 0.
        times: time stamp of each row, shape (n,), in any order; several series may share one.
        resampling: how rows are drawn.

    Returns:
        ``value``, MASE of the baseline minus MASE of the model, and its ends ``low``, ``high``.

    Raises:
        ValueError: as ``score_forecast``.
    """
    y, first = forecast_rows(truth, baseline, scale, np.ones_like(scale))
    _, second = forecast_rows(truth, model, scale, np.ones_like(scale))
    mase = FORECASTING["mase"]
    both = np.hstack([statistics_of(mase.statistics, y, p) for p in (first, second)])
    pair = _paired_draws(mase, both, resampling, times=times)
    return interval(pair[0] - pair[1], resampling.confidence)


def diebold_mariano(
    baseline: npt.ArrayLike,
    model: npt.ArrayLike,
    *,
    times: npt.ArrayLike | None = None,
    horizon: int = 1,
) -> dict[str, float]:
    """Test whether the losses of a model are lower than those of a baseline.

    The mean difference of the losses by its standard error (Diebold & Mariano 1995, Journal of
    Business & Economic Statistics 13), with the correction of Harvey, Leybourne & Newbold (1997,
    International Journal of Forecasting 13) for few times: the statistic is multiplied by
    ``sqrt((T + 1 - 2h + h (h - 1) / T) / T)`` and held against the t distribution with T - 1
    degrees of freedom. The variance counts the autocovariances up to h - 1 steps in full, those
    that an efficient forecast h steps ahead has. Where it is not above 0, which such a sum can be
    by chance, they are weighted by ``1 - k / h`` (Newey & West 1987), which cannot.

    Args:
        baseline: losses of the forecast to beat, shape (n,), such as squared errors.
        model: losses of the model, shape (n,), in the same unit.
        times: time stamp of each row, shape (n,); losses of one time are averaged first. Without
            them the rows are in order of time.
        horizon: steps h between the origin of a forecast and its row.

    Returns:
        ``statistic``, above 0 where the model is better; ``p_value``, the probability of at least
        such a statistic if both were equally good; ``times``, T; ``horizon``, h.

    Raises:
        ValueError: losses that differ in number, are not finite, or differ by the same at all
            times; times that are missing; a horizon below 1, or that leaves no times.
    """
    from scipy.special import stdtr

    first, second = finite_array(baseline, "baseline", 1), finite_array(model, "model", 1)
    check_same_length(first, second, "model")
    gap = _by_time(first - second, times)
    n = len(gap)
    if not 1 <= horizon < n:
        raise ValueError(f"horizon must lie between 1 and the {n} times less one, not {horizon}")
    variance = _variance_of_mean(gap, horizon)
    rounding = 1e-12 * max(np.abs(first).max(), np.abs(second).max())
    if not variance > rounding**2:
        raise ValueError("the losses differ by the same at all times")
    small = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    statistic = float(math.sqrt(small) * gap.mean() / math.sqrt(variance))
    p_value = float(stdtr(n - 1, -statistic))
    return {"statistic": statistic, "p_value": p_value, "times": n, "horizon": horizon}


def losses(metric: str, truth: Array, prediction: Array) -> Array:
    """Give what each row adds to a metric of forecasts.

    Args:
        metric: ``mae``, ``wape``, ``mase``, ``rmse``, ``rmsse`` or ``r2``.
        truth: value, scale and rms of each row, shape (n, 3), see ``forecast_rows``.
        prediction: shape (n,).

    Returns:
        Absolute or squared errors, by the scale or the rms for ``mase`` and ``rmsse``, shape (n,).

    Raises:
        ValueError: another metric.
    """
    value, scale, rms = truth.T
    error = value - prediction
    of_rows: dict[str, Array] = {
        "mae": np.abs(error),
        "wape": np.abs(error),  # what it is divided by is the same for every model
        "mase": np.abs(error) / scale,
        "rmse": np.square(error),
        "rmsse": np.square(error / rms),
        "r2": np.square(error),
    }
    if metric not in of_rows:
        raise ValueError(f"{metric!r} is no mean of losses; known: {', '.join(of_rows)}")
    return of_rows[metric]


def _by_time(gap: Array, times: npt.ArrayLike | None) -> Array:
    if times is None:
        return gap
    codes = time_codes(times, len(gap))
    means: Array = np.bincount(codes, gap) / np.bincount(codes)
    return means


def _variance_of_mean(gap: Array, horizon: int) -> float:
    n, centred = len(gap), gap - gap.mean()
    covariances = np.array([centred[k:] @ centred[: n - k] / n for k in range(horizon)])
    full = covariances[0] + 2 * covariances[1:].sum()
    weights = 1 - np.arange(1, horizon) / horizon
    weighted = covariances[0] + 2 * (weights * covariances[1:]).sum()
    return float(full if full > 0 else weighted) / n
