"""A column of the raw file as a column of dates: numbers of a unit, a format, or one shape."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.config import Column
from ratchet.dates.shapes import (
    EXCEL_EPOCH,
    FIRST,
    ISO,
    LAST,
    LOCAL_UNITS,
    MICROSECONDS,
    MONTH_NUMBERS,
    NUMBER,
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
from ratchet.dates.zones import NamedColumn, in_zone, local, utc, without_zone


def read_dates(
    values: pd.Series, column: Column, name: str, series: pd.Series | None = None
) -> pd.Series:
    """Read a column of dates.

    Args:
        values: text, numbers, dates of Python, or what pandas and Arrow have for times; missing
            values and empty text stay missing.
        column: how dates are written, and the time zone.
        name: name of the column, for messages.
        series: names the series of each row, where rows are steps: of two rows of one series at a
            local time that comes twice, as clocks are put back, one is the earlier.

    Returns:
        ``datetime64[us]``, with the time zone of the column where it has one. What is finer than a
        microsecond is cut off.

    Raises:
        DataError: numbers without ``format`` or ``unit``, day and month that could be exchanged,
            offsets from UTC without ``timezone``, or values that cannot be read: which rows, and
            what to write into the parameters.
    """
    named = NamedColumn(name, values)
    if isinstance(values.dtype, pd.PeriodDtype):
        values = values.dt.to_timestamp()
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _from_times(values, column, named, series)
    text, cells = _distinct_cells(values)
    written = (text != "").to_numpy()
    codes, distinct = pd.factorize(text[written])
    clock = _read(pd.Series(distinct, dtype="str"), column, named)
    moments, minutes = np.full(len(text), _NOT_READ), np.full(len(text), np.nan)
    moments[written], minutes[written] = clock.read[codes], clock.offset[codes]
    read, offset = moments[cells], minutes[cells]
    if (wrong := np.isnat(read) & written[cells]).any():
        setting = "unit" if column.unit else "format"
        raise named.error(
            wrong,
            "type date",
            f"the column is read as {clock.how}. A cell without a date has to be empty; where "
            f"dates are written in another way, say so by {named.parameter}.{setting}",
        )
    times = pd.Series(read, index=values.index, name=values.name)
    if column.timezone is None:
        return without_zone(times, offset, named)
    return in_zone(times, offset, column.timezone, named, series)


def _from_times(
    values: pd.Series, column: Column, named: NamedColumn, series: pd.Series | None
) -> pd.Series:
    """Times that the file itself holds as such."""
    arrow = getattr(values.dtype, "pyarrow_dtype", None)
    zone = getattr(values.dtype, "tz", None) or getattr(arrow, "tz", None)
    if zone is None:
        times = values.astype("datetime64[us]")
        nothing = np.full(len(values), np.nan)
        return in_zone(times, nothing, column.timezone, named, series) if column.timezone else times
    times = values.astype(pd.DatetimeTZDtype("us", zone))
    if column.timezone:
        return times.dt.tz_convert(column.timezone)
    if isinstance(times.dt.tz, ZoneInfo) and str(zone) not in ("UTC", "Etc/UTC"):
        way_out = f"write {named.parameter}.timezone: {zone}, or UTC"
        raise named.error(values.notna(), "times without a time zone", way_out)
    offset = (local(times) - utc(times)) / pd.Timedelta("1min")
    return without_zone(local(times), offset.to_numpy(), named)


def _read(text: pd.Series, column: Column, named: NamedColumn) -> WallTimes:
    """Read distinct values by the unit, the format or the shape that all of them share."""
    if column.unit is not None:
        return fill_in_iso(read_numbers(text, column.unit), text)
    if column.format is not None and column.format != "ISO8601":
        return fill_in_iso(read_format(text, column.format), text)
    numbers = text[text.str.fullmatch(NUMBER)]
    if column.format is None and not numbers.empty:
        raise named.error(
            _as_text(named.values).isin(numbers),
            "type date; numbers are read as dates only where it is said what they mean",
            f"write {named.parameter}.{_guess(numbers.iloc[0])}",
        )
    first, *others = read_shapes(text, iso=column.format is not None, dayfirst=column.dayfirst)
    for other in others:
        if (differ := first.read != other.read).any():
            raise _two_readings(text, differ, first, other, named)
    return first


def _two_readings(
    text: pd.Series,
    differ: npt.NDArray[np.bool_],
    first: WallTimes,
    other: WallTimes,
    named: NamedColumn,
) -> Exception:
    example = np.flatnonzero(differ)[0]
    one, two = (f"{_day(clock.read[example])} ({clock.how})" for clock in (first, other))
    return named.error(
        _as_text(named.values).isin(text[differ]),
        f"type date that can be read in one way; {text.iloc[example]!r} is {one} or {two}",
        f"write {named.parameter}.dayfirst: true (or false), or {named.parameter}.format: "
        f'"%d/%m/%Y" and so on',
    )


def _day(moment: Any) -> str:
    return str(moment.astype("datetime64[D]"))


def _distinct_cells(values: pd.Series) -> tuple[pd.Series, npt.NDArray[np.intp]]:
    """Distinct values as text, and which of them each value is: dates come again and again."""
    comparable = pd.api.types.infer_dtype(values, skipna=True) in ("date", "string")
    if not comparable:  # 1 equals True and 1.0
        return _as_text(values), np.arange(len(values))
    cells, distinct = pd.factorize(values, use_na_sentinel=False)
    return _as_text(pd.Series(distinct, dtype=values.dtype)), cells


def _as_text(values: pd.Series) -> pd.Series:
    """Values as text without blanks, empty where they are missing."""
    plain = pd.api.types.infer_dtype(values, skipna=True) == "string"
    if not (plain or isinstance(values.dtype, pd.StringDtype)):
        values = values.astype(object).map(_cell_as_text, na_action="ignore").astype("str")
    return values.astype("str").str.strip().fillna("")


def _cell_as_text(value: Any) -> str:
    if isinstance(value, dt.date | np.datetime64):
        return pd.Timestamp(value).isoformat()
    if isinstance(value, float | np.floating) and float(value).is_integer():  # a column with gaps
        return str(int(value))
    return str(value)


def _guess(number: str) -> str:
    """What a number looks like, as parameters."""
    digits = len(number.partition(".")[0].lstrip("+-"))
    if digits == 5:
        return "unit: excel (day numbers of Excel) or unit: D (days since 1970)"
    looks = {4: 'format: "%Y"', 6: 'format: "%Y%m"', 8: 'format: "%Y%m%d"'}
    units = {(9, 10, 11): "s", (12, 13, 14): "ms", (15, 16, 17): "us", (18, 19): "ns"}
    looks |= {n: f"unit: {unit}" for ns, unit in units.items() for n in ns}
    if digits not in looks:
        return "format or unit (s, ms, us, ns, D, W, excel)"
    return f"{looks[digits]} if that is what they mean"


_NOT_READ = np.datetime64("NaT", "us")


@dataclass(frozen=True, eq=False)
class WallTimes:
    """What values say.

    Attributes:
        read: the local time as written, ``NaT`` where a value cannot be read, shape (n,).
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


