"""Two models on the same rows and the same draws: the gain of one over the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.blocks import long_block_length
from ratchet.learning.metrics.bootstrap import bootstrap_means, bounds, interval, statistics_of
from ratchet.learning.metrics.names import find_metric
from ratchet.learning.metrics.rows import forecast_rows, time_codes
from ratchet.learning.metrics.table import FORECASTING, Array, Metric
from ratchet.learning.metrics.tidy import check_same_rows, tidy_rows

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
        times: of series, number of time stamps.
        block: of series, how many consecutive time stamps were drawn together.
    """

    metric: str
    baseline: dict[str, float]
    model: dict[str, float]
    difference: dict[str, float]
    share: dict[str, float] | None
    rows: int
    times: int | None = None
    block: int | None = None


def paired_gain(
    metric: str,
    task: str,
    baseline: pd.DataFrame,
    model: pd.DataFrame,
    *,
    classes: Sequence[str] | None = None,
    horizon: int = 1,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int,
) -> Gain:
    """Say by how much a model is better than a baseline, on the same rows.

    Both meet the same draws: what makes a row hard for both falls out, and the bounds are closer
    than the two scores suggest. Series are drawn in runs of ``long_block_length`` time stamps.
    The bounds are those of ``bounds``.

    Args:
        metric: name of a metric of the task, also of one class.
        task: a key of ``METRICS``.
        baseline: tidy rows of the model to beat, see ``tidy_rows``; for forecasting with ``time``.
        model: tidy rows of the model.
        classes: the labels that can occur, for classification.
        horizon: steps of time between the origin of a forecast and its row.
        n_bootstrap: number of draws.
        confidence: level of each of the two one-sided bounds of the gain, and of the interval of
            the two scores.
        seed: seed of the draws.

    Raises:
        ValueError: a metric that the task does not have or that does not rank, rows that differ,
            that cannot be scored, or of which there are too few for bounds.
    """
    truth, first = tidy_rows(baseline, task, classes)
    _, second = tidy_rows(model, task, classes)
    check_same_rows(baseline, model, task)
    return gain_of(
        find_metric(metric, task, classes or []),
        truth,
        first,
        second,
        times=baseline["time"] if task == "forecasting" else None,
        horizon=horizon,
        n_bootstrap=n_bootstrap,
        confidence=confidence,
        seed=seed,
    )


def gain_of(
    metric: Metric,
    truth: Array,
    baseline: Array,
    model: Array,
    *,
    times: npt.ArrayLike | None = None,
    horizon: int = 1,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int,
) -> Gain:
    """``paired_gain`` of rows as the metrics take them.

    Args:
        metric: a metric that ranks and has one number, see ``find_metric``.
        truth: see ``Metric.statistics``.
        baseline: predictions of the model to beat, in the same form.
        model: predictions of the model.
        times: time stamp of each row, shape (n,), of series.
        horizon: steps of time between the origin of a forecast and its row.
        n_bootstrap: number of draws.
        confidence: level of each bound.
        seed: seed of the draws.
    """
    if metric.greater_is_better is None:
        raise ValueError(f"{metric.name!r} has no better direction")
    n_times = block = None
    if times is not None:
        n_times = int(time_codes(times, len(truth)).max()) + 1
        block = long_block_length(n_times, horizon)
    first, second = _paired_draws(
        metric,
        truth,
        baseline,
        model,
        n_bootstrap,
        seed,
        times=times,
        horizon=horizon,
        block=block,
    )
    difference = second - first if metric.greater_is_better else first - second
    if not np.isfinite(difference).all():
        raise ValueError(f"{metric.name} of these rows is no number")
    shares = share_of(difference, first)
    drawn = (n_times or len(truth), block or 1)
    return Gain(
        metric=metric.name,
        baseline=interval(first, confidence),
        model=interval(second, confidence),
        difference=_bounded(difference, confidence, *drawn),
        share=_bounded(shares, confidence, *drawn) if np.isfinite(shares).all() else None,
        rows=len(truth),
        times=n_times,
        block=block,
    )


def share_of(difference: Array, baseline: Array) -> Array:
    """Differences as shares of the size of the baseline's score; infinite where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = difference / np.abs(baseline)
    return np.where(difference == 0, np.where(baseline == 0, 0.0, shares), shares)


def _paired_draws(
    metric: Metric,
    truth: Array,
    baseline: Array,
    model: Array,
    n_bootstrap: int,
    seed: int,
    *,
    times: npt.ArrayLike | None,
    horizon: int,
    block: int | None = None,
) -> list[Array]:
    """Scores of both over all rows (index 0) and over the same draws (index 1 and up)."""
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap must be at least 1, not {n_bootstrap}")
    both = np.hstack([statistics_of(metric.statistics, truth, p) for p in (baseline, model)])
    draws = bootstrap_means(both, n_bootstrap, seed, times=times, horizon=horizon, block=block)
    means = np.vstack([both.mean(axis=0), draws])
    return [metric.value(half) for half in np.split(means, 2, axis=1)]


def _bounded(draws: Array, confidence: float, n: int, block: int) -> dict[str, float]:
    low, high = bounds(draws, confidence, n, block)
    return {"value": float(draws[0]), "low": float(low), "high": float(high)}


def paired_difference(
    truth: npt.ArrayLike,
    baseline: npt.ArrayLike,
    model: npt.ArrayLike,
    *,
    scale: npt.ArrayLike,
    times: npt.ArrayLike,
    horizon: int = 1,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int,
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
        horizon: steps of time between the origin of a forecast and its row.
        n_bootstrap: number of draws.
        confidence: share of the draws inside the interval, between 0 and 1.
        seed: seed of the draws.

    Returns:
        ``value``, MASE of the baseline minus MASE of the model, and its ends ``low``, ``high``.

    Raises:
        ValueError: as ``score_forecast``.
    """
    y, first = forecast_rows(truth, baseline, scale, np.ones_like(scale))
    _, second = forecast_rows(truth, model, scale, np.ones_like(scale))
    pair = _paired_draws(
        FORECASTING["mase"], y, first, second, n_bootstrap, seed, times=times, horizon=horizon
    )
    return interval(pair[0] - pair[1], confidence)
