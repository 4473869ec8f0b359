"""What every candidate gets at last: calibration, and answers in units of the target."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator

from ratchet.config import SERIES_LEVEL, SERIES_SCALE, Target
from ratchet.errors import DataError
from ratchet.frames import DataFrame
from ratchet.learning.calibration import ConformalRegressor, TemperatureScaling
from ratchet.learning.meta_estimators import LogRegressor, RelativeRegressor
from ratchet.learning.refitting import refit as refit_estimator
from ratchet.learning.stacking import prediction_columns, stack
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
        conformal = ConformalRegressor(
            estimator=FrozenEstimator(model),
            confidence=target.confidence,
            bounds=None if target.is_series or target.in_logs else target.bounds,
        ).calibrate(held_out["prediction"].loc[y.index], y)
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
    return relative.fit(X[[*conformal.feature_names_in_, SERIES_LEVEL, SERIES_SCALE]], y)


def uncalibrated(model: Any, target: Target) -> Any:
    """The fitted model inside of what ``calibrate`` put around it."""
    if target.is_classes:
        return model["predictions"].models[0].estimator
    return _conformal(model).estimator.estimator


def refit(model: Any, rows: DataFrame, target: Target) -> Any:
    """The finished model with what is inside fitted on these rows; its calibration stays.

    Args:
        model: as ``calibrate`` gives it.
        rows: train, validation and test.
        target: what is predicted.
    """
    X, y = features_and_scaled_target(rows, target)
    if target.is_series:  # whatever family it is from
        windows, _ = features_and_scaled_target(rows, target, "recurrent")
        X = X.join(windows[windows.columns.difference(X.columns, sort=False)])
    inside = uncalibrated(model, target)
    again = FrozenEstimator(refit_estimator(inside, select_inputs(inside, X), y))
    finished = deepcopy(model)
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
