"""Calibration: probabilities by temperature scaling, intervals by split conformal prediction.

Split conformal prediction: the absolute errors on rows the model was not fitted on say how wide an
interval has to be, whatever the model and the distribution, as long as new rows come from the same
distribution as those rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression, minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import column_or_1d, get_tags
from sklearn.utils.validation import assert_all_finite, check_consistent_length, check_is_fitted

_HOTTEST = 3.0  # of log temperature: a factor of twenty either way
_PRIOR = 0.5  # standard deviation of log temperature before any row was seen


class TemperatureScaling(ClassifierMixin, BaseEstimator):
    """Log probabilities divided by one temperature (Guo et al. 2017, ICML).

    One number cannot overfit the few rows kept for calibration, and it never changes which class
    is the most probable. ``CalibratedClassifierCV`` can do the same for a model that has not seen
    the rows, but not hand the temperature on to that model fitted again on more rows.

    Args:
        classes: class of each column of log probabilities.

    Attributes:
        temperature_: above 1 for a model that was too sure of itself.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Find the most probable temperature.

        A normal prior on its logarithm, centred on no change, keeps a handful of rows that all
        went well from making the model sure of itself; a hundred rows outvote it.

        Args:
            X: log probabilities of shape (n, classes), of rows that the model was not fitted on.
            y: classes of shape (n,).

        Raises:
            ValueError: a class of ``y`` is not among ``classes``.
        """
        self.classes_ = np.asarray(self.classes)
        truth = np.asarray(y)
        if unknown := sorted(set(truth.tolist()) - set(self.classes)):
            raise ValueError(f"unknown classes {unknown}; expected {list(self.classes)}")
        column = np.argmax(truth[:, None] == self.classes_, axis=1)
        logs = np.asarray(X, dtype=float)

        def loss(log_temperature: float) -> float:
            scaled = log_softmax(logs / np.exp(log_temperature), axis=1)
            surprise = -scaled[np.arange(len(column)), column].sum()
            return float(surprise + (log_temperature / _PRIOR) ** 2 / 2)

        best = minimize_scalar(loss, bounds=(-_HOTTEST, _HOTTEST), method="bounded")
        self.temperature_ = float(np.exp(best.x))
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Calibrated probabilities of shape (n, classes)."""
        check_is_fitted(self)
        scaled = np.asarray(X, dtype=float) / self.temperature_
        return np.asarray(softmax(scaled, axis=1))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row, shape (n,)."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])


Array = npt.NDArray[np.float64]


