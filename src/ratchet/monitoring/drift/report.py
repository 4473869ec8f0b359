"""What is said of a window: every column, all together, and how serious it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ratchet.json_values import json_or_null

Severity = Literal["NONE", "LOW", "MEDIUM", "HIGH"]

EXIT_CODES: dict[Severity, int] = {"NONE": 0, "LOW": 0, "MEDIUM": 3, "HIGH": 4}
"""How a command ends that looked for a drift."""


@dataclass(frozen=True)
class StatisticResult:
    """A statistic of the window.

    Attributes:
        value: the statistic.
        threshold: what it would have to exceed.
        moved: whether it does; missing values also by becoming rarer.
    """

    value: float
    threshold: float
    moved: bool


@dataclass(frozen=True)
class ColumnDrift:
    """Result of the drift tests of a column.

    Attributes:
        kind: ``number``, ``category`` or ``list``; ``all`` of the joint test.
        statistics: name -> the statistic; ``psi``, ``unseen`` and ``missing`` of every kind,
            ``ks`` and ``wasserstein`` of numbers, ``distance`` of the joint test.
        p_value: chance of a window without drift to show as much in any column.
        moved: whether the column counts as drifted.
        importance: share of the summed importance of all columns.
        text: the same in a sentence.
    """

    kind: str
    statistics: dict[str, StatisticResult]
    p_value: float
    moved: bool
    importance: float
    text: str


@dataclass(frozen=True)
class ErrorEvidence:
    """Whether the predictions became worse.

    Attributes:
        worse: whether they did.
        kind: ``measured`` against known truth, or ``estimated`` from the predictions alone.
        text: what was compared, in a sentence.
        numbers: the figures behind it.
    """

    worse: bool
    kind: Literal["measured", "estimated"]
    text: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DriftReport:
    """A window against the reference.

    Attributes:
        severity: NONE; LOW, inputs have moved; MEDIUM, for several windows or on a column that
            matters; HIGH, the error is worse.
        alarm: whether any column, or all together, moved.
        p_value: chance of a window without drift to look like this.
        reasons: why the severity is what it is.
        rows: rows of ``reference`` and ``current``.
        span: first and last time of the window; empty without time.
        columns: name -> its result, the most unusual first.
        joint: all columns together.
        calibration: how thresholds were found.
        left_out: column -> why it was not looked at.
        error: whether predictions became worse, where that is known.
    """

    severity: Severity
    alarm: bool
    p_value: float
    reasons: list[str]
    rows: dict[str, int]
    span: list[str]
    columns: dict[str, ColumnDrift]
    joint: ColumnDrift
    calibration: dict[str, Any]
    left_out: dict[str, str]
    error: ErrorEvidence | None = None

    @property
    def moved(self) -> list[str]:
        """Columns that moved."""
        return [name for name, column in self.columns.items() if column.moved]

    @property
    def exit_code(self) -> int:
        """How a command ends: 0, or 3 for MEDIUM and 4 for HIGH."""
        return EXIT_CODES[self.severity]

    def to_json(self) -> dict[str, Any]:
        """The report as plain values; what is not finite becomes null."""
        return json_or_null({**asdict(self), "moved": self.moved})


def judge(
    columns: Mapping[str, ColumnDrift],
    joint: ColumnDrift,
    error: ErrorEvidence | None,
    earlier: Sequence[DriftReport | Mapping[str, Any]],
    *,
    persistent: int,
    important: float,
) -> tuple[Severity, list[str]]:
    """Say how serious it is, and why.

    Args:
        columns: result of every column.
        joint: result of all together.
        error: whether predictions became worse, where that is known.
        earlier: reports of the windows before, oldest first, as objects or as JSON.
        persistent: windows in a row, this one counted, from which a drift lasts.
        important: share of the importance from which a column matters.
    """
    moved = [name for name, column in columns.items() if column.moved]
    reasons = [columns[name].text for name in moved]
    if joint.moved:
        reasons.append(joint.text)
    severity: Severity = "LOW" if reasons else "NONE"
    before = [_alarmed(report) for report in earlier[-(persistent - 1) :]]
    if reasons and len(before) == persistent - 1 and all(before):
        severity = "MEDIUM"
        reasons.append(f"Inputs have moved in {persistent} windows in a row.")
    for name in moved:
        if columns[name].importance >= important:
            severity = "MEDIUM"
            share = f"{columns[name].importance:.0%}"
            reasons.append(f"{name} carries {share} of what the model lives on.")
    if error is not None and error.worse:
        if not reasons:
            reasons.append("Predictions are worse while inputs have not been found to move.")
        severity = "HIGH"
        reasons.append(error.text)
    return severity, reasons


def _alarmed(report: DriftReport | Mapping[str, Any]) -> bool:
    return report.alarm if isinstance(report, DriftReport) else bool(report["alarm"])
