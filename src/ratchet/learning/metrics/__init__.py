"""Scores of a model, each with its bootstrap interval.

Every metric here is a function of means of per-row statistics: accuracy of the mean of the hits,
F1 of the mean one-hot rows of truth, prediction and hit, R2 of the means of y, y^2 and (y - p)^2.
Drawing rows anew only re-weights these means, so a bootstrap draw is one product of row counts
with the table of statistics, and all metrics share the draws. For series the table is first
summed by time stamp, and what is drawn is runs of consecutive time stamps.
"""

from ratchet.learning.metrics.blocks import (
    NoSpreadError,
    ResamplingUnits,
    autocorrelation_bound,
    block_length,
    captured_variance,
    long_block_length,
    resampling_units,
)
from ratchet.learning.metrics.bootstrap import bootstrap_means, bounds
from ratchet.learning.metrics.calibration import calibration_table, expected_calibration_error
from ratchet.learning.metrics.diebold import diebold_mariano, losses
from ratchet.learning.metrics.forecasts import score_forecast
from ratchet.learning.metrics.names import (
    SCORERS,
    find_metric,
    from_scorer,
    greater_is_better,
    is_better,
    scorer_of,
    scorers,
)
from ratchet.learning.metrics.paired import (
    Gain,
    influence_values,
    paired_difference,
    paired_gain,
    paired_gain_of_arrays,
    relative_to_baseline,
)
from ratchet.learning.metrics.rows import classification_rows, entities_from_keys, forecast_rows
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
from ratchet.learning.metrics.tidy import check_same_rows, score_all, score_rows, tidy_rows

__all__ = [
    "CLASSIFICATION",
    "FORECASTING",
    "METRICS",
    "PER_CLASS",
    "REGRESSION",
    "SCORERS",
    "Gain",
    "Metric",
    "NoSpreadError",
    "ResamplingUnits",
    "Scores",
    "autocorrelation_bound",
    "block_length",
    "bootstrap_means",
    "bounds",
    "calibration_table",
    "captured_variance",
    "check_class_names",
    "check_same_rows",
    "classification_rows",
    "confusion",
    "diebold_mariano",
    "entities_from_keys",
    "expected_calibration_error",
    "find_metric",
    "forecast_rows",
    "from_scorer",
    "greater_is_better",
    "influence_values",
    "is_better",
    "long_block_length",
    "losses",
    "paired_difference",
    "paired_gain",
    "paired_gain_of_arrays",
    "relative_to_baseline",
    "resampling_units",
    "score_all",
    "score_classification",
    "score_forecast",
    "score_regression",
    "score_rows",
    "scorer_of",
    "scorers",
    "tidy_rows",
]
