"""The gate: whether a challenger takes over from the champion. Pure functions of the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ratchet.params import Release, Target
from ratchet.release.conditions import Condition
from ratchet.release.evidence import Evidence, Rows, hash_keys

__all__ = ["Condition", "Evidence", "Rows", "Verdict", "hash_keys", "judge"]

Decision = Literal["PROMOTE", "HOLD", "REJECT"]


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
    evidence: Evidence, release: Release, targets: Mapping[str, Target], seed: int
) -> Verdict:
    """Decide whether the challenger takes over.

    Args:
        evidence: rows scored by both models, and what else was checked and measured.
        release: what is asked of a new model.
        targets: the targets of the use case.
        seed: seed of the bootstrap draws.
    """
    raise NotImplementedError
