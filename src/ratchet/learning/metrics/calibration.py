"""Calibration: whether events given 80 % happen in 80 % of the cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.rows import classification_rows

if TYPE_CHECKING:
    import pandas as pd


def calibration_table(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str], n_bins: int = 10
) -> pd.DataFrame:
    """Compare predicted probabilities with observed shares, class by class.

    Args:
        truth: labels, shape (n,).
        probabilities: shape (n, n_classes), columns in the order of ``classes``.
        classes: the labels that can occur.
        n_bins: bins of equal count per class; equal probabilities share a bin, so that with many
            ties there are fewer bins.

    Returns:
        One row per class and bin that has rows, in order of probability: ``class``,
        ``mean_probability``, ``observed_share``, ``count``.

    Raises:
        ValueError: as ``score_classification``, or ``n_bins`` below 1.
    """
    import pandas as pd

    hits, predicted = classification_rows(truth, probabilities, classes)
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, not {n_bins}")
    n_rows = len(predicted)
    bins = np.floor((pd.DataFrame(predicted).rank().to_numpy() - 0.5) * n_bins / n_rows)
    long = pd.DataFrame(
        {
            "class": np.tile(np.arange(len(classes)), n_rows),
            "bin": bins.ravel(),
            "mean_probability": predicted.ravel(),
            "observed_share": hits.ravel(),
        }
    )
    groups = long.groupby(["class", "bin"])
    table = groups.mean().assign(count=groups.size()).reset_index().drop(columns="bin")
    return table.assign(**{"class": [classes[code] for code in table["class"]]})


def expected_calibration_error(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str], n_bins: int = 10
) -> float:
    """Average the gap between predicted probability and observed share over classes and bins.

    The class-wise form (Kull et al. 2019) with bins of equal count (Nixon et al. 2019): the gaps
    of ``calibration_table`` weighted by their counts. 0 is perfect; with few rows per bin even a
    perfect model shows sampling noise.

    Args:
        truth: labels, shape (n,).
        probabilities: shape (n, n_classes), columns in the order of ``classes``.
        classes: the labels that can occur.
        n_bins: bins of equal count per class.

    Returns:
        A share between 0 and 1.

    Raises:
        ValueError: as ``calibration_table``.
    """
    table = calibration_table(truth, probabilities, classes, n_bins)
    gap = (table["mean_probability"] - table["observed_share"]).abs()
    return float(np.average(gap.to_numpy(), weights=table["count"].to_numpy()))
