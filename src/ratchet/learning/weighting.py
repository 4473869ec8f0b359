"""Class weights and class names for classifiers that know neither, such as XGBoost's."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import column_or_1d, get_tags
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
