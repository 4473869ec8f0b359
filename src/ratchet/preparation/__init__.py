"""From raw rows to features: the same code for training, scoring and answering.

``typed_rows`` applies the contract of the raw file; ``row_features`` and ``window_features`` make
features of prepared rows, as the pipelines do for training; ``features_of`` makes them of any rows,
whether or not their targets are known yet.
"""

from ratchet.preparation.answering import features_of
from ratchet.preparation.checks import (
    check_market,
    check_numbers,
    check_training,
    check_windows,
)
from ratchet.preparation.columns import add_columns, derive_columns
from ratchet.preparation.contract import read_day, typed_fields, typed_rows
from ratchet.preparation.fingerprints import row_hashes
from ratchet.preparation.observed_rows import MeasuredRow, add_measured_rows
from ratchet.preparation.required_columns import RequiredColumns
from ratchet.preparation.revisions import Revisions, concat_changes, find_revisions
from ratchet.preparation.rows import row_features
from ratchet.preparation.splits import (
    SPLITS,
    assign_splits,
    check_splits,
    count_not_learned,
    count_train_steps,
    count_truth,
    has_truth,
)
from ratchet.preparation.steps import lay_out_steps, only_target
from ratchet.preparation.window_columns import SERIES, make_views, panel
from ratchet.preparation.windows import series_statistics, window_features

__all__ = [
    "SERIES",
    "SPLITS",
    "MeasuredRow",
    "RequiredColumns",
    "Revisions",
    "add_columns",
    "add_measured_rows",
    "assign_splits",
    "check_market",
    "check_numbers",
    "check_splits",
    "check_training",
    "check_windows",
    "concat_changes",
    "count_not_learned",
    "count_train_steps",
    "count_truth",
    "derive_columns",
    "features_of",
    "find_revisions",
    "has_truth",
    "lay_out_steps",
    "make_views",
    "only_target",
    "panel",
    "read_day",
    "row_features",
    "row_hashes",
    "series_statistics",
    "typed_fields",
    "typed_rows",
    "window_features",
]
