"""One date of a row, read as a whole column of dates would be, and moments as numbers.

``ratchet.dates`` reads columns, with pandas; here is what it makes of a single value, without.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ratchet.dates.shapes import (
    EXCEL_EPOCH,
    FIRST,
    ISO,
    LAST,
    LOCAL_UNITS,
    MICROSECONDS,
    MONTH_NUMBERS,
    NUMBER,
    SHAPES,
    TIME,
    described,
    fraction_microseconds,
    full_year,
    is_allowed,
    offset_minutes,
    width_of,
)

_NUMBER = re.compile(NUMBER)
_EPOCH = dt.datetime(1970, 1, 1)
_MICROSECOND = dt.timedelta(microseconds=1)


def in_utc(moment: dt.datetime) -> dt.datetime:
    """A moment in UTC without zone; the local time where it has none."""
    return moment if moment.tzinfo is None else moment.astimezone(dt.UTC).replace(tzinfo=None)


def as_microseconds(moment: dt.datetime) -> int:
    """Microseconds since 1970 in UTC, or of the local time where it has no zone."""
    return (in_utc(moment) - _EPOCH) // _MICROSECOND


def local_time(moment: int, zone: str | None) -> dt.datetime:
    """What the clock of a zone shows so many microseconds after 1970.

    Args:
        moment: in UTC; without a zone what the clock shows already.
        zone: name of the time zone.
    """
    shown = _EPOCH + dt.timedelta(microseconds=moment)
    if zone is None:
        return shown
    try:
        return shown.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(zone))
    except OverflowError:  # at the ends of the years that Python knows
        return shown.replace(tzinfo=dt.UTC)


class _Clock(NamedTuple):
    """What a value says: the local time as written, and minutes by which it is ahead of UTC."""

    read: dt.datetime
    offset: int | None = None


@dataclass(frozen=True)
class DateFormat:
    """Format of the dates of a field, see ``config.Column``."""

    format: str | None = None
    unit: str | None = None
    dayfirst: bool | None = None
    timezone: str | None = None

    def read(self, value: str | int | float) -> dt.datetime | None:
        """Read a date.

        Args:
            value: text or a number.

        Returns:
            The local time as written, without zone; with ``timezone`` the moment as local time of
            that zone. ``None`` for empty text.

        Raises:
            ValueError: it is no date: says why.
        """
        text = _as_text(value)
        if not text:
            return None
        clock = self._read(text)
        if self.timezone is not None:
            return _in_zone(clock, ZoneInfo(self.timezone))
        if clock.offset:
            raise ValueError("it must have no offset from UTC")
        return clock.read

    def _read(self, text: str) -> _Clock:
        if self.unit is not None:
            clock = _read_number(text, self.unit) or _read_iso(text)
        elif self.format is not None and self.format != "ISO8601":
            clock = _read_format(text, self.format) or _read_iso(text)
        elif self.format is None and _NUMBER.fullmatch(text):
            raise ValueError("a number alone is no date; write it as 2020-01-31")
        else:
            clock = self._read_shapes(text)
        if clock is None:
            raise ValueError("it cannot be read" + (f" as {self.how}" if self.how else ""))
        return clock

    @property
    def how(self) -> str:
        """How dates are to be written, in words; empty where in any way."""
        return described(self.unit, self.format)

    def _read_shapes(self, text: str) -> _Clock | None:
        readings = list(_readings(text, self.format is not None, self.dayfirst))
        if len({clock.read for clock in readings}) > 1:
            days = " or ".join(sorted({str(clock.read.date()) for clock in readings}))
            raise ValueError(f"it may be {days}; write it that way")
        return readings[0] if readings else None


def _as_text(value: str | int | float) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


@cache
def _pattern(shape: str) -> re.Pattern[str]:
    return re.compile(f"(?:{SHAPES[shape]}){TIME}")


def _readings(text: str, iso: bool, dayfirst: bool | None) -> Iterator[_Clock]:
    """Every way in which a text can be read."""
    for shape in SHAPES:
        if is_allowed(shape, iso, dayfirst) and (clock := _read_shape(text, shape)):
            yield clock


def _read_shape(text: str, shape: str) -> _Clock | None:
    """Text in one shape; ``None`` where it does not fit, or where there is no such day or hour."""
    match = _pattern(shape).fullmatch(text)
    if match is None:
        return None
    parts = match.groupdict()
    try:
        day, time = _read_day(parts), _read_time(parts)
    except ValueError:
        return None
    offset = parts["offset"]
    clock = dt.datetime.combine(day, time)
    return _Clock(clock, None if offset is None else offset_minutes(offset))


def _read_day(parts: dict[str, str | None]) -> dt.date:
    """The day; raises ``ValueError`` where there is no such one."""
    month = int(parts.get("month") or 1)
    if quarter := parts.get("quarter"):
        month = int(quarter) * 3 - 2
    elif name := parts.get("name"):
        month = MONTH_NUMBERS.get(name.lower(), 0)
    return dt.date(full_year(parts["year"] or ""), month, int(parts.get("day") or 1))


def _read_time(parts: dict[str, str | None]) -> dt.time:
    """The time of the day; raises ``ValueError`` where there is no such one."""
    hour, minute, second = (int(parts[name] or 0) for name in ("hour", "minute", "second"))
    if half := parts["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(f"no hour {hour} in half a day")
        hour = hour % 12 + 12 * (half in "pP")
    return dt.time(hour, minute, second, fraction_microseconds(parts["fraction"]))


def _read_iso(text: str) -> _Clock | None:
    """ISO 8601 with a time: so dates are handed on in JSON, whatever the format of the file."""
    return _read_shape(text, ISO) if "T" in text else None


def _read_number(text: str, unit: str) -> _Clock | None:
    """A number since 1970, or since 1900 as Excel counts days."""
    if not _NUMBER.fullmatch(text):
        return None
    days = unit in LOCAL_UNITS
    first = EXCEL_EPOCH if unit == "excel" else 0
    passed = float(text) * MICROSECONDS[unit]
    if not FIRST <= passed + first <= LAST:
        return None
    if text.lstrip("+-").isdigit() and not days:  # exact beyond 2^53
        whole = int(text) // 1000 if unit == "ns" else int(text) * int(MICROSECONDS[unit])
    else:  # a share of a day is exact to about a microsecond
        step = 1000 if days else 1
        whole = round(passed / step) * step
    try:
        moment = _EPOCH + dt.timedelta(microseconds=whole + first)
    except OverflowError:
        return None
    return _Clock(moment, None if days else 0)


def _read_format(text: str, form: str) -> _Clock | None:
    """Text that ``strptime`` reads."""
    if width := width_of(form):
        text = text.zfill(width)
    try:
        moment = dt.datetime.strptime(text, form)
    except ValueError:
        return None
    ahead = moment.utcoffset()
    minutes = None if ahead is None else round(ahead.total_seconds() / 60)
    return _Clock(moment.replace(tzinfo=None), minutes)


def _in_zone(clock: _Clock, zone: ZoneInfo) -> dt.datetime:
    """The moment as the clock of a zone shows it."""
    try:
        if clock.offset is not None:
            moment = clock.read - dt.timedelta(minutes=clock.offset)
            return moment.replace(tzinfo=dt.UTC).astimezone(zone)
        local = clock.read.replace(tzinfo=zone)  # of an hour that comes twice, the first
        back = local.astimezone(dt.UTC).astimezone(zone)
    except (OverflowError, ValueError):
        raise ValueError("UTC has that moment in the years 1 to 9999 no more") from None
    if back.replace(tzinfo=None) == clock.read:
        return local
    if clock.read.time() == dt.time():  # a day that begins later than 00:00
        return back
    raise ValueError(f"the clock of {zone.key} is put forward over it")
