"""The past that is replayed: its Sundays, what was trained on them, and how well that did."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import Target, UseCase
from ratchet.config.monitoring import Watch
from ratchet.gate.slices import groups_of
from ratchet.learning.metrics import greater_is_better, score_rows
from ratchet.monitoring.performance import score_windows
from ratchet.monitoring.windows import cut_windows
from ratchet.primary_metric import primary_metric
from ratchet.replay.incidents import Incident
from ratchet.replay.stage import Model, Stage

_DAY = pd.Timedelta(days=1)
_UNITS = ("scale", "rms")


@dataclass(frozen=True, eq=False)
class History:
    """The past, the same for every policy.

    Attributes:
        use_case: the parameters as they are configured.
        stages: day -> what the training of that day brought.
        sundays: the days on which models are trained in any case, in order.
        until: last day whose rows are answered.
        seed: seed of all draws.
        incidents: what goes wrong.
    """

    use_case: UseCase
    stages: Mapping[pd.Timestamp, Stage]
    sundays: tuple[pd.Timestamp, ...]
    until: pd.Timestamp
    seed: int
    incidents: tuple[Incident, ...] = ()
    _known: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def target(self) -> str:
        """The target that decides."""
        return primary_metric(self.use_case)[0]

    @property
    def metric(self) -> str:
        """The metric by which all policies are compared."""
        return primary_metric(self.use_case)[1]

    @property
    def weeks(self) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
        """Of every Sunday the last moment of its day, and the last one of the next Sunday."""
        ends = [end_of_day(day) for day in (*self.sundays, self.until)]
        return list(pairwise(ends))

    def windows(self, model: Model, target: str, watch: Watch, since: Any, until: Any) -> Any:
        """Score the windows of a champion, as the watch sees them.

        Args:
            model: the champion.
            target: of which target.
            watch: length of the windows, and how many rows they need.
            since: time after which its production begins.
            until: time of the last row that it has answered.
        """
        what = ("windows", model.version, target, watch.window, watch.min_rows, since, until)
        if what not in self._known:
            rows = model.logged(target, since, until)
            self._known[what] = score_windows(
                rows,
                self.use_case.targets[target],
                watch,
                self.use_case.features.horizon,
                self.seed,
                start=rows["row_time"].min().to_pydatetime(),
            )
        return self._known[what]

    def complete_windows(self, model: Model, watch: Watch, since: Any, until: Any) -> int:
        """How many windows of a champion are over; until one more is, nothing new is known."""
        times = model.logged(self.target, since, until)["row_time"]
        cut = cut_windows(times, watch.window, start=times.min())
        return int(cut.loc[cut["complete"], "start"].nunique())

    def rows(self, model: Model, after: Any, until: Any) -> pd.DataFrame:
        """Tidy rows of a span of time with known truth, in units that are those of all models.

        Of series every training has units of its own; here those of the first one count, which has
        answered all rows that are served.
        """
        rows = model.logged(self.target, after, until).rename(columns={"row_time": "time"})
        rows = rows[~rows["failed"] & rows["truth"].notna()]
        if not self.use_case.targets[self.target].is_series:
            return rows
        units = self._units.reindex(rows.index)
        return rows.assign(**{name: units[name].fillna(rows[name]) for name in _UNITS})

    def error(self, model: Model, after: Any, until: Any) -> float:
        """Score of a model in a span of time; NaN where it has no rows."""
        what = ("error", model.version, after, until)
        if what not in self._known:
            self._known[what] = self.score(self.rows(model, after, until))
        return float(self._known[what])

    def score(self, rows: pd.DataFrame) -> float:
        """Score of tidy rows by the metric of the comparison; NaN without rows."""
        if rows.empty:
            return math.nan
        target: Target = self.use_case.targets[self.target]
        found = score_rows(
            self.metric,
            target.task,
            rows,
            classes=target.classes,
            horizon=self.use_case.features.horizon,
            n_bootstrap=1,  # the value is of all rows, and nobody looks at the ends
            seed=self.seed,
        )
        return found["value"]

    @cached_property
    def groups(self) -> pd.Series | None:
        """What each row belongs to, by row key, as the gate is shown it."""
        rows = pd.concat([stage.primary for stage in self.stages.values()])
        rows = rows[~rows.index.duplicated()]
        groups = groups_of(rows, self.use_case)
        return None if groups is None else pd.Series(groups, rows.index)

    def loss(self, score: float) -> float:
        """A score turned so that less is better."""
        return -score if greater_is_better(self.metric) else score

    @cached_property
    def _units(self) -> pd.DataFrame:
        first = next(stage for stage in self.stages.values() if stage.challengers)
        return first.challengers[0].answers[self.target][list(_UNITS)]


def end_of_day(day: Any) -> pd.Timestamp:
    """Last moment of a day."""
    return pd.Timestamp(day).normalize() + _DAY - pd.Timedelta(1, "us")


def latest_moment(*moments: Any) -> Any:
    """The latest of some moments; ``None`` where none is known."""
    known = [pd.Timestamp(moment) for moment in moments if moment is not None]
    return max(known, default=None)


def is_number(value: Any) -> bool:
    """Whether a score says anything."""
    return value is not None and bool(np.isfinite(value))
