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
from ratchet.preparation.measured import Measured, join_measured
from ratchet.preparation.needs import Needs
from ratchet.preparation.parts import (
    SPLITS,
    check_parts,
    count_not_learned,
    count_train,
    count_truth,
    part_of,
    truth_of,
)
from ratchet.preparation.past import PastChanges, changed_values, compare_past
from ratchet.preparation.rows import row_features
from ratchet.preparation.steps import lay_out_steps, only_target
from ratchet.preparation.views import SERIES, make_views, panel
from ratchet.preparation.windows import series_statistics, window_features

__all__ = [
    "SERIES",
    "SPLITS",
    "Measured",
    "Needs",
    "PastChanges",
    "add_columns",
    "changed_values",
    "check_market",
    "check_numbers",
    "check_parts",
    "check_training",
    "check_windows",
    "compare_past",
    "count_not_learned",
    "count_train",
    "count_truth",
    "derive_columns",
    "features_of",
    "join_measured",
    "lay_out_steps",
    "make_views",
    "only_target",
    "panel",
    "part_of",
    "read_day",
    "row_features",
    "row_hashes",
    "series_statistics",
    "truth_of",
    "typed_fields",
    "typed_rows",
    "window_features",
]
