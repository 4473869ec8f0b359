"""Calibration of a chosen candidate, answers in units of the target, and fitting on more rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ratchet.config import SERIES_LEVEL, SERIES_SCALE, SERIES_STEP, STEP_FEATURES, Target
from ratchet.errors import DataError
from ratchet.frames import DataFrame, Series
from ratchet.learning.calibration import (
    ConformalRegressor,
    StepConformalRegressor,
    TemperatureScaling,
)
from ratchet.learning.ensemble_selection import WeightedMeanClassifier, WeightedMeanRegressor
from ratchet.learning.meta_estimators import LogRegressor, RelativeRegressor, ResidualRegressor
from ratchet.learning.stacking import Predictions, prediction_columns, stack
from ratchet.modelling.target_scaling import features_and_scaled_target, features_and_target


def calibrate(model: Any, held_out: DataFrame, validation: DataFrame, target: Target) -> Any:
    """Probabilities that mean what they say, or intervals that cover as often as they promise.

    Args:
        model: fitted on train and validation.
        held_out: predictions for the validation rows by the model fitted on train alone, in the
            terms in which it learns.
        validation: the rows that calibrate.
        target: what is predicted.

    Returns:
        The model with its calibration; it gives values in units of the target.

    Raises:
        DataError: there are too few rows, or of one class only.
    """
    y = features_and_scaled_target(validation, target)[1]
    try:
        if target.is_classes:
            scaling = TemperatureScaling(list(held_out.columns))
            return stack([model], scaling.fit(prediction_columns(held_out, classes=True), y))
        predicted = held_out["prediction"].loc[y.index]
        if SERIES_STEP in validation:
            (column, *_) = (name for name in STEP_FEATURES if name in model.feature_names_in_)
            conformal = StepConformalRegressor(
                estimator=FrozenEstimator(model), column=column, confidence=target.confidence
            ).calibrate(predicted, y, validation.loc[y.index, SERIES_STEP])
            return _in_units(conformal, validation, target)
        conformal = ConformalRegressor(
            estimator=FrozenEstimator(model),
            confidence=target.confidence,
            bounds=None if target.is_series or target.in_logs else target.bounds,
        ).calibrate(predicted, y)
    except ValueError as error:
        raise DataError(
            f"column '{target.column}': calibration on {len(y)} rows: {error}"
        ) from error
    return _in_units(conformal, validation, target)


def _in_units(conformal: Any, validation: DataFrame, target: Target) -> Any:
    if target.in_logs:
        frozen = FrozenEstimator(conformal)
        X, y = features_and_scaled_target(validation, target)
        return LogRegressor(estimator=frozen, bounds=target.bounds).fit(X, np.exp(y))
    if not target.is_series:
        return conformal
    X, y = features_and_target(validation, target)
    relative = RelativeRegressor(
        estimator=FrozenEstimator(conformal),
        level=SERIES_LEVEL,
        scale=SERIES_SCALE,
        bounds=target.bounds,
    )
    names = [*conformal.feature_names_in_, SERIES_LEVEL, SERIES_SCALE]
    return relative.fit(X[list(dict.fromkeys(names))], y)  # some models know the terms, too


def uncalibrated(model: Any, target: Target) -> Any:
    """The fitted model inside of what ``calibrate`` put around it."""
    if target.is_classes:
        return model["predictions"].models[0].estimator
    return _conformal(model).estimator.estimator


Refit = Callable[[Any, Any, Any], BaseEstimator]

CONTINUED = 0.3
"""Share of its epochs for which training of a network goes on where earlier rows have trained it.

