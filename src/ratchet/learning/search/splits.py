"""Validation on the last rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils.validation import _num_samples


class Holdout(BaseCrossValidator):
    """One split: the last rows validate, those before them train.

    Args:
        share: of the rows that validate, between 0 and 1.
        gap: rows left out between the two, such as a horizon, so that no target of a training row
            lies in a window of a validation row.
    """

    def __init__(self, share: float = 0.1, *, gap: int = 0) -> None:
        self.share = share
        self.gap = gap

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Give places of the training and the validation rows, once.

        Raises:
            ValueError: a share or a gap that leaves no rows on a side.
        """
        if not 0 < self.share < 1 or self.gap < 0:
            raise ValueError(
                f"share must lie between 0 and 1 and gap be at least 0, not {self.share!r} and "
                f"{self.gap!r}"
            )
        n = _num_samples(X)
        stop = n - round(self.share * n)
        if stop == n or stop <= self.gap:
            raise ValueError(
                f"a holdout of {self.share} with a gap of {self.gap} leaves no rows on one side "
                f"of the {n} that there are"
            )
        yield np.arange(stop - self.gap), np.arange(stop, n)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """One."""
        return 1
