"""What is drawn together: rows, blocks of time or groups, and how wide that makes a bound."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.table import Array

Codes = npt.NDArray[np.intp]


class NoSpreadError(ValueError):
    """There are too few units to tell what is chance."""


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
    """

    by: Literal["row", "time", "group"]
    codes: Codes | None
    number: int
    block: int = 1
    freedom: float = 1.0
    captured: float = 1.0
    memory: float = 0.0

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

    def to_json(self) -> dict[str, Any]:
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
    upper bound of their estimated autocorrelation (``autocorrelation_bound``) says what part of
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
    found = []
    if times is not None:
        found.append(_blocks_of_time(influence, times, horizon, season))
    if groups is not None:
        found.append(_groups(influence, groups))
    if not found:
        n = len(influence)
        return ResamplingUnits(
            "row", None, n, freedom=max(n - 1.0, _FEWEST), captured=1 - 1 / max(n, 2)
        )
    return max(found, key=_spread)[0]


def _spread(found: tuple[ResamplingUnits, float]) -> float:
    """Distance of a bound from the difference; without end where there is no spread."""
    units, variance = found
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
    memory = 0.0 if season is None else autocorrelation_bound(sums, season)
    independent = max(equal * (1 - memory) / (1 + memory), 1.0)
    units = ResamplingUnits(
        by="time",
        codes=codes,
        number=n,
        block=block,
        freedom=max(
            min(equal - 1, _equal_units(_runs(sizes, block)) / block, independent), _FEWEST
        ),
        captured=captured_variance(n, block, memory) if n > block else 1.0,
        memory=memory,
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


def autocorrelation_bound(values: Array, season: int = 1) -> float:
    """Give the correlation of consecutive values that has to be reckoned with.

    The upper bound, at 90 %, of the first autocorrelation, without the bias that it has for few
    values (Kendall 1954). Where values a season apart are surely alike, the correlation from step
    to step that would leave as much after a season, if that is larger.

    Args:
        values: in order of time, shape (n,).
        season: number of steps of a season; 1 for none.

    Returns:
        From 0 to 1 - 1 / n.
    """
    n, centred = len(values), values - values.mean()
    size = float(centred @ centred)
    if n < 3 or not size > 0:
        return 0.0
    first = float(centred[1:] @ centred[:-1]) / size
    found = first + (1 + 3 * first) / n + 1.28 * math.sqrt(max(1 - first**2, 0.0) / n)
    if 1 < season <= n // 2:
        known = [float(centred[k:] @ centred[:-k]) / size for k in range(1, season + 1)]
        error = math.sqrt((1 + 2 * sum(r**2 for r in known[:-1])) / n)  # Bartlett 1946
        if known[-1] > 2 * error:
            found = max(found, known[-1] ** (1 / season))
    return min(max(found, 0.0), 1 - 1 / n)


def captured_variance(n: int, block: int, memory: float) -> float:
    """Share of the variance of a mean that circular blocks are expected to see.

    Of an autoregression of first order: blocks miss what is alike over more than their length,
    and what is alike in all values. Of independent values ``1 - block / n`` is left.

    Args:
        n: number of values, more than ``block``.
        block: number of values drawn together.
        memory: correlation of two consecutive values, from 0 to below 1.

    Returns:
        Above 0 and below 1.
    """
    lags = np.arange(1, n)
    alike = memory**lags
    true = 1 + 2 * float((1 - lags / n) @ alike)
    circular = (1 - lags / n) * alike + lags / n * alike[::-1]
    within = lags[: block - 1]
    seen = 1 + 2 * float((1 - within / block) @ circular[: block - 1]) - block / n * true
    return max(seen / true, 1e-6)


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
    is. Longer ones leave few blocks, which the t distribution of ``Units.width`` makes up for
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
