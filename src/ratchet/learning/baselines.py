"""Simple forecasts that every model has to beat, of series and segments, and features of segments.

``Persistence`` and ``SeasonalNaive`` learn nothing: the naive forecasts are columns of the rows, in
the scaling in which the target is learned, and each estimator returns one of them.

The other estimators see the columns of ``features.market.MarketEncoder``: ``segment`` (a code from
0, such as a product at a merchant; -1 for one that training has not seen), ``step`` and
``log_price``.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from ratchet.learning.features.market import market_columns


class _Naive(RegressorMixin, BaseEstimator):
    """Returns a column of the rows as the forecast."""

    def column(self) -> str:
        """Name of the column that is the forecast."""
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
        """Name of the column that is the forecast."""
        return "naive_persistence"


class SeasonalNaive(_Naive):
    """The value one season before, or as many seasons as are needed to reach the origin.

    Args:
        season: steps of another season than the one of the use case, of which the rows hold a
            forecast.
    """

    def __init__(self, *, season: int | None = None) -> None:
        self.season = season

    def column(self) -> str:
        """Name of the column that is the forecast."""
        return "naive_seasonal" if self.season is None else f"naive_seasonal_{self.season}"


Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class _OfSegments(RegressorMixin, BaseEstimator):
    """Predicts one value per segment, learned from its training rows.

    Attributes:
        values_: prediction by code of the segment, that of new ones last, shape (S + 1,).
    """

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Learn from rows with ``segment`` and ``step``, and targets of shape (n,)."""
        target, rows = _checked(self, X, y)
        self.values_ = self._learn(rows, target)
        return self

    def predict(self, X: pd.DataFrame) -> Array:
        """Give the value of each row's segment: shape (n,)."""
        check_is_fitted(self)
        validate_data(self, X, skip_check_array=True, reset=False)
        return self.values_[segment_codes(X, len(self.values_) - 1)]

    def _learn(self, rows: pd.DataFrame, target: Array) -> Array:
        raise NotImplementedError


class SegmentMean(_OfSegments):
    """The mean of the segment in training."""

    def _learn(self, rows: pd.DataFrame, target: Array) -> Array:
        return segment_means(rows["segment"], target)


class LastValue(_OfSegments):
    """The last value of the segment in training: the forecast of a random walk."""

    def _learn(self, rows: pd.DataFrame, target: Array) -> Array:
        order = np.argsort(rows["step"].to_numpy(), kind="stable")
        last = pd.Series(target[order]).groupby(rows["segment"].to_numpy()[order]).last()
        values: Array = np.asarray(last, dtype=np.float64)
        return segment_means(pd.Series(last.index), values)


class SeasonalValue(RegressorMixin, BaseEstimator):
    """The latest value of the segment at the same time of a season, else its last value.

    Args:
        season: steps of a season; 0 for none.

    Attributes:
        table_: by code of the segment and step of the season, that of new segments last, shape
            (S + 1, season).
    """

    def __init__(self, *, season: int = 52) -> None:
        self.season = season

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Learn from rows with ``segment`` and ``step``, and targets of shape (n,)."""
        target, rows = _checked(self, X, y)
        order = np.argsort(rows["step"].to_numpy(), kind="stable")
        last = LastValue().fit(rows, target).values_
        self.table_: Array = np.repeat(last[:, None], max(self.season, 1), axis=1)
        segment = segment_codes(rows.iloc[order], len(last) - 1)
        self.table_[segment, season_step(rows.iloc[order], self.season)] = target[order]
        return self

    def predict(self, X: pd.DataFrame) -> Array:
        """Give the value of each row's segment at its step: shape (n,)."""
        check_is_fitted(self)
        validate_data(self, X, skip_check_array=True, reset=False)
        return self.table_[segment_codes(X, len(self.table_) - 1), season_step(X, self.season)]


