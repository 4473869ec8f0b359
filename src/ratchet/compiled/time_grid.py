"""Which moment is which step of a series, without pandas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from ratchet.compiled.dates import as_microseconds, local_time
from ratchet.compiled.serialization import program

Moments = npt.NDArray[np.int64]
"""Microseconds since 1970 in UTC; without a time zone what the clock shows. Shape (steps,)."""

_DAY, _HOUR = 86_400 * 10**6, 3_600 * 10**6


@program
@dataclass(frozen=True, eq=False)
class Grid:
    """Steps in the order of time, counted from a first one.

    Steps of one length need no more than that; those of a calendar (working days, months, days of
    a local clock) are laid out ahead. Without either every row is a step, at any distance.

    Attributes:
        zone: time zone whose clock the times show; ``None`` where they stand as they are.
        first: moment of the first step.
        length: microseconds from one step to the next, where that is always the same.
        times: moments of the steps, where it is not.
        name: the frequency, for messages.
        longest: where every row is a step, microseconds that lay at most between two of them in
            training; ``None`` where any time may.
    """

    zone: str | None
    first: int
    length: int | None = None
    times: Moments | None = None
    name: str = ""
    longest: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether every row is a step."""
        return self.length is None and self.times is None

    def step(self, moment: int) -> int | None:
        """Number of the step at a moment, below 0 before the first; ``None`` off the steps."""
        if self.length is not None:
            number, off = divmod(moment - self.first, self.length)
            return None if off else number
        assert self.times is not None
        if moment < self.first:
            return -1
        number = int(np.searchsorted(self.times, moment))
        exists = number < len(self.times) and self.times[number] == moment
        return number if exists else None

    def moment(self, step: int) -> int:
        """Moment of a step; of one after the last that is laid out, that of the last."""
        if self.length is not None:
            return self.first + step * self.length
        assert self.times is not None
        return int(self.times[min(max(step, 0), len(self.times) - 1)])

    def moments(self, first: int, last: int) -> Moments:
        """Moments of the steps from one up to, and without, another."""
        if self.length is not None:
            return self.first + np.arange(first, last, dtype=np.int64) * self.length
        assert self.times is not None
        return self.times[first:last]

    def missing(self, times: Moments, moment: int, text: Callable[[int], str]) -> str | None:
        """Why steps must be missing, where every row is one and so they cannot be counted.

        Between a row to be answered and the step before it there may be as much time as ever was in
        training. Between steps that were measured there may be twice as much, for a market may
        once close for longer.

        Args:
            times: the steps before the row that are looked at, in their order.
            moment: of the row.
            text: a moment in words.
        """
        if self.longest is None or not len(times):
            return None
        slack = 0 if self.zone is None else _HOUR  # clocks are put forward and back
        moments = np.append(times, moment)
        gaps = np.diff(moments)
        allowed = np.full(len(gaps), 2 * self.longest + slack)
        allowed[-1] = self.longest + slack
        if (gaps <= allowed).all():
            return None
        at = int(np.argmax(gaps > allowed))
        return (
            f"a forecast of {text(moment)} needs the steps before it: {_span(int(gaps[at]))} lie "
            f"between {text(int(moments[at]))} and {text(int(moments[at + 1]))}, and at most "
            f"{_span(self.longest)} lay between two steps of the training. Hand in what was "
            f"measured in between first"
        )

    def clock(self, moment: int) -> datetime:
        """What the clock shows at a moment, with the time zone where there is one."""
        return local_time(moment, self.zone)

    def moment_of(self, time: datetime) -> int:
        """Moment of a time that shows the clock of the grid."""
        return as_microseconds(time)

    def is_midnight(self, moment: int) -> bool:
        """Whether a day of the clock begins, be it at 00:00 or later."""
        if self.zone is None:
            return moment % _DAY == 0
        try:
            return self.clock(moment).date() != self.clock(moment - 1).date()
        except OverflowError:  # the first moment of the year 1
            return True

    def text(self, moment: int, *, day_only: bool = False) -> str:
        """A moment as the keys of rows write it: the day, or ISO 8601 with the offset of a zone."""
        at = self.clock(moment)
        if day_only:
            return f"{at:%Y-%m-%d}"
        text = f"{at:%Y-%m-%dT%H:%M:%S}"
        if at.microsecond:
            text += f".{at.microsecond:06d}".removesuffix("000")
        return text if self.zone is None else text + f"{at:%z}"[:5]

    def naive_utc(self, moment: int) -> datetime:
        """A moment in UTC and without time zone."""
        return local_time(moment, None)


def _span(microseconds: int) -> str:
    """A stretch of time in words: ``4 days``, ``0:30:00``."""
    return str(timedelta(microseconds=microseconds)).removesuffix(", 0:00:00")
