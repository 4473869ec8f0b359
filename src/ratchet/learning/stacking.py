"""Stacking: models on top of the predictions of other models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from joblib import Memory
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import BaseCrossValidator, ParameterGrid, cross_val_predict
from sklearn.pipeline import Pipeline

from ratchet.learning.metrics import scorer_of
from ratchet.learning.search import Fold, FoldFits, OnProgress, out_of_fold, run_search

SMALLEST = 1e-6
"""Probability below which the logarithm of none is taken: a model is never quite sure."""


class Predictions(TransformerMixin, BaseEstimator):
    """Predictions of fitted models as columns: log probabilities, or values of a regression.

    Args:
        models: fitted estimators, all of one task.
    """

    def __init__(self, models: Sequence[BaseEstimator]) -> None:
        self.models = models

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Do nothing: the models are fitted."""
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict rows ``X`` of shape (n, features); gives (n, models x classes)."""
        predicted = [getattr(model, prediction_method(model))(X) for model in self.models]
        classes = is_classifier(self.models[0])
        return np.hstack([prediction_columns(part, classes=classes) for part in predicted])

    def __sklearn_is_fitted__(self) -> bool:
        return True


def prediction_method(model: BaseEstimator) -> str:
    """Name of the prediction method: ``predict_proba`` of classifiers, else ``predict``."""
    return "predict_proba" if is_classifier(model) else "predict"


def prediction_columns(predicted: ArrayLike, *, classes: bool) -> NDArray[np.float64]:
    """Predictions as columns of a linear model.

    Args:
        predicted: probabilities of shape (n, classes), or values of shape (n,).
        classes: whether they are probabilities: those become logarithms, where evidence adds up.

    Returns:
        Shape (n, classes) or (n, 1).
    """
    values = np.asarray(predicted, dtype=float)
    if classes:
        values = np.log(np.clip(values, SMALLEST, 1.0))
    return values.reshape(len(values), -1)


def final_estimator(*, classes: bool) -> BaseEstimator:
    """The unfitted linear model that combines predictions."""
    return LogisticRegression(max_iter=300) if classes else Ridge(positive=True)


def fit_final_estimator(
    models: Sequence[BaseEstimator],
    param_grid: Mapping[str, Sequence[Any]],
    X: ArrayLike,
    y: ArrayLike,
    *,
    scoring: str,
    logs: bool = False,
    cv: BaseCrossValidator,
    n_jobs: int = -1,
    engine: str = "local",
    cache: Memory | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[BaseEstimator, pd.DataFrame]:
    """Learn how to combine models from their out-of-fold predictions.

    Wolpert (1992), "Stacked generalization". Copies of the models are fitted on the folds. The
    score of the combination is cross-validated on the out-of-fold predictions; having computed
    those with the same folds flatters it a little.

    Args:
        models: estimators of one task.
        param_grid: grid for the linear model (logistic regression, or ridge with positive weights).
        X: rows of shape (n, features).
        y: targets of shape (n,).
        scoring: name of a scorer, greater is better, see ``metrics.scorer_of``.
        logs: whether ``y`` are logarithms; they are scored in units of the target.
        cv: the folds.
        n_jobs: processes; -1 for one per core.
        engine: see ``Search``.
        cache: has the fits of searches with the same folds and score, see ``fold_fits``.
        on_progress: see ``OnProgress``.

    Returns:
        The linear model, fitted on columns such as ``Predictions`` makes, and its search as
        ``run_search`` gives it.
    """
    n_folds = cv.get_n_splits()
    before = len(models) * n_folds
    total = before + len(ParameterGrid(param_grid)) * n_folds

    def report(done: int, best: float = math.nan) -> None:
        if on_progress:
            on_progress(done, total, best)

    report(0)
    folds = list(cv.split(X, y))
    scorer = get_scorer(scorer_of(scoring, logs=logs))
    predicted = []
    with FoldFits(X, y, folds, scorer, cache=cache, engine=engine, n_jobs=n_jobs) as fold_fits:
        for i, model in enumerate(models, 1):
            [results] = fold_fits.fit([model])
            predicted.append(out_of_fold(results, folds))
            report(i * n_folds)
    classes = is_classifier(models[0])
    return run_search(
        final_estimator(classes=classes),
        param_grid,
        np.hstack([prediction_columns(part, classes=classes) for part in predicted]),
        y,
        scoring=scoring,
        logs=logs,
        cv=cv,
        n_jobs=1,  # fits of milliseconds: starting workers would cost more
        on_progress=lambda done, _, best, *__: report(before + done, best),
    )


def out_of_fold_predictions(
    model: BaseEstimator, y: ArrayLike, folds: Sequence[Fold], fold_fits: FoldFits
) -> NDArray[np.float64] | None:
    """Predictions of copies of a model, or of a stack, for rows that they were not fitted on.

    The linear model of a stack is fitted on the folds of the out-of-fold predictions of its models.

    Args:
        model: as ``run_search`` gives it, or ``stack``.
        y: targets of shape (n,).
        folds: those of ``fold_fits``.
        fold_fits: fits models on the folds.

    Returns:
        As ``search.out_of_fold``; ``None`` where predictions are not kept, see ``FoldFit``.
    """
    if isinstance(model, Pipeline) and isinstance(model.steps[0][1], Predictions):
        parts = [part.estimator for part in model.steps[0][1].models]
        combine = model.steps[-1][1]
        columns = []
        for part in parts:
            predicted = out_of_fold_predictions(part, y, folds, fold_fits)
            if predicted is None:
                return None
            columns.append(prediction_columns(predicted, classes=is_classifier(combine)))
        by_fold: NDArray[np.float64] = cross_val_predict(
            clone(combine), np.hstack(columns), y, cv=folds, method=prediction_method(combine)
        )
        return by_fold
    [results] = fold_fits.fit([clone(model)])
    kept = all(result.predicted is not None for result in results)
    return out_of_fold(results, folds) if kept else None


def stack(models: Sequence[BaseEstimator], combine: BaseEstimator) -> Pipeline:
    """Put a fitted combination, or a calibration, on top of fitted models."""
    frozen = [FrozenEstimator(model) for model in models]
    return Pipeline([("predictions", Predictions(frozen)), ("combine", combine)])
