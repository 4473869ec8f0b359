"""A regressor on top of another: what the first leaves over, the second learns."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils import column_or_1d, get_tags
from sklearn.utils.validation import assert_all_finite, check_consistent_length, check_is_fitted

Array = npt.NDArray[np.float64]


class ResidualRegressor(RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """The sum of a base regressor and one fitted on its residuals.

    Zhang (2003), "Time series forecasting using a hybrid ARIMA and neural network model",
    Neurocomputing 50: a linear model takes what is linear in a series, and a non-linear one what
    remains. The base should generalise, as linear models do: one that knows its rows by heart
    leaves nothing to learn on them. Either may look at columns of its own, as a ``Pipeline`` that
    begins with a ``ColumnTransformer``, or be fitted already, in a ``FrozenEstimator``.

    Args:
        base: the regressor that is fitted on the target.
        estimator: the regressor that is fitted on the target less the base's predictions.

    Attributes:
        base_: the fitted base.
        estimator_: the fitted regressor of the residuals.
    """

    def __init__(self, *, base: BaseEstimator, estimator: BaseEstimator) -> None:
        self.base = base
        self.estimator = estimator

    def fit(self, X: Any, y: npt.ArrayLike) -> Self:
        """Fit the base, then the other one on what it leaves over.

        Args:
            X: rows as both regressors take them, length n.
            y: targets, shape (n,).

        Raises:
            ValueError: lengths that differ, or targets that are not finite.
        """
        target: Array = column_or_1d(y, dtype=np.float64, warn=True)
        check_consistent_length(X, target)
        assert_all_finite(target, input_name="y")
        self.base_ = clone(self.base).fit(X, target)
        self.estimator_ = clone(self.estimator).fit(X, target - _column(self.base_, X))
        return self

    def predict(self, X: Any) -> Array:
        """Predict the target: shape (n,), in its units."""
        check_is_fitted(self)
        return _column(self.base_, X) + _column(self.estimator_, X)

    @property
    def n_features_in_(self) -> int:
        """Number of columns of ``X``, where the base says so."""
        return int(self.base_.n_features_in_)

    @property
    def feature_names_in_(self) -> npt.NDArray[np.object_]:
        """Names of the columns of ``X``, where the base knows them."""
        names: npt.NDArray[np.object_] = self.base_.feature_names_in_
        return names

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = [get_tags(self.base).input_tags, get_tags(self.estimator).input_tags]
        tags.input_tags.sparse = all(part.sparse for part in inner)
        tags.input_tags.allow_nan = all(part.allow_nan for part in inner)
        return tags


def _column(model: BaseEstimator, X: Any) -> Array:
    predicted: Array = column_or_1d(model.predict(X), dtype=np.float64)
    return predicted