def read_numbers(text: pd.Series, unit: str) -> WallTimes:
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
    return WallTimes(read, np.full(len(text), np.nan if days else 0.0), described(unit, None))


def read_format(text: pd.Series, form: str) -> WallTimes:
    """Text that ``strptime`` reads."""
    if width := width_of(form):
        text = text.str.zfill(width)
    how = described(None, form)
    if "%z" not in form:
        read = pd.to_datetime(text, format=form, errors="coerce").to_numpy()
        return WallTimes(read.astype("datetime64[us]"), np.full(len(text), np.nan), how)
    moments = [_strptime(value, form) for value in text]
    offsets = [moment.utcoffset() if moment else None for moment in moments]
    return WallTimes(
        np.array([m and m.replace(tzinfo=None) for m in moments], dtype="datetime64[us]"),
        np.array([np.nan if o is None else o.total_seconds() / 60 for o in offsets], dtype=float),
        how,
    )


def _strptime(value: str, form: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(value, form)
    except ValueError:
        return None


def fill_in_iso(clock: WallTimes, text: pd.Series) -> WallTimes:
    """Read what is left as ISO 8601 with a time: so dates are handed on in JSON and in bundles."""
    if not clock.unread.any():
        return clock
    with_time = text.where(clock.unread & text.str.contains("T", regex=False), "")
    iso = _read_shape(with_time, ISO)
    return WallTimes(
        np.where(clock.unread, iso.read, clock.read),
        np.where(clock.unread, iso.offset, clock.offset),
        clock.how,
    )


def read_shapes(text: pd.Series, *, iso: bool, dayfirst: bool | None) -> list[WallTimes]:
    """Every way in which all values of a column can be read, or else the one that reads most.

    Args:
        text: distinct values.
        iso: nothing but ISO 8601 is looked for.
        dayfirst: whether the day comes before the month; ``None`` where it is not known.
    """
    shapes = [name for name in SHAPES if is_allowed(name, iso, dayfirst)]
    some = text.iloc[:: max(1, len(text) // 1000)].astype(object)
    shapes = [name for name in shapes if some.str.fullmatch(SHAPES[name] + TIME).any()]
    if shapes == [ISO] and not (clock := _read_iso(text)).unread.any():
        return [clock]
    clocks = [_read_shape(text, name) for name in shapes or [ISO]]
    whole = [clock for clock in clocks if not clock.unread.any()]
    return whole or [min(clocks, key=lambda clock: int(clock.unread.sum()))]


def _read_iso(text: pd.Series) -> WallTimes:
    """ISO 8601 the fast way; not all that ``_read_shape`` reads is read."""
    moments = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
    read = moments.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    offset = np.full(len(text), np.nan)
    if text.str.contains(rf":.*(?:{OFFSET})|[Tt ]\d+(?:{OFFSET})").any():
        offset = _minutes(text.str.extract(rf"[Tt ][\d:.,]*\s*({OFFSET})$")[0])
        read += np.nan_to_num(offset * 60 * 10**6).astype("timedelta64[us]")
    return WallTimes(read, offset, ISO)


def _read_shape(text: pd.Series, shape: str) -> WallTimes:
    """Text in one shape; unread where it does not fit, or where there is no such day or hour."""
    parts = text.astype(object).str.extract(f"^(?:{SHAPES[shape]}){TIME}$")
    day, day_exists = _read_day(parts)
    time, time_exists = _read_time(parts)
    read = np.where(day_exists & time_exists, day + time, _NOT_READ)
    return WallTimes(read, _minutes(parts["offset"]), shape)


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
