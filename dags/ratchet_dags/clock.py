"""Which day of the data a run sees."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo


def run_day(dag_run: Any, timezone: str) -> dt.date:
    """The day that a run belongs to, in the time zone of the schedules.

    A scheduled or back-filled run has a logical date, its slot. One that was triggered by an
    asset, or without a date, belongs to the moment at which it was due.
    """
    moment = getattr(dag_run, "logical_date", None) or dag_run.run_after
    return moment.astimezone(ZoneInfo(timezone)).date()


def as_of(
    dag_run: Any, given: str | None, timezone: str, clock: Mapping[str, str] | None = None
) -> str:
    """Last day whose rows a run sees: the one before its own, moved by the clock of the data.

    Args:
        dag_run: the run.
        given: the day that somebody asked for, which goes before all else.
        timezone: time zone of the schedules.
        clock: ``run``, a day on the wall, and ``data``, the day of the data it stands for.
    """
    if given:
        return given
    day = run_day(dag_run, timezone)
    if clock:
        moved = dt.date.fromisoformat(clock["data"]) - dt.date.fromisoformat(clock["run"])
        day += moved
    return (day - dt.timedelta(days=1)).isoformat()
