"""Class weights and class names for classifiers that know neither, such as XGBoost's."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted


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
        check_classification_targets(y)
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        weight = compute_sample_weight(self.class_weight, np.asarray(y))
        self.estimator_ = clone(self.estimator).fit(X, codes, sample_weight=weight)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Probabilities of shape (n, classes), columns in the order of ``classes_``."""
        check_is_fitted(self)
        # In the precision they were computed in: as float64 they would not quite add up to 1.
        return np.asarray(self.estimator_.predict_proba(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row, shape (n,)."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])
