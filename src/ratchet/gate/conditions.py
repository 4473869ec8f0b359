"""Conditions that a challenger has to meet by itself: sound, above its floors, quick and small."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ratchet.gate.case import Case
from ratchet.gate.evidence import Rows, check_rows
from ratchet.learning.metrics import greater_is_better, score_rows

NOT_ITS_FAULT = ("way back", "coverage")
"""Checks that hold a challenger back and do not refuse it: a champion that cannot serve again, and
rows that the challenger does not answer, as after a change of what a row must have."""

NOISE = 1e-9
"""Differences up to this share are rounding: 0.816 is 2 % more than 0.8, and not more than that."""


@dataclass(frozen=True)
class Condition:
    """What became of one condition.

    Attributes:
        name: which one.
        passed: ``None`` if it was not looked at.
        reason: why, in words and numbers.
        numbers: the numbers, ready for JSON.
        rejects: whether the challenger is refused for it, and not only held back.
    """

    name: str
    passed: bool | None
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    rejects: bool = False


def soundness(case: Case) -> Condition:
    """Data, bundle and the way back are sound."""
    checks = case.evidence.soundness
    if not checks:
        return Condition("soundness", False, "no check of data and bundle was made")
    wrong = {name: str(fault) for name, fault in checks.items() if fault is not None}
    numbers = {"checks": [*checks], "wrong": wrong}
    if wrong:
        said = "; ".join(f"{name}: {fault or 'not said what'}" for name, fault in wrong.items())
        rejects = not {*wrong} <= {*NOT_ITS_FAULT}
        return Condition("soundness", False, f"not sound ({said})", numbers, rejects=rejects)
    return Condition("soundness", True, f"sound: {', '.join(checks)}", numbers)


def fresh_rows(case: Case) -> Condition:
    """There are enough rows that neither model has seen, and they can be compared."""
    evidence, least = case.evidence, case.release.min_rows
    keys_hash: Any = evidence.keys_hash
    counts = {name: len(rows.challenger) for name, rows in evidence.rows.items()}
    numbers = {
        "rows": counts,
        "min_rows": least,
        "keys_hash": keys_hash,
        "last_seen": None if evidence.last_seen is None else str(evidence.last_seen),
    }
    found = counts.get(case.primary, 0)
    if found < least:
        reason = f"{found} new rows, at least {least} are needed" if found else "no new rows"
        return Condition("rows", False, reason, numbers)
    if waiting := [name for name, count in counts.items() if not count]:
        reason = f"none of the new rows has the truth of {', '.join(waiting)} yet"
        return Condition("rows", False, reason, numbers)
    if not (isinstance(keys_hash, str) and keys_hash):
        return Condition("rows", False, "it is not on record which rows these are", numbers)
    try:
        check_rows(evidence, case.targets)
    except ValueError as error:
        return Condition("rows", False, f"rows cannot be compared: {error}", numbers)
    numbers |= _span(evidence.rows[case.primary])
    return Condition("rows", True, f"{found} new rows", numbers)


def _span(rows: Rows) -> dict[str, str]:
    """First and last time of the rows, by which it is known later which ones they were."""
    times = rows.moments()
    if times is None:
        return {}
    return {"first_row": str(pd.Series(times).min()), "last_row": str(pd.Series(times).max())}


def floors(case: Case) -> Condition:
    """Every score of the challenger reaches what production needs at least."""
    numbers: dict[str, Any] = {}
    below: list[str] = []
    reached: list[str] = []
    for name, target in case.targets.items():
        for metric, objective in target.objectives.items():
            if objective.production is None:
                continue
            score, floor = _score(case, name, metric), objective.production
            if not math.isfinite(floor):
                raise ValueError(f"{metric} of {name}: the floor {floor} is no number")
            sign = 1 if greater_is_better(metric) else -1
            missed = sign * (floor - score["value"]) > NOISE * abs(floor)
            numbers[f"{name}.{metric}"] = {**score, "floor": floor}
            said = f"{metric} of {name} is {score['value']:.4g}, {floor:.4g} is needed"
            (below if missed else reached).append(said)
    if below:
        return Condition("floors", False, "; ".join(below), numbers, rejects=True)
    return Condition("floors", True, "; ".join(reached) or "no floor is set", numbers)


def latency(case: Case) -> Condition:
    """An answer comes in time."""
    return _within(
        "latency", "an answer takes", case.evidence.latency_ms, case.release.max_latency_ms, "ms"
    )


def size(case: Case) -> Condition:
    """The bundle is small enough."""
    return _within("size", "the bundle has", case.evidence.size_mb, case.release.max_size_mb, "MB")


def _within(name: str, what: str, value: float, most: float, unit: str) -> Condition:
    if not (math.isfinite(value) and value > 0):
        return Condition(name, False, f"{name} was not measured: {value}", {"most": most})
    numbers = {"value": float(value), "most": most}
    reason = f"{what} {value:.3g} {unit}, at most {most:.3g} {unit} are allowed"
    return Condition(name, bool(value <= most), reason, numbers)


def _score(case: Case, target: str, metric: str) -> dict[str, float]:
    rows = case.evidence.rows[target]
    return score_rows(
        metric,
        rows.task,
        rows.challenger,
        classes=rows.classes,
        horizon=rows.horizon,
        n_bootstrap=case.n_bootstrap,
        confidence=case.release.confidence,
        seed=case.seed,
    )
