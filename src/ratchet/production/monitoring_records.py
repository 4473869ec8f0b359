"""What the steps of monitoring hand on to one another, as it is stored in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

Trouble = TypedDict("Trouble", {"with": str, "wrong": str})
"""Why the champion did not answer: ``with`` is ``bundle`` or ``data``, ``wrong`` what is wrong."""


NOTHING_SERVED = (
    "no version was serving yet when monitoring ran; one that was promoted since is looked at from "
    "the next run on (kedro run --pipelines monitoring)"
)
"""Why a first run, whose release comes beside its monitoring, says nothing of production."""


class ScoredPeriod(TypedDict):
    """What was answered: by which version, since when its rows count, how many rows now."""

    version: str | None
    since: str | None
    rows: int
    trouble: Trouble | None


class DriftOutcome(TypedDict):
    """``DriftReport.to_json``; or why there is none, and whether the comparison failed."""

    report: Mapping[str, Any] | None
    why: str
    failed: bool


class AssessmentRecord(TypedDict):
    """What is to be done about the champion, and the figures behind it by target.

    ``expect`` is the number of the newest decision in the ledger when it was assessed.
    """

    action: str
    reason: str
    numbers: Mapping[str, Any]
    windows: Mapping[str, Sequence[Mapping[str, Any]]]
    distributions: Mapping[str, Sequence[Mapping[str, Any]]]
    alerts: Sequence[Mapping[str, Any]]
    expect: NotRequired[int]
