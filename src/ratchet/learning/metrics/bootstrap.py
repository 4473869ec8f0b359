"""Bootstrap: metrics over all rows and over rows drawn anew, and the intervals between."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.blocks import block_length
from ratchet.learning.metrics.rows import time_codes
from ratchet.learning.metrics.table import Array, Metric

_DRAWS_AT_ONCE = 8  # one pass over the statistics serves 8 draws: 4-7 x faster than one by one
_RARE = 5  # draws beyond a quantile, of which it takes so many to be one


def bootstrap_means(
    statistics: Array,
    n_bootstrap: int,
    seed: int,
    *,
    times: npt.ArrayLike | None = None,
    horizon: int = 1,
    block: int | None = None,
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
        block: number of time stamps drawn together, in the place of ``block_length``.

    Returns:
        Shape (n_bootstrap, k).

    Raises:
        ValueError: ``times`` of another length or with missing values, or a horizon below 1.
    """
    sums, sizes, length = statistics, np.ones(len(statistics)), 1
    if times is not None:
        codes = time_codes(times, len(statistics))
        sizes = np.bincount(codes).astype(np.float64)
        sums = np.column_stack([np.bincount(codes, column) for column in statistics.T])
        length = block or block_length(len(sizes), horizon)
    rng = np.random.default_rng(seed)
    means = np.empty((n_bootstrap, statistics.shape[1]))
    for start in range(0, n_bootstrap, _DRAWS_AT_ONCE):
        batch = means[start : start + _DRAWS_AT_ONCE]
        drawn = _draw(rng, len(batch), len(sums), length)
        batch[:] = drawn @ sums / (drawn @ sizes)[:, None]
    return means


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
    blocks = [statistics_of(source, truth, prediction) for source in sources]
    table = np.hstack(blocks)
    draws = bootstrap_means(table, n_bootstrap, seed, times=times, horizon=horizon)
    means = np.vstack([table.mean(axis=0), draws])
    ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
    parts = dict(zip(sources, np.split(means, ends, axis=1), strict=True))
    return {metric.name: metric.value(parts[metric.statistics]) for metric in metrics}


def statistics_of(
    source: Callable[[Array, Array], Array], truth: Array, prediction: Array
) -> Array:
    """Statistics of each row, shape (n, k); ValueError if one is too large for a number."""
    with np.errstate(over="ignore"):  # said in words below
        statistics = source(truth, prediction)
    if not np.isfinite(statistics).all():
        raise ValueError("values are too large to be squared")
    return statistics


def interval(draws: Array, confidence: float) -> dict[str, float]:
    """Value (index 0) and the percentile interval of the draws (index 1 and up)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    with np.errstate(invalid="ignore"):  # of draws that are infinite
        low, high = np.quantile(draws[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(draws[0]), "low": float(low), "high": float(high)}


def bounds(draws: Array, width: float) -> tuple[Array, Array]:
    """Give a lower and an upper bound so many standard deviations of the draws from the value.

    Percentiles of the draws, those that lie so far out in a normal distribution (Hesterberg 2015,
    The American Statistician 69, "expanded percentiles"): draws of n rows have the spread of n
    where n - 1 would be right, and the tail of a normal distribution where a t distribution would
    be, which ``Units.width`` makes up for. Where the draws are too few for such a percentile, the
    last one that they have is moved outward in proportion.

    Args:
        draws: shape (1 + n_bootstrap, ...), the value over all rows first.
        width: see ``Units.width``.

    Returns:
        The two bounds, each of shape (...).
    """
    from scipy.special import ndtr, ndtri

    tail, last = float(ndtr(-width)), min(_RARE / (len(draws) - 1), 0.25)
    if tail >= last:
        low, high = np.quantile(draws[1:], [tail, 1 - tail], axis=0)
        return low, high
    value, further = draws[0], width / -float(ndtri(last))
    low, high = np.quantile(draws[1:], [last, 1 - last], axis=0)
    return value - further * np.maximum(value - low, 0), value + further * np.maximum(
        high - value, 0
    )


def _draw(rng: np.random.Generator, n_draws: int, n: int, block: int) -> Array:
    """How often each of n places is drawn in each draw: n in all, in runs that go round the end."""
    starts = rng.integers(n, size=(n_draws, -(-n // block), 1))
    places = (starts + np.arange(block)).reshape(n_draws, -1)[:, :n] % n
    places += n * np.arange(n_draws)[:, None]
    return np.bincount(places.ravel(), minlength=n_draws * n).reshape(n_draws, n).astype(np.float64)
