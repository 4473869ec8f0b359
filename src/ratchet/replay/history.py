"""The past that is replayed, and the state of a policy in it on a day."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import Target, UseCase
from ratchet.config.production import Watch
from ratchet.gate.slices import groups_of
from ratchet.learning.metrics import Resampling, greater_is_better, score_rows
from ratchet.monitoring.performance import cut_windows, score_windows
from ratchet.primary_metric import primary_metric
from ratchet.registry.ledger_chain import rollback_target
from ratchet.replay.incidents import Incident
from ratchet.replay.stages import Model, Stage

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
    _cache: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def target(self) -> str:
        """The target that decides."""
        return primary_metric(self.use_case)[0]

    @property
    def metric(self) -> str:
        """The metric by which all policies are compared."""
        return primary_metric(self.use_case)[1]

    @property
    def resampling(self) -> Resampling:
        """How rows are drawn for the scores of windows."""
        return Resampling(self.seed, horizon=self.use_case.features.horizon)

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
        if what not in self._cache:
            rows = model.logged(target, since, until)
            self._cache[what] = score_windows(
                rows,
                self.use_case.targets[target],
                watch,
                self.resampling,
                start=rows["row_time"].min().to_pydatetime(),
                tested=model.tested.get(target),
            )
        return self._cache[what]

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
        if what not in self._cache:
            self._cache[what] = self.score(self.rows(model, after, until))
        return float(self._cache[what])

    def score(self, rows: pd.DataFrame) -> float:
        """Score of tidy rows by the metric of the comparison; NaN without rows."""
        if rows.empty:
            return math.nan
        target: Target = self.use_case.targets[self.target]
        result = score_rows(
            self.metric,
            target.task,
            rows,
            classes=target.classes,
            # The value is of all rows, and the ends are not used.
            resampling=replace(self.resampling, n_bootstrap=1),
        )
        return result["value"]

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
    present = [pd.Timestamp(moment) for moment in moments if moment is not None]
    return max(present, default=None)


def is_number(value: Any) -> bool:
    """Whether a score says anything."""
    return value is not None and bool(np.isfinite(value))


@dataclass(frozen=True)
class Event:
    """Something that was decided, or that did not come about.

    Attributes:
        day: when.
        event: ``promote``, ``hold``, ``reject``, ``rollback``, ``retrain`` as in the ledger; or
            ``failed``, a training that has brought no model.
        version: the version that was judged, or serves since.
        champion: what serves after it.
        reason: one line.
        numbers: what it goes by.
    """

    day: pd.Timestamp
    event: str
    version: str | None
    champion: str | None
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Span:
    """Rows that one model has answered: those after one moment, up to another."""

    model: Model
    after: pd.Timestamp
    until: pd.Timestamp


@dataclass(eq=False)
class State:
    """What the ledger, the registry and the prediction log would say.

    Attributes:
        keep: bundles kept beside those that serve, served last, or wait.
        champion: what serves.
        since: time after which rows count as its production.
        served: everything that ever served, one after the other; the last one serves.
        quarantined: versions that only a person would bring back.
        versions: the versions whose bundles are kept, oldest first.
        answered: time of the last row that was answered.
        requested_until: last moment that a request to retrain rests on, since models last changed.
        seen: complete windows of the champion that the watch has looked at.
        trained: days on which a training was looked at.
        spans: what answered which rows.
        events: what was decided.
    """

    keep: int
    champion: Model | None = None
    since: pd.Timestamp | None = None
    served: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    versions: dict[str, Model] = field(default_factory=dict)
    answered: pd.Timestamp | None = None
    requested_until: pd.Timestamp | None = None
    seen: int = 0
    trained: list[pd.Timestamp] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def previous(self) -> Model | None:
        """The rollback target: the newest earlier champion that may serve again."""
        if self.champion is None:
            return None
        version = rollback_target(
            self.served, self.champion.version, self.quarantined, self.versions
        )
        return None if version is None else self.versions[version]

    def register(self, model: Model) -> None:
        """Make a version known."""
        self.versions[model.version] = model

    def prune(self) -> None:
        """Let go of the oldest versions, as ``Registry.prune`` does."""
        previous = self.previous
        needed = {one.version for one in (self.champion, previous) if one is not None}
        needed |= {next(reversed(self.versions))} if self.versions else set()
        others = [version for version in self.versions if version not in needed]
        for version in others[: max(len(others) - self.keep, 0)]:
            del self.versions[version]

    def serve(self, model: Model) -> None:
        """Let a model serve from now on.

        Its production begins after the last row by which it was chosen, and after the last row
        that another model has answered.
        """
        self.champion = model
        self.since = latest_moment(model.decided_until, self.answered)
        if not self.served or self.served[-1] != model.version:
            self.served.append(model.version)
        self.requested_until, self.seen = None, 0

    def roll_back(self, *, quarantine: bool) -> Model:
        """Let the previous model serve again; the present one may be put into quarantine."""
        failed, previous = self.champion, self.previous
        assert failed is not None
        assert previous is not None
        if quarantine:
            self.quarantined = [*(v for v in self.quarantined if v != failed.version)]
            self.quarantined.append(failed.version)
        self.serve(previous)
        return previous

    def note(
        self,
        day: pd.Timestamp,
        event: str,
        version: str | None,
        reason: str,
        numbers: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what was decided."""
        champion = None if self.champion is None else self.champion.version
        self.events.append(Event(day, event, version, champion, reason, numbers or {}))
