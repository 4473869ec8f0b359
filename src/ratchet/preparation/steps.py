"""Rows of time series laid out on their steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from ratchet.config import SERIES_ID, SERIES_KEY, Data, Target
from ratchet.config import Series as SeriesParameters
from ratchet.dates import midnight
from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame, Series, with_columns
from ratchet.learning.features.series import (
    count_steps,
    infer_frequency,
    on_closed_days,
    time_grid,
    to_panel,
)

if TYPE_CHECKING:
    from ratchet.learning.features.series import SeriesPanel


_KEYS_AT_A_TIME = 10**6

_MOST_CLOSED = 1_000
"""Times as many steps without closed days as are forecast, at most."""

_MOST_ROWS = 10**7
"""Rows of all steps and series, some ten gigabytes, up to which nearly all may be empty."""


def only_target(targets: Mapping[str, Target]) -> Target:
    """The target of a series, which has one."""
    (target,) = targets.values()  # parameters see to it that a series has one
    return target


def steps_to_come(times: pd.Series, data: Data, last: pd.Timestamp, steps: int) -> pd.DatetimeIndex:
    """Lay out the steps that there are, and those that can be forecast.

    Args:
        times: times of all rows.
        data: says how far steps are apart; without a frequency the times are all that there are.
        last: the last step that is known.
        steps: how many follow it, at most: fewer where nearly all days are closed.
    """
    assert data.series is not None
    frequency = data.series.frequency
    if frequency is None:
        return time_grid(times, None)
    count = steps + 1
    while True:
        ends = pd.Series([times.min(), last + count * to_offset(frequency)])
        grid = time_grid(ends, frequency, data.series.closed_days)
        if (grid > last).sum() >= steps or count > _MOST_CLOSED * steps:  # some days are closed
            return grid[: int((grid <= last).sum()) + steps]
        count *= 2


def lay_out_steps(typed: DataFrame, data: Data, target: Target, required: list[str]) -> SeriesPanel:
    """One row for every step of every series.

    Args:
        typed: rows that keep their contract, at most one for a step of a series.
        data: time and series, and what a series holds where it has no row.
        target: the target, which names a series that has no name of its own.
        required: columns without which a row says nothing.

    Returns:
        The rows, ordered by time and series, with their key; which were in the file, and from when
        to when each series goes.

    Raises:
        ConfigError: the use case has no series, or pandas does not know their frequency.
        DataError: a series has no name, or a time is off the grid.
    """
    if data.series is None or data.time is None:
        raise ConfigError("data.series: expected the parameters of a time series")
    named = [data.time, *data.series.columns]
    # A row that lacks a required value is a gap in its series, and not absent: something happened.
    blank = typed[[name for name in required if name not in named]].isna().any(axis=1)
    rows = typed
    if blank.any():
        gaps = {name: typed[name].mask(blank) for name in data.columns if name not in named}
        rows = with_columns(typed, gaps)
    rows = rows.dropna(subset=[name for name in required if name in named])
    if rows.empty:
        raise DataError(f"none of {len(typed)} rows has a value in each of {named}, which name it")
    ids = rows[data.series.id] if data.series.id else target.column
    rows = rows.assign(**{SERIES_ID: ids}).astype({SERIES_ID: "category"})
    if (nameless := rows[SERIES_ID].isna()).any():
        raise DataError(
            f"column '{data.series.id}': expected the name of a series in every row; "
            f"{int(nameless.sum())} of {len(rows)} rows have none (row {nameless.idxmax()}); "
            f"where they may be left out, name the column in data.required"
        )
    naming = [name for name in data.series.columns if name != SERIES_ID]
    layout = to_panel(
        rows.drop(columns=naming),
        time=data.time,
        series=SERIES_ID,
        grid=_grid(rows[data.time], data.time, data.series, rows[SERIES_ID].nunique()),
        target=target.column,
        **data.series.model_dump(include={"absent", "season", "begins", "ends_after"}),
    )
    laid = layout.rows
    # What names a series is known at all of its steps.
    names = rows.drop_duplicates(SERIES_ID).sort_values(SERIES_ID)
    places = np.tile(np.arange(len(names)), len(laid) // len(names))
    for name in naming:
        values = names[name]
        text = isinstance(values.dtype, pd.StringDtype)
        laid[name] = (values.astype("category") if text else values).array.take(places)
    laid.insert(0, SERIES_KEY, _keys(laid, data.time))
    return layout


def _grid(times: Series, column: str, series: SeriesParameters, n_series: int) -> Any:
    """The steps; every time has to be one."""
    frequency, closed = series.frequency, series.closed_days
    try:
        if frequency:
            _check_size(times, column, count_steps(times, frequency), n_series, frequency)
        grid = time_grid(times, frequency, closed)
    except ValueError as error:
        raise ConfigError(f"parameter data.series.frequency: {error}") from error
    off = times[~times.isin(grid)]
    if not off.empty and (on_closed := on_closed_days(off, closed)).any():
        wrong = off[on_closed]
        first = ", ".join(f"row {row}: {time}" for row, time in wrong.head().items())
        raise DataError(
            f"column '{column}': expected no rows on closed days (data.series.closed and holidays: "
            f"{series.closed_text}); {len(wrong)} of {len(times)} rows are on one ({first}); take "
            f"the days out of there where they are open, or leave these rows out in data.prepare"
        )
    if not off.empty:
        first = ", ".join(f"row {row}: {time}" for row, time in off.head().items())
        raise DataError(
            f"column '{column}': expected a step of {frequency} from one time to the next, "
            f"counted from {times.min()}; {len(off)} of {len(times)} rows are off it ({first}); "
            f"{_way_out(times, len(off))}"
        )
    return grid


def _check_size(times: Series, column: str, steps: int, n_series: int, frequency: str) -> None:
    """Report a time that is far from all others before memory runs out."""
    if steps * n_series > max(_MOST_ROWS, 100 * len(times)):
        raise DataError(
            f"column '{column}': there would be {steps} steps of {frequency} from {times.min()} "
            f"(row {times.idxmin()}) to {times.max()} (row {times.idxmax()}) for {len(times)} "
            f"rows; correct a time that is far from the others, or set data.series.frequency to "
            f"a longer step"
        )


def _way_out(times: Series, off: int) -> str:
    leave_out = "leave out data.series.frequency where every row is a step"
    if (fits := infer_frequency(times)) is not None:
        return f"all times fit {fits}: set data.series.frequency to it, or {leave_out}"
    return f"correct these times, or {leave_out}" if off < len(times) / 2 else leave_out


def _keys(laid: DataFrame, time: str) -> Series:
    """``<series>@<time>``: the local day, or the exact moment where steps are shorter."""
    n_series = int((laid[time] == laid[time].iloc[0]).sum())
    times, names = laid[time].iloc[::n_series], laid[SERIES_ID].iloc[:n_series].astype("str")
    whole_days = (times == midnight(times)).all()
    text = times.dt.strftime("%Y-%m-%d") if whole_days else _moments(times)
    places, some = np.arange(len(times)), max(1, _KEYS_AT_A_TIME // n_series)
    parts = [
        names.iloc[np.tile(np.arange(n_series), len(part))].set_axis(range(n_series * len(part)))
        + "@"
        + text.iloc[part.repeat(n_series)].set_axis(range(n_series * len(part)))
        for part in np.split(places, places[some::some])
    ]
    return pd.concat(parts, ignore_index=True)


def _moments(times: Series) -> Series:
    """ISO 8601, with the fraction of a second if there is one, and the offset of a time zone."""
    text = times.dt.strftime("%Y-%m-%dT%H:%M:%S")
    if (fraction := times.dt.microsecond > 0).any():
        text += times.dt.strftime(".%f").str.removesuffix("000").where(fraction, "")
    return text if times.dt.tz is None else text + times.dt.strftime("%z").str[:5]
