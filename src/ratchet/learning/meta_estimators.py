"""Estimators around others: relative, unscaled, logarithmic targets, residuals, paths, weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import column_or_1d, get_tags
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

Array = npt.NDArray[np.float64]

_DIGITS = 1e-12
"""Share of level and scale below which a target in units is 0 but for rounding."""

_BASE_FOLDS = 3
"""Folds of the predictions of a base that the regressor of its residuals learns from."""


def _has_intervals(model: RelativeRegressor | LogRegressor) -> bool:
    return hasattr(getattr(model, "estimator_", model.estimator), "predict_with_interval")


class RelativeRegressor(RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """A regressor that learns ``(y - level) / scale``, with both read from columns of the row.

    With the last value as level and 1 as scale it learns the change, with the last value as both
    the return, with 0 and the typical error of a naive forecast a target that means the same in
    series of any size. Trees cannot leave the range of the targets they saw; relative to a level
    they can follow a trend.

    Args:
        estimator: regressor of the relative target. It sees all columns but ``level`` and
            ``scale``. One in a ``FrozenEstimator`` is fitted already, on relative targets; it sees
            them, too, where it knows them by name, as an ``UnscaledRegressor`` does.
        level: name of the column with the level, in units of the target.
        scale: name of the column with the scale, in units of the target, greater than 0.
        bounds: range of the target (low, high) to which predictions and intervals are clipped;
            ``None`` for no bounds.

    Attributes:
        estimator_: the fitted regressor of the relative target.
        n_features_in_: number of columns of ``X``, level and scale included.
        feature_names_in_: their names.
    """

    def __init__(
        self,
        *,
        estimator: BaseEstimator,
        level: str,
        scale: str,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        self.estimator = estimator
        self.level = level
        self.scale = scale
        self.bounds = bounds

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Fit the estimator on the relative target.

        Args:
            X: rows with the columns ``level`` and ``scale``, length n.
            y: targets, shape (n,), in their own units.

        Raises:
            ValueError: ``X`` is no frame, lacks a column or has a scale that is not positive;
                lengths differ; or targets, levels or scales are not finite.
        """
        features, level, scale = self._parts(X, reset=True)
        target: Array = column_or_1d(y, dtype=np.float64, warn=True)
        check_consistent_length(X, target)
        assert_all_finite(target, input_name="y")
        self.estimator_ = clone(self.estimator).fit(features, (target - level) / scale)
        return self

    def predict(self, X: pd.DataFrame) -> Array:
        """Predict the target: shape (n,), in its own units."""
        check_is_fitted(self)
        features, level, scale = self._parts(X)
        relative: Array = column_or_1d(self.estimator_.predict(features), dtype=np.float64)
        return self._clip(level + scale * relative)

    @available_if(_has_intervals)  # type: ignore[untyped-decorator]
    def predict_interval(self, X: pd.DataFrame) -> Array:
        """Give lower and upper end for each row: shape (n, 2), in units of the target.

        There only when the estimator has intervals, as a ``ConformalRegressor`` does.
        """
        ends: Array = self.predict_with_interval(X)[:, 1:]
        return ends

    @available_if(_has_intervals)  # type: ignore[untyped-decorator]
    def predict_with_interval(self, X: pd.DataFrame) -> Array:
        """Give prediction, lower and upper end for each row by asking the estimator once.

        Returns:
            Shape (n, 3), in units of the target.
        """
        check_is_fitted(self)
        features, level, scale = self._parts(X)
        relative: Array = np.asarray(
            self.estimator_.predict_with_interval(features), dtype=np.float64
        )
        return self._clip(level[:, None] + scale[:, None] * relative)

    def _clip(self, values: Array) -> Array:
        return values if self.bounds is None else np.clip(values, *self.bounds)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = get_tags(self.estimator).input_tags.allow_nan
        return tags

    def _parts(self, X: pd.DataFrame, *, reset: bool = False) -> tuple[pd.DataFrame, Array, Array]:
        level, scale = _level_and_scale(self, X, reset=reset)
        known = getattr(self.estimator, "feature_names_in_", ())
        unseen = [name for name in (self.level, self.scale) if name not in known]
        return X.drop(columns=unseen), level, scale


