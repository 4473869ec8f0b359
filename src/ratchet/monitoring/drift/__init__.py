"""Whether the rows of today are like those that a model learned from.

``detect`` compares, ``scenarios.apply`` makes a change on purpose, ``scenario_effect`` says what it
does to the predictions, and ``draw`` shows it.
"""

from ratchet.monitoring.drift.detect import detect
from ratchet.monitoring.drift.report import ColumnDrift, DriftReport, ErrorEvidence, StatisticResult

__all__ = ["ColumnDrift", "DriftReport", "ErrorEvidence", "StatisticResult", "detect"]
