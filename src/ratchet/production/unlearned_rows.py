"""Rows that the champion did not learn from, and drift among them, as they are or changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from ratchet.config import Scenario
from ratchet.dates import utc
from ratchet.errors import DataError, UserError
from ratchet.frames import with_columns
from ratchet.monitoring.drift import DriftReport
from ratchet.monitoring.drift.effect import error_from_effect, scenario_effect
from ratchet.monitoring.performance import cut_windows
from ratchet.primary_metric import primary_metric
from ratchet.production.drift_check import DriftCheck, answers_with_truth

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
        later = rows.times >= self.now.times_of(self.keys).min()
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
            mine = utc(typed[data.time]) >= self.now.times_of(self.keys).min()
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


def newest_drift(check: DriftCheck) -> tuple[dict[str, object], DriftReport, pd.DataFrame]:
    """Look for drift in the newest window of the rows, after the windows before it.

    Returns:
        Severities of the windows before, the report of the newest one, and its rows.
    """
    window = check.use_case.monitoring.watch.window
    data, rows = check.now.bundle.use_case.data, UnlearnedRows(check.now).inputs(check.now)
    time = data.row_time if data.time else None
    windows = latest_windows(rows, window, check.drift.persistent, time)
    *earlier, report = check.follow(windows)
    return {"before": [part.severity for part in earlier]}, report, windows[-1]


def scenario_drift(
    check: DriftCheck, name: str
) -> tuple[dict[str, object], DriftReport, pd.DataFrame]:
    """Change the rows as a scenario says; measure the drift and what it does to the scores.

    Args:
        check: the rows.
        name: of the scenario, in ``monitoring.drift.scenarios``.

    Returns:
        The change, its effect on the scores and the result without it; the report; and the changed
        rows.

    Raises:
        UserError: there is no such scenario.
    """
    scenarios = check.use_case.monitoring.drift.scenarios
    if name not in scenarios:
        existing = ", ".join(scenarios) or "none; name some in monitoring.drift.scenarios"
        raise UserError(f"--scenario: no scenario '{name}'; there are {existing}")
    rows, use_case = UnlearnedRows(check.now), check.now.bundle.use_case
    target, metric = primary_metric(use_case)
    changed = rows.changed(scenarios[name], check.seed)
    effect = scenario_effect(
        check.now,
        changed,
        rows.predict,
        use_case.targets,
        resampling=check.resampling,
    )
    allowed = check.use_case.monitoring.watch.rollback_above
    current = rows.inputs(changed)
    before = check.compare(rows.inputs(check.now))
    report = check.compare(current, error=error_from_effect(effect[target], metric, allowed))
    content: dict[str, object] = {
        "change": scenarios[name].model_dump(),
        "effect": effect,
        "without": {"severity": before.severity, "moved": before.moved},
    }
    return content, report, current
