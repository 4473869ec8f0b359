"""The conditions of the gate, one function each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
