"""Scores of a model, each with its bootstrap interval.

Every metric here is a function of means of per-row statistics: accuracy of the mean of the hits,
F1 of the mean one-hot rows of truth, prediction and hit, R2 of the means of y, y^2 and (y - p)^2.
Drawing rows anew only re-weights these means, so a bootstrap draw is one product of row counts
with the table of statistics, and all metrics share the draws. For series the table is first
summed by time stamp, and what is drawn is runs of consecutive time stamps.
"""

from ratchet.learning.metrics.bootstrap import block_length, bootstrap_means
from ratchet.learning.metrics.calibration import calibration_table, expected_calibration_error
from ratchet.learning.metrics.forecasts import paired_difference, score_forecast
from ratchet.learning.metrics.names import (
    SCORERS,
    from_scorer,
    greater_is_better,
    is_better,
    scorers,
)
from ratchet.learning.metrics.rows import forecast_rows
from ratchet.learning.metrics.scores import (
    Scores,
    check_class_names,
    confusion,
    score_classification,
    score_regression,
)
from ratchet.learning.metrics.table import (
    CLASSIFICATION,
    FORECASTING,
    METRICS,
    PER_CLASS,
    REGRESSION,
    Metric,
)

__all__ = [
    "CLASSIFICATION",
    "FORECASTING",
    "METRICS",
    "PER_CLASS",
    "REGRESSION",
    "SCORERS",
    "Metric",
    "Scores",
    "block_length",
    "bootstrap_means",
    "calibration_table",
    "check_class_names",
    "confusion",
    "expected_calibration_error",
    "forecast_rows",
    "from_scorer",
    "greater_is_better",
    "is_better",
    "paired_difference",
    "score_classification",
    "score_forecast",
    "score_regression",
    "scorers",
]
