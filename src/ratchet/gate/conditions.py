"""The case before the gate, and what a challenger has to meet by itself.

It has to be sound, above its production floors, quick and small, on enough rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ratchet.config import Release, Target
from ratchet.gate.evidence import Evidence, PairedRows, check_rows, corrected_confidence
from ratchet.gate.slices import Mask
from ratchet.learning.metrics import Gain, Resampling, greater_is_better, paired_gain, score_rows
from ratchet.primary_metric import metric_of, primary_target

HOLD_ONLY = ("rollback target", "coverage")
"""Checks whose failure holds a challenger back and does not reject it.

They are that of the rollback target, and that of rows which the challenger does not answer, as
after a change of the columns that a row must have.
"""

NOISE = 1e-9
"""Relative differences up to this are rounding: 0.816 is 2 % more than 0.8, and not above 2 %."""


@dataclass(frozen=True)
class Condition:
    """The result of one condition.

    Attributes:
        name: name of the condition.
        passed: ``None`` if it was not evaluated.
        reason: why, in words and numbers.
        numbers: the numbers, ready for JSON.
        rejects: whether the challenger is rejected for it, and not only held back.
    """

    name: str
    passed: bool | None
    reason: str
    numbers: Mapping[str, object] = field(default_factory=dict)
    rejects: bool = False


@dataclass(frozen=True, eq=False)
class GateCase:
    """The evidence, and the requirements on a new model.

    Attributes:
        evidence: predictions of both models on the same rows, and measurements.
        release: the requirements.
        targets: the targets of the use case.
        resampling: how rows are drawn; its confidence is that of the release.
    """

    evidence: Evidence
    release: Release
    targets: Mapping[str, Target]
    resampling: Resampling

    @property
    def primary(self) -> str:
        """The primary target."""
        return primary_target(self.release, self.targets)

    def metric(self, target: str) -> str:
        """The metric by which a target is judged: that of its search, unless another is named."""
        return metric_of(self.release, self.targets, target)

    @property
    def confidence(self) -> float:
        """Level at which the challenger has to be better than the champion.

        It grows with the challengers judged on the same rows before, see ``corrected_confidence``.
        """
        return corrected_confidence(self.evidence.earlier, self.release.confidence)

    @cached_property
    def gain(self) -> Gain:
        """Gain of the challenger over the champion in the primary target."""
        return self.compare(self.primary, confidence=self.confidence)

    def compare(
        self,
        target: str,
        *,
        baseline: str = "champion",
        where: Mask | None = None,
        confidence: float | None = None,
    ) -> Gain:
        """Gain of the challenger over the champion or the naive forecast.

        Args:
            target: name of the target.
            baseline: ``champion`` or ``naive``.
            where: rows to compare on; all by default.
            confidence: level of the bounds; that of the release by default.

        Raises:
            ValueError: the rows cannot be compared.
        """
        rows = self.evidence.rows[target]
        frame = dict(rows.baselines()).get(baseline)
        if frame is None:
            raise ValueError(f"{target}: there are no predictions of the {baseline}")
        selected = np.ones(len(frame), dtype=bool) if where is None else where
        times = rows.row_times()
        return paired_gain(
            self.metric(target),
            rows.task,
            frame[selected],
            rows.challenger[selected],
            classes=rows.classes,
            times=None if times is None else times[selected],
            groups=None if rows.groups is None else rows.groups[selected],
            season=rows.season,
            resampling=replace(
                self.resampling,
                confidence=confidence or self.resampling.confidence,
                horizon=rows.horizon,
            ),
        )


def check_soundness(case: GateCase) -> Condition:
    """Data, bundle and the rollback target are sound."""
    checks = case.evidence.soundness
    if not checks:
        return Condition("soundness", False, "no check of data and bundle was made")
    wrong = {name: str(fault) for name, fault in checks.items() if fault is not None}
    numbers = {"checks": [*checks], "wrong": wrong}
    if wrong:
        faults = "; ".join(
            f"{name}: {fault or 'without a reason'}" for name, fault in wrong.items()
        )
        rejects = not {*wrong} <= {*HOLD_ONLY}
        return Condition("soundness", False, f"not sound ({faults})", numbers, rejects=rejects)
    return Condition("soundness", True, f"sound: {', '.join(checks)}", numbers)


def check_holdout(case: GateCase) -> Condition:
    """There are enough holdout rows that neither model has seen, and they can be compared."""
    evidence, least = case.evidence, case.release.min_rows
    keys_hash: object = evidence.keys_hash
    counts = {name: len(rows.challenger) for name, rows in evidence.rows.items()}
    numbers: dict[str, object] = {
        "rows": counts,
        "min_rows": least,
        "keys_hash": keys_hash,
        "last_seen": None if evidence.last_seen is None else str(evidence.last_seen),
    }
    n = counts.get(case.primary, 0)
    if n < least:
        reason = f"{n} new rows, at least {least} are needed" if n else "no new rows"
        return Condition("rows", False, reason, numbers)
    if unlabelled := [name for name, count in counts.items() if not count]:
        reason = f"none of the new rows has the truth of {', '.join(unlabelled)} yet"
        return Condition("rows", False, reason, numbers)
    if not (isinstance(keys_hash, str) and keys_hash):
        return Condition("rows", False, "the keys of the rows have no hash", numbers)
    try:
        check_rows(evidence, case.targets)
    except ValueError as error:
        return Condition("rows", False, f"rows cannot be compared: {error}", numbers)
    numbers |= _span(evidence.rows[case.primary])
    return Condition("rows", True, f"{n} new rows", numbers)


def _span(rows: PairedRows) -> dict[str, str]:
    """First and last time of the rows, by which later verdicts know which ones they were."""
    times = rows.row_times()
    if times is None:
        return {}
    return {"first_row": str(pd.Series(times).min()), "last_row": str(pd.Series(times).max())}


def check_floors(case: GateCase) -> Condition:
    """Every score of the challenger reaches its floor in production."""
    numbers: dict[str, object] = {}
    below: list[str] = []
    reached: list[str] = []
    for name, target in case.targets.items():
        for metric, objective in target.objectives.items():
            if objective.production is None:
                continue
            score, floor = _score(case, name, metric), objective.production
            if not math.isfinite(floor):
                raise ValueError(f"{metric} of {name}: the floor {floor} is not a finite number")
            sign = 1 if greater_is_better(metric) else -1
            missed = sign * (floor - score["value"]) > NOISE * abs(floor)
            numbers[f"{name}.{metric}"] = {**score, "floor": floor}
            text = f"{metric} of {name} is {score['value']:.4g}, {floor:.4g} is needed"
            (below if missed else reached).append(text)
    if below:
        return Condition("floors", False, "; ".join(below), numbers, rejects=True)
    return Condition("floors", True, "; ".join(reached) or "no floor is set", numbers)


def check_latency(case: GateCase) -> Condition:
    """The latency of an answer is within its limit."""
    return _within(
        "latency", "an answer takes", case.evidence.latency_ms, case.release.max_latency_ms, "ms"
    )


def check_size(case: GateCase) -> Condition:
    """The size of the bundle is within its limit."""
    return _within("size", "the bundle has", case.evidence.size_mb, case.release.max_size_mb, "MB")


def _within(name: str, what: str, value: float, most: float, unit: str) -> Condition:
    if not (math.isfinite(value) and value > 0):
        return Condition(name, False, f"{name} was not measured: {value}", {"most": most})
    numbers = {"value": float(value), "most": most}
    reason = f"{what} {value:.3g} {unit}, at most {most:.3g} {unit} are allowed"
    return Condition(name, bool(value <= most), reason, numbers)


def _score(case: GateCase, target: str, metric: str) -> dict[str, float]:
    rows = case.evidence.rows[target]
    return score_rows(
        metric,
        rows.task,
        rows.challenger,
        classes=rows.classes,
        resampling=replace(case.resampling, horizon=rows.horizon),
    )
