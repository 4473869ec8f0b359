"""Windows of time that stay where they are from one day to the next."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from ratchet.database import naive_utc
from ratchet.errors import ConfigError


def cut_windows(
    times: pd.Series, window: str, *, start: datetime | None = None, now: datetime | None = None
) -> pd.DataFrame:
    """Put each row into its window.

    Windows of a fixed length follow each other from ``start``; those of the calendar (``MS``,
    ``W-MON``, ``QS``) begin where the calendar says. A window is complete when it ends by
    ``now``. Rows without time share one window of their own, which is complete.

    Args:
        times: time of each row, without zone.
        window: length as pandas writes it.
        start: where a window begins, such as the promotion; the first row by default. With a
            start that stays, windows stay.
        now: until when rows are known; one usual step after the last row by default.

    Returns:
        ``start``, ``end`` (not part of the window) and ``complete``, in the rows' order.

    Raises:
        ConfigError: pandas cannot read the length.
    """
    present = times.dropna()
    if present.empty:
        nothing = pd.Series(pd.NaT, index=times.index, dtype="datetime64[us]")
        return pd.DataFrame({"start": nothing, "end": nothing, "complete": True})
    begin = pd.Timestamp(naive_utc(start)) if start is not None else present.min()
    until = (
        pd.Timestamp(naive_utc(now)) if now is not None else present.max() + _usual_step(present)
    )
    length = _fixed(window)
    if length is not None:
        passed = (times - begin) // length  # type: ignore[operator]  # the stubs lack it
        starts = begin + passed * length
        ends = starts + length
    else:
        starts, ends = _calendar(times, window, min(begin, present.min()))
    return pd.DataFrame(
        {"start": starts, "end": ends, "complete": (ends <= until) | times.isna()},
        index=times.index,
    )


def _fixed(window: str) -> pd.Timedelta | None:
    """The length of a window; None for one of the calendar."""
    try:
        length = pd.Timedelta(window)
    except ValueError:
        return None
    if not length > pd.Timedelta(0):
        raise ConfigError(f"monitoring.watch.window: '{window}' is no length of time")
    return length


def _calendar(times: pd.Series, window: str, first: pd.Timestamp) -> tuple[pd.Series, pd.Series]:
    try:
        offset = pd.tseries.frequencies.to_offset(window)
    except ValueError as error:
        raise ConfigError(
            f"monitoring.watch.window: '{window}' is no length as pandas writes it, such as 7D, "
            f"12h or MS"
        ) from error
    begin = offset.rollback(first.normalize())
    edges = pd.date_range(begin, times.max() + 2 * offset, freq=offset)
    present = times.dropna()
    positions = edges.searchsorted(present, side="right") - 1
    starts = pd.Series(edges[positions], index=present.index).reindex(times.index)
    ends = pd.Series(edges[positions + 1], index=present.index).reindex(times.index)
    return starts, ends


def _usual_step(times: pd.Series) -> pd.Timedelta:
    steps = times.drop_duplicates().sort_values().diff().dropna()
    return pd.Timedelta(steps.median()) if len(steps) else pd.Timedelta(0)
