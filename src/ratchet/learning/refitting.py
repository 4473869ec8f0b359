"""Fitting a finished model again on more rows."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ratchet.learning.meta_estimators import ResidualRegressor
from ratchet.learning.stacking import Predictions


def refit(model: BaseEstimator, X: Any, y: npt.ArrayLike) -> BaseEstimator:
    """Give a copy of a fitted model, fitted on these rows instead.

    What is frozen inside is fitted again, too. Two things stay as they are, because they were
    learned from predictions for rows that the models had not seen: how a stack combines its models,
    and for how many epochs, at which rates, a network is trained.

    Args:
        model: a fitted regressor or classifier of this package or of scikit-learn.
        X: rows as it takes them, length n.
        y: targets, shape (n,).
    """
    if isinstance(model, FrozenEstimator):
        return FrozenEstimator(refit(model.estimator, X, y))
    if hasattr(model, "fit_epochs"):
        rates = model.history_["learning_rate"][: model.best_epoch_]
        return clone(model).fit_epochs(X, y, rates)
    if isinstance(model, ResidualRegressor):
        return _residual(model, X, y)
    if isinstance(model, VotingRegressor):
        names = [name for name, _ in model.estimators]
        parts = [FrozenEstimator(refit(part, X, y)) for part in model.estimators_]
        return VotingRegressor(list(zip(names, parts, strict=True))).fit(X, y)
    if isinstance(model, Pipeline):
        return _pipeline(model, X, y)
    return clone(model).fit(X, y)


def _residual(model: ResidualRegressor, X: Any, y: Any) -> ResidualRegressor:
    base = FrozenEstimator(refit(model.base_, X, y))
    residual_model = FrozenEstimator(refit(model.estimator_, X, y - base.predict(X)))
    return ResidualRegressor(base=base, estimator=residual_model).fit(X, y)


def _pipeline(model: Pipeline, X: Any, y: Any) -> Pipeline:
    name, first = model.steps[0]
    if isinstance(first, Predictions):
        models = [refit(part, X, y) for part in first.models]
        return Pipeline([(name, Predictions(models)), *model.steps[1:]])
    steps, seen = [], X
    for name, step in model.steps[:-1]:
        fitted = step if step == "passthrough" else clone(step).fit(seen, y)
        seen = seen if step == "passthrough" else fitted.transform(seen)
        steps.append((name, fitted))
    name, last = model.steps[-1]
    return Pipeline([*steps, (name, refit(last, seen, y))])
