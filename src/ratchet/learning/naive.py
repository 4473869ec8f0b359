"""Naive forecasts as estimators: what every other forecast has to beat.

They learn nothing. The forecasts are columns of the rows, told in the terms in which the target is
learned, and each estimator picks its own.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data


class _Naive(RegressorMixin, BaseEstimator):
    """Picks a column of the rows."""

    def column(self) -> str:
        """Name of the column that it picks."""
        raise NotImplementedError

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Make sure that the forecast is among the columns of ``X``; ``y`` is not looked at.

        Raises:
            ValueError: it is not; names those that are.
        """
        validate_data(self, X, skip_check_array=True)
        self._pick(X)
        return self

    def predict(self, X: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Give the forecast of every row: shape (n,)."""
        check_is_fitted(self)
        validate_data(self, X, skip_check_array=True, reset=False)
        return self._pick(X)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def _pick(self, X: Any) -> npt.NDArray[np.float64]:
        if not isinstance(X, pd.DataFrame):
            raise ValueError(f"X must be a DataFrame, whose columns have names, not {type(X)}")
        name = self.column()
        if name not in X.columns:
            naive = [column for column in X.columns if str(column).startswith("naive_")]
            raise ValueError(f"there is no naive forecast '{name}'; the rows have {naive}")
        values: npt.NDArray[np.float64] = X[name].to_numpy(dtype=np.float64)
        return values


class Persistence(_Naive):
    """The last value that is known: the forecast of a random walk."""

    def column(self) -> str:
        """Name of the column that it picks."""
        return "naive_persistence"


class SeasonalNaive(_Naive):
    """The value one season before, or as many seasons as lie behind the origin.

    Args:
        season: steps of another season than the one of the use case, of which the rows hold a
            forecast.
    """

    def __init__(self, *, season: int | None = None) -> None:
        self.season = season

    def column(self) -> str:
        """Name of the column that it picks."""
        return "naive_seasonal" if self.season is None else f"naive_seasonal_{self.season}"
