"""What is usual: the same statistics for chunks of the reference, and what a window may exceed.

Every statistic of every column is brought to one scale by its own distribution over the chunks.
The largest of them all is then compared with the largest of each chunk (Westfall & Young 1993,
Resampling-based multiple testing): that holds the share of false alarms over all columns together,
however strongly they hang together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse, stats

from ratchet.monitoring.drift.columns import Array

_MIN_CHUNKS = 8  # of a run of time, next to each other: fewer say nothing of what is usual
_SEASON = pd.Timedelta(days=45)  # to either side: a quarter of the year
_YEARS = pd.Timedelta(days=730)  # the reference has to hold each season twice


@dataclass(frozen=True)
class Chunks:
    """The current rows and the chunks they are compared with.

    Attributes:
        members: rows of the current window (first row) and of every chunk, one row each over the
            rows of the reference followed by the current ones, shape (1 + chunks, n + m).
        base: rows of the reference that are compared with, shape (n + m,); a chunk is compared
            with those of them, or of all rows, that are not its own.
        pooled: whether chunks are drawn from reference and current rows together.
        size: rows of a chunk.
        independent: chunks that fit side by side into the reference; drawn at random, all.
        season: how the time of the year and the phase were minded, in words.
        apart: which chunks share no row with which, shape (chunks, chunks); None where chunks are
            drawn at random.
    """

    members: sparse.csr_matrix
    base: npt.NDArray[np.bool_]
    pooled: bool
    size: int
    independent: int
    season: str
    apart: npt.NDArray[np.bool_] | None = None

    @property
    def kind(self) -> str:
        """How the chunks are taken, in words."""
        if self.pooled:
            return f"{len(self)} draws of {self.size} rows from reference and window together"
        return f"{len(self)} runs of {self.size} consecutive rows of the reference"

    def __len__(self) -> int:
        return int(self.members.shape[0]) - 1

    def split(self, counts: sparse.csr_matrix | Array) -> tuple[Array, Array]:
        """Sums of the columns over the rows of every set, and over those it is compared with.

        Args:
            counts: shape (n + m, k).

        Returns:
            Two arrays of shape (1 + chunks, k).
        """
        inside = self.members @ counts
        inside = inside.toarray() if sparse.issparse(inside) else np.asarray(inside)
        reference = np.asarray(self.base.astype(np.float64) @ counts).ravel()
        outside = reference - inside
        if self.pooled:
            outside += inside[0]
        outside[0] = reference
        return inside.astype(np.float64), outside.astype(np.float64)


def draw_chunks(n: int, m: int, chunks: int, seed: int) -> Chunks:
    """Chunks where rows have no order: as many rows as the window, from all rows together.

    Without drift the window is one such draw among the others, whatever the sizes: the share of
    false alarms is exact (a permutation test; Fisher 1935, Pitman 1937). With drift the draws are
    mixed with what drifted, by no more than the share of the window among all rows.

    Args:
        n: rows of the reference.
        m: rows of the window.
        chunks: number of draws.
        seed: seed of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(n + m, m, replace=False, shuffle=False) for _ in range(chunks)]
    members = _members([np.arange(n, n + m), *drawn], n + m)
    return Chunks(members, np.arange(n + m) < n, True, m, chunks, "")


