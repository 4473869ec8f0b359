"""Time series laid side by side on one grid of steps, and what each is measured by.

A *panel* is an array of shape (steps, series), its rows in the order of time. Flattened, it has the
order of a frame sorted by time and then by series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.tseries.frequencies import to_offset

Panel = npt.NDArray[np.float64]
"""Values of shape (steps, series); NaN where nothing is known."""


def grid_of(times: pd.Series, frequency: str | None) -> pd.DatetimeIndex:
    """Steps from the first to the last time.

    Args:
        times: when there are rows, in any order.
        frequency: distance of two steps as pandas writes it; without it the distinct times
            themselves are the steps.

    Raises:
        ValueError: pandas does not know the frequency.
    """
    if frequency is None:
        return pd.DatetimeIndex(times.drop_duplicates().sort_values(), name=None)
    first, last = times.min(), times.max()
    if first.tzinfo is None or isinstance(to_offset(frequency), pd.offsets.Tick):
        return pd.date_range(first, last, freq=frequency)
    # Days and longer are those of the local clock: not all of them have 24 hours, or a midnight.
    clock = pd.date_range(_day_or_time(first), last.tz_localize(None), freq=frequency)
    earlier = np.ones(len(clock), dtype=bool)  # of an hour that comes twice
    return clock.tz_localize(times.dt.tz, ambiguous=earlier, nonexistent="shift_forward")


def _day_or_time(moment: pd.Timestamp) -> pd.Timestamp:
    """The local clock, at 00:00 where the day begins later than that."""
    clock = moment.tz_localize(None)
    begin = clock.normalize().tz_localize(moment.tz, ambiguous=True, nonexistent="shift_forward")
    return clock.normalize() if begin == moment else clock


def lay_out(
    rows: pd.DataFrame,
    *,
    time: str,
    series: str,
    grid: pd.DatetimeIndex,
    absent: Mapping[str, float | Literal["previous"]],
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """One row for every step of every series.

    Args:
        rows: at most one row for a step of a series, no step off the grid.
        time: column of the step.
        series: column that names the series.
        grid: the steps.
        absent: column -> what it holds where other series have a row and this one has none; a
            number, or ``previous`` for the last value before, if there is one. Other columns, and
            all columns at steps at which no series has a row, stay missing.

    Returns:
        The columns of ``rows``, ordered by time and series; and which rows were there, a panel.
    """
    names = pd.Index(rows[series].unique(), name=series).sort_values()
    full = pd.MultiIndex.from_product([grid, names], names=[time, series])
    keyed = rows.set_index([time, series])
    laid = keyed.reindex(full)
    there = full.isin(keyed.index).reshape(len(grid), len(names))
    absent_here = (~there & there.any(axis=1, keepdims=True)).ravel()
    for column, held in absent.items():
        values = laid.groupby(level=series)[column].ffill() if held == "previous" else held
        laid[column] = laid[column].mask(absent_here, values)
    return laid.reset_index()[list(rows.columns)], there


def calendar(times: pd.Series, parts: Sequence[str]) -> pd.DataFrame:
    """Parts of a time as integers: ``hour``, ``halfhour`` of the day, ``weekend`` and so on."""
    clock = times.dt
    values = {
        "halfhour": lambda: clock.hour * 2 + clock.minute // 30,
        "weekend": lambda: (clock.dayofweek >= 5).astype("int32"),
    }
    return pd.DataFrame(
        {part: values[part]() if part in values else getattr(clock, part) for part in parts},
        index=times.index,
    )


def seasonal_change(
    values: Panel, season: int, *, relative: bool = False
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """How much every series changes over a season: its unit of error.

    The mean is the error of the seasonal naive forecast inside of the sample, the denominator of
    MASE (Hyndman and Koehler, 2006, "Another look at measures of forecast accuracy"); the root mean
    square is that of RMSSE. A series that never changes over a season, or is not seen for one, has
    no unit of its own and takes the mean of the others, or 1 where there is none.

    Args:
        values: training part of a panel.
        season: steps of a season.
        relative: measure changes as shares of the value a season before.

    Returns:
        Mean and root mean square of the change, shape (series,) each and above 0; and which series
        have a unit of their own.
    """
    before, after = values[:-season], values[season:]
    change = after / before - 1 if relative else after - before
    count = np.isfinite(change).sum(axis=0)
    squares = np.where(np.isfinite(change), change, 0.0) ** 2
    total = np.maximum(count, 1)
    mean, rms = np.sqrt(squares).sum(axis=0) / total, np.sqrt(squares.sum(axis=0) / total)
    own = mean > 0
    if not own.all():
        mean[~own] = mean[own].mean() if own.any() else 1.0
        rms[~own] = rms[own].mean() if own.any() else 1.0
    return mean, rms, own
