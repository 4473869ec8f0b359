"""Dates in periods of a readable length."""

from __future__ import annotations

import calendar

import numpy as np
import pandas as pd

from ratchet.dates import local

_LENGTHS = {"year": "Y", "quarter": "Q", "month": "M", "week": "W", "day": "D"}
_ENOUGH = 4


def by_period(dates: pd.Series, at_most: int = 24) -> tuple[pd.Series, str]:
    """Put dates into periods: the longest that make at least four, if they are not too many.

    Args:
        dates: dates, shape (n,).
        at_most: number of periods beyond which longer ones are taken.

    Returns:
        First day of the period of each row, and what a period is: ``year``, ``month`` ...
    """
    dates, chosen = local(dates), "year"
    for name, code in _LENGTHS.items():
        periods = dates.dt.to_period(code).nunique()
        if periods > at_most and name != "year":
            break
        chosen = name
        if periods >= _ENOUGH:
            break
    return dates.dt.to_period(_LENGTHS[chosen]).dt.start_time.rename("period"), chosen


def part_of_time(times: pd.Series, part: str) -> pd.Series:
    """The ``hour`` of the day, the ``weekday`` or the ``month`` as ordered categories."""
    codes = {"hour": times.dt.hour, "weekday": times.dt.dayofweek, "month": times.dt.month - 1}
    names = {
        "hour": [f"{hour:02d}:00" for hour in range(24)],
        "weekday": list(calendar.day_name),
        "month": list(calendar.month_name)[1:],
    }
    named = np.array(names[part])[codes[part].to_numpy()]
    values = pd.Categorical(named, names[part], ordered=True)
    return pd.Series(values, index=times.index, name=part)


def period_text(starts: pd.Series, name: str) -> pd.Series:
    """Periods as text: ``2014``, ``2014Q3``, ``2014-07`` or the first day."""
    if name == "quarter":
        return starts.dt.to_period("Q").astype(str)
    return starts.dt.strftime({"year": "%Y", "month": "%Y-%m"}.get(name, "%Y-%m-%d"))
