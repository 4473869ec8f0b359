"""Calendar and derived columns on arrays, as ``preparation.row_features`` makes them of frames.

A derived column is a function of other columns, named in YAML. Here is the same function on arrays,
under the same name: adding one is a function and a line in ``FUNCTIONS``. A column of numbers is an
array of float64, NaN where nothing is known; other columns are arrays of objects, with ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ratchet.compiled.dates import local_time
from ratchet.compiled.serialization import NotCompilable, program

if TYPE_CHECKING:
    from ratchet.config import Data

Values = npt.NDArray[Any]
"""A column of some rows, shape (rows,)."""

Columns = Mapping[str, Values]
"""Name -> column, all of the same rows."""


def calendar(clock: npt.NDArray[np.datetime64], part: str) -> Values:
    """A part of the local time as whole numbers, see ``config.data.CALENDAR``.

    Args:
        clock: what the local clock shows, in microseconds, shape (rows,).
        part: such as ``hour``, ``halfhour`` of the day or ``weekend``.
    """
    return _PARTS[part](clock).astype(np.float64)


def _count(fine: str, coarse: str) -> Callable[[npt.NDArray[np.datetime64]], Values]:
    """How many whole ``fine`` units have passed since the ``coarse`` one began."""

    def passed(clock: npt.NDArray[np.datetime64]) -> Values:
        begin = clock.astype(f"M8[{coarse}]").astype(f"M8[{fine}]")
        return (clock.astype(f"M8[{fine}]") - begin).astype(np.int64)

    return passed


_hour, _minute = _count("h", "D"), _count("m", "h")
_month, _day, _dayofyear = _count("M", "Y"), _count("D", "M"), _count("D", "Y")


def _dayofweek(clock: npt.NDArray[np.datetime64]) -> Values:
    return (clock.astype("M8[D]").astype(np.int64) + 3) % 7  # 1 January 1970 was a Thursday


def _year(clock: npt.NDArray[np.datetime64]) -> Values:
    return clock.astype("M8[Y]").astype(np.int64) + 1970


def _week(clock: npt.NDArray[np.datetime64]) -> Values:
    """The week of ISO 8601: the first one of a year is that of its first Thursday."""
    thursday = clock.astype("M8[D]") + (3 - _dayofweek(clock))
    return _dayofyear(thursday) // 7 + 1


_PARTS: dict[str, Callable[[npt.NDArray[np.datetime64]], Values]] = {
    "minute": _minute,
    "hour": _hour,
    "halfhour": lambda clock: _hour(clock) * 2 + _minute(clock) // 30,
    "dayofweek": _dayofweek,
    "day": lambda clock: _day(clock) + 1,
    "month": lambda clock: _month(clock) + 1,
    "quarter": lambda clock: _month(clock) // 3 + 1,
    "dayofyear": lambda clock: _dayofyear(clock) + 1,
    "week": _week,
    "year": _year,
    "weekend": lambda clock: _dayofweek(clock) >= 5,
}


def local_times(moments: Sequence[int] | npt.NDArray[np.int64], zone: str | None) -> Values:
    """What the local clock shows at some moments: ``datetime64[us]``, shape (moments,).

    Args:
        moments: microseconds since 1970, in UTC; without a zone what the clock shows already.
        zone: name of the time zone.
    """
    passed = np.asarray(moments, dtype=np.int64)
    if zone is None:
        return passed.view("M8[us]")
    offsets = [offset_of(int(moment), zone) for moment in passed]
    return (passed + np.asarray(offsets, dtype=np.int64)).view("M8[us]")


def offset_of(moment: int, zone: str) -> int:
    """By how many microseconds the clock of a zone is ahead of UTC at a moment."""
    return (local_time(moment, zone).utcoffset() or timedelta()) // timedelta(microseconds=1)


def earlier(rows: Columns, /, *, column: str, steps: int) -> Values:
    """As ``use_cases.power.earlier``: a column so many steps before; after, where negative."""
    values = rows[column]
    if steps <= 0:
        passed = min(-steps, len(values))
        last = np.repeat(values[-1:], passed)
        return np.concatenate([values[passed:], last])
    passed = min(steps, len(values))
    unknown: Any = None if values.dtype == object else np.nan
    return np.concatenate([np.full(passed, unknown, values.dtype), values[: len(values) - passed]])


def change(rows: Columns, /, *, column: str, steps: int) -> Values:
    """As ``use_cases.power.change``: the difference from the value so many steps before."""
    values = rows[column]
    before = np.full_like(values, np.nan)
    size = min(abs(steps), len(values))
    if steps >= 0:
        before[size:] = values[: len(values) - size]
    else:
        before[: len(values) - size] = values[size:]
    changed: Values = values - before
    return changed


def recent_mean(rows: Columns, /, *, column: str, steps: int) -> Values:
    """As ``use_cases.power.recent_mean``: mean of the known values over so many steps."""
    values = rows[column]
    padded = np.concatenate([np.full(min(steps, len(values)) - 1, np.nan), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, min(steps, len(values)))
    finite = np.isfinite(windows)
    count = finite.sum(axis=1)
    total = np.where(finite, windows, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def beyond(
    rows: Columns, /, *, column: str, above: float = np.inf, below: float = -np.inf
) -> Values:
    """As ``use_cases.power.beyond``: how far a column is above one value or below another."""
    values = rows[column]
    result: Values = np.maximum(values - above, 0.0) + np.maximum(below - values, 0.0)
    return result


def together(rows: Columns, /, *, columns: Sequence[str]) -> Values:
    """As ``use_cases.power.together``: several columns of whole numbers as one category."""
    parts = [[_whole(value) for value in rows[name].tolist()] for name in columns]
    joined = np.empty(len(parts[0]), dtype=object)
    joined[:] = ["-".join(texts) for texts in zip(*parts, strict=True)]
    return joined


def _whole(value: Any) -> str:
    """A whole number as text; a question mark where nothing is known."""
    if value is None or math.isnan(value):
        return "?"
    return str(int(value))


def log_range(rows: Columns, /, *, high: str, low: str) -> Values:
    """As ``use_cases.prices.log_range``: logarithm of the highest over the lowest price."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Values = np.log(rows[high]) - np.log(rows[low])
    return result


