"""Probabilities that mean what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

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
