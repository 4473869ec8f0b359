"""How the champion does in production, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import pandas as pd

from ratchet.bundle.scoring_frame import (
    ScoringFrame,
    describe_changed_past,
    new_rows,
    scoring_frame,
    training_cutoff,
)
from ratchet.config import Target, UseCase
from ratchet.dates import on_clock
from ratchet.errors import DataError, UserError
from ratchet.gate.slices import groups_of
from ratchet.json_values import json_or_null
from ratchet.learning.metrics import Resampling
from ratchet.monitoring.alerts import Alert, find_alerts
from ratchet.monitoring.comparison import RESAMPLING, Comparison, compare
from ratchet.monitoring.evaluate_champion import Assessment, evaluate_champion, rows_under_review
from ratchet.monitoring.log_table import CHAMPION
from ratchet.monitoring.performance import distributions, latest_answers, operations, score_windows
from ratchet.monitoring.prediction_log import PredictionLog
from ratchet.preparation.contract import read_day
from ratchet.primary_metric import primary_metric
from ratchet.production.champion import Champion, last_retraining_request
from ratchet.production.monitoring_records import NOTHING_SERVED, AssessmentRecord, ScoredPeriod
from ratchet.registry.ledger_chain import Entry
from ratchet.registry.registry import Registry
from ratchet.values import is_among, is_other


@dataclass(frozen=True)
class ProductionAssessment:
    """Logged answers of the champion, and all that is needed to judge them.

    Attributes:
        registry: versions and decisions.
        log: the prediction log.
        name: name of the use case.
        use_case: the parameters of today, which say how the champion is watched.
        champion: the model that serves.
        now: the delivered rows, as the champion sees them.
        raw: rows as delivered, for the previous model.
        as_of: last day whose rows are seen.
        seed: seed of the bootstrap.
        measured: what the service was handed in since, for the previous model.
    """

    registry: Registry
    log: PredictionLog
    name: str
    use_case: UseCase
    champion: Champion
    now: ScoringFrame
    raw: pd.DataFrame
    as_of: Any
    seed: int
    measured: Sequence[Any] = ()

    def assessment(self, moved: Sequence[str] = ()) -> AssessmentRecord:
        """Score the windows, and say what is to be done.

        Args:
            moved: findings of the drift report about the inputs, in sentences.

        Returns:
            ``action``, ``reason``, ``numbers``; ``windows`` and ``distributions`` by target;
            ``alerts``.
        """
        target, metric = primary_metric(self.champion.bundle.use_case)
        promoted = self.champion.bundle.score(target, metric)
        since = _moment(self.champion.since)
        requested, until = last_retraining_request(self.registry, self.name)
        action = evaluate_champion(
            self._windows[target],
            promoted,
            metric,
            self._watch,
            lambda assessed: self._against_previous(assessed, target, metric),
            since=since,
            last_request=_moment(until),
            inputs=moved,
        )
        if action.action == "retrain" and requested and since is None:
            # Rows without time are one window, which says the same until models change.
            action = replace(action, action="none", reason=f"asked for already: {action.reason}")
        return {
            "action": action.action,
            "reason": action.reason,
            "numbers": json_or_null(action.numbers),
            "windows": {name: _records(table) for name, table in self._windows.items()},
            "distributions": {
                name: _records(distributions(self._rows(name), one, self._watch, **self._span))
                for name, one in self._targets.items()
            },
            "alerts": [alert.to_json() for alert in [*self._past(), *self._alerts()]],
        }

    @property
    def _targets(self) -> dict[str, Target]:
        return dict(self.champion.bundle.use_case.targets)

    @property
    def _watch(self) -> Any:
        return self.use_case.monitoring.watch

    @property
    def _span(self) -> dict[str, datetime | None]:
        return {"start": self.now.first_new_time(self.champion.since)}

    @cached_property
    def _windows(self) -> dict[str, pd.DataFrame]:
        horizon = self.champion.bundle.use_case.features.horizon
        drawn = Resampling(self.seed, horizon=horizon)
        return {
            name: score_windows(
                self._rows(name),
                target,
                self._watch,
                drawn,
                start=self._span["start"],
                tested=self.champion.bundle.test_rows.get(name),
            )
            for name, target in self._targets.items()
        }

    def _rows(self, target: str) -> pd.DataFrame:
        """Logged answers of the champion since it serves, as far as this run sees."""
        rows = self.log.rows(self.name, target, self.champion.version, arm=CHAMPION)
        rows = rows[~is_among(rows["row_hash"], self.champion.answered)]
        times, learned_hashes = rows["row_time"], self.champion.known
        is_new = times.isna()
        is_new |= new_rows(times, self.champion.since, is_among(rows["row_hash"], learned_hashes))
        if self.as_of is not None:
            days = on_clock(times, self.champion.bundle.use_case.data.timezone).dt.normalize()
            is_new &= days.isna() | (days <= read_day(self.as_of))
        return rows[is_new]

    def _renamed(self, rows: pd.DataFrame) -> Any:
        """Which answered rows no model can be asked about again: other rows have their keys now."""
        keys = self.now.keys_in_file
        hashes = self.now.row_hashes(keys[keys.astype(str).isin(rows.index)])
        return is_other(rows["row_hash"], hashes.reindex(rows.index))

    def _against_previous(
        self, assessment: Assessment, target: str, metric: str
    ) -> tuple[Comparison | None, str]:
        """Champion and previous model on the rows that the assessment asks for.

        Rows that the previous model was made by are left out.

        Returns:
            The comparison; or why there is none.
        """
        previous = self.registry.previous(self.name)
        if previous is None:
            return None, "there is no previous model to go back to"
        try:
            bundle = self.registry.open_bundle(self.name, previous)
            then = scoring_frame(bundle, self.raw, self.as_of, self.measured)
            rows = rows_under_review(latest_answers(self._rows(target)), assessment)
            rows = rows[~self._renamed(rows)]
            index, new_keys = then.features.index, then.new_keys(training_cutoff(bundle.manifest))
            names = then.keys_for(self.champion.bundle.use_case.features).astype(str)
            both = index.isin(new_keys) & names.isin(rows.index)
            theirs = then.predict(index[both])[target].set_axis(names[both], axis=0)
        except (KeyError, UserError) as error:
            return None, f"the previous model, version {previous}, cannot answer: {error}"
        groups = groups_of(then.inputs, bundle.use_case)
        return compare(
            rows,
            theirs,
            self._targets[target],
            metric,
            groups=None if groups is None else pd.Series(groups, then.inputs.index.astype(str)),
            resampling=replace(
                RESAMPLING, seed=self.seed, horizon=bundle.use_case.features.horizon
            ),
        ), ""

    def _past(self) -> list[Alert]:
        """An alert where the raw file does to known rows what is not allowed."""
        try:
            change = describe_changed_past(self.now, self.use_case.landing, self.as_of)
        except DataError as error:
            change = str(error)
        advice = f"look at the raw file; kedro ratchet fresh --use-case {self.name} says it again"
        text = f"{self.name}: {change}"
        return [Alert("changed_past", "warning", text, advice, 1.0, 0.0)] if change else []

    def _alerts(self) -> list[Any]:
        window = self._watch.window
        answers = self.log.rows(self.name)
        return find_alerts(
            self.name,
            self.use_case.monitoring.alerts,
            windows=self._windows,
            promoted={
                name: {
                    metric: score["value"]
                    for metric in ("accuracy", "r2")
                    if (score := self.champion.bundle.score(name, metric))
                }
                for name in self._targets
            },
            operations=operations(answers, window),
            models={
                str(version): operations(rows, window)
                for version, rows in answers.groupby("version")
            },
            champion=str(self.champion.version),
        )


def assess_without_answers(registry: Registry, name: str, scored: ScoredPeriod) -> AssessmentRecord:
    """What is to be done where the champion did not answer.

    A bundle that cannot serve is replaced by the newest earlier champion that can. Data that break
    its contract are no fault of the model, and nothing is done about it.

    Args:
        registry: versions and decisions.
        name: name of the use case.
        scored: as ``score_period`` gives it, without answers.
    """
    nothing: AssessmentRecord = {
        "action": "none",
        "reason": NOTHING_SERVED,
        "numbers": {},
        "windows": {},
        "distributions": {},
        "alerts": [],
    }
    if (trouble := scored["trouble"]) is None:
        return nothing
    version = scored["version"]
    reason = f"version {version} did not answer: {trouble['wrong']}"
    if trouble["with"] == "data":
        return {**nothing, "reason": reason, "alerts": [failure_alert(name, reason)]}
    refused = []
    for previous in registry.ledger.state(name).earlier_champions:
        try:
            registry.open_bundle(name, previous)
        except UserError as error:
            refused.append(str(error))
        else:
            return {**nothing, "action": "rollback", "reason": f"{reason}; version {previous} can"}
    reason = f"{reason}; no rollback target: {'; '.join(refused) or 'there is none'}"
    return {**nothing, "reason": reason, "alerts": [failure_alert(name, reason)]}


def failure_alert(name: str, reason: str) -> Mapping[str, object]:
    """An alert for a champion that did not answer, or cannot be watched."""
    advice = (
        f"see kedro ratchet status --use-case {name}; where the bundle is damaged, bring it back "
        f"from a copy, or promote another version: kedro ratchet promote --use-case {name} --to "
        f"VERSION --no-rollback-target --reason ..."
    )
    return Alert("no_answers", "critical", f"{name}: {reason}", advice, 1.0, 0.0).to_json()


def alerts_of_decision(
    name: str, assessment: AssessmentRecord, entry: Entry | None
) -> list[Mapping[str, object]]:
    """An alert for what was done about the champion, if anything was.

    Args:
        name: name of the use case.
        assessment: what was to be done.
        entry: the ledger's entry of it, or None.
    """
    if entry is None:
        return []
    text = f"{name}: {assessment['reason']}"
    if entry.event == "rollback":
        advice = f"version {entry.champion} serves again; look why: kedro ratchet status -u {name}"
        return [Alert("rollback", "critical", text, advice, 1.0, 0.0).to_json()]
    advice = f"train it again: kedro run --pipelines {name}"
    return [Alert("retrain", "warning", text, advice, 1.0, 0.0).to_json()]


def _moment(time: str | None) -> datetime | None:
    return None if time is None else pd.Timestamp(time).to_pydatetime()


def _records(table: pd.DataFrame) -> list[Mapping[str, object]]:
    return [json_or_null(row) for row in table.to_dict("records")]