@dataclass(frozen=True)
class Function:
    """A function of columns, and how far it looks from a row.

    Attributes:
        of: the function: the columns first, then what YAML gives as keywords.
        back: how many steps before its row it looks, by its keywords.
        ahead: how many steps after its row.
        is_text: whether it gives text, and no numbers.
    """

    of: Callable[..., Values]
    back: Callable[[Mapping[str, Any]], int] = lambda _: 0
    ahead: Callable[[Mapping[str, Any]], int] = lambda _: 0
    is_text: bool = False


def _steps(arguments: Mapping[str, Any]) -> int:
    return max(int(arguments["steps"]), 0)


def _steps_after(arguments: Mapping[str, Any]) -> int:
    return max(-int(arguments["steps"]), 0)


FUNCTIONS: dict[str, Function] = {
    "ratchet.use_cases.power.earlier": Function(earlier, _steps, _steps_after),
    "ratchet.use_cases.power.change": Function(change, _steps, _steps_after),
    "ratchet.use_cases.power.recent_mean": Function(recent_mean, lambda at: _steps(at) - 1),
    "ratchet.use_cases.power.beyond": Function(beyond),
    "ratchet.use_cases.power.together": Function(together, is_text=True),
    "ratchet.use_cases.prices.log_range": Function(log_range),
}
"""What YAML calls a function -> the same on arrays."""


@program
@dataclass(frozen=True)
class DerivedColumn:
    """A column that is computed from others.

    Attributes:
        name: its name.
        function: what YAML calls the function.
        arguments: what YAML gives it.
        sources: columns that it is made of.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    sources: Sequence[str]

    def __call__(self, rows: Columns) -> Values:
        """The column, of rows that follow upon each other."""
        return FUNCTIONS[self.function].of(rows, **self.arguments)

    @property
    def back(self) -> int:
        """How many rows before its own it looks."""
        return FUNCTIONS[self.function].back(self.arguments)

    @property
    def ahead(self) -> int:
        """How many rows after its own it looks."""
        return FUNCTIONS[self.function].ahead(self.arguments)

    @property
    def is_text(self) -> bool:
        """Whether it holds text, and no numbers."""
        return FUNCTIONS[self.function].is_text


def derived_columns(data: Data, names: Iterable[str]) -> list[DerivedColumn]:
    """Derived columns in the order in which they are computed.

    Args:
        data: all derived columns.
        names: those that are needed, with what they are derived from.

    Raises:
        NotCompilable: one is made by a function that is not in ``FUNCTIONS``.
    """
    required = set(names)
    result = []
    for name, derived in data.derive.items():
        if name not in required:
            continue
        if derived.function not in FUNCTIONS:
            raise NotCompilable(
                f"data.derive.{name}: {derived.function} is not there on arrays: add it to "
                f"ratchet.compiled.derived_columns.FUNCTIONS"
            )
        sources = [text for text in texts(derived.arguments) if text in data.known_columns]
        result.append(DerivedColumn(name, derived.function, dict(derived.arguments), sources))
    return result


def texts(argument: Any) -> list[str]:
    """Every text among some arguments, at any depth."""
    if isinstance(argument, str):
        return [argument]
    if isinstance(argument, Mapping):
        return [*texts(list(argument)), *texts(list(argument.values()))]
    if isinstance(argument, list | tuple):
        return [text for part in argument for text in texts(part)]
    return []


def add_columns(
    rows: Columns,
    clock: npt.NDArray[np.datetime64] | None,
    parts: Sequence[str],
    derived: Sequence[DerivedColumn],
) -> dict[str, Values]:
    """Rows with their calendar and derived columns.

    Args:
        rows: columns of the contract.
        clock: time of every row as the local clock shows it, where rows have one.
        parts: calendar columns, see ``calendar``.
        derived: derived columns, each after those that it is made of.
    """
    whole = dict(rows)
    if clock is not None:
        whole |= {part: calendar(clock, part) for part in parts}
    for column in derived:
        whole[column.name] = column(whole)
    return whole
