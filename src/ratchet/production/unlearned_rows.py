"""Real rows for a look at drift: those that the champion did not learn from, as it sees them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from ratchet.config import Scenario
from ratchet.dates import utc
from ratchet.errors import DataError
from ratchet.frames import with_columns
from ratchet.monitoring.windows import cut_windows
from ratchet.production.drift_check import answers_with_truth

if TYPE_CHECKING:
    from ratchet.bundle.scoring_frame import ScoringFrame


@dataclass(frozen=True, eq=False)
class UnlearnedRows:
    """Rows that a model did not learn from, as they are or changed.

    Attributes:
        now: all delivered rows, as the model sees them.
    """

    now: ScoringFrame

    @cached_property
    def keys(self) -> pd.Index:
        """Keys of those that can be answered.

        Raises:
            DataError: there are none.
        """
        bundle = self.now.bundle
        last = bundle.manifest["last_row"]
        if self.now.times is not None and last is not None:
            keys = self.now.new_keys(last)
        else:
            learned = bundle.rows.index[bundle.rows["part"] != "test"]
            keys = self.now.features.index.difference(learned, sort=False)
        if keys.empty:
            raise DataError("the model has learned from every row there is: wait for new ones")
        return keys

    def inputs(self, rows: ScoringFrame) -> pd.DataFrame:
        """Source columns, whether or not the rows can still be answered.

        Args:
            rows: all rows, as they are or changed.
        """
        if self.now.times is None:
            return rows.inputs.loc[rows.inputs.index.isin(self.keys)]
        later = rows.times >= self.now.times.loc[self.keys].min()
        new = self.now.new_inputs(self.now.bundle.manifest["last_row"])
        return rows.inputs[later & rows.inputs.index.isin(new.index)]

    def predict(self, rows: ScoringFrame) -> dict[str, pd.DataFrame]:
        """Tidy rows of every target, with the truth where it is known, of those answered."""
        return answers_with_truth(rows, self.keys)

    def changed(self, scenario: Scenario, seed: int) -> ScoringFrame:
        """All rows, with those that were not learned from as a scenario leaves them."""
        from ratchet.bundle.scoring_frame import ScoringFrame
        from ratchet.monitoring.drift.scenarios import apply

        typed, data = self.now.typed, self.now.bundle.use_case.data
        series = data.series.id if data.series else None
        everywhere = apply(typed, scenario, seed=seed, time=data.time, series=series)
        if data.series and data.time and self.now.times is not None:
            mine = utc(typed[data.time]) >= self.now.times.loc[self.keys].min()
        else:
            mine = typed[data.key].isin(self.keys)
        columns = {name: everywhere[name].where(mine, typed[name]) for name in scenario.columns}
        return ScoringFrame(self.now.bundle, with_columns(typed, columns))


def latest_windows(
    rows: pd.DataFrame, window: str, count: int, time: str | None = "time"
) -> list[pd.DataFrame]:
    """The latest windows of rows, oldest first; all rows where they have no time.

    Args:
        rows: in the order of their time, where they have one.
        window: length of a window, of time or of the calendar.
        count: most windows that are wanted; empty ones are left out.
        time: column of the time.
    """
    if time is None or time not in rows:
        return [rows]
    times = rows[time]
    try:
        number = (times.max() - times) // pd.Timedelta(window)
    except ValueError:  # a month, say, is no length
        starts = cut_windows(times, window)["start"]
        number = starts.nunique() - starts.rank(method="dense").astype(int)
    windows = [rows[number == back] for back in range(count - 1, -1, -1)]
    return [part for part in windows if len(part)]
