"""How the champion does in production, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import pandas as pd

from ratchet.errors import UserError
from ratchet.monitoring.alerts import find_alerts
from ratchet.monitoring.comparison import Comparison, compare, jsonable
from ratchet.monitoring.performance import answered, distributions, operations, score_windows
from ratchet.monitoring.watch import Assessment, assess, decide, in_question
from ratchet.params import Target, UseCase
from ratchet.pipelines.monitoring.champion import last_of
from ratchet.release.deciding import deciding
from ratchet.release.delivered import Delivered, delivered
from ratchet.release.rehearsal import rehearse


@dataclass(frozen=True)
class Production:
    """Logged answers of the champion, and all that is needed to judge them.

    Attributes:
        registry: versions and decisions.
        log: the prediction log.
        name: name of the use case.
        use_case: the parameters of today, which say how the champion is watched.
        now: the delivered rows, as the champion sees them.
        raw: rows as delivered, for the previous model.
        as_of: last day whose rows are seen.
        version: version of the champion.
        since: time after which rows count as production.
        arm: for what the model answered.
        seed: seed of the bootstrap.
    """

    registry: Any
    log: Any
    name: str
    use_case: UseCase
    now: Delivered
    raw: pd.DataFrame
    as_of: Any
    version: str
    since: str | None
    arm: str
    seed: int

    def assessment(self, moved: Sequence[str] = ()) -> dict[str, Any]:
        """Score the windows, and say what is to be done.

        Args:
            moved: what is known to have happened to the inputs, in sentences.

        Returns:
            ``action``, ``reason``, ``numbers``; ``windows`` and ``distributions`` by target;
            ``alerts``.
        """
        target, metric = deciding(self.now.bundle.use_case)
        promoted = self.now.bundle.metrics[target]["test"][metric]
        found = assess(
            self._windows[target],
            promoted["value"],
            metric,
            self.use_case.monitoring.watch,
            since=_moment(self.since),
            last_change=_moment(last_of(self.registry, self.name, "rollback")),
            last_request=_moment(last_of(self.registry, self.name, "retrain")),
            promoted_interval=(promoted["low"], promoted["high"]),
        )
        against = self._against_previous(found, target, metric)
        action = decide(
            found, against, min_rows=self.use_case.monitoring.watch.min_rows, inputs=moved
        )
        return {
            **action.to_json(),
            "windows": {name: _records(table) for name, table in self._windows.items()},
            "distributions": {
                name: _records(distributions(self._rows(name), one, self._watch, **self._span))
                for name, one in self._targets.items()
            },
            "alerts": [alert.to_json() for alert in self._alerts()],
        }

    @property
    def _targets(self) -> dict[str, Target]:
        return dict(self.now.bundle.use_case.targets)

    @property
    def _watch(self) -> Any:
        return self.use_case.monitoring.watch

    @property
    def _span(self) -> dict[str, datetime | None]:
        return {"start": self.now.first_after(self.since)}

    @cached_property
    def _windows(self) -> dict[str, pd.DataFrame]:
        horizon = self.now.bundle.use_case.features.horizon
        return {
            name: score_windows(
                self._rows(name), target, self._watch, horizon, self.seed, **self._span
            )
            for name, target in self._targets.items()
        }

    def _rows(self, target: str) -> pd.DataFrame:
        """Logged answers of the champion since it serves."""
        rows = self.log.rows(self.name, target, self.version, arm=self.arm)
        if self.since is None or self.now.times is None:
            return rows
        return rows[rows["row_time"].isna() | (rows["row_time"] > pd.Timestamp(self.since))]

    def _against_previous(self, found: Assessment, target: str, metric: str) -> Comparison | None:
        """Champion and previous model on the rows that the assessment asks for."""
        previous = self.registry.previous(self.name)
        if found.action != "compare" or previous is None:
            return None
        try:
            bundle = rehearse(self.registry.folder(self.name, previous))
            then = delivered(bundle, self.raw, self.as_of)
            rows = in_question(answered(self._rows(target)), found)
            keys = then.features.index[then.features.index.astype(str).isin(rows.index)]
            theirs = then.predict(keys)[target]
        except (KeyError, UserError):  # a way back that cannot answer is none
            return None
        return compare(
            rows,
            theirs.set_axis(theirs.index.astype(str), axis=0),
            self._targets[target],
            metric,
            horizon=bundle.use_case.features.horizon,
            seed=self.seed,
        )

    def _alerts(self) -> list[Any]:
        window = self._watch.window
        asked = self.log.rows(self.name)
        return find_alerts(
            self.name,
            self.use_case.monitoring.alerts,
            windows=self._windows,
            promoted={
                name: {metric: score["value"] for metric, score in scores["test"].items()}
                for name, scores in self.now.bundle.metrics.items()
            },
            operations=operations(asked, window),
            models={
                str(version): operations(rows, window) for version, rows in asked.groupby("version")
            },
        )


def _moment(time: str | None) -> datetime | None:
    return None if time is None else pd.Timestamp(time).to_pydatetime()


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [jsonable(row) for row in table.to_dict("records")]
