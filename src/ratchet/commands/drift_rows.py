"""Real rows for a look at drift: those that the champion did not learn from, as it sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from ratchet.errors import DataError
from ratchet.monitoring.drift.inputs import importance_of, watched
from ratchet.monitoring.windows import cut_windows
from ratchet.params import Drift, Scenario, UseCase

if TYPE_CHECKING:
    from ratchet.release.delivered import Delivered

_PERIOD = "7D"
"""What series of a day's step or less repeat after, beside the year."""


@dataclass(frozen=True, eq=False)
class Look:
    """Delivered rows, and how drift is looked for among them.

    Attributes:
        now: the rows, as the champion sees them.
        use_case: the parameters of today, which say how drift is looked for.
    """

    now: Delivered
    use_case: UseCase

    @cached_property
    def keys(self) -> pd.Index:
        """Rows that can be answered and that the model did not learn from.

        Raises:
            DataError: there are none.
        """
        bundle = self.now.bundle
        last = bundle.manifest["last_row"]
        if self.now.times is not None and last is not None:
            keys = self.now.newer_than(last)
        else:
            learned = bundle.rows.index[bundle.rows["part"] != "test"]
            keys = self.now.features.index.difference(learned, sort=False)
        if keys.empty:
            raise DataError("the model has learned from every row there is: wait for new ones")
        return keys

    @cached_property
    def drift(self) -> Drift:
        """How drift is looked for, with the columns that are looked at."""
        return watched(self.use_case, self.now.bundle.reference.columns)

    def options(self, target: str, seed: int) -> dict[str, Any]:
        """What ``detect`` has to know of the rows, beside them."""
        from ratchet.preparation.needs import closure

        data = self.now.bundle.use_case.data
        known = set(data.known_columns)
        importance = importance_of(
            self.now.bundle.importance.get(target, {}),
            self.drift.columns or [],
            lambda name: closure([name], data) if name in known else {name},
        )
        return {
            "importance": importance,
            "time": "time" if data.time else None,
            "period": _PERIOD if data.series else None,
            "seed": seed,
        }

    def inputs(self, typed: pd.DataFrame) -> pd.DataFrame:
        """Source columns of the rows, whether or not they can still be answered.

        Args:
            typed: the typed rows, as they are or changed.
        """
        rows = self._delivered(typed).inputs
        if self.now.times is None:
            return rows.loc[rows.index.isin(self.keys)]
        return rows[rows["time"] >= self.now.times.loc[self.keys].min()]

    def predict(self, typed: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Tidy rows of every target, with the truth where it is known, of those answered."""
        delivered = self._delivered(typed)
        answers = delivered.predict(self.keys.intersection(delivered.features.index, sort=False))
        targets = self.now.bundle.use_case.targets
        return {
            name: rows.assign(truth=delivered.truth(targets[name]).reindex(rows.index))
            for name, rows in answers.items()
        }

    def changed(self, scenario: Scenario, seed: int) -> pd.DataFrame:
        """All typed rows, with those that were not learned from as a scenario leaves them."""
        from ratchet.monitoring.drift.scenarios import apply

        typed, data = self.now.typed, self.now.bundle.use_case.data
        series = data.series.id if data.series else None
        everywhere = apply(typed, scenario, seed=seed, time=data.time, series=series)
        if data.series and data.time and self.now.times is not None:
            mine = typed[data.time] >= self.now.times.loc[self.keys].min()
        else:
            mine = typed[data.key].isin(self.keys)
        return typed.assign(
            **{name: everywhere[name].where(mine, typed[name]) for name in scenario.columns}
        )

    def _delivered(self, typed: pd.DataFrame) -> Delivered:
        from ratchet.release.delivered import Delivered

        return self.now if typed is self.now.typed else Delivered(self.now.bundle, typed)


def latest(rows: pd.DataFrame, window: str, count: int) -> list[pd.DataFrame]:
    """The latest windows of rows, oldest first; all rows where they have no time.

    Args:
        rows: with ``time`` where they have one, in its order.
        window: length of a window, of time or of the calendar.
        count: most windows that are wanted; empty ones are left out.
    """
    if "time" not in rows:
        return [rows]
    times = rows["time"]
    try:
        place = (times.max() - times) // pd.Timedelta(window)
    except ValueError:  # a month, say, is no length
        starts = cut_windows(times, window)["start"]
        place = starts.nunique() - starts.rank(method="dense").astype(int)
    found = [rows[place == back] for back in range(count - 1, -1, -1)]
    return [part for part in found if len(part)]


def promised(scores: Mapping[str, Any], metric: str) -> float | None:
    """The score of the bundle's model on its test rows, whatever else its metrics hold."""
    found = scores.get("test", scores).get(metric)
    value = found.get("value") if isinstance(found, Mapping) else found
    return None if value is None else float(value)