Chosen on `stock`, by the second validation window and five networks: 3 and 5 further epochs after
28 predicted worse than 28 from the start, 8 as well.
"""


def refit(model: Any, rows: DataFrame, target: Target, *, continued: bool = False) -> Any:
    """The finished model with what is inside fitted on these rows; its calibration stays.

    Args:
        model: as ``calibrate`` gives it.
        rows: train, validation and test.
        target: what is predicted.
        continued: see ``refit_estimator``.
    """
    X, y = _inputs_of_all_families(rows, target)
    inside = uncalibrated(model, target)
    again = refit_estimator(inside, select_inputs(inside, X), y, continued=continued)
    return _around(model, again, target)


def refit_mean_and_first(mean: Any, first: Any, rows: DataFrame, target: Target) -> tuple[Any, Any]:
    """A finished mean of networks and that of its first network alone, fitted on these rows.

    Each network is trained once, and continued, see ``refit_estimator``.

    Args:
        mean: as ``calibrate`` gives it.
        first: the finished model of the first network, on the same base if there is one.
        rows: as of ``refit``.
        target: what is predicted.

    Returns:
        Both, the mean first.
    """
    X, y = _inputs_of_all_families(rows, target)
    inside = uncalibrated(mean, target)
    inputs = select_inputs(inside, X)
    again = refit_estimator(inside, inputs, y, continued=True)
    alone = again
    if isinstance(again, VotingRegressor):
        alone = again.estimators_[0].estimator
    elif isinstance(again, ResidualRegressor) and isinstance(
        voting := again.estimator.estimator, VotingRegressor
    ):
        alone = ResidualRegressor(base=again.base, estimator=voting.estimators_[0]).fit(inputs, y)
    return _around(mean, again, target), _around(first, alone, target)


def predict_uncalibrated(model: Any, rows: DataFrame, target: Target) -> Series:
    """What the estimator inside of a finished model says of rows, in the terms in which it learns.

    Args:
        model: as ``calibrate`` gives it, of numbers.
        rows: rows with the target; also those that are not learned from, as they have no logarithm.
        target: what is predicted.
    """
    return predict_held_out(uncalibrated(model, target), rows, target)["prediction"]


def predict_held_out(model: Any, rows: DataFrame, target: Target) -> DataFrame:
    """``prediction`` of an estimator without a calibration, in the terms in which it learns."""
    X, _ = features_and_target(rows, target)
    return pd.DataFrame({"prediction": model.predict(select_inputs(model, X))}, index=X.index)


def around_predictions(model: Any, predicted: Series, target: Target) -> Any:
    """A copy of a finished model whose estimator says what is given, see ``predict_uncalibrated``.

    It has the calibration of the model, and knows the rows of ``predicted`` alone.
    """
    return _around(model, _Given(predicted), target)


class _Given(RegressorMixin, BaseEstimator):
    """Predictions that are known, by row key."""

    def __init__(self, values: Series) -> None:
        self.values = values

    def predict(self, X: DataFrame) -> npt.NDArray[np.float64]:
        return self.values.loc[X.index].to_numpy(np.float64)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def _inputs_of_all_families(rows: DataFrame, target: Target) -> tuple[DataFrame, Any]:
    X, y = features_and_scaled_target(rows, target, "unscaled")
    if target.is_series:
        windows, _ = features_and_scaled_target(rows, target, "recurrent")
        X = X.join(windows[windows.columns.difference(X.columns, sort=False)])
    return X, y


def _around(model: Any, inside: Any, target: Target) -> Any:
    """A copy of a finished model around another fitted estimator."""
    again, finished = FrozenEstimator(inside), deepcopy(model)
    if target.is_classes:
        finished["predictions"].models = [again]
        return finished
    conformal = _conformal(finished)
    conformal.estimator = conformal.estimator_ = again
    if conformal is not finished:
        finished.estimator = finished.estimator_ = FrozenEstimator(conformal)
    return finished


def interval_confidence(model: Any) -> float:
    """Share of the rows that the intervals of a finished model are to cover."""
    return float(_conformal(model).confidence)


def select_inputs(model: Any, X: DataFrame) -> DataFrame:
    """The columns that a finished model knows, in its order."""
    names = getattr(model, "feature_names_in_", None)
    return X if names is None else X[list(names)]


def _conformal(model: Any) -> Any:
    outside = isinstance(model, LogRegressor | RelativeRegressor)
    return model.estimator.estimator if outside else model


def refit_estimator(
    model: BaseEstimator, X: Any, y: npt.ArrayLike, *, continued: bool = False
) -> BaseEstimator:
    """Give a copy of a fitted model, fitted on these rows instead.

    What is frozen inside is fitted again, too. Two things stay as they are, because they were
    learned from predictions for rows that the models had not seen: how a stack or a weighted mean
    combines its models, and for how many epochs, at which rates, a network is trained.

    Args:
        model: a fitted regressor or classifier of this package or of scikit-learn.
        X: rows as it takes them, length n.
        y: targets, shape (n,).
        continued: whether the training of networks goes on from their weights, as it may where few
            of the rows are new: that takes a share of their epochs, see ``CONTINUED``.
    """
    again = partial(refit_estimator, continued=continued)
    if isinstance(model, FrozenEstimator):
        return FrozenEstimator(again(model.estimator, X, y))
    if hasattr(model, "fit_epochs"):
        return refit_network(model, X, y, continued=continued)
    # One with ``change_from`` holds nothing frozen: its base is fitted on folds, too.
    if isinstance(model, ResidualRegressor) and model.change_from is None:
        return _refit_residual(model, X, y, again)
    if isinstance(model, VotingRegressor | WeightedMeanClassifier | WeightedMeanRegressor):
        return _refit_mean(model, X, y, again)
    if isinstance(model, Pipeline):
        return _refit_pipeline(model, X, y, again)
    return clone(model).fit(X, y)


def refit_network(network: Any, X: Any, y: npt.ArrayLike, *, continued: bool) -> Any:
    """A copy of a fitted network, trained on these rows, see ``refit_estimator``."""
    rates = network.history_["learning_rate"][: network.best_epoch_]
    if continued:
        epochs = math.ceil(CONTINUED * len(rates))
        return network.continue_epochs(X, y, rates[-epochs:])
    return clone(network).fit_epochs(X, y, rates)


def _refit_mean(model: Any, X: Any, y: Any, again: Refit) -> BaseEstimator:
    if not isinstance(model, VotingRegressor):
        parts = [again(part, select_inputs(part, X), y) for part in model.models]
        return type(model)(parts, model.weights)
    names = [name for name, _ in model.estimators]
    parts = [FrozenEstimator(again(part, X, y)) for part in model.estimators_]
    named = list(zip(names, parts, strict=True))
    return VotingRegressor(named, weights=model.weights).fit(X, y)


def _refit_residual(model: ResidualRegressor, X: Any, y: Any, again: Refit) -> ResidualRegressor:
    base = FrozenEstimator(again(model.base_, X, y))
    residual_model = FrozenEstimator(again(model.estimator_, X, y - base.predict(X)))
    return ResidualRegressor(base=base, estimator=residual_model).fit(X, y)


def _refit_pipeline(model: Pipeline, X: Any, y: Any, again: Refit) -> Pipeline:
    name, first = model.steps[0]
    if isinstance(first, Predictions):
        models = [again(part, X, y) for part in first.models]
        return Pipeline([(name, Predictions(models)), *model.steps[1:]])
    steps, inputs = [], X
    for name, step in model.steps[:-1]:
        fitted = step if step == "passthrough" else clone(step).fit(inputs, y)
        inputs = inputs if step == "passthrough" else fitted.transform(inputs)
        steps.append((name, fitted))
    name, last = model.steps[-1]
    return Pipeline([*steps, (name, again(last, inputs, y))])
