"""Bootstrap: metrics over all rows and over rows drawn anew, and the intervals between."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.rows import time_codes
from ratchet.learning.metrics.table import Array, Metric

_DRAWS_AT_ONCE = 8  # one pass over the statistics serves 8 draws: 4-7 x faster than one by one


def bootstrap_means(
    statistics: Array,
    n_bootstrap: int,
    seed: int,
    *,
    times: npt.ArrayLike | None = None,
    horizon: int = 1,
) -> Array:
    """Average the columns over rows drawn with replacement, or over blocks of time.

    Without ``times`` rows are drawn one by one. With them what is drawn is runs of
    ``block_length`` consecutive time stamps (Kuensch 1989, Annals of Statistics 17), each with
    all of its rows: errors that are alike because they are near in time, or of the same moment
    in several series, stay together. Time stamps that do not occur leave no gap. The runs go on
    from the last time stamp to the first (the circular form, Politis & Romano 1992): otherwise
    the ends of the period would be drawn less often than its middle, and the draws would not be
    centred on the score.

    Memory grows with n and not with the number of draws.

    Args:
        statistics: shape (n, k).
        n_bootstrap: number of draws.
        seed: seed of the draws; with n, or with the number of time stamps and the horizon, it
            decides what is drawn.
        times: time stamp of each row, shape (n,), in any order.
        horizon: steps of time between the origin of a forecast and its row.

    Returns:
        Shape (n_bootstrap, k).

    Raises:
        ValueError: ``times`` of another length or with missing values, or a horizon below 1.
    """
    sums, sizes, block = statistics, np.ones(len(statistics)), 1
    if times is not None:
        codes = time_codes(times, len(statistics))
        sizes = np.bincount(codes).astype(np.float64)
        sums = np.column_stack([np.bincount(codes, column) for column in statistics.T])
        block = block_length(len(sizes), horizon)
    rng = np.random.default_rng(seed)
    means = np.empty((n_bootstrap, statistics.shape[1]))
    counts = np.empty((_DRAWS_AT_ONCE, len(sums)))
    for start in range(0, n_bootstrap, _DRAWS_AT_ONCE):
        batch = means[start : start + _DRAWS_AT_ONCE]
        for draw in range(len(batch)):
            counts[draw] = _draw(rng, len(sums), block)
        drawn = counts[: len(batch)]
        batch[:] = drawn @ sums / (drawn @ sizes)[:, None]
    return means


def block_length(n_times: int, horizon: int = 1) -> int:
    """Give the number of consecutive time stamps that are drawn together.

    The cube root of the number of time stamps, the order that suits the variance of a mean best
    (Hall, Horowitz & Jing 1995, Biometrika 82), and at least twice the horizon: errors of
    forecasts h steps ahead are correlated over h - 1 steps even when nothing better can be known
    (Diebold & Mariano 1995), and if the correlation falls in a line, blocks of h would miss a
    third of the variance, blocks of 2 h a sixth. At most the bound that goes with the rule of
    Politis & White (2004), the smaller of 3 sqrt(n) and n / 3, so that several blocks are left to
    draw from. That rule itself looks at the errors, and so would give each model draws of its own.

    Args:
        n_times: number of different time stamps.
        horizon: steps of time between the origin of a forecast and its row.

    Returns:
        A number of time stamps, 1 or more.

    Raises:
        ValueError: a number below 1.
    """
    if n_times < 1 or horizon < 1:
        raise ValueError(f"n_times and horizon must be at least 1, not {n_times} and {horizon}")
    longest = math.ceil(min(3 * math.sqrt(n_times), n_times / 3))
    return min(max(math.ceil(math.cbrt(n_times)), 2 * horizon), longest)


def evaluate(
    metrics: Collection[Metric],
    truth: Array,
    prediction: Array,
    n_bootstrap: int,
    seed: int,
    *,
    times: npt.ArrayLike | None = None,
    horizon: int = 1,
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
    draws = bootstrap_means(table, n_bootstrap, seed, times=times, horizon=horizon)
    means = np.vstack([table.mean(axis=0), draws])
    ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
    parts = dict(zip(sources, np.split(means, ends, axis=1), strict=True))
    return {metric.name: metric.value(parts[metric.statistics]) for metric in metrics}


def interval(draws: Array, confidence: float) -> dict[str, float]:
    """Value (index 0) and the percentile interval of the draws (index 1 and up)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    low, high = np.quantile(draws[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(draws[0]), "low": float(low), "high": float(high)}


def _draw(rng: np.random.Generator, n: int, block: int) -> npt.NDArray[np.intp]:
    """How often each of n places is drawn: n in all, in runs that go round the end."""
    starts = rng.integers(n, size=-(-n // block))
    places = (starts[:, None] + np.arange(block)).ravel()[:n]
    counts = np.bincount(places, minlength=n + block)
    counts[:block] += counts[n:]
    return counts[:n]
