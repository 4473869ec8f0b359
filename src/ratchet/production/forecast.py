"""Forecast of the steps after the last known one, by the version that serves or another one."""

from __future__ import annotations

import logging

import pandas as pd

from ratchet.bundle.reader import Bundle
from ratchet.config import SERIES_ID, SERIES_PREFIX, SERIES_STEP, Data, UseCase
from ratchet.dates import utc
from ratchet.errors import UserError
from ratchet.frames import with_columns
from ratchet.preparation.answering import features_of
from ratchet.preparation.required_columns import RequiredColumns
from ratchet.preparation.steps import lay_out_steps, only_target, steps_to_come

LOGGER = logging.getLogger(__name__)

_SHOWN = 5
"""Series that a warning names."""


def forecast_path(
    bundle: Bundle, typed: pd.DataFrame, until: str | None = None, origin: str | None = None
) -> pd.DataFrame:
    """Forecast every series from its last known step on.

    Columns that are known ahead are taken from rows of steps to come, whose target is missing.

    Args:
        bundle: the version that answers.
        typed: all rows that are known, under its contract.
        until: last time that is forecast; by default as far as the version reaches.
        origin: last time whose target is taken to be known; by default the last one there is.

    Returns:
        A row for each series and step: ``series``, ``origin``, ``time``, ``step``, ``prediction``,
        ``low`` and ``high``, ordered by series and time.

    Raises:
        UserError: the use case has no series, a time is none or out of reach, there are no steps to
            come, or a column that is known ahead lacks a value: which, and at which step.
    """
    use_case = bundle.use_case
    data, windows = use_case.data, use_case.features.windows
    if data.series is None or data.time is None or windows is None:
        raise UserError(
            "only series are forecast: the use case has rows without steps (data.series)"
        )
    column, times = only_target(use_case.targets).column, typed[data.time]
    given = times[typed[column].notna()]
    if origin is not None:
        typed = typed.assign(
            **{column: typed[column].mask(times > _moment(origin, times, "origin"))}
        )
    last = times[typed[column].notna()].max()
    if pd.isna(last):
        if given.empty:
            raise UserError(f"column '{column}': expected a value to start from; no row has one")
        raise UserError(
            f"--origin {origin}: expected a time from {given.min()} on, the first with a value in "
            f"column '{column}'"
        )
    grid = steps_to_come(times, data, last, windows.last)
    ahead = grid[grid > last][: windows.last]
    if until is not None:
        ahead = ahead[ahead <= _moment(until, times, "until")]
        if ahead.empty or _moment(until, times, "until") > grid[-1]:
            raise UserError(
                f"--until {until}: expected a time after {last}, the last with '{column}', and up "
                f"to {grid[-1]}: forecasts reach {windows.ahead} ahead"
            )
    if ahead.empty:
        raise UserError(
            f"there is no step after {last}, the last with a value in column '{column}': "
            f"data.series.frequency is not set, and so the steps to come have to be rows of the "
            f"raw file, with '{column}' empty; or ask for an earlier --origin"
        )
    rows = _with_steps_to_come(typed, use_case, ahead)
    requested = rows[data.time].isin(ahead).to_numpy()
    features = features_of(rows, use_case, bundle.statistics, requested)
    _check_answered(rows[requested], features, use_case, ahead)
    if features.empty:
        past = rows[rows[data.time] <= last]
        raise UserError(
            _without_past(past, use_case, grid[grid <= last], can_be_later=bool(last < given.max()))
        )
    ((_, answers),) = bundle.predict(features).items()
    answers = answers.assign(step=features.get(SERIES_STEP, windows.last))
    place = pd.Index(utc(pd.Series(grid))).get_indexer(answers["time"])
    answers["origin"] = grid[place - answers["step"].to_numpy()]
    answers["time"] = grid[place]
    named = ["series", "origin", "time", "step", "prediction", "low", "high"]
    return answers[named].sort_values(["series", "time"], ignore_index=True)


def _moment(text: str, times: pd.Series, option: str) -> pd.Timestamp:
    """A time that was asked for, on the clock of the rows."""
    try:
        moment = pd.Timestamp(text)
    except ValueError as error:
        raise UserError(f"--{option} {text!r}: expected a time such as {times.max()}") from error
    zone = times.dt.tz
    if moment.tzinfo is not None:
        return moment.tz_convert(zone or "UTC") if zone else utc(pd.Series([moment])).iloc[0]
    return moment if zone is None else moment.tz_localize(zone)


