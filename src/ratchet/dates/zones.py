"""Local clocks and moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.errors import DataError

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class NamedColumn:
    """A column, for messages."""

    name: str
    values: pd.Series

    @property
    def parameter(self) -> str:
        """Name of the parameter that holds its contract."""
        return f"data.columns.{self.name}"

    def error(self, wrong: Any, expected: str, way_out: str) -> DataError:
        """Name the rows that are wrong; the first row after the header is row 0."""
        rows = self.values[np.asarray(wrong, dtype=bool)]
        first = ", ".join(f"row {row}: {_shown(value)}" for row, value in rows.head(_SHOWN).items())
        return DataError(
            f"column '{self.name}': expected {expected}; {len(rows)} of {len(self.values)} rows "
            f"differ ({first}); {way_out}"
        )


def _shown(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)


def local(times: Any) -> Any:
    """Times as their local clock shows them, without time zone."""
    return (times.dt if isinstance(times, pd.Series) else times).tz_localize(None)


def utc(times: Any) -> Any:
    """Times in UTC and without time zone; those without one are taken to be in UTC."""
    access = times.dt if isinstance(times, pd.Series) else times
    return times if access.tz is None else local(access.tz_convert("UTC"))


def on_clock(times: pd.Series, zone: str | None) -> pd.Series:
    """Times in UTC and without time zone as the clock of a zone shows them, without time zone."""
    return times if zone is None else local(times.dt.tz_localize("UTC").dt.tz_convert(zone))


def midnight(times: pd.Series) -> pd.Series:
    """The first moment of each day of the local clock, which need not be 00:00."""
    days = local(times).dt.normalize()
    if times.dt.tz is None:
        return days
    first = np.ones(len(days), dtype=bool)
    return days.dt.tz_localize(times.dt.tz, ambiguous=first, nonexistent="shift_forward")


def without_zone(
    times: pd.Series, offset: npt.NDArray[np.float64], named: NamedColumn
) -> pd.Series:
    """The local time as written, where all values are of one clock.

    Args:
        times: the clock of each value.
        offset: minutes by which it is ahead of UTC; NaN where a value does not say.
        named: the column.

    Raises:
        DataError: values have offsets other than that of UTC, or only some have one.
    """
    has_offset = ~np.isnan(offset)
    all_have = has_offset.sum() == times.notna().sum()
    if not has_offset.any() or (all_have and not offset[has_offset].any()):
        return times
    offsets = [_offset(minutes) for minutes in np.unique(offset[has_offset])]
    raise named.error(
        has_offset,
        f"times without an offset from UTC, or a time zone whose days are meant (there is "
        f"{', '.join(offsets[:_SHOWN])}{'' if all_have else ' or none'})",
        f"write {named.parameter}.timezone: the name of the place whose clock it is "
        f"(Europe/Berlin), {_fixed(offset[has_offset])}or UTC",
    )


def _offset(minutes: float) -> str:
    whole = int(minutes)
    return f"{'-' if whole < 0 else '+'}{abs(whole) // 60:02d}:{abs(whole) % 60:02d}"


def _fixed(offsets: npt.NDArray[np.float64]) -> str:
    """The zone of a clock that is never put forward or back, where the offsets are of one."""
    if len(np.unique(offsets)) > 1 or offsets[0] % 60 or not offsets[0]:
        return ""
    hours = int(offsets[0] // 60)  # the sign is that of POSIX
    return f"Etc/GMT{-hours:+d} for the local time as written, "


def in_zone(
    times: pd.Series,
    offset: npt.NDArray[np.float64],
    zone: str,
    named: NamedColumn,
    series: pd.Series | None = None,
) -> pd.Series:
    """Moments that show the clock of a time zone.

    Args:
        times: the clock of each value.
        offset: minutes by which it is ahead of UTC; a value that does not say shows the local one.
        zone: the time zone.
        named: the column.
        series: see ``read_dates``.

    Raises:
        DataError: there is no such local time, as clocks were put forward, or no such year in UTC.
    """
    has_offset = ~np.isnan(offset)
    ahead = pd.to_timedelta(np.where(has_offset, offset, 0), unit="m").as_unit("us")
    moments = (times - ahead).dt.tz_localize("UTC").dt.tz_convert(zone)
    clock = times[~has_offset]
    again = ~_is_first(clock, None if series is None else series[~has_offset])
    try:
        localized = clock.dt.tz_localize(zone, ambiguous=~again, nonexistent="shift_forward")
    except (NotImplementedError, OverflowError):  # so pandas says that Python has no such year
        raise named.error(
            times.dt.year.isin([1, 9999]),
            "moments that UTC has in the years 1 to 9999, too",
            "write the day alone, or leave the cell empty",
        ) from None
    moved = (local(localized) != clock) & clock.notna() & (clock != clock.dt.normalize())
    if moved.any():
        raise named.error(
            moved.reindex(times.index, fill_value=False),
            f"times of the clock of {zone}, which is put forward over these",
            f"where the clock is never put forward, name that one in {named.parameter}.timezone "
            f"(Etc/GMT-1 is an hour ahead of UTC)",
        )
    moments[~has_offset] = localized
    return moments


def _is_first(clock: pd.Series, series: pd.Series | None) -> npt.NDArray[np.bool_]:
    """Rows that are the first of their series at their local time; all where there are no steps."""
    if series is None or clock.empty:
        return np.ones(len(clock), dtype=bool)
    rows = pd.DataFrame({"series": series, "clock": clock})
    newest_first = clock.iloc[0] > clock.iloc[-1]
    return ~rows.duplicated(keep="last" if newest_first else "first").to_numpy()
