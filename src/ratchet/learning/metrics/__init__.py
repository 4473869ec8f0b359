"""Scores of a model, each with its bootstrap interval.

Every metric here is a function of means of per-row statistics: accuracy of the mean of the hits,
F1 of the mean one-hot rows of truth, prediction and hit, R2 of the means of y, y^2 and (y - p)^2.
Drawing rows anew only re-weights these means, so a bootstrap draw is one product of row counts
with the table of statistics, and all metrics share the draws.
"""

from ratchet.learning.metrics.calibration import calibration_table, expected_calibration_error
from ratchet.learning.metrics.scores import (
    Scores,
    bootstrap_means,
    check_class_names,
    confusion,
    score_classification,
    score_regression,
)
from ratchet.learning.metrics.table import (
    CLASSIFICATION,
    PER_CLASS,
    REGRESSION,
    SCORERS,
    Metric,
    from_scorer,
    greater_is_better,
    is_better,
)

__all__ = [
    "CLASSIFICATION",
    "PER_CLASS",
    "REGRESSION",
    "SCORERS",
    "Metric",
    "Scores",
    "bootstrap_means",
    "calibration_table",
    "check_class_names",
    "confusion",
    "expected_calibration_error",
    "from_scorer",
    "greater_is_better",
    "is_better",
    "score_classification",
    "score_regression",
]
