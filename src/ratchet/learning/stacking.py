"""Stacking of fitted models on their out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import BaseCrossValidator, cross_val_predict
from sklearn.pipeline import Pipeline

from ratchet.learning.search import OnProgress, run_search

_SMALLEST = 1e-6


class Predictions(TransformerMixin, BaseEstimator):
    """Predictions of fitted models as columns: log probabilities, or values of a regression.

    Args:
        models: fitted estimators, all of one task.
    """

    def __init__(self, models: Sequence[BaseEstimator]) -> None:
        self.models = models

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Nothing to learn: the models are fitted."""
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict rows ``X`` of shape (n, features); gives (n, models x classes)."""
        return np.hstack([_columns(model, _predict(model, X)) for model in self.models])

    def __sklearn_is_fitted__(self) -> bool:
        return True


def _method(model: BaseEstimator) -> str:
    return "predict_proba" if is_classifier(model) else "predict"


def _predict(model: BaseEstimator, X: ArrayLike) -> Any:
    return getattr(model, _method(model))(X)


def _columns(model: BaseEstimator, predicted: ArrayLike) -> NDArray[np.float64]:
    """Shape (n, classes) or (n, 1); logarithms, since that is where evidence adds up."""
    values = np.asarray(predicted, dtype=float)
    if is_classifier(model):
        values = np.log(np.clip(values, _SMALLEST, 1.0))
    return values.reshape(len(values), -1)


def fit_stack(
    models: Sequence[BaseEstimator],
    param_grid: Mapping[str, Sequence[Any]],
    X: ArrayLike,
    y: ArrayLike,
    *,
    scoring: str,
    cv: BaseCrossValidator,
    n_jobs: int = -1,
    on_progress: OnProgress | None = None,
) -> tuple[Pipeline, pd.DataFrame]:
    """Combine fitted models by a linear model on their out-of-fold predictions.

    Wolpert (1992), "Stacked generalization". The fitted models serve as they are; only copies of
    them are fitted on the folds. The score of the combination is cross-validated on the
    out-of-fold predictions; having computed those with the same folds flatters it a little.

    Args:
        models: fitted estimators of one task.
        param_grid: grid for the linear model (logistic regression, or ridge with positive weights).
        X: the rows that the models were fitted on, shape (n, features).
        y: targets of shape (n,).
        scoring: scikit-learn scorer, greater is better.
        cv: the folds.
        n_jobs: processes; -1 for one per core.
        on_progress: see ``OnProgress``.

    Returns:
        The fitted combination, and its search as ``run_search`` gives it.
    """
    out_of_fold = np.hstack(
        [
            _columns(
                model, cross_val_predict(model, X, y, cv=cv, method=_method(model), n_jobs=n_jobs)
            )
            for model in models
        ]
    )
    linear = LogisticRegression(max_iter=300) if is_classifier(models[0]) else Ridge(positive=True)
    combine, results = run_search(
        linear,
        param_grid,
        out_of_fold,
        y,
        scoring=scoring,
        cv=cv,
        n_jobs=1,  # fits of milliseconds: starting workers would cost more
        on_progress=on_progress,
    )
    frozen = [FrozenEstimator(model) for model in models]
    return Pipeline([("predictions", Predictions(frozen)), ("combine", combine)]), results