class SegmentColumns(TransformerMixin, BaseEstimator):
    """Adds features for trees: the step of the season, and deviations from the mean of the segment.

    Where trees tell segments by the code alone, neighbours in the alphabet share their leaves; the
    usual price puts those together that sell at a similar one. Added are each covariate less its
    mean in the segment, the step of the season, the usual log price, and the log price less that.

    Args:
        period: steps of a season; 0 for none.
        steps: whether the number of the step stays among the columns. With it trees expect that
            the latest steps continue, without it as in all steps.

    Attributes:
        centre_: mean log price by code of the segment, that of new ones last, shape (S + 1,).
        covariate_centre_: means of the C covariates, shape (S + 1, C).
    """

    def __init__(self, *, period: int = 52, steps: bool = True) -> None:
        self.period = period
        self.steps = steps

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Learn the mean log price and the mean covariates of each segment."""
        validate_data(self, X, skip_check_array=True)
        rows = X[_has_code(X)]
        self.centre_, *means = (
            segment_means(rows["segment"], rows[name].to_numpy(dtype=np.float64))
            for name in ("log_price", *covariates_of(X))
        )
        self.covariate_centre_ = np.column_stack([np.empty((len(self.centre_), 0)), *means])
        return self

    def transform(self, X: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Return the columns as numbers, and C + 3 more: shape (n, columns)."""
        check_is_fitted(self)
        validate_data(self, X, skip_check_array=True, reset=False)
        at = segment_codes(X, len(self.centre_) - 1)
        price, usual = X["log_price"].to_numpy(dtype=np.float64), self.centre_[at]
        unusual = X[covariates_of(X)].to_numpy(dtype=np.float64) - self.covariate_centre_[at]
        as_they_are = X if self.steps else X.drop(columns="step")
        more = [unusual, season_step(X, self.period), usual, price - usual]
        return np.column_stack([as_they_are.to_numpy(dtype=np.float64), *more])


def covariates_of(X: pd.DataFrame) -> list[str]:
    """Columns of a market that are neither codes nor step nor price."""
    return [str(name) for name in X.columns if name not in market_columns(())]


def segment_codes(X: pd.DataFrame, new: int) -> Codes:
    """Code of the segment of each row, ``new`` where it is none of those before it."""
    code = X["segment"].to_numpy(dtype=np.float64)
    return np.where((code >= 0) & (code < new), code, new).astype(np.int64)


def season_step(X: pd.DataFrame, season: int) -> Codes:
    """Step of the season of each row, from 0."""
    step: Array = X["step"].to_numpy(dtype=np.float64)
    phase: Codes = np.mod(step, max(season, 1)).astype(np.int64)
    return phase


def segment_means(segment: pd.Series, values: Array) -> Array:
    """Means by code of the segment; that of all rows for those without a row, and last."""
    code = segment.to_numpy().astype(np.int64)
    count = np.bincount(code)
    with np.errstate(invalid="ignore"):
        means = np.bincount(code, values) / count
    return np.append(np.where(count > 0, means, values.mean()), values.mean())


def _checked(model: Any, X: Any, y: npt.ArrayLike) -> tuple[Array, pd.DataFrame]:
    if not isinstance(X, pd.DataFrame) or not {"segment", "step"} <= set(X.columns):
        raise ValueError("X must be a DataFrame with the columns 'segment' and 'step' of a market")
    validate_data(model, X, skip_check_array=True)
    target: Array = column_or_1d(y, dtype=np.float64)
    check_consistent_length(X, target)
    coded = _has_code(X)
    return target[coded], X[coded]


def _has_code(X: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which rows are of segments that had a code when the encoder was fitted.

    A model that is fitted once more on later rows can meet segments that began after that.
    """
    coded: npt.NDArray[np.bool_] = (X["segment"] >= 0).to_numpy()
    if not coded.any():
        raise ValueError("column 'segment' must hold codes from 0 in training: all are below")
    return coded