class ConformalRegressor(RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """A regressor with intervals by split conformal prediction (Lei et al. 2018, JASA 113).

    Among rows exchangeable with the calibration rows, an interval holds the truth with
    probability at least ``confidence``: on average over rows, not for each kind of row. Drift
    breaks the promise, and so do calibration rows that helped to fit or choose the model.

    Args:
        estimator: the regressor. One in a ``FrozenEstimator`` is fitted already, and all rows
            given to ``fit`` calibrate. Any other is cloned and fitted on a part of the rows, and
            the rest calibrates: errors on rows it was fitted on would be too small.
        confidence: share of the truth inside the intervals, between 0 and 1.
        bounds: range of the target (low, high) to which predictions and intervals are clipped;
            ``None`` for an open side.
        calibration_size: share of the rows that calibrates an estimator that is not frozen, drawn
            at random. Freeze the estimator to choose the rows, as time series need.
        random_state: seed of that draw.

    Attributes:
        estimator_: the fitted regressor.
        quantile_: half the width of an interval before clipping, in units of the target.
    """

    def __init__(
        self,
        *,
        estimator: BaseEstimator,
        confidence: float = 0.9,
        bounds: Sequence[float | None] | None = None,
        calibration_size: float = 0.25,
        random_state: int = 0,
    ) -> None:
        self.estimator = estimator
        self.confidence = confidence
        self.bounds = bounds
        self.calibration_size = calibration_size
        self.random_state = random_state

    def fit(self, X: Any, y: npt.ArrayLike) -> Self:
        """Calibrate, after fitting the estimator unless it is frozen.

        Args:
            X: rows as the estimator takes them, length n.
            y: targets, shape (n,).

        Raises:
            ValueError: fewer calibration rows than ``confidence`` needs (9 for 0.9, 19 for 0.95),
                targets that are not finite or out of bounds, or parameters that make no sense.
        """
        target = self._checked_target(X, y)
        split = X, X, target, target
        if not isinstance(self.estimator, FrozenEstimator):
            split = train_test_split(
                X, target, test_size=self.calibration_size, random_state=self.random_state
            )
        X_fit, X_calibration, y_fit, y_calibration = split
        self.estimator_ = clone(self.estimator).fit(X_fit, y_fit)
        self._calibrate(self._predict(X_calibration), y_calibration)
        return self

    def calibrate(self, prediction: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Calibrate from predictions that an earlier fit of the estimator made.

        For an estimator that was fitted again since, with the calibration rows: on those its
        errors are too small now, while those of the earlier fit are, if anything, too large.

        Args:
            prediction: predictions for the calibration rows, shape (n,).
            y: their targets, shape (n,).

        Raises:
            ValueError: as ``fit``.
        """
        target = self._checked_target(prediction, y)
        self.estimator_ = clone(self.estimator)
        self._calibrate(np.clip(column_or_1d(prediction), *self._limits()), target)
        return self

    def _calibrate(self, prediction: Array, target: Array) -> None:
        errors = np.abs(target - prediction)
        assert_all_finite(errors, input_name="errors of the predictions")
        self.quantile_ = _conformal_quantile(errors, self.confidence)

    def predict(self, X: Any) -> Array:
        """Predict the target: shape (n,), in its units, inside ``bounds``."""
        check_is_fitted(self)
        return self._predict(X)

    def predict_interval(self, X: Any) -> Array:
        """Give lower and upper end for each row: shape (n, 2), in units of the target."""
        return self.predict_with_interval(X)[:, 1:]

    def predict_with_interval(self, X: Any) -> Array:
        """Give prediction, lower and upper end for each row by asking the estimator once.

        Returns:
            Shape (n, 3), in units of the target.
        """
        prediction, width = self.predict(X), self._half_widths(X)
        ends: Array = np.column_stack([prediction, prediction - width, prediction + width])
        return np.clip(ends, *self._limits())

    def _half_widths(self, X: Any) -> Any:
        return self.quantile_

    @property
    def n_features_in_(self) -> int:
        """Number of columns of ``X``, where the estimator says so."""
        return int(self.estimator_.n_features_in_)

    @property
    def feature_names_in_(self) -> npt.NDArray[np.object_]:
        """Names of the columns of ``X``, where the estimator knows them."""
        names: npt.NDArray[np.object_] = self.estimator_.feature_names_in_
        return names

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags

    def _predict(self, X: Any) -> Array:
        prediction: Array = column_or_1d(self.estimator_.predict(X), dtype=np.float64)
        return np.clip(prediction, *self._limits())

    def _limits(self) -> tuple[float, float]:
        low, high = self.bounds or (None, None)
        return -math.inf if low is None else low, math.inf if high is None else high

    def _checked_target(self, X: Any, y: npt.ArrayLike) -> Array:
        low, high = self._limits()
        if not low < high:
            raise ValueError(f"bounds must be (low, high) with low < high, not {self.bounds}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, not {self.confidence}")
        target: Array = column_or_1d(y, dtype=np.float64, warn=True)
        check_consistent_length(X, target)
        assert_all_finite(target, input_name="y")
        outside = int(((target < low) | (target > high)).sum())
        if outside:
            raise ValueError(f"{outside} values of y lie outside the bounds ({low}, {high})")
        return target


class StepConformalRegressor(ConformalRegressor):
    """A regressor with intervals for the steps of a path, wider the farther ahead.

    The width of a step is the conformal quantile of the errors of its calibration rows and those of
    the nearest steps, as many as it takes for ``pooled`` rows; widths never fall from one step to
    the next (isotonic regression). Errors over their widths are calibrated once more, all together
    (locally weighted split conformal, Lei et al. 2018, section 5.2): the promise holds over all
    rows, whatever the smoothing has done.

    Args:
        estimator: the regressor, fitted and in a ``FrozenEstimator``.
        column: column of ``X`` with the step, a whole number.
        confidence: share of the truth inside the intervals, between 0 and 1.
        bounds: as of ``ConformalRegressor``.
        pooled: calibration rows that the width of a step is made of, at least.

    Attributes:
        estimator_: the fitted regressor.
        steps_: steps with calibration rows, in order, shape (steps,).
        widths_: half the width of an interval at each of them before clipping; other steps take the
            width of the next one, or of the last.
    """

    def __init__(
        self,
        *,
        estimator: BaseEstimator,
        column: str,
        confidence: float = 0.9,
        bounds: Sequence[float | None] | None = None,
        pooled: int = 100,
    ) -> None:
        super().__init__(estimator=estimator, confidence=confidence, bounds=bounds)
        self.column = column
        self.pooled = pooled

    def fit(self, X: Any, y: npt.ArrayLike) -> Self:
        """Calibrate a frozen estimator.

        Args:
            X: rows as the estimator takes them, a frame of length n.
            y: targets, shape (n,).

        Raises:
            ValueError: as ``calibrate``.
        """
        self.estimator_ = clone(self.estimator)
        return self.calibrate(self._predict(X), y, X[self.column])

    def calibrate(
        self, prediction: npt.ArrayLike, y: npt.ArrayLike, steps: npt.ArrayLike = ()
    ) -> Self:
        """Calibrate from predictions that an earlier fit of the estimator made.

        Args:
            prediction: predictions for the calibration rows, shape (n,).
            y: their targets, shape (n,).
            steps: their steps, shape (n,).

        Raises:
            ValueError: as ``ConformalRegressor.fit``.
        """
        target = self._checked_target(prediction, y)
        check_consistent_length(target, steps)
        self.estimator_ = clone(self.estimator)
        errors = np.abs(target - np.clip(column_or_1d(prediction), *self._limits()))
        assert_all_finite(errors, input_name="errors of the predictions")
        everywhere = _conformal_quantile(errors, self.confidence)  # raises if rows are too few
        self.steps_, place, counts = np.unique(
            np.asarray(steps, dtype=np.float64), return_inverse=True, return_counts=True
        )
        least = max(self.pooled, math.ceil(self.confidence / (1 - self.confidence)))
        raw = [self._pooled_quantile(errors, place, counts, i, least) for i in range(len(counts))]
        widths = isotonic_regression(raw, weights=counts).x
        widths = np.maximum(widths, np.finfo(np.float64).eps * max(everywhere, 1.0))
        self.widths_ = widths * _conformal_quantile(errors / widths[place], self.confidence)
        return self

    def _pooled_quantile(
        self, errors: Array, place: npt.NDArray[np.int64], counts: Any, step: int, least: int
    ) -> float:
        """Conformal quantile of the rows of a step, and of the steps around it."""
        reach = 0
        while True:
            low, high = max(step - reach, 0), step + reach
            if counts[low : high + 1].sum() >= min(least, len(errors)):
                near = errors[(place >= low) & (place <= high)]
                return _conformal_quantile(near, self.confidence)
            reach += 1

    def _half_widths(self, X: Any) -> Array:
        at = np.searchsorted(self.steps_, X[self.column].to_numpy(dtype=np.float64) - 0.5)
        widths: Array = self.widths_[np.minimum(at, len(self.steps_) - 1)]
        return widths


def coverage(truth: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> float:
    """Give the share of rows whose truth is inside its interval, ends included.

    Args:
        truth: shape (n,).
        low: lower ends, shape (n,), units of the truth.
        high: upper ends, shape (n,).

    Raises:
        ValueError: no rows, shapes that differ, or missing values.
    """
    values, lows, highs = (np.asarray(part, dtype=np.float64) for part in (truth, low, high))
    if values.ndim != 1 or len(values) == 0 or not values.shape == lows.shape == highs.shape:
        shapes = f"{values.shape}, {lows.shape} and {highs.shape}"
        raise ValueError(f"truth, low and high must be columns of one length, not {shapes}")
    if np.isnan([values, lows, highs]).any():
        raise ValueError("truth, low or high has missing values")
    return float(np.mean((lows <= values) & (values <= highs)))


def _conformal_quantile(errors: Array, confidence: float) -> float:
    # The rank-th smallest of n errors, counting the new row among them. The slack keeps rounding
    # from asking for one more row: 0.9 / (1 - 0.9) is 9.000000000000002.
    slack = 1e-9
    rank = math.ceil((len(errors) + 1) * confidence - slack)
    if rank > len(errors):
        least = math.ceil(confidence / (1 - confidence) - slack)
        raise ValueError(
            f"n_samples={len(errors)} calibration rows are too few for intervals of confidence "
            f"{confidence}: at least {least} are needed"
        )
    return float(np.partition(errors, rank - 1)[rank - 1])
