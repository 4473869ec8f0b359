"""Whether one forecast of a series is better than another, by the test of Diebold and Mariano."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.rows import check_same_length, finite, time_codes
from ratchet.learning.metrics.table import Array


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

    first, second = finite(baseline, "baseline", 1), finite(model, "model", 1)
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
