"""Functions of the use case ``prices``."""

from __future__ import annotations

import numpy as np
import pandas as pd


def select_ticker(frame: pd.DataFrame, *, column: str, ticker: str) -> pd.DataFrame:
    """Rows of one share.

    Raises:
        ValueError: there is none; names those that there are.
    """
    rows = frame[frame[column] == ticker]
    if rows.empty:
        raise ValueError(f"no ticker '{ticker}'; the file has {sorted(frame[column].unique())}")
    return rows


def log_range(frame: pd.DataFrame, *, high: str, low: str) -> pd.Series:
    """How far the price went on a day: logarithm of the highest over the lowest price."""
    return np.log(frame[high]).sub(np.log(frame[low]))
