"""Scores of forecasts of series, with intervals that respect the order of time."""

from __future__ import annotations

import numpy.typing as npt

from ratchet.learning.metrics.bootstrap import evaluate, interval
from ratchet.learning.metrics.rows import forecast_rows
from ratchet.learning.metrics.scores import Scores
from ratchet.learning.metrics.table import FORECASTING


def score_forecast(
    truth: npt.ArrayLike,
    prediction: npt.ArrayLike,
    *,
    scale: npt.ArrayLike,
    rms: npt.ArrayLike,
    times: npt.ArrayLike,
    horizon: int = 1,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int,
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
        horizon: steps of time between the origin of a forecast and its row.
        n_bootstrap: number of draws.
        confidence: share of the draws inside the interval, between 0 and 1.
        seed: seed of the draws.

    Returns:
        ``{metric: {"value": ..., "low": ..., "high": ...}}``.

    Raises:
        ValueError: no rows, shapes that do not fit, values that are not finite, a scale or rms
            not above 0, missing time stamps, or a horizon below 1.
    """
    rows = forecast_rows(truth, prediction, scale, rms)
    metrics = FORECASTING.values()
    draws = evaluate(metrics, *rows, n_bootstrap, seed, times=times, horizon=horizon)
    return {name: interval(values, confidence) for name, values in draws.items()}
