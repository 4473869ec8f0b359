"""Time series laid side by side on one grid of steps, and what each is measured by.

A *panel* is an array of shape (steps, series), its rows in the order of time. Flattened, it has the
order of a frame sorted by time and then by series.
"""

from __future__ import annotations

from calendar import day_abbr, day_name
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.tseries.frequencies import to_offset
from pandas.tseries.holiday import USFederalHolidayCalendar

Panel = npt.NDArray[np.float64]
"""Values of shape (steps, series); NaN where nothing is known."""

Mask = npt.NDArray[np.bool_]
"""Whether something holds, of shape (steps, series)."""

_FREQUENCIES = (
    *("YE", "YS", "QE", "QS", "QS-FEB", "QS-MAR", "ME", "MS"),
    *(f"W-{day}" for day in ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
    *("B", "D", "12h", "8h", "6h", "4h", "3h", "2h", "h"),
    *("30min", "15min", "10min", "5min", "min", "s"),
)
"""Steps that series usually have, the longest first."""

_RARELY = 0.1
"""Share of the steps with a row below which a day of the week or an hour counts as closed."""


def time_grid(
    times: pd.Series, frequency: str | None, closed: Sequence[str] = ()
) -> pd.DatetimeIndex:
    """Steps from the first to the last time.

    Args:
        times: when there are rows, in any order.
        frequency: distance of two steps as pandas writes it; without it the distinct times
            themselves are the steps.
        closed: days on which there are no steps, see ``on_closed_days``.

    Raises:
        ValueError: pandas does not know the frequency, or it is not above 0.
    """
    if frequency is None:
        return pd.DatetimeIndex(times.drop_duplicates().sort_values(), name=None)
    if to_offset(frequency).n < 1:
        raise ValueError(f"expected a step above 0, got {frequency}")
    grid = _regular_grid(times, frequency)
    return grid[~on_closed_days(grid, closed)] if closed else grid


def _regular_grid(times: pd.Series, frequency: str) -> pd.DatetimeIndex:
    first, last = times.min(), times.max()
    if first.tzinfo is None or isinstance(to_offset(frequency), pd.offsets.Tick):
        return pd.date_range(first, last, freq=frequency)
    # Days and longer are those of the local clock: not all of them have 24 hours, or a midnight.
    clock = pd.date_range(_day_or_time(first), last.tz_localize(None), freq=frequency)
    earlier = np.ones(len(clock), dtype=bool)  # of an hour that comes twice
    return clock.tz_localize(times.dt.tz, ambiguous=earlier, nonexistent="shift_forward")


def on_closed_days(moments: Any, closed: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which moments lie on closed days, by the local clock.

    Args:
        moments: times, with or without a time zone, shape (moments,).
        closed: days of the week (``Sun``), of every year (``12-25``) and dates (``2026-04-03``);
            ``US`` for the federal holidays of the United States, as pandas knows them.
    """
    days = pd.DatetimeIndex(moments).tz_localize(None).normalize()
    weekdays = [i for i, name in enumerate(day_abbr) if name in closed]
    result: npt.NDArray[np.bool_] = np.isin(days.dayofweek, weekdays)
    yearly = [int(day[:2]) * 100 + int(day[3:]) for day in closed if len(day) == len("12-25")]
    result |= np.isin(days.month * 100 + days.day, yearly)
    dates = pd.DatetimeIndex([day for day in closed if len(day) == len("2026-04-03")])
    if "US" in closed and len(days):
        result |= days.isin(USFederalHolidayCalendar().holidays(days.min(), days.max()))
    return result | days.isin(dates)


def _day_or_time(moment: pd.Timestamp) -> pd.Timestamp:
    """The local clock, at 00:00 where the day begins later than that."""
    clock = moment.tz_localize(None)
    begin = clock.normalize().tz_localize(moment.tz, ambiguous=True, nonexistent="shift_forward")
    return clock.normalize() if begin == moment else clock


def count_steps(times: pd.Series, frequency: str) -> int:
    """How many steps there are at most from the first to the last time.

    Args:
        times: when there are rows, in any order.
        frequency: distance of two steps as pandas writes it; all but those of fixed length are a
            day or longer.

    Raises:
        ValueError: pandas does not know the frequency.
    """
    offset = to_offset(frequency)
    length = pd.Timedelta("1D")
    if isinstance(offset, pd.offsets.Tick) and offset.n > 0:
        length = pd.Timedelta(offset)
    return int((times.max() - times.min()) / length) + 1


def infer_frequency(times: pd.Series) -> str | None:
    """The longest step that all times keep and at least half of whose steps have a row, if any."""
    distinct = times.drop_duplicates().sort_values()
    first, last = distinct.iloc[0], distinct.iloc[-1]
    for name in _FREQUENCIES:
        offset = to_offset(name)
        length = pd.Timedelta(offset) if isinstance(offset, pd.offsets.Tick) else None
        if length and (last - first) / length > 2 * len(distinct):
            continue  # most steps would be empty, and there may be too many of them
        steps = time_grid(distinct, name)
        if len(steps) <= 2 * len(distinct) and distinct.isin(steps).all():
            return name
    return None


class ClosedTimes(NamedTuple):
    """Times at which there is never a row, such as the Sundays of a shop.

    Attributes:
        names: what they are called.
        period: into how many such times a week or a day is divided.
    """

    names: list[str]
    period: int


def find_closed_times(grid: Any, filled: npt.ArrayLike) -> ClosedTimes | None:
    """Days of the week, or hours of the day, at which nearly every step lacks a row.

    Args:
        grid: the steps, in order.
        filled: at which of them there is a row.
    """
    steps, filled = pd.DatetimeIndex(grid), np.asarray(filled)
    if len(steps) < 2 or filled.all():
        return None
    daily = steps[1] - steps[0] >= pd.Timedelta("1D")
    share = pd.Series(filled).groupby((steps.dayofweek if daily else steps.hour).to_numpy()).mean()
    closed = share.index[share < _RARELY]
    if closed.empty or len(closed) == len(share):
        return None
    names = [f"{day_name[day]}s" if daily else f"{day}:00" for day in closed]
    return ClosedTimes(names, 7 if daily else 24)


@dataclass(frozen=True, eq=False)
class SeriesPanel:
    """Rows of series laid out on their steps.

    Attributes:
        rows: one row for every step of every series, ordered by time and series.
        given: which of them were in the file.
        begun: steps at which a series has begun.
        ended: steps at which it has ended.
    """

    rows: pd.DataFrame
    given: Mask
    begun: Mask
    ended: Mask

    @property
    def under_way(self) -> Mask:
        """Steps of the file at which a series has begun and has not ended."""
        return self.begun & ~self.ended & self.given.any(axis=1, keepdims=True)


def to_panel(
    rows: pd.DataFrame,
    *,
    time: str,
    series: str,
    grid: pd.DatetimeIndex,
    absent: Mapping[str, float | Literal["previous"]],
    target: str,
    season: int,
    begins: Literal["first_row", "first_step"] = "first_row",
    ends_after: int | None = None,
) -> SeriesPanel:
    """One row for every step of every series.

    Args:
        rows: at most one row for a step of a series, no step off the grid.
        time: column of the step.
        series: column that names the series.
        grid: the steps.
        absent: column -> what it holds at a step at which a series is under way, has no row, and
            another one has a value; a number, or ``previous`` for the last value before, if there
            is one. Other columns, and all columns at other steps, stay missing.
        target: column of the truth; what it does not reach is still to come.
        season: steps of a season.
        begins: whether a series begins with its ``first_row``, or with the ``first_step`` of all.
        ends_after: see ``ended_series``.
    """
    ids = rows[series].astype("category").cat.remove_unused_categories().array
    of_row, names = ids.codes, ids.categories
    shape = (len(grid), len(names))
    source = np.full(len(grid) * len(names), -1)  # row that each place takes its values from
    source[grid.get_indexer(pd.Index(rows[time])) * len(names) + of_row] = np.arange(len(rows))
    given = (source >= 0).reshape(shape)
    laid = _take(rows.drop(columns=[time, series]), source)
    laid[time] = grid.repeat(len(names))
    laid[series] = pd.Categorical.from_codes(np.tile(np.arange(len(names)), len(grid)), names)
    # A derived target is not there yet; then every row counts as known.
    has_target = laid[target].notna().to_numpy().reshape(given.shape) if target in laid else given
    is_past = np.maximum.accumulate(np.asarray(has_target.any(axis=1))[::-1])[::-1]
    open_ = np.asarray(given.any(axis=1)) & is_past
    begun = np.ones_like(given) if begins == "first_step" else given
    layout = SeriesPanel(
        rows=laid,
        given=given,
        begun=np.maximum.accumulate(begun, axis=0),
        ended=ended_series(given, open_, season, ends_after),
    )
    for column, held in absent.items():
        has = laid[column].notna().to_numpy().reshape(shape)
        filled = (layout.under_way & ~given & has.any(axis=1, keepdims=True)).ravel()
        values = _take(laid[column], _last_place(has)) if held == "previous" else held
        laid[column] = laid[column].mask(filled, values)
    return replace(layout, rows=laid[list(rows.columns)])


Rows = TypeVar("Rows", pd.DataFrame, pd.Series)


def _take(rows: Rows, places: npt.NDArray[np.int64]) -> Rows:
    """Rows at places, numbered from 0; a row without values where the place is -1."""
    taken = rows.set_axis(pd.RangeIndex(len(rows))).reindex(places)
    return taken.set_axis(pd.RangeIndex(len(places)))


def _last_place(has: Mask) -> npt.NDArray[np.int64]:
    """Place, in the flattened panel, of the last value of a series up to each step; -1 for none."""
    steps, series = np.arange(has.shape[0])[:, None], np.arange(has.shape[1])
    last = np.maximum.accumulate(np.where(has, steps, -1), axis=0)
    return np.where(last >= 0, last * has.shape[1] + series, -1).ravel()


def ended_series(
    given: Mask, open_: npt.NDArray[np.bool_], season: int, after: int | None = None
) -> Mask:
    """Steps at which a series has ended: those after its last row, where too many lack one.

    Args:
        given: steps at which a series has a row, shape (steps, series).
        open_: steps that count: those at which any series has a row and the truth is known, shape
            (steps,).
        season: steps of a season.
        after: how many steps after its last row may lack one; by default two seasons, or twice as
            many as it ever lacked between two rows, whichever is more.
    """
    passed = open_.cumsum()[:, None]
    at_row = np.maximum.accumulate(np.where(given, passed, -1), axis=0)
    lacked = np.where(given[1:] & (at_row[:-1] >= 0), passed[1:] - at_row[:-1] - 1, 0)
    usual = 2 * np.maximum(lacked.max(axis=0, initial=0), season)
    limit = usual if after is None else np.full_like(usual, after)
    last = len(given) - 1 - given[::-1].argmax(axis=0)
    too_many = passed[-1] - at_row[-1] > limit
    ended: Mask = too_many & (np.arange(len(given))[:, None] > last)
    return ended


def calendar(times: pd.Series, parts: Sequence[str]) -> pd.DataFrame:
    """Parts of a time as integers: ``hour``, ``halfhour`` of the day, ``weekend`` and so on."""
    clock = times.dt
    values = {
        "halfhour": lambda: clock.hour * 2 + clock.minute // 30,
        "week": lambda: clock.isocalendar().week.astype("int32"),
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
