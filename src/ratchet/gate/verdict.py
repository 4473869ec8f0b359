"""The gate: whether a challenger takes over from the champion.

Pure functions of the evidence. The gate fails closed: what is missing, empty, no number, or cannot
be looked at for whatever reason, is no promotion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ratchet.config import Release, Target
from ratchet.gate.case import Case
from ratchet.gate.comparisons import (
    gain,
    naive,
    others,
    percent,
    proof,
    slices,
    smallest_gain,
)
from ratchet.gate.conditions import Condition, floors, fresh_rows, latency, size, soundness
from ratchet.gate.evidence import Evidence, Rows, hash_keys

__all__ = [
    "Condition",
    "Decision",
    "Evidence",
    "Rows",
    "Verdict",
    "hash_keys",
    "judge",
    "smallest_gain",
]

Decision = Literal["PROMOTE", "HOLD", "REJECT"]
Check = Callable[[Case], Condition]

_FIRST: dict[str, Check] = {"soundness": soundness, "rows": fresh_rows}
_AGAINST_CHAMPION: dict[str, Check] = {
    "gain": gain,
    "proof": proof,
    "slices": slices,
    "targets": others,
}
_ON_ROWS: dict[str, Check] = {
    "gain": gain,
    "proof": proof,
    "floors": floors,
    "naive": naive,
    "slices": slices,
    "targets": others,
}
_MEASURED: dict[str, Check] = {"latency": latency, "size": size}


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and why.

    Attributes:
        decision: ``PROMOTE``, ``HOLD`` or ``REJECT``.
        reason: one line that a person understands years later.
        conditions: every condition, also those that were not looked at.
        numbers: scores, gain with bounds, rows, and the smallest gain these rows could have shown.
    """

    decision: Decision
    reason: str
    conditions: tuple[Condition, ...]
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON has it: objects, lists, text and finite numbers."""
        return {**asdict(self), "conditions": [asdict(one) for one in self.conditions]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """The verdict that ``to_json`` gave."""
        conditions = tuple(Condition(**one) for one in data["conditions"])
        return cls(**{**data, "conditions": conditions})


def judge(
    evidence: Evidence,
    release: Release,
    targets: Mapping[str, Target],
    seed: int,
    *,
    n_bootstrap: int = 2000,
) -> Verdict:
    """Decide whether the challenger takes over.

    ``PROMOTE`` if every condition is met. ``REJECT`` if the challenger is not sound, below a
    floor, or surely worse than the champion or the naive forecast. ``HOLD`` otherwise. Without a
    champion only what can be said of the challenger alone is asked: soundness, rows, floors, the
    naive forecast, time of an answer and size.

    Args:
        evidence: rows predicted by both models, and what else was found out.
        release: what is asked of a new model.
        targets: the targets of the use case.
        seed: seed of the bootstrap draws.
        n_bootstrap: number of draws.

    Returns:
        The decision with the reason of every condition. It raises nothing: what goes wrong while
        looking is a condition that is not met.
    """
    case = Case(evidence, release, targets, seed, n_bootstrap)
    first = [_look(name, check, case) for name, check in _FIRST.items()]
    failed = next((one for one in first if not one.passed), None)
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
            else _look(name, check, case)
            for name, check in _ON_ROWS.items()
        ),
        *(_look(name, check, case) for name, check in _MEASURED.items()),
    )
    decision = _decide(conditions, may_skip=set() if failed else {*skipped})
    numbers = _numbers(case, conditions)
    return Verdict(decision, _reason(decision, conditions, numbers), conditions, numbers)


def _look(name: str, check: Check, case: Case) -> Condition:
    try:
        result = check(case)
    except Exception as error:  # whatever it is: what could not be looked at is not met
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        result = Condition(name, False, f"{name} cannot be looked at: {kind}{error}")
    return replace(result, reason=" ".join(result.reason.split()), numbers=_plain(result.numbers))


def _decide(conditions: tuple[Condition, ...], may_skip: set[str]) -> Decision:
    if any(one.passed is False and one.rejects for one in conditions):
        return "REJECT"
    needed = [one for one in conditions if one.name not in may_skip]
    return "PROMOTE" if all(one.passed is True for one in needed) else "HOLD"


def _numbers(case: Case, conditions: tuple[Condition, ...]) -> dict[str, Any]:
    """What a reader looks for first, out of the numbers of the conditions."""
    by_name = {one.name: one.numbers for one in conditions}
    numbers = {**by_name["gain"], **by_name["proof"], **by_name["rows"]}
    try:
        result = case.gain
        numbers["smallest_gain"] = smallest_gain(result, case.release.min_gain)
    except Exception:  # no champion, or no rows that can be compared: the conditions say which
        numbers["smallest_gain"] = None
    numbers |= {"latency_ms": case.evidence.latency_ms, "size_mb": case.evidence.size_mb}
    numbers |= {"seed": case.seed, "n_bootstrap": case.n_bootstrap}
    return _plain(numbers)


def _reason(decision: Decision, conditions: tuple[Condition, ...], numbers: dict[str, Any]) -> str:
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
    smallest = numbers["smallest_gain"]
    if decision == "HOLD" and smallest is not None:
        text += f"; these rows could have shown a gain above {percent(smallest)}"
    return f"{'Refused' if decision == 'REJECT' else 'Held back'}: {text}."


def _plain(value: Any) -> Any:
    """A value as JSON has it; numbers that are not finite become ``None``."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
