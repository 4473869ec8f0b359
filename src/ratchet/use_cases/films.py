"""Functions of the use case ``films``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd


def rank_classes(
    frame: pd.DataFrame, *, column: str, within: str, shares: Mapping[str, float], rest: str
) -> pd.Series:
    """Classes by rank among the rows of one group, e.g. the films of one year.

    A class by rank means the same in every decade, which a class by count would not: a film of
    2010 is reviewed ten times as often as one of 1950.

    Args:
        frame: rows with the columns ``column`` and ``within``.
        column: the number to rank; where it is missing, so is the class.
        within: column whose values form the groups.
        shares: class -> share of the group, best class first.
        rest: class of all other rows.

    Returns:
        One class per row, ties sharing their mean rank.

    Raises:
        ValueError: the shares leave nothing for ``rest``.
    """
    if sum(shares.values()) >= 1:
        raise ValueError(f"shares must add up to less than 1, got {dict(shares)}")
    rank = frame[column].groupby(frame[within]).rank(pct=True)
    bounds = 1 - np.cumsum(list(shares.values()))
    # Of 100 films, 10 rank above 0.9; the slack keeps rounding from letting in the eleventh.
    classes = np.select([rank > bound + 1e-9 for bound in bounds], list(shares), rest)
    return pd.Series(classes, index=frame.index).where(frame[column].notna())
