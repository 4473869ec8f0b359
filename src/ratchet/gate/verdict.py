"""The gate: whether a challenger replaces the champion.

Pure functions of the evidence. The gate fails closed: what is missing, empty, not a number, or
cannot be evaluated for whatever reason, prevents a promotion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ratchet.config import Release, Target
from ratchet.gate.comparisons import (
    check_gain,
    check_naive,
    check_other_targets,
    check_proof,
    check_slices,
    percent,
    power_numbers,
    power_sentence,
    smallest_gain,
)
from ratchet.gate.conditions import (
    Condition,
    GateCase,
    check_floors,
    check_holdout,
    check_latency,
    check_size,
    check_soundness,
)
from ratchet.gate.evidence import Evidence, PairedRows, hash_keys
from ratchet.json_values import json_value
from ratchet.learning.metrics import Resampling

__all__ = [
    "Condition",
    "Decision",
    "Evidence",
    "PairedRows",
    "Verdict",
    "hash_keys",
    "judge",
    "smallest_gain",
]

Decision = Literal["PROMOTE", "HOLD", "REJECT"]
Check = Callable[[GateCase], Condition]

_FIRST: dict[str, Check] = {"soundness": check_soundness, "rows": check_holdout}
_AGAINST_CHAMPION = ("gain", "proof", "slices", "targets")
_ON_ROWS: dict[str, Check] = {
    "gain": check_gain,
    "proof": check_proof,
    "floors": check_floors,
    "naive": check_naive,
    "slices": check_slices,
    "targets": check_other_targets,
}
_MEASURED: dict[str, Check] = {"latency": check_latency, "size": check_size}


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and why.

    Attributes:
        decision: ``PROMOTE``, ``HOLD`` or ``REJECT``.
        reason: one line that a person understands years later.
        conditions: every condition, also those that were not evaluated.
        numbers: scores, gain with bounds, rows, and the smallest gain these rows could have shown.
    """

    decision: Decision
    reason: str
    conditions: tuple[Condition, ...]
    numbers: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The verdict in JSON types; all numbers are finite."""
        return {**asdict(self), "conditions": [asdict(one) for one in self.conditions]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """The verdict that ``to_json`` gave."""
        conditions = tuple(Condition(**one) for one in data["conditions"])
        return cls(**{**data, "conditions": conditions})


_COMPARED = ("gain", "proof", "naive")
"""Conditions that more rows may decide otherwise."""


def judge(
    evidence: Evidence,
    release: Release,
    targets: Mapping[str, Target],
    seed: int,
    *,
    n_bootstrap: int = 2000,
) -> Verdict:
    """Decide whether the challenger replaces the champion.

    ``PROMOTE`` if every condition is met. ``REJECT`` if the challenger is not sound, below a
    floor, or surely worse than the champion or the naive forecast. ``HOLD`` otherwise. Without a
    champion only the conditions on the challenger alone count: soundness, rows, floors, the naive
    forecast, latency and size.

    Args:
        evidence: rows predicted by both models, and measurements.
        release: the requirements on a new model.
        targets: the targets of the use case.
        seed: seed of the bootstrap draws.
        n_bootstrap: number of draws.

    Returns:
        The decision with the reason of every condition. It raises nothing: a condition whose
        evaluation fails is not met.
    """
    resampling = Resampling(seed, n_bootstrap, release.confidence)
    case = GateCase(evidence, release, targets, resampling)
    first = [_evaluate(name, check, case) for name, check in _FIRST.items()]
    failed = next((condition for condition in first if not condition.passed), None)
    skipped: dict[str, str] = {}
    if failed is not None:
        skipped = dict.fromkeys(_ON_ROWS, failed.reason)
    elif evidence.is_first:
        skipped = dict.fromkeys(_AGAINST_CHAMPION, "there is no champion yet")
    conditions = (
        *first,
        *(
            Condition(name, None, f"not looked at: {skipped[name]}")
            if name in skipped
            else _evaluate(name, check, case)
            for name, check in _ON_ROWS.items()
        ),
        *(_evaluate(name, check, case) for name, check in _MEASURED.items()),
    )
    decision = _decide(conditions, may_skip=set() if failed else {*skipped})
    smallest = _smallest_gain(case)
    power = _power(case)
    numbers = _numbers(case, conditions, smallest, power)
    return Verdict(decision, _reason(decision, conditions, smallest, power), conditions, numbers)


def _evaluate(name: str, check: Check, case: GateCase) -> Condition:
    try:
        result = check(case)
    except Exception as error:  # whatever it is: what cannot be evaluated is not met
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        result = Condition(name, False, f"{name} cannot be looked at: {kind}{error}")
    numbers = _finite_json(result.numbers)
    return replace(result, reason=" ".join(result.reason.split()), numbers=numbers)


def _decide(conditions: tuple[Condition, ...], may_skip: set[str]) -> Decision:
    if any(one.passed is False and one.rejects for one in conditions):
        return "REJECT"
    needed = [one for one in conditions if one.name not in may_skip]
    return "PROMOTE" if all(one.passed is True for one in needed) else "HOLD"


def _smallest_gain(case: GateCase) -> float | None:
    try:
        smallest = smallest_gain(case.gain, case.release.min_gain)
    except Exception:  # no champion, or no rows that can be compared: the conditions say which
        return None
    return smallest if smallest is not None and math.isfinite(smallest) else None


def _power(case: GateCase) -> dict[str, object]:
    try:
        return power_numbers(case)
    except Exception:  # no rows that can be compared: the conditions say which
        return {}


def _numbers(
    case: GateCase,
    conditions: tuple[Condition, ...],
    smallest: float | None,
    power: Mapping[str, object],
) -> dict[str, object]:
    """The most important numbers of the conditions, and those of the run."""
    by_name = {one.name: one.numbers for one in conditions}
    return _finite_json(
        {
            **by_name["gain"],
            **by_name["proof"],
            **by_name["rows"],
            "smallest_gain": smallest,
            "power": dict(power) or None,
            "latency_ms": case.evidence.latency_ms,
            "size_mb": case.evidence.size_mb,
            "seed": case.resampling.seed,
            "n_bootstrap": case.resampling.n_bootstrap,
        }
    )


def _reason(
    decision: Decision,
    conditions: tuple[Condition, ...],
    smallest: float | None,
    power: Mapping[str, object],
) -> str:
    by_name = {one.name: one for one in conditions}
    if decision == "PROMOTE":
        is_first = by_name["gain"].passed is None
        names = ["rows", "floors", "naive"] if is_first else ["rows", "gain", "proof"]
        start = "Takes over as the first model" if is_first else "Takes over"
        return f"{start}: {'; '.join(by_name[name].reason for name in names)}."
    missed = [one for one in conditions if one.passed is False]
    if decision == "REJECT":
        missed = [one for one in missed if one.rejects]
    text = "; ".join(one.reason for one in missed)
    if decision == "HOLD" and smallest is not None:
        text += f"; these rows could have shown a gain above {percent(smallest)}"
    if decision == "HOLD" and power and {one.name for one in missed} & {*_COMPARED}:
        text += f"; {power_sentence(power)}"
    return f"{'Refused' if decision == 'REJECT' else 'Held back'}: {text}."


def _finite_json(numbers: Mapping[str, object]) -> dict[str, object]:
    """Numbers in JSON types; those that are not finite become ``None``."""
    return {name: json_value(value, not_finite=lambda _: None) for name, value in numbers.items()}
