"""Which past is replayed, and how."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ReplayRequest:
    """What is to be replayed.

    Attributes:
        use_case: its name.
        sundays: days on which models are trained in any case.
        until: last day whose rows are answered.
        candidates: candidates and networks that are tried.
        policies: files of further policies.
        incidents: file of what goes wrong.
        env: environment of the configuration.
        jobs: trainings at the same time.
    """

    use_case: str
    sundays: tuple[pd.Timestamp, ...]
    until: pd.Timestamp
    candidates: tuple[str, ...]
    policies: tuple[Path, ...]
    incidents: Path | None
    env: str
    jobs: int


def read_days(first: str, last: str, every: str) -> tuple[tuple[pd.Timestamp, ...], pd.Timestamp]:
    """Sundays from one day on, each with a full week before the last day is over.

    Raises:
        UserError: a day or the distance cannot be read, or there is no week between the days.
    """
    import pandas as pd

    def day(option: str, text: str) -> pd.Timestamp:
        try:
            return pd.Timestamp(dt.date.fromisoformat(text))
        except ValueError:
            raise UserError(f"{option}: expected a date such as 2014-07-06, got {text!r}") from None

    days = re.fullmatch(r"([1-9]\d*)d", every.strip().lower())
    if days is None:
        raise UserError(f"--every: expected whole days such as 7d, got {every!r}")
    step = pd.Timedelta(days=int(days[1]))
    start, end = day("--from", first), day("--to", last)
    sundays = pd.date_range(start, end - step, freq=step)
    if sundays.empty:
        raise UserError(f"--to: {end.date()} is less than {step.days} days after {start.date()}")
    return tuple(sundays), sundays[-1] + step