def _level_and_scale(
    model: RelativeRegressor | UnscaledRegressor, X: pd.DataFrame, *, reset: bool
) -> tuple[Array, Array]:
    """Level and scale of every row, shape (n,) each, after a check of both columns."""
    if not isinstance(X, pd.DataFrame):
        raise ValueError(f"X must be a DataFrame, whose columns have names, not {type(X)}")
    missing = [name for name in (model.level, model.scale) if name not in X.columns]
    if missing:
        raise ValueError(f"X lacks the columns {missing} that level and scale name")
    validate_data(model, X, skip_check_array=True, reset=reset)
    terms = []
    for name in (model.level, model.scale):
        values: Array = X[name].to_numpy(dtype=np.float64)
        assert_all_finite(values, input_name=f"column '{name}'")
        terms.append(values)
    level, scale = terms
    if (scale <= 0).any():
        first = int(np.argmax(scale <= 0))
        raise ValueError(
            f"column '{model.scale}' must be greater than 0: {int((scale <= 0).sum())} rows are "
            f"not, the first one is '{X.index[first]}' with {scale[first]}"
        )
    return level, scale


class UnscaledRegressor(RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """A regressor of ``(y - level) / scale`` whose estimator learns ``y``, from inputs in units.

    Scaled targets let one model learn from series of any size. Trees that are pooled over series in
    their own units can tell small series from large ones at every split, and the loss of the
    estimator is one of units: an absolute error weighs a series by its size, and Poisson and
    Tweedie losses get counts. What goes in and what comes out stays scaled, so that it can be
    calibrated, compared and combined like any other regressor of the same target.

    Args:
        estimator: regressor of the target in units. It sees all columns but ``level`` and
            ``scale``, as a frame.
        by_level: names of the columns that are scaled like the target, ``(x - level) / scale``.
        by_scale: names of the columns that are divided by the scale alone, as a spread is.
        level: name of the column with the level, in units of the target.
        scale: name of the column with the scale, in units of the target, greater than 0.

    Attributes:
        estimator_: the fitted regressor in units.
        n_features_in_: number of columns of ``X``, level and scale included.
        feature_names_in_: their names.
    """

    def __init__(
        self,
        *,
        estimator: BaseEstimator,
        by_level: Sequence[str] = (),
        by_scale: Sequence[str] = (),
        level: str = "series_level",
        scale: str = "series_scale",
    ) -> None:
        self.estimator = estimator
        self.by_level = by_level
        self.by_scale = by_scale
        self.level = level
        self.scale = scale

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Fit the estimator in units of the target.

        Args:
            X: rows with the columns ``level`` and ``scale``, length n.
            y: targets, shape (n,), relative to the level and in scales.

        Raises:
            ValueError: ``X`` is no frame, lacks a column or has a scale that is not positive;
                lengths differ; or targets, levels or scales are not finite.
        """
        features, level, scale = self._in_units(X, reset=True)
        relative: Array = column_or_1d(y, dtype=np.float64, warn=True)
        check_consistent_length(X, relative)
        assert_all_finite(relative, input_name="y")
        target = level + scale * relative
        # What cannot be below 0 is so but for a digit: a Poisson loss would not take it.
        target[np.abs(target) < _DIGITS * (np.abs(level) + scale)] = 0.0
        self.estimator_ = clone(self.estimator).fit(features, target)
        return self

    def predict(self, X: pd.DataFrame) -> Array:
        """Predict the relative target: shape (n,)."""
        check_is_fitted(self)
        features, level, scale = self._in_units(X)
        return (_column(self.estimator_, features) - level) / scale

    def _in_units(
        self, X: pd.DataFrame, *, reset: bool = False
    ) -> tuple[pd.DataFrame, Array, Array]:
        level, scale = _level_and_scale(self, X, reset=reset)
        features = X.drop(columns=[self.level, self.scale])
        named = [*self.by_level, *self.by_scale]
        if missing := [name for name in named if name not in features]:
            raise ValueError(f"X lacks the columns {missing} that by_level and by_scale name")
        values = features[named].to_numpy(dtype=np.float64) * scale[:, None]
        values[:, : len(self.by_level)] += level[:, None]
        return features.assign(**dict(zip(named, values.T, strict=True))), level, scale

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = get_tags(self.estimator).input_tags.allow_nan
        return tags


class LogRegressor(RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """A regressor that learns the logarithm of a target above 0.

    Errors count as shares: half as much and twice as much are equally wrong. What it predicts is
    the exponential of a mean of logarithms, which is nearer to the median of the target than to its
    mean. An interval of the estimator, as wide above as below, becomes one that ends as many times
    above the prediction as below.

    Args:
        estimator: regressor of the logarithm. One in a ``FrozenEstimator`` is fitted already.
        bounds: range of the target (low, high) to which predictions and intervals are clipped;
            ``None`` for no bounds.

    Attributes:
        estimator_: the fitted regressor of the logarithm.
        n_features_in_: number of columns of ``X``.
        feature_names_in_: their names, where they have some.
    """

    def __init__(
        self, *, estimator: BaseEstimator, bounds: tuple[float, float] | None = None
    ) -> None:
        self.estimator = estimator
        self.bounds = bounds

    def fit(self, X: Any, y: npt.ArrayLike) -> Self:
        """Fit the estimator on the logarithm of the targets.

        Args:
            X: rows, length n.
            y: targets, shape (n,), in their own units.

        Raises:
            ValueError: lengths differ, or targets are not finite or not above 0: how many, and the
                first of them.
        """
        validate_data(self, X, skip_check_array=True)
        target: Array = column_or_1d(y, dtype=np.float64, warn=True)
        check_consistent_length(X, target)
        assert_all_finite(target, input_name="y")
        if (target <= 0).any():
            first = int(np.argmax(target <= 0))
            raise ValueError(
                f"y must be greater than 0 to have a logarithm: {int((target <= 0).sum())} values "
                f"are not, the first one, number {first}, is {target[first]}"
            )
        self.estimator_ = clone(self.estimator).fit(X, np.log(target))
        return self

    def predict(self, X: Any) -> Array:
        """Predict the target: shape (n,), in its own units."""
        return self._in_units(self._seen(X).predict(X))

    @available_if(_has_intervals)  # type: ignore[untyped-decorator]
    def predict_interval(self, X: Any) -> Array:
        """Give lower and upper end for each row: shape (n, 2), in units of the target."""
        ends: Array = self.predict_with_interval(X)[:, 1:]
        return ends

    @available_if(_has_intervals)  # type: ignore[untyped-decorator]
    def predict_with_interval(self, X: Any) -> Array:
        """Give prediction, lower and upper end for each row: shape (n, 3)."""
        return self._in_units(self._seen(X).predict_with_interval(X))

    def _seen(self, X: Any) -> Any:
        check_is_fitted(self)
        validate_data(self, X, skip_check_array=True, reset=False)
        return self.estimator_

    def _in_units(self, logs: npt.ArrayLike) -> Array:
        values: Array = np.exp(np.asarray(logs, dtype=np.float64))
        return values if self.bounds is None else np.clip(values, *self.bounds)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        tags.target_tags.positive_only = True
        return tags


class WeightedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """A classifier on class numbers, with ``class_weight`` as row weights.

    Args:
        estimator: classifier whose ``fit`` takes classes 0 to k - 1 and ``sample_weight``.
        class_weight: ``None``, ``"balanced"`` or a mapping class -> weight, as in scikit-learn.
    """

    def __init__(self, estimator: BaseEstimator, *, class_weight: Any = None) -> None:
        self.estimator = estimator
        self.class_weight = class_weight

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit on rows ``X`` of shape (n, features) and classes ``y`` of shape (n,)."""
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        weight = compute_sample_weight(self.class_weight, labels)
        self.estimator_ = clone(self.estimator).fit(X, codes, sample_weight=weight)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Probabilities of shape (n, classes), columns in the order of ``classes_``."""
        check_is_fitted(self)
        # In the precision they were computed in: as float64 they would not quite add up to 1.
        return np.asarray(self.estimator_.predict_proba(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row, shape (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    @property
    def n_features_in_(self) -> int:
        """Number of columns of ``X``."""
        return int(self.estimator_.n_features_in_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


class _ColumnsOfBase:
    """Columns of an estimator whose fitted base, ``base_``, has seen all of them."""

    base_: BaseEstimator

    @property
    def n_features_in_(self) -> int:
        """Number of columns of ``X``, where the base says so."""
        return int(self.base_.n_features_in_)

    @property
    def feature_names_in_(self) -> npt.NDArray[np.object_]:
        """Names of the columns of ``X``, where the base knows them."""
        names: npt.NDArray[np.object_] = self.base_.feature_names_in_
        return names


class ResidualRegressor(_ColumnsOfBase, RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """The sum of a base regressor and one fitted on its residuals.

    Zhang (2003), "Time series forecasting using a hybrid ARIMA and neural network model",
    Neurocomputing 50: a linear model takes what is linear in a series, and a non-linear one what
    remains. The base should generalise, as linear models do: one that knows its rows by heart
    leaves nothing to learn on them. Either may look at columns of its own, as a ``Pipeline`` that
    begins with a ``ColumnTransformer``, or be fitted already, in a ``FrozenEstimator``.

    Args:
        base: the regressor that is fitted on the target.
        estimator: the regressor that is fitted on the target less the base's predictions.
        change_from: name of a column in terms of the target, such as its last value. The estimator
            then also sees by how much the base's prediction differs from it, in the column
            ``base_change``: trees, which split on one column at a time, hardly find a difference of
            columns by themselves. When it is fitted, that column comes from out-of-fold predictions
            of the base, as those for rows that the base was fitted on are too near to the truth;
            its target is the residuals of the fitted base. ``None`` for no such column.

    Attributes:
        base_: the fitted base.
        estimator_: the fitted regressor of the residuals.
    """

    change_from: str | None = None  # models that were stored before it was there have none

    def __init__(
        self, *, base: BaseEstimator, estimator: BaseEstimator, change_from: str | None = None
    ) -> None:
        self.base = base
        self.estimator = estimator
        self.change_from = change_from

    def fit(self, X: Any, y: npt.ArrayLike) -> Self:
        """Fit the base, then the other regressor on its residuals.

        Args:
            X: rows as both regressors take them, length n.
            y: targets, shape (n,).

        Raises:
            ValueError: lengths that differ, targets that are not finite, or ``X`` is no frame with
                the column ``change_from``.
        """
        target: Array = column_or_1d(y, dtype=np.float64, warn=True)
        check_consistent_length(X, target)
        assert_all_finite(target, input_name="y")
        self.base_ = clone(self.base).fit(X, target)
        residuals = target - _column(self.base_, X)
        seen = X
        if self.change_from is not None:
            folds = KFold(min(_BASE_FOLDS, len(target)))  # of consecutive rows
            seen = self._with_change(X, cross_val_predict(clone(self.base), X, target, cv=folds))
        self.estimator_ = clone(self.estimator).fit(seen, residuals)
        return self

    def predict(self, X: Any) -> Array:
        """Predict the target: shape (n,), in its units."""
        check_is_fitted(self)
        based = _column(self.base_, X)
        seen = X if self.change_from is None else self._with_change(X, based)
        return based + _column(self.estimator_, seen)

    def _with_change(self, X: Any, based: Array) -> Any:
        if self.change_from not in getattr(X, "columns", ()):
            raise ValueError(f"X lacks the column '{self.change_from}' that change_from names")
        return X.assign(base_change=based - X[self.change_from].to_numpy(dtype=np.float64))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = [get_tags(self.base).input_tags, get_tags(self.estimator).input_tags]
        tags.input_tags.sparse = all(part.sparse for part in inner)
        tags.input_tags.allow_nan = all(part.allow_nan for part in inner)
        return tags


def _column(model: BaseEstimator, X: Any) -> Array:
    predicted: Array = column_or_1d(model.predict(X), dtype=np.float64)
    return predicted


class PathRegressor(_ColumnsOfBase, RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """A linear model whose weights may be other ones near the origin of a path.

    The next step is nearly the last value, moved by what else is known of the last hours; far ones
    are a matter of the season. One linear model of all steps finds the latter. Its residuals
    are learned by the same columns times ``exp(-step / decay)``, of some decays, so that steps
    borrow from each other and far ones stay as they are. Without a column of the step it is the
    linear model alone.

    Args:
        model: the linear regressor; it sees columns that are imputed and standardised.
        column: name of the column with the step, from 1.
        decays: after how many steps the other weights have fallen to 37 %, of each set of them.
        penalty: of the squares of those weights.

    Attributes:
        base_: the fitted pipeline of the linear model.
        near_: weights of the columns and their intercept near the origin, shape (decays, columns +
            1); ``None`` without a column of the step.
    """

    def __init__(
        self,
        *,
        model: BaseEstimator,
        column: str = "horizon_step",
        decays: Sequence[float] = (1.0, 4.0),
        penalty: float = 1.0,
    ) -> None:
        self.model = model
        self.column = column
        self.decays = decays
        self.penalty = penalty

    def fit(self, X: Any, y: npt.ArrayLike) -> Self:
        """Fit the linear model, and the weights near the origin on its residuals.

        Args:
            X: rows, shape (n, columns).
            y: targets, shape (n,).
        """
        target = column_or_1d(y, warn=True)
        steps = [("impute", SimpleImputer()), ("scale", StandardScaler())]
        self.base_ = Pipeline([*steps, ("model", clone(self.model))]).fit(X, target)
        self.near_ = None
        if self.column in getattr(self.base_, "feature_names_in_", ()):
            inputs = self.base_[:-1].transform(X)
            residuals = target - self.base_[-1].predict(inputs)
            near = Ridge(alpha=self.penalty, fit_intercept=False)
            columns = self._near_columns(inputs, X)
            self.near_ = near.fit(columns, residuals).coef_.reshape(len(self.decays), -1)
        return self

    def predict(self, X: Any) -> Array:
        """Predict the target: shape (n,)."""
        check_is_fitted(self)
        inputs = self.base_[:-1].transform(X)
        prediction: Array = self.base_[-1].predict(inputs)
        if self.near_ is None:
            return prediction
        near = inputs @ self.near_[:, :-1].T + self.near_[:, -1]
        prediction += (near * self._decayed(X)).sum(axis=1)
        return prediction

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _decayed(self, X: pd.DataFrame) -> Array:
        """``exp(-step / decay)`` of each row, shape (n, decays)."""
        step = X[self.column].to_numpy(dtype=np.float64)[:, None]
        return np.asarray(np.exp(-step / np.asarray(self.decays)))

    def _near_columns(self, inputs: Array, X: pd.DataFrame) -> Array:
        ones = np.ones((len(inputs), 1))
        columns = np.hstack([inputs, ones])
        return np.hstack([columns * decayed[:, None] for decayed in self._decayed(X).T])