def run_chunks(
    times: pd.Series, current: pd.Series, chunks: int, period: str | None = None
) -> Chunks:
    """Chunks where rows follow each other: runs of consecutive rows, as long as the window.

    A window that is long for the reference is compared with shorter runs, of which eight fit
    side by side.

    Args:
        times: times of the reference in their order, shape (n,).
        current: times of the window, shape (m,).
        chunks: most runs that are taken; they may overlap.
        period: what the series repeats after as pandas writes it (``7D``); given, runs begin at
            the phase of the window, and lie in its season where the reference reaches over two
            years. Without it neither is minded.

    Returns:
        The runs, at least one.
    """
    n, m = len(times), len(current)
    season, usable = "", np.ones(n, dtype=bool)
    if period is not None:
        season, usable = _season(times, current, m)
    n_usable = int(usable.sum())
    size = max(1, min(m, n_usable // _MIN_CHUNKS))
    starts = _starts(times, usable, size)
    if period is not None:
        starts, phase = _in_phase(times, starts, current.iloc[0], pd.Timedelta(period))
        season = f"{phase}; {season}"
    positions = np.linspace(0, len(starts) - 1, min(chunks, len(starts))).round().astype(int)
    runs = [np.arange(start, start + size) for start in starts[positions]]
    members = _members([np.arange(n, n + m), *runs], n + m)
    base = np.concatenate([usable, np.zeros(m, dtype=bool)])
    independent = max(1, min(n_usable // size, len(runs)))
    first = starts[positions]
    apart = np.abs(first[:, None] - first) >= size
    return Chunks(members, base, False, size, independent, season, apart)


def _members(sets: list[npt.NDArray[np.intp]], n_rows: int) -> sparse.csr_matrix:
    ends = np.cumsum([0, *(len(rows) for rows in sets)])
    columns = np.concatenate(sets)
    return sparse.csr_matrix(
        (np.ones(len(columns), dtype=np.float32), columns, ends), shape=(len(sets), n_rows)
    )


def _season(times: pd.Series, current: pd.Series, m: int) -> tuple[str, npt.NDArray[np.bool_]]:
    """Rows of the reference in the season of the window, if it holds the season twice."""
    everything = np.ones(len(times), dtype=bool)
    if times.iloc[-1] - times.iloc[0] < _YEARS:
        return (
            "the reference holds no season of the year twice, so that windows are compared with "
            "all of it, and a season that it lacks looks like a drift"
        ), everything
    if current.iloc[-1] - current.iloc[0] > 2 * _SEASON:
        return "the window is longer than a season of the year", everything
    middle = current.iloc[len(current) // 2].dayofyear
    apart = np.abs(times.dt.dayofyear.to_numpy() - middle)
    near = np.minimum(apart, 365 - apart) <= _SEASON.days
    if near.sum() < _MIN_CHUNKS * m:
        return "too few rows of the reference lie in the season of the window", everything
    return "compared with the rows of the same season of the year", near


def _starts(times: pd.Series, usable: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.intp]:
    """Rows at which a run can begin: the first ones of their time, with enough rows behind."""
    first = np.concatenate([[True], times.to_numpy()[1:] != times.to_numpy()[:-1]])
    sums = np.concatenate([[0], np.cumsum(usable)])
    ends = np.arange(len(times)) + size
    fits = ends <= len(times)
    whole = np.zeros(len(times), dtype=bool)
    whole[fits] = sums[ends[fits]] - sums[:-1][fits] == size
    starts = np.flatnonzero(first & whole)
    return starts if len(starts) else np.flatnonzero(whole)[:1]


def _in_phase(
    times: pd.Series, starts: npt.NDArray[np.intp], begin: pd.Timestamp, period: pd.Timedelta
) -> tuple[npt.NDArray[np.intp], str]:
    """Starts that lie whole periods before the window, if there are enough of them."""
    apart = (begin - times.iloc[starts]).to_numpy() % period.to_timedelta64()
    aligned = starts[apart == np.timedelta64(0)]
    if len(aligned) < _MIN_CHUNKS:
        return starts, "runs begin at any phase, as too few lie at that of the window"
    return aligned, "runs begin at the phase of the window"


@dataclass(frozen=True)
class NullDistribution:
    """Distribution of the largest standardised statistic over the chunks.

    Attributes:
        largest: of every chunk, shape (chunks,).
        independent: how many of the chunks count, as those that overlap tell the same.
        level: share of windows that may raise an alarm without drift.
    """

    largest: Array
    independent: int
    level: float

    @property
    def by_rank(self) -> bool:
        """Whether there are enough chunks to count those that are more extreme."""
        return self.level * (self.independent + 1) >= 1

    def p_value(self, z: float) -> float:
        """Chance of a window without drift to reach ``z`` in any statistic.

        The rank among the chunks, the window counted in; with few chunks the tail of Student's
        distribution about their mean, for a further value from the same source (the prediction
        interval of a normal sample, widened by the error of mean and variance).
        """
        if self.by_rank:
            above = float((self.largest >= z).mean()) * self.independent
            return (1 + above) / (self.independent + 1)
        centre, width = self._tail
        return float(stats.t.sf((z - centre) / width, self.independent - 1))

    @property
    def threshold(self) -> float:
        """Value above which the chance is at most ``level``."""
        if not self.by_rank:
            centre, width = self._tail
            return float(centre + width * stats.t.isf(self.level, self.independent - 1))
        share = (self.level * (self.independent + 1) - 1) / self.independent
        above = math.floor(share * len(self.largest) + 1e-9)
        return float(np.sort(self.largest)[-(above + 1)])

    @property
    def _tail(self) -> tuple[float, float]:
        """Centre and width of the distribution of one more chunk."""
        count = max(self.independent, 2)
        deviation = float(self.largest.std(ddof=1)) if len(self.largest) > 1 else 0.0
        return float(self.largest.mean()), max(deviation, 1e-9) * math.sqrt(1 + 1 / count)


def standardise(
    statistic: Array, floor: float, apart: npt.NDArray[np.bool_] | None = None
) -> tuple[Array, float, float]:
    """Bring a statistic to the scale that all share.

    Few runs of time say little of what is usual, and each of them would look usual if it had a
    say in that itself: a run is judged by those that it shares no row with, as the window is.

    Args:
        statistic: of the window and of every chunk, shape (1 + chunks,).
        floor: smallest width; what a single row can do, where hardly any chunk has any of it.
        apart: which chunks judge which, see ``Chunks``; None for all, with the window among them.

    Returns:
        ``(statistic - centre) / width``, the centre (median) and the width (from there to the
        upper 95 % quantile) by which the window is judged.
    """
    if apart is None:
        judges = np.ones((1, len(statistic)), dtype=bool)
        centre, high = _quantiles(statistic, judges)
    else:
        alone = ~apart.any(axis=1, keepdims=True)
        judges = np.vstack([np.ones(len(apart), dtype=bool), apart | alone])
        centre, high = _quantiles(statistic[1:], judges)
    width = np.maximum(high - centre, floor)
    return (statistic - centre) / width, float(centre[0]), float(width[0])


def _quantiles(values: Array, chosen: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Median and 95 % quantile of the chosen values, row by row."""
    ordered = np.sort(np.where(chosen, values, np.inf), axis=1)
    count = chosen.sum(axis=1)
    quantiles = []
    for share in (0.5, 0.95):
        position = share * (count - 1)
        low = np.floor(position).astype(int)
        pair = (
            np.take_along_axis(ordered, np.minimum(at, count - 1)[:, None], axis=1)[:, 0]
            for at in (low, low + 1)
        )
        first, second = pair
        quantiles.append(first + (position - low) * (second - first))
    return quantiles[0], quantiles[1]
