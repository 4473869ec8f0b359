"""Dates as they are written: numbers of a unit, text of a format, or text of one shape."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.dates.shapes import (
    EXCEL_EPOCH,
    FIRST,
    ISO,
    LAST,
    LOCAL_UNITS,
    MICROSECONDS,
    MONTH_NUMBERS,
    OFFSET,
    SHAPES,
    TIME,
    described,
    fraction_microseconds,
    full_year,
    is_allowed,
    offset_minutes,
    width_of,
)

_NOT_READ = np.datetime64("NaT", "us")


@dataclass(frozen=True, eq=False)
class Clock:
    """What values say.

    Attributes:
        read: the clock as it stands, ``NaT`` where a value cannot be read, shape (n,).
        offset: minutes by which that clock is ahead of UTC; NaN where a value does not say.
        how: how the values are written, in words.
    """

    read: npt.NDArray[np.datetime64]
    offset: npt.NDArray[np.float64]
    how: str

    @property
    def unread(self) -> npt.NDArray[np.bool_]:
        """Values that cannot be read."""
        return np.isnat(self.read)


def read_numbers(text: pd.Series, unit: str) -> Clock:
    """Numbers since 1970, or since 1900 as Excel counts days.

    Day numbers are days of the local clock; all others are moments, and so in UTC.
    """
    days = unit in LOCAL_UNITS
    numbers = pd.to_numeric(text, errors="coerce", dtype_backend="numpy_nullable")
    first = EXCEL_EPOCH if unit == "excel" else 0
    passed = numbers.to_numpy(dtype=float, na_value=np.nan) * MICROSECONDS[unit]
    within = (passed + first >= FIRST) & (passed + first <= LAST)
    if numbers.dtype == "Int64" and not days:  # exact beyond 2^53
        exact = numbers.where(within, 0).to_numpy(dtype=np.int64)
        whole = exact // 1000 if unit == "ns" else exact * int(MICROSECONDS[unit])
    else:  # a share of a day is exact to about a microsecond: 10:10 would become 10:09:59.999999
        step = 1000 if days else 1
        whole = (np.round(np.where(within, passed, 0) / step) * step).astype(np.int64)
    read = np.where(within, (whole + first).astype("datetime64[us]"), _NOT_READ)
    return Clock(read, np.full(len(text), np.nan if days else 0.0), described(unit, None))


def read_format(text: pd.Series, form: str) -> Clock:
    """Text that ``strptime`` reads."""
    if width := width_of(form):
        text = text.str.zfill(width)
    how = described(None, form)
    if "%z" not in form:
        read = pd.to_datetime(text, format=form, errors="coerce").to_numpy()
        return Clock(read.astype("datetime64[us]"), np.full(len(text), np.nan), how)
    moments = [_strptime(value, form) for value in text]
    offsets = [moment.utcoffset() if moment else None for moment in moments]
    return Clock(
        np.array([m and m.replace(tzinfo=None) for m in moments], dtype="datetime64[us]"),
        np.array([np.nan if o is None else o.total_seconds() / 60 for o in offsets], dtype=float),
        how,
    )


def _strptime(value: str, form: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(value, form)
    except ValueError:
        return None


def or_iso(clock: Clock, text: pd.Series) -> Clock:
    """Read what is left as ISO 8601 with a time: so dates are handed on in JSON and in bundles."""
    if not clock.unread.any():
        return clock
    with_time = text.where(clock.unread & text.str.contains("T", regex=False), "")
    iso = _read_shape(with_time, ISO)
    return Clock(
        np.where(clock.unread, iso.read, clock.read),
        np.where(clock.unread, iso.offset, clock.offset),
        clock.how,
    )


def read_shapes(text: pd.Series, *, iso: bool, dayfirst: bool | None) -> list[Clock]:
    """Every way in which all values of a column can be read, or else the one that reads most.

    Args:
        text: distinct values.
        iso: nothing but ISO 8601 is looked for.
        dayfirst: whether the day stands before the month; ``None`` where it is not known.
    """
    shapes = [name for name in SHAPES if is_allowed(name, iso, dayfirst)]
    some = text.iloc[:: max(1, len(text) // 1000)].astype(object)
    shapes = [name for name in shapes if some.str.fullmatch(SHAPES[name] + TIME).any()]
    if shapes == [ISO] and not (clock := _read_iso(text)).unread.any():
        return [clock]
    clocks = [_read_shape(text, name) for name in shapes or [ISO]]
    whole = [clock for clock in clocks if not clock.unread.any()]
    return whole or [min(clocks, key=lambda clock: int(clock.unread.sum()))]


def _read_iso(text: pd.Series) -> Clock:
    """ISO 8601 the fast way; not all that ``_read_shape`` reads is read."""
    moments = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
    read = moments.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    offset = np.full(len(text), np.nan)
    if text.str.contains(rf":.*(?:{OFFSET})|[Tt ]\d+(?:{OFFSET})").any():
        offset = _minutes(text.str.extract(rf"[Tt ][\d:.,]*\s*({OFFSET})$")[0])
        read += np.nan_to_num(offset * 60 * 10**6).astype("timedelta64[us]")
    return Clock(read, offset, ISO)


def _read_shape(text: pd.Series, shape: str) -> Clock:
    """Text in one shape; unread where it does not fit, or where there is no such day or hour."""
    parts = text.astype(object).str.extract(f"^(?:{SHAPES[shape]}){TIME}$")
    day, day_exists = _read_day(parts)
    time, time_exists = _read_time(parts)
    read = np.where(day_exists & time_exists, day + time, _NOT_READ)
    return Clock(read, _minutes(parts["offset"]), shape)


def _read_day(parts: pd.DataFrame) -> tuple[Any, Any]:
    """Midnight of each day, and whether there is such a day."""
    year = _each(parts["year"], full_year)
    month = _each(parts["month"], int, 1) if "month" in parts else np.ones(len(parts), dtype=int)
    if "quarter" in parts:
        month = _each(parts["quarter"], int) * 3 - 2
    if "name" in parts:
        month = _each(parts["name"], lambda name: MONTH_NUMBERS.get(name.lower(), 0))
    day = _each(parts["day"], int, 1) if "day" in parts else np.ones(len(parts), dtype=int)
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    exists = (year > 0) & (month >= 1) & (month <= 12) & (day >= 1)
    return days.astype("datetime64[us]"), exists & (days.astype("datetime64[M]") == months)


def _read_time(parts: pd.DataFrame) -> tuple[Any, Any]:
    """Time of each day, and whether there is such a time."""
    hour, minute, second = (_each(parts[name], int) for name in ("hour", "minute", "second"))
    half = _each(parts["half"], lambda letter: 1 + (letter in "pP"))
    exists = (hour <= 23) & (minute <= 59) & (second <= 59)
    exists &= (half == 0) | ((hour >= 1) & (hour <= 12))
    hour = np.where(half == 0, hour, hour % 12 + 12 * (half == 2))
    fraction = _each(parts["fraction"], fraction_microseconds)
    time = ((hour * 60 + minute) * 60 + second) * 10**6 + fraction
    return time.astype("timedelta64[us]"), exists


def _minutes(offset: pd.Series) -> npt.NDArray[np.float64]:
    """Offsets from UTC; NaN where there is none."""
    return np.where(offset.isna(), np.nan, _each(offset, offset_minutes))


def _each(part: pd.Series, read: Callable[[str], int], default: int = 0) -> npt.NDArray[np.int64]:
    """Read parts of dates, of which there are few different ones; a default where there is none."""
    codes, distinct = pd.factorize(part)
    return np.array([*map(read, distinct), default], dtype=np.int64)[codes]
