"""Functions of the use case ``power``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd


def read_load(
    frame: pd.DataFrame,
    *,
    start: str | None = None,
    frequency: str | None = None,
    time: str = "time",
    time_format: str | list[str] | None = None,
    rename: Mapping[str, str] | None = None,
    rows: int | None = None,
) -> pd.DataFrame:
    """Give the rows of a file of electric load their times, names and working days.

    Args:
        frame: rows as delivered, in the order of time where they have no times of their own.
        start: time of the first row, for a file without times.
        frequency: distance of two rows, for a file without times.
        time: column of the times, for a file that has them, after renaming.
        time_format: how the times are written, ISO 8601 by default; of several the first that
            reads all of them.
        rename: name of a column -> its new name, of those that are there; several blanks in a name
            count as one.
        rows: how many rows are read, from the first one; without it all.

    Returns:
        The rows with a column ``time`` and, where the file has none, ``workday``: 1 from Monday to
        Friday.

    Raises:
        KeyError: there is no column of times.
        ValueError: a time cannot be read.
    """
    frame = frame.iloc[:rows].rename(columns=lambda name: " ".join(str(name).split()))
    frame = frame.rename(
        columns={" ".join(old.split()): new for old, new in (rename or {}).items()}
    )
    if start is None:
        if time not in frame:
            raise KeyError(f"no column '{time}'; after renaming there are {list(frame.columns)}")
        times = _read_times(frame[time], time_format)
    else:
        times = pd.Series(pd.date_range(start, periods=len(frame), freq=frequency), frame.index)
    load = frame.assign(time=times)
    if "workday" not in load:
        load["workday"] = (times.dt.dayofweek < 5).astype(int)
    return load


def _read_times(values: pd.Series, formats: str | list[str] | None) -> pd.Series:
    *others, last = formats if isinstance(formats, list) else [formats or "ISO8601"]
    for form in others:
        times = pd.to_datetime(values, format=form, errors="coerce")
        if times.notna().all():
            return times
    return pd.to_datetime(values, format=last)


def earlier(frame: pd.DataFrame, *, column: str, steps: int) -> pd.Series:
    """A column known ahead, so many steps before; after, where ``steps`` is negative.

    The last value is repeated beyond the end. Rows are the steps of one series.
    """
    values = frame[column]
    return values.shift(steps, fill_value=values.iloc[-1]) if steps < 0 else values.shift(steps)


def change(frame: pd.DataFrame, *, column: str, steps: int) -> pd.Series:
    """How much a column known ahead differs from its value so many steps before."""
    return frame[column].diff(steps)


def recent_mean(frame: pd.DataFrame, *, column: str, steps: int) -> pd.Series:
    """Mean of a column known ahead over so many steps, the present one included."""
    return frame[column].rolling(steps, min_periods=1).mean()


def beyond(
    frame: pd.DataFrame, *, column: str, above: float = np.inf, below: float = -np.inf
) -> pd.Series:
    """How far a column is above one value or below another; 0 where it does not.

    Of a temperature these are cooling and heating degrees: load rises on both sides.
    """
    values = frame[column]
    return (values - above).clip(lower=0) + (below - values).clip(lower=0)


def together(frame: pd.DataFrame, *, columns: list[str]) -> pd.Series:
    """Several columns as one category, such as the half-hour of a working day after a free one."""
    first, *others = (
        frame[column].astype("Int64").astype("string").fillna("?") for column in columns
    )
    for other in others:
        first = first + "-" + other
    return first
