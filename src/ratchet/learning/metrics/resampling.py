"""Bootstrap of metrics: rows, blocks of time or groups are drawn, and give intervals and bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.table import Array, Metric
from ratchet.learning.metrics.validation import time_codes

Codes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Resampling:
    """How rows are drawn with replacement for the intervals and bounds of scores.

    Attributes:
        seed: seed of the draws; with the number of rows, or with the number of time stamps and the
            horizon, it decides what is drawn.
        n_bootstrap: number of draws.
        confidence: share of the draws inside an interval, and level of each one-sided bound.
        horizon: steps of time between the origin of a forecast and its row.

    Raises:
        ValueError: no draws, or a confidence that does not lie between 0 and 1.
    """

    seed: int
    n_bootstrap: int = 1000
    confidence: float = 0.95
    horizon: int = 1

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.n_bootstrap < 1:
            raise ValueError(f"n_bootstrap must be at least 1, not {self.n_bootstrap}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, not {self.confidence}")


class NoSpreadError(ValueError):
    """There are too few units to estimate an interval."""


_FEWEST = 0.5
"""Degrees of freedom at least: where there are fewer, no bound says anything."""


@dataclass(frozen=True, eq=False)
class ResamplingUnits:
    """Rows that are drawn together, because their errors may be alike.

    Attributes:
        by: what makes a unit: a ``row``, a ``time`` stamp or a ``group``.
        codes: unit of each row, shape (n,); ``None`` where each row is one.
        number: number of units.
        block: how many consecutive units are drawn together, of time stamps.
        freedom: degrees of freedom of the spread of the draws.
        captured: share of the variance of a mean that the draws are expected to have.
        memory: correlation of two consecutive time stamps that has to be reckoned with.
        seasonal_memory: the same of two time stamps a season apart.
    """

    by: Literal["row", "time", "group"]
    codes: Codes | None
    number: int
    block: int = 1
    freedom: float = 1.0
    captured: float = 1.0
    memory: float = 0.0
    seasonal_memory: float = 0.0

    def width(self, confidence: float) -> float:
        """Distance of a one-sided bound, in standard deviations of the draws.

        Raises:
            ValueError: a confidence that is none.
            NoSpreadError: too few units to have a spread.
        """
        from scipy.special import stdtrit

        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
        if self.number <= self.block:
            raise NoSpreadError(
                f"{self.number} {self.by}s, drawn by {self.block}, have no spread to judge by"
            )
        return float(stdtrit(self.freedom, confidence)) / math.sqrt(self.captured)

    def to_json(self) -> Mapping[str, object]:
        """All but the codes."""
        return {name: value for name, value in asdict(self).items() if name != "codes"}


def resampling_units(
    influence: Array,
    *,
    times: Codes | None = None,
    groups: Codes | None = None,
    horizon: int = 1,
    season: int | None = 1,
) -> ResamplingUnits:
    """Say what has to be drawn together so that a bound of a difference holds.

    Rows with a time are drawn in blocks of consecutive time stamps (see ``long_block_length``),
    rows with a group by groups (Cameron & Miller 2015, Journal of Human Resources 50), others one
    by one. With both, the one of the two that gives the wider bound is taken.

    A block holds only part of the variance where errors are autocorrelated over longer times. The
    upper bounds of their estimated autocorrelation (``autocorrelation_bounds``) say what part of
    the variance blocks see if errors follow an autoregression, and how many independent time
    stamps there are, which bounds the degrees of freedom. Time stamps or groups with many rows
    count more than others: the degrees of freedom are those of Kish's effective sample size (1965).

    Args:
        influence: what each row adds to the difference that is bounded, shape (n,), of mean 0.
        times: place of each row's time stamp among all of them, shape (n,), from 0 without holes.
        groups: number of each row's group, in the same form.
        horizon: steps of time between the origin of a forecast and its row.
        season: steps of time of a season, after which errors may be alike again; 1 for none;
            ``None`` where it is not estimated how alike errors are, and blocks have to do.
    """
    candidates = []
    if times is not None:
        candidates.append(_blocks_of_time(influence, times, horizon, season))
    if groups is not None:
        candidates.append(_groups(influence, groups))
    if not candidates:
        n = len(influence)
        return ResamplingUnits(
            "row", None, n, freedom=max(n - 1.0, _FEWEST), captured=1 - 1 / max(n, 2)
        )
    return max(candidates, key=_bound_distance)[0]


def _bound_distance(candidate: tuple[ResamplingUnits, float]) -> float:
    """Distance of a bound from the difference; without end where there is no spread."""
    units, variance = candidate
    return math.inf if units.number <= units.block else units.width(0.95) * math.sqrt(variance)


def _groups(influence: Array, codes: Codes) -> tuple[ResamplingUnits, float]:
    sums, sizes = np.bincount(codes, influence), np.bincount(codes)
    freedom = max(_equal_units(sizes) - 1, _FEWEST)
    captured = 1 - 1 / max(len(sums), 2)
    return ResamplingUnits("group", codes, len(sums), freedom=freedom, captured=captured), float(
        sums @ sums
    )


def _blocks_of_time(
    influence: Array, codes: Codes, horizon: int, season: int | None
) -> tuple[ResamplingUnits, float]:
    sums = np.asarray(np.bincount(codes, influence), dtype=np.float64)
    sizes = np.bincount(codes)
    n, equal = len(sums), _equal_units(sizes)
    block = long_block_length(n, horizon)
    alike = Autocorrelation() if season is None else autocorrelation_bounds(sums, season)
    freedom = min(
        equal - 1, _equal_units(_runs(sizes, block)) / block, alike.independent_values(equal)
    )
    units = ResamplingUnits(
        by="time",
        codes=codes,
        number=n,
        block=block,
        freedom=max(freedom, _FEWEST),
        captured=captured_variance(n, block, alike) if n > block else 1.0,
        memory=alike.step,
        seasonal_memory=alike.season,
    )
    runs = _runs(sums, block)
    return units, float(runs @ runs) / block


def _runs(values: npt.ArrayLike, length: int) -> Array:
    """Sums of consecutive values, from each of them on, around the end."""
    given = np.asarray(values, dtype=np.float64)
    n, around = len(given), np.concatenate([[0.0], given, given[:length]]).cumsum()
    return np.asarray(around[length : length + n] - around[:n])


def _equal_units(sizes: npt.ArrayLike) -> float:
    """As many of equal size as would weigh the same."""
    given = np.asarray(sizes, dtype=np.float64)
    return float(given.sum() ** 2 / np.square(given).sum())


@dataclass(frozen=True)
class Autocorrelation:
    """How alike the values of a seasonal autoregression are.

    A multiplicative one (Box & Jenkins 1970): a value keeps a share of the one before, and a share
    of the one a season before.

    Attributes:
        step: share kept of the value before, from 0 to below 1.
        season: share kept of the value a season before, from 0 to below 1.
        period: steps of a season.
    """

    step: float = 0.0
    season: float = 0.0
    period: int = 1

    def at(self, lags: npt.NDArray[np.int_]) -> Array:
        """Correlation of values so many steps apart, shape of ``lags``, which are 0 or more."""
        if not self.season:
            return np.asarray(self.step**lags, dtype=np.float64)
        from scipy.signal import lfilter

        # The convolution of the two, as the autocovariances of filters in a row are: those of the
        # season stand at its multiples, and a filter in both directions adds those of the step.
        reach = math.ceil(math.log(1e-9) / math.log(self.step)) if self.step else 0
        places = np.arange(-reach, int(lags.max()) + reach + 1)
        seasons = np.where(places % self.period, 0.0, self.season ** (np.abs(places) / self.period))
        weights = [1.0, -self.step]
        ahead, back = (lfilter([1.0], weights, values) for values in (seasons, seasons[::-1]))
        alike = ahead + back[::-1] - seasons
        return np.asarray(alike[reach + lags] / alike[reach], dtype=np.float64)

    def independent_values(self, n: float) -> float:
        """How many independent values have a mean as uncertain as ``n`` of these; at least 1."""
        shares = [(1 - kept) / (1 + kept) for kept in (self.step, self.season)]
        return max(n * math.prod(shares), 1.0)


def autocorrelation_bounds(values: Array, season: int = 1) -> Autocorrelation:
    """Give the autocorrelation of consecutive values that has to be reckoned with.

    The upper bound, at 90 %, of the first autocorrelation, without the bias that it has for few
    values (Kendall 1954). Where values a season apart are probably alike, because their
    correlation exceeds 1.5 standard errors (Bartlett 1946), also the upper bound of that, corrected
    for the pairs that the first season lacks.

    Args:
        values: in order of time, shape (n,).
        season: number of steps of a season; 1 for none.

    Returns:
        ``step`` from 0 to 1 - 1 / n, ``season`` from 0 to 1 less the share of a season in them.
    """
    n, centred = len(values), values - values.mean()
    size = float(centred @ centred)
    if n < 3 or not size > 0:
        return Autocorrelation()
    first = float(centred[1:] @ centred[:-1]) / size
    bound = first + (1 + 3 * first) / n + _upper_error(first, n)
    step, alike = min(max(bound, 0.0), 1 - 1 / n), 0.0
    if 1 < season <= n // 2:
        *shorter, last = (float(centred[k:] @ centred[:-k]) / size for k in range(1, season + 1))
        if last > 1.5 * math.sqrt((1 + 2 * sum(r**2 for r in shorter)) / n):
            last = min(last * n / (n - season), 1.0)
            alike = min(last + _upper_error(last, n), 1 - season / n)
    return Autocorrelation(step, alike, season)


def _upper_error(correlation: float, n: int) -> float:
    """Distance of the upper bound, at 90 %, of a correlation of ``n`` values."""
    return 1.28 * math.sqrt(max(1 - correlation**2, 0.0) / n)


def captured_variance(n: int, block: int, alike: Autocorrelation) -> float:
    """Share of the variance of a mean that circular blocks are expected to see.

    Blocks miss what is alike over more than their length, and what is alike in all values. Of
    independent values ``1 - block / n`` is left.

    Args:
        n: number of values, more than ``block``.
        block: number of values drawn together.
        alike: how alike the values are.

    Returns:
        Above 0 and below 1.
    """
    lags = np.arange(1, n)
    correlated = alike.at(lags)
    true = 1 + 2 * float((1 - lags / n) @ correlated)
    circular = (1 - lags / n) * correlated + lags / n * correlated[::-1]
    within = lags[: block - 1]
    expected = 1 + 2 * float((1 - within / block) @ circular[: block - 1]) - block / n * true
    return max(expected / true, 1e-6)


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
    return _within(math.cbrt(n_times), n_times, horizon)


def long_block_length(n_times: int, horizon: int = 1) -> int:
    """Give the number of time stamps that are drawn together where a bound has to be right.

    1.3 times the root of the number of time stamps, and at least twice the horizon, with the
    upper end of ``block_length``. Blocks that suit the variance of a mean best are too short for
    a decision: where errors are alike over many steps, they make a difference look surer than it
    is. Longer ones leave few blocks, which the t distribution of their ``width`` makes up for
    (Lazarus, Lewis, Stock & Watson 2018, Journal of Business & Economic Statistics 36: this length
    for tests of means of series, with critical values that know it).

    Args:
        n_times: number of different time stamps.
        horizon: steps of time between the origin of a forecast and its row.

    Returns:
        A number of time stamps, 1 or more.

    Raises:
        ValueError: a number below 1.
    """
    return _within(1.3 * math.sqrt(max(n_times, 0)), n_times, horizon)


def _within(length: float, n_times: int, horizon: int) -> int:
    if n_times < 1 or horizon < 1:
        raise ValueError(f"n_times and horizon must be at least 1, not {n_times} and {horizon}")
    longest = math.ceil(min(3 * math.sqrt(n_times), n_times / 3))
    return min(max(math.ceil(length), 2 * horizon), longest)


_DRAWS_AT_ONCE = 8  # one pass over the statistics serves 8 draws: 4-7 x faster than one by one
_RARE = 5  # draws beyond a quantile, of which it takes so many to be one


def bootstrap_means(
    statistics: Array,
    resampling: Resampling,
    *,
    times: npt.ArrayLike | None = None,
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
        resampling: seed and number of the draws, and the horizon where there are times.
        times: time stamp of each row, shape (n,), in any order.
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
        length = block or block_length(len(sizes), resampling.horizon)
    rng = np.random.default_rng(resampling.seed)
    means = np.empty((resampling.n_bootstrap, statistics.shape[1]))
    for start in range(0, len(means), _DRAWS_AT_ONCE):
        batch = means[start : start + _DRAWS_AT_ONCE]
        drawn = _draw(rng, len(batch), len(sums), length)
        batch[:] = drawn @ sums / (drawn @ sizes)[:, None]
    return means


def evaluate(
    metrics: Collection[Metric],
    truth: Array,
    prediction: Array,
    resampling: Resampling,
    *,
    times: npt.ArrayLike | None = None,
) -> dict[str, Array]:
    """Metrics over all rows (index 0) and over each draw (index 1 and up)."""
    sources = list(dict.fromkeys(metric.statistics for metric in metrics))
    blocks = [statistics_of(source, truth, prediction) for source in sources]
    table = np.hstack(blocks)
    draws = bootstrap_means(table, resampling, times=times)
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
    with np.errstate(invalid="ignore"):  # of draws that are infinite
        low, high = np.quantile(draws[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(draws[0]), "low": float(low), "high": float(high)}


def bounds(draws: Array, width: float) -> tuple[Array, Array]:
    """Give a lower and an upper bound so many standard deviations of the draws from the value.

    Percentiles of the draws, those that lie so far out in a normal distribution (Hesterberg 2015,
    The American Statistician 69, "expanded percentiles"): draws of n rows have the spread of n
    where n - 1 would be right, and the tail of a normal distribution where a t distribution would
    be, which their ``width`` makes up for. Where the draws are too few for such a percentile, the
    last one that they have is moved outward in proportion.

    Args:
        draws: shape (1 + n_bootstrap, ...), the value over all rows first.
        width: see ``ResamplingUnits.width``.

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
