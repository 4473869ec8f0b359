"""How dates without a format may be written, as regular expressions; no pandas is needed here."""

from __future__ import annotations

import datetime as dt
import re
from functools import cache

_OFFSET = r"[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?"
OFFSET = _OFFSET
"""How far a clock is ahead of UTC."""
TIME = (
    r"(?:(?:[Tt]|,?\s+)(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})"
    r"(?:[.,](?P<fraction>\d+))?)?)?(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?"
    rf"(?:\s*(?P<offset>{_OFFSET}))?)?"
)
"""A time of day behind a date, if there is one."""
_WEEKDAY, _NAME = r"(?:[A-Za-z]{3,9}\.?,?\s+)?", r"(?P<name>[A-Za-z]{3,9})\.?"
_DAY, _MONTH, _MARK, _SAME = (
    r"(?P<day>\d{1,2})",
    r"(?P<month>\d{1,2})",
    r"(?P<mark>[-/.])",
    "(?P=mark)",
)
_LONG, _SHORT = r"(?P<year>\d{4})", r"(?P<year>\d{2})"
ISO = "year-month-day"
SHAPES: dict[str, str] = {
    ISO: rf"{_LONG}{_MARK}{_MONTH}(?:{_SAME}{_DAY})?",
    "YYYYMMDD": r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?=[Tt ]|$)",
    "day first": rf"{_DAY}{_MARK}{_MONTH}{_SAME}{_LONG}",
    "month first": rf"{_MONTH}{_MARK}{_DAY}{_SAME}{_LONG}",
    "day first, short year": rf"{_DAY}{_MARK}{_MONTH}{_SAME}{_SHORT}",
    "month first, short year": rf"{_MONTH}{_MARK}{_DAY}{_SAME}{_SHORT}",
    "short year first": rf"{_SHORT}{_MARK}{_MONTH}{_SAME}{_DAY}",
    "name of the month after the day": (
        rf"{_WEEKDAY}{_DAY}\.?[\s-]*{_NAME}[\s,-]*(?P<year>\d{{4}}|\d{{2}})"
    ),
    "name of the month before the day": (
        rf"{_WEEKDAY}{_NAME}[\s-]*{_DAY}(?:st|nd|rd|th)?,?\s+{_LONG}"
    ),
    "name of the month and year": rf"{_NAME}[\s,-]*{_LONG}",
    "quarter": rf"{_LONG}[\s-]?[Qq](?P<quarter>[1-4])",
}
"""How dates without a ``format`` may be written; all values of a column fit one shape."""

_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
MONTH_NUMBERS = {
    name: number for number, month in enumerate(_MONTHS, start=1) for name in (month, month[:3])
} | {"sept": 9}

NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
"""A number, which is a date only where it is said what it counts."""

_DAY_LENGTH = 86_400 * 10**6
MICROSECONDS: dict[str, float] = {
    **{"s": 10**6, "ms": 10**3, "us": 1, "ns": 1e-3},
    **{"D": _DAY_LENGTH, "W": 7 * _DAY_LENGTH, "excel": _DAY_LENGTH},
}
"""Unit of a date that is given as a number -> its length in microseconds."""

LOCAL_UNITS = ("D", "W", "excel")
"""Units that count days of the local clock; all others count moments."""


def microseconds(moment: dt.datetime) -> int:
    """Microseconds from 1970 to a moment without time zone."""
    return (moment - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)


EXCEL_EPOCH = microseconds(dt.datetime(1899, 12, 30))
FIRST, LAST = microseconds(dt.datetime.min), microseconds(dt.datetime.max)
"""The first and the last moment that a date can be."""


def is_allowed(shape: str, iso: bool, dayfirst: bool | None) -> bool:
    """Whether a column may be written in a shape.

    Args:
        shape: one of ``SHAPES``.
        iso: nothing but ISO 8601 is looked for.
        dayfirst: whether the day comes before the month; ``None`` where it is not known.
    """
    if iso:
        return shape in (ISO, "YYYYMMDD")
    if dayfirst is None or not shape.startswith(("day", "month", "short")):
        return True
    return shape.startswith("day" if dayfirst else "month")


def described(unit: str | None, form: str | None) -> str:
    """How dates are to be written, in words; empty where in any way."""
    if unit:
        return f"unit {unit} (years 1 to 9999)"
    return f"format {form}" if form else ""


@cache
def width_of(form: str) -> int | None:
    """Digits of a format that has nothing but digits: numbers have lost their leading zeros."""
    if not re.fullmatch(r"(%[YymdHMSj])+", form):
        return None
    return len(dt.datetime(2000, 10, 10, 10, 10, 10).strftime(form))


def fraction_microseconds(digits: str | None) -> int:
    """Microseconds of the digits behind the point of a second."""
    return int((digits or "")[:6].ljust(6, "0"))


def full_year(digits: str) -> int:
    """A year of two digits is taken as POSIX takes ``%y``."""
    year = int(digits)
    return year if len(digits) > 2 else year + (2000 if year < 69 else 1900)


def offset_minutes(text: str) -> int:
    """Minutes by which a clock is ahead of UTC, of text that fits ``OFFSET``."""
    if text.upper() in ("Z", "UTC", "GMT"):
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    return int(f"{text[0]}1") * (int(digits[:2]) * 60 + int(digits[2:]))
