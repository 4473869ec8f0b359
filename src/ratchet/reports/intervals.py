"""Intervals of shares and means, and differences between candidates on the same rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest

from ratchet.learning.metrics import METRICS, Resampling, bootstrap_means

Array = npt.NDArray[np.float64]

_Z = 1.959964  # 95 %

TOO_NARROW = (
    "The intervals are a normal approximation that takes rows as independent; those of a series "
    "are not, so that they are too narrow."
)
"""What is to be said of ``mean_interval`` where rows are steps of series."""


def share_interval(hits: float, n: int) -> tuple[float, float]:
    """95 % interval of a share that holds for few rows, too (Wilson 1927, JASA 22).

    Without any row it is 0 to 1.
    """
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(round(hits), int(n)).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: npt.ArrayLike) -> tuple[float, float]:
    """95 % interval of a mean by the normal approximation; of one value, that value twice."""
    numbers = np.asarray(values, dtype=float)
    if len(numbers) < 2:
        mean = float(numbers.mean()) if len(numbers) else float("nan")
        return mean, mean
    half = _Z * numbers.std(ddof=1) / np.sqrt(len(numbers))
    return float(numbers.mean() - half), float(numbers.mean() + half)


def summarise(scores: pd.Series | Array, *, is_share: bool) -> dict[str, float]:
    """Rows, mean and interval of scores: 0 or 1 per row for shares, else sizes of errors."""
    n = len(scores)
    low, high = share_interval(scores.sum(), n) if is_share else mean_interval(scores)
    low = max(low, 0.0) if n else low
    return {"rows": n, "value": float(scores.mean()) if n else np.nan, "low": low, "high": high}


def shares_differ(hits: tuple[int, int], rows: tuple[int, int]) -> bool:
    """Whether two shares differ by more than three standard errors."""
    if not all(rows):
        return False
    pooled = sum(hits) / sum(rows)
    error = np.sqrt(pooled * (1 - pooled) * (1 / rows[0] + 1 / rows[1]))
    return bool(abs(hits[0] / rows[0] - hits[1] / rows[1]) > 3 * error > 0)


def differences(
    metric: str,
    rows: Mapping[str, tuple[Array, Array]],
    best: str,
    *,
    task: str,
    resampling: Resampling,
    times: pd.Series | None = None,
) -> dict[str, tuple[float, float, float]]:
    """Difference of each candidate to the best one, by a paired bootstrap over rows.

    Much of what makes one draw easier than another is the same for all candidates, so that the
    interval of a difference is narrower than the intervals of the two scores suggest.

    Args:
        metric: name of the metric.
        rows: candidate -> truth and prediction, both (n, k) or (n,) as the metric takes them.
        best: the candidate to compare with.
        task: of the target.
        resampling: how rows are drawn.
        times: time stamp of each row of a series, to draw blocks of time; ``None`` draws rows.

    Returns:
        Candidate -> difference to the best, and the ends of its 95 % interval.
    """
    entry = METRICS[task][metric]
    blocks = [entry.statistics(*pair) for pair in rows.values()]
    table = np.hstack(blocks)
    draws = bootstrap_means(table, resampling, times=times)
    means = np.vstack([table.mean(axis=0), draws])
    values = dict(zip(rows, map(entry.value, np.split(means, len(blocks), axis=1)), strict=True))
    gaps = {name: value - values[best] for name, value in values.items()}
    return {
        name: (
            float(gap[0]),
            float(np.quantile(gap[1:], 0.025)),
            float(np.quantile(gap[1:], 0.975)),
        )
        for name, gap in gaps.items()
    }


def histogram(values: Mapping[str, pd.Series], bins: int = 30, trim: float = 0.0) -> pd.DataFrame:
    """Counts of the values of each group in common bins.

    Args:
        values: group -> its values.
        bins: number of bins.
        trim: share of all values that is left out at either end, so that a few far ones do not
            press the others into one bin.

    Returns:
        ``group``, ``centre`` of the bin and ``share`` of the group's rows in it.
    """
    present = {name: series.dropna().to_numpy(dtype=float) for name, series in values.items()}
    together = np.concatenate(list(present.values()))
    if trim and len(together):
        low, high = np.quantile(together, [trim, 1 - trim])
        together = together[(low <= together) & (together <= high)]
    edges = np.histogram_bin_edges(together, bins=bins) if len(together) else np.array([0.0, 1.0])
    centres = (edges[:-1] + edges[1:]) / 2
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "group": name,
                    "centre": centres,
                    "share": np.histogram(series, edges)[0] / max(len(series), 1),
                }
            )
            for name, series in present.items()
        ],
        ignore_index=True,
    )
