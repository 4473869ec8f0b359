"""One field of a row, read as its type without pandas.

A value means what it means in a file, see ``preparation.contract.typed_fields``; what is asked of a
request beyond that is said in ``contract.Contract.read_row``.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from ratchet.compiled.dates import DateFormat
from ratchet.compiled.serialization import program

Values = dict[str, Any]
"""Typed values of a row by column of the contract; ``None`` where one is not known.

``integer`` is an ``int``, ``number`` a ``float``, ``string`` a ``str``, ``list`` a list of ``str``,
``date`` a ``datetime``: with the time zone of the column, or the local time without one.
"""

LONGEST_TEXT = 1_000
"""Characters of a text, and of a part of a list."""
LONGEST_LIST = 1_000
"""Parts of a list."""
LARGEST_NUMBER = 2.0**63
"""Largest number: what 64 bits hold as a whole number, and whose square single precision holds."""

_EXACT = 2**53
_INT64 = 2**63
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2})?")
_NUMERAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_TRUTHS = {"true": 1, "false": 0}
LONGEST_SHOWN = 60
"""Characters of a value in a message."""


class _UnfitError(ValueError):
    """A value that breaks the contract; says why where it is more than ``expected``."""


@program
@dataclass(frozen=True)
class Field:
    """Contract of one field of a row, see ``config.data.Column``.

    Attributes:
        type: ``integer``, ``number``, ``string``, ``date`` or ``list``.
        required: whether a row has to have a value.
        may_follow: whether a required value may be left out for now, of measurements.
        seen: whether a model looks at it, or at what is made of it.
        separator: between the parts of a list that comes as text.
        low: smallest number.
        high: largest number.
        positive: whether a number has to be above 0.
        first: first day of a date, ISO 8601.
        last: last day of a date.
        values: the only values, or parts of a list, that are allowed.
        format: see ``config.data.Column``, as ``unit``, ``dayfirst`` and ``timezone``.
    """

    type: str
    required: bool = True
    seen: bool = True
    separator: str = ", "
    low: float | None = None
    high: float | None = None
    first: str | None = None
    last: str | None = None
    values: list[str] | None = None
    format: str | None = None
    unit: str | None = None
    dayfirst: bool | None = None
    timezone: str | None = None
    may_follow: bool = False
    positive: bool = False

    @cached_property
    def expected(self) -> str:
        """What a value has to be, in words."""
        if self.values is not None:
            return f"{'a list of' if self.type == 'list' else 'one of'} {self.values}"
        words = {
            "integer": "a whole number",
            "number": "a finite number above 0" if self.positive else "a finite number",
            "string": "text",
            "list": "a list of text",
            "date": f"a date ({self._written.how or 'such as 2020-01-31'})",
        }[self.type]
        low, high = (self.first, self.last) if self.type == "date" else (self.low, self.high)
        shown = [f"{end:.15g}" if isinstance(end, float) else end for end in (low, high)]
        if low is not None and high is not None:
            return f"{words} from {shown[0]} to {shown[1]}"
        if low is not None:
            return f"{words}, {shown[0]} or {'later' if self.type == 'date' else 'more'}"
        if high is not None:
            return f"{words}, {shown[1]} or {'earlier' if self.type == 'date' else 'less'}"
        return words

    def read(self, value: Any) -> Any:
        """Read a value as its type.

        Args:
            value: as JSON has it.

        Returns:
            As in ``Values``; ``None`` where there is none: null, and text of nothing but blanks
            where no text is expected.

        Raises:
            ValueError: it breaks the contract; says why where that is more than ``expected``.
        """
        quick = self._quick(value)
        return self._read(value) if quick is None else quick

    @cached_property
    def _quick(self) -> Callable[[Any], Any]:
        """Reads what a value usually is, and gives ``None`` for all else."""
        if self.values is not None:
            return lambda _: None
        low = -LARGEST_NUMBER if self.low is None else max(self.low, -LARGEST_NUMBER)
        low = max(low, math.nextafter(0, 1)) if self.positive else low
        high = LARGEST_NUMBER if self.high is None else min(self.high, LARGEST_NUMBER)

        def number(value: Any) -> float | None:
            return value if isinstance(value, float) and low <= value <= high else None

        def integer(value: Any) -> int | None:
            is_one = type(value) is int and -_INT64 <= value < _INT64 and low <= value <= high
            return value if is_one else None

        def text(value: Any) -> str | None:
            return value if isinstance(value, str) and _is_plain(value) else None

        def parts(value: Any) -> list[str] | None:
            try:
                whole = "".join(value) if isinstance(value, list) else "\0"
            except TypeError:
                return None
            if not _is_plain(whole) or len(value) > LONGEST_LIST:
                return None
            return [part.strip() for part in value if part and not part.isspace()]

        readers = {"number": number, "integer": integer, "string": text, "list": parts}
        return readers.get(self.type, self._quick_date)

    def _quick_date(self, value: Any) -> dt.datetime | None:
        """Reads ``2020-01-31`` and ``2020-01-31T10:00:00``."""
        if self.format or self.unit or self.timezone or not isinstance(value, str):
            return None
        if not _ISO.fullmatch(value):
            return None
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
        low, high = self._days
        return moment if low <= moment <= high else None

    def _read(self, value: Any) -> Any:
        blank = isinstance(value, str) and (not value or value.isspace())
        if value is None or (blank and self.type in ("integer", "number", "date")):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            raise _UnfitError("leave out what is not known")
        read = self._reader(value)
        self._check(read)
        return read

    @cached_property
    def _written(self) -> DateFormat:
        return DateFormat(self.format, self.unit, self.dayfirst, self.timezone)

    @cached_property
    def _reader(self) -> Callable[[Any], Any]:
        readers: dict[str, Callable[[Any], Any]] = {
            "integer": _integer,
            "number": _number,
            "string": _text,
            "list": self._list,
            "date": self._date,
        }
        return readers[self.type]

    @cached_property
    def _allowed(self) -> frozenset[str]:
        return frozenset(self.values or ())

    @cached_property
    def _days(self) -> tuple[dt.datetime, dt.datetime]:
        low, high = self.first, self.last
        return (
            dt.datetime.fromisoformat(low) if low else dt.datetime.min,
            dt.datetime.fromisoformat(high) if high else dt.datetime.max,
        )

    def _list(self, value: Any) -> list[str]:
        if isinstance(value, str) and len(value) > LONGEST_LIST * LONGEST_TEXT:
            raise _UnfitError(f"at most {LONGEST_LIST} parts")
        if isinstance(value, list | tuple):
            if len(value) > LONGEST_LIST:
                raise _UnfitError(f"at most {LONGEST_LIST} parts")
            texts = [_text(part) for part in value if part is not None]
        elif isinstance(value, str):
            texts = [_sound(part) for part in value.split(self.separator, LONGEST_LIST)]
        else:
            texts = _text(value).split(self.separator)
        if len(texts) > LONGEST_LIST:
            raise _UnfitError(f"at most {LONGEST_LIST} parts")
        return [part.strip() for part in texts if part.strip()]

    def _date(self, value: Any) -> dt.datetime | None:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise _UnfitError
        if isinstance(value, str):
            _sound(value)
        return self._written.read(value)

    def _check(self, value: Any) -> None:
        if value is None or not (self._is_within(value) and self._is_among(value)):
            raise _UnfitError

    def _is_within(self, value: Any) -> bool:
        if self.type == "date":
            low, high = self._days
            return bool(low <= value.replace(tzinfo=None) <= high)
        if self.positive and not value > 0:
            return False
        return (self.low is None or bool(value >= self.low)) and (
            self.high is None or bool(value <= self.high)
        )

    def _is_among(self, value: Any) -> bool:
        if self.values is None:
            return True
        return self._allowed.issuperset(value if self.type == "list" else [_value_text(value)])


def shown(value: Any) -> str:
    """A value of a request as an error shows it: short, whatever it is."""
    if isinstance(value, str):
        value = value[: LONGEST_SHOWN + 1]
    elif isinstance(value, list | tuple | dict):
        return f"a list of {len(value)}" if not isinstance(value, dict) else "an object"
    elif isinstance(value, int) and abs(value) > 10**LONGEST_SHOWN:
        return "a number of many digits"
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _is_plain(text: str) -> bool:
    """Whether a text needs no further check."""
    return len(text) <= LONGEST_TEXT and text.isascii() and "\0" not in text


def _sound(text: str) -> str:
    """Text that is short enough and that files and databases can hold."""
    if len(text) > LONGEST_TEXT:
        raise _UnfitError(f"at most {LONGEST_TEXT} characters")
    if "\0" in text or not (text.isascii() or _is_unicode(text)):
        raise _UnfitError("it has characters that no text can have")
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any) -> str:
    """A value as text: whole numbers without a point, as in a column without gaps."""
    if isinstance(value, str):
        return _sound(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _UnfitError("leave out what is not known")
        return str(int(value)) if value.is_integer() and abs(value) < _INT64 else str(value)
    if isinstance(value, int):  # and truth values
        if abs(value) >= 10**LONGEST_TEXT:
            raise _UnfitError(f"at most {LONGEST_TEXT} characters")
        return str(value)
    raise _UnfitError


def _value_text(value: Any) -> str:
    """A typed value as allowed values are written."""
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    return _text(value)


def _integer(value: Any) -> int:
    if isinstance(value, str):
        text = _sound(value).strip()
        number = Decimal(text) if _NUMERAL.fullmatch(text) else _TRUTHS.get(text.lower())
    elif isinstance(value, float) and abs(value) >= _EXACT:
        raise _UnfitError("a float of 2**53 or more may have been another whole number")
    else:
        number = Decimal(value) if isinstance(value, int | float) else None
    if number is None or number != int(number):
        raise _UnfitError
    if not -_INT64 <= number < _INT64:
        raise _UnfitError("at most 64 bits")
    return int(number)


def _number(value: Any) -> float:
    if isinstance(value, str):
        value = _TRUTHS.get(value.strip().lower(), _sound(value).replace("_", "?"))
    elif not isinstance(value, int | float):
        raise _UnfitError
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _UnfitError from None
    if not math.isfinite(number):
        raise _UnfitError("leave out what is not known")
    if abs(number) > LARGEST_NUMBER:
        raise _UnfitError(f"models hold numbers up to {LARGEST_NUMBER:.2g}")
    return number