def _with_steps_to_come(
    typed: pd.DataFrame, use_case: UseCase, ahead: pd.DatetimeIndex
) -> pd.DataFrame:
    """All rows, and one for each series that goes on and each step to come that has none.

    A column of which ``data.series.absent`` says what it holds without a row holds that there, if
    it is known ahead. Series that have ended are left out, and a warning names them.
    """
    data = use_case.data
    assert data.series is not None
    assert data.time is not None
    names = [name for name in dict.fromkeys([data.series.id, *data.series.columns]) if name]
    ends = typed.sort_values(data.time, kind="stable")
    series = ends.drop_duplicates(names, keep="last") if names else ends.tail(1)
    if data.series.id:
        target, required = only_target(use_case.targets), RequiredColumns(use_case).required
        layout = lay_out_steps(typed, data, target, required)
        ids = layout.rows[SERIES_ID].iloc[: layout.ended.shape[1]].astype("str")
        is_over = series[data.series.id].astype("str").isin(ids[layout.ended[-1]])
        _warn_of_ended(series[is_over], data)
        series = series[~is_over]
    known_ahead = set(RequiredColumns(use_case).columns) - {data.time, *names}
    held = {name: value for name, value in data.series.absent.items() if name in known_ahead}
    previous = [name for name, value in held.items() if value == "previous"]
    more = series[[*names, *previous]].merge(pd.DataFrame({data.time: ahead}), how="cross")
    constant = {name: value for name, value in held.items() if name not in previous}
    more = with_columns(more, constant).reindex(columns=list(typed))
    identity = [data.time, *names]
    existing = pd.MultiIndex.from_frame(typed[identity])
    more = more[~pd.MultiIndex.from_frame(more[identity]).isin(existing)]
    if more.empty:
        return typed
    more = more.dropna(axis=1, how="all")  # pandas would take their types for those of all rows
    return pd.concat([typed, more], ignore_index=True)


def _warn_of_ended(last_rows: pd.DataFrame, data: Data) -> None:
    """Name series that have ended, by the last row of each."""
    assert data.series is not None
    if last_rows.empty:
        return
    shown = [
        f"{name} (last row {time})"
        for name, time in zip(
            last_rows[data.series.id].head(_SHOWN), last_rows[data.time].head(_SHOWN), strict=True
        )
    ]
    more = f" and {len(last_rows) - _SHOWN} more" if len(last_rows) > _SHOWN else ""
    verbs = ("has ended and is", "have ended and are")[len(last_rows) > 1]
    LOGGER.warning(
        "%d series %s not forecast: %s%s. Where one goes on, add its rows to the raw file or hand "
        "them in (POST /observe), or raise data.series.ends_after",
        *(len(last_rows), verbs, ", ".join(shown), more),
    )


def _check_answered(
    rows: pd.DataFrame, features: pd.DataFrame, use_case: UseCase, ahead: pd.DatetimeIndex
) -> None:
    """Make sure that steps were not left out for want of what has to be known ahead of them."""
    data = use_case.data
    assert data.series is not None
    assert data.time is not None
    names = [data.series.id] if data.series.id else []
    answered = pd.MultiIndex.from_arrays(
        [features[f"{SERIES_PREFIX}time"], *(features[SERIES_ID] for _ in names)]
    )
    asked = pd.MultiIndex.from_arrays([utc(rows[data.time]), *(rows[name] for name in names)])
    left = rows[~asked.isin(answered)]
    given = [n for n in RequiredColumns(use_case).columns if n not in (data.time, *names)]
    lacking = left[[name for name in given if name in left]].isna()
    if lacking.to_numpy().any():
        first = left.loc[lacking.any(axis=1), data.time].min()
        column = lacking.columns[lacking[left[data.time] == first].any()][0]
        steps = lacking[column].groupby(left[data.time]).any()
        number = int((ahead <= first).sum())
        until = f"--until '{ahead[number - 2]}'" if number > 1 else "an earlier --origin"
        raise UserError(
            f"column '{column}': step {number} ({first}) has no value, {int(steps.sum())} of "
            f"{len(ahead)} steps to come have none: it is known ahead of what is forecast, so add "
            f"rows of these steps to the raw file, with an empty target, hand them in "
            f"(POST /observe), or ask for less: {until}"
        )


def _without_past(
    rows: pd.DataFrame, use_case: UseCase, grid: pd.DatetimeIndex, *, can_be_later: bool
) -> str:
    """Why no series can be forecast from its known steps: the latest step that lacks a value.

    Args:
        rows: rows up to the origin.
        use_case: the parameters.
        grid: steps up to the origin.
        can_be_later: whether there are values after the origin, so that a later one can be taken.
    """
    data, windows = use_case.data, use_case.features.windows
    assert windows is not None
    assert data.time is not None
    columns = [only_target(use_case.targets).column, *windows.past]
    for column in dict.fromkeys(name for name in columns if name in rows):
        missing = grid[~grid.isin(rows.loc[rows[column].notna(), data.time])]
        if len(missing):
            return (
                f"column '{column}': no series has a value at {missing[-1]}, and {len(missing)} of "
                f"{len(grid)} steps up to {grid[-1]} lack one: a forecast looks back over the "
                f"steps before it without gaps; add the values to the raw file, hand them in "
                f"(POST /observe), give data.series.fill a rule, or ask for an --origin before "
                f"{missing[0]}{', or long enough after it' if can_be_later else ''}"
            )
    return (
        f"column '{columns[0]}': no series has as many steps up to {grid[-1]} as a forecast looks "
        f"back over, or all have gaps in them; there are {len(grid)} steps from {grid[0]} on: add "
        f"earlier rows to the raw file{', or ask for a later --origin' if can_be_later else ''}"
    )
