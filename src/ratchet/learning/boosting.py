"""XGBoost with the manners of the other classifiers: named classes and ``class_weight``."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.class_weight import compute_sample_weight
from xgboost import XGBClassifier


class WeightedXGBClassifier(XGBClassifier):  # type: ignore[misc]
    """``XGBClassifier`` that takes class names as they are and balances them on request.

    Args:
        class_weight: ``None``, ``"balanced"`` or a mapping class -> weight, as in scikit-learn.
        **kwargs: parameters of ``XGBClassifier``.
    """

    def __init__(self, *, class_weight: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.class_weight = class_weight

    def fit(
        self, X: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, **kwargs: Any
    ) -> Self:
        """Fit on rows ``X`` of shape (n, features) and classes ``y`` of shape (n,)."""
        weight = compute_sample_weight(self.class_weight, y)
        if sample_weight is not None:
            weight = weight * np.asarray(sample_weight)
        self.class_names_, codes = np.unique(np.asarray(y), return_inverse=True)
        super().fit(X, codes, sample_weight=weight, **kwargs)
        return self

    @property
    def classes_(self) -> NDArray[Any]:
        """Class names, in the order of the columns of ``predict_proba``."""
        return self.class_names_

    def predict(self, X: ArrayLike, **kwargs: Any) -> NDArray[Any]:
        """Most probable class of each row, shape (n,)."""
        return self.class_names_[np.asarray(self.predict_proba(X, **kwargs)).argmax(axis=1)]
