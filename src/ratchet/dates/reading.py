"""A column of the raw file as a column of dates."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.config import Column
from ratchet.dates.shapes import NUMBER
from ratchet.dates.written import Clock, or_iso, read_format, read_numbers, read_shapes
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
    text = _as_text(values)
    there = (text != "").to_numpy()
    codes, distinct = pd.factorize(text[there])
    clock = _read(pd.Series(distinct, dtype="str"), column, named)
    read, offset = np.full(len(values), np.datetime64("NaT", "us")), np.full(len(values), np.nan)
    read[there], offset[there] = clock.read[codes], clock.offset[codes]
    if (wrong := np.isnat(read) & there).any():
        said = "unit" if column.unit else "format"
        raise named.error(
            wrong,
            "type date",
            f"the column is read as {clock.how}. A cell without a date has to be empty; where "
            f"dates are written in another way, say so by {named.parameter}.{said}",
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


def _read(text: pd.Series, column: Column, named: NamedColumn) -> Clock:
    """Read distinct values by the unit, the format or the shape that all of them share."""
    if column.unit is not None:
        return or_iso(read_numbers(text, column.unit), text)
    if column.format is not None and column.format != "ISO8601":
        return or_iso(read_format(text, column.format), text)
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
    text: pd.Series, differ: npt.NDArray[np.bool_], first: Clock, other: Clock, named: NamedColumn
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
