"""Fitting once more: the same rows give the same model, other rows another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesRegressor, VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ratchet.learning.ensemble_selection import WeightedMeanClassifier, WeightedMeanRegressor
from ratchet.learning.meta_estimators import ResidualRegressor
from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.stacking import Predictions, stack
from ratchet.modelling.calibrate_and_refit import refit_estimator

rng = np.random.default_rng(3)
X = pd.DataFrame(rng.normal(size=(80, 4)), columns=list("abcd"))
Y = X["a"] * 2 + np.sin(X["b"]) + rng.normal(scale=0.1, size=80)


def picking(model: BaseEstimator, *columns: str) -> BaseEstimator:
    seen = ColumnTransformer(
        [("seen", "passthrough", list(columns))], verbose_feature_names_out=False
    )
    return make_pipeline(seen.set_output(transform="pandas"), FrozenEstimator(model))


def ridge(*columns: str) -> Ridge:
    return Ridge().fit(X[list(columns)], Y)


def network() -> RecurrentRegressor:
    untrained = RecurrentRegressor(
        units=4, lookback=2, epochs=3, patience=3, compiled=False, random_state=1
    )
    return untrained.fit_epochs(X, Y, [0.01, 0.01, 0.005])


def residual_of_frozen() -> ResidualRegressor:
    left_over = Y - ridge("a").predict(X[["a"]])
    return ResidualRegressor(
        base=picking(ridge("a"), "a").fit(X, Y),
        estimator=picking(Ridge().fit(X[["b"]], left_over), "b"),
    ).fit(X, Y)


def mean_of_frozen() -> VotingRegressor:
    return VotingRegressor([(name, picking(ridge(name), name)) for name in "ba"]).fit(X, Y)


def a_stack() -> Any:
    return stack(
        [ridge(*"abcd"), trees().fit(X, Y)],
        LinearRegression().fit([[0, 1], [1, 0], [0, 0]], [0.5, 0.5, 0]),
    )


def trees() -> ExtraTreesRegressor:
    return ExtraTreesRegressor(5, random_state=0)


MODELS: dict[str, Callable[[], Any]] = {
    "estimator": lambda: trees().fit(X, Y),
    "frozen": lambda: FrozenEstimator(ridge(*"abcd")),
    "pipeline": lambda: make_pipeline(StandardScaler(), Ridge()).fit(X, Y),
    "picking": lambda: picking(ridge("a"), "a").fit(X, Y),
    "mean": lambda: VotingRegressor([("trees", trees()), ("line", LinearRegression())]).fit(X, Y),
    "weighted mean of two": lambda: VotingRegressor(
        [("trees", trees()), ("line", LinearRegression())], weights=[3, 1]
    ).fit(X, Y),
    "mean of frozen": mean_of_frozen,
    "residual": lambda: ResidualRegressor(base=Ridge(), estimator=trees()).fit(X, Y),
    "residual of a change": lambda: ResidualRegressor(
        base=Ridge(), estimator=trees(), change_from="a"
    ).fit(X, Y),
    "residual of frozen": residual_of_frozen,
    "network": network,
    "stack": a_stack,
    "weighted mean": lambda: WeightedMeanRegressor(
        [FrozenEstimator(ridge("a")), FrozenEstimator(trees().fit(X, Y))], [0.75, 0.25]
    ),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_the_same_rows_give_the_same_model(name):
    model = MODELS[name]()

    assert_allclose(refit_estimator(model, X, Y).predict(X), model.predict(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(MODELS))
def test_other_rows_give_another_model_and_leave_the_first_one(name):
    model = MODELS[name]()
    before = model.predict(X)

    again = refit_estimator(model, X, Y * 3 + 5)

    assert_allclose(model.predict(X), before)
    assert np.abs(again.predict(X) - before).mean() > 0.1


def test_a_stack_keeps_how_it_combines():
    model = a_stack()

    again = refit_estimator(model, X, Y * 2)

    assert again["combine"] is model["combine"]
    assert isinstance(again["predictions"], Predictions)


@pytest.mark.parametrize("weighted", [False, True])
def test_classes(weighted):
    labels = np.where(Y > 0, "up", "down")
    line = LogisticRegression().fit(X, labels)
    model = stack([line], LogisticRegression().fit([[0, 1], [1, 0]], [0, 1]))
    model = WeightedMeanClassifier([model, line], [0.5, 0.5]) if weighted else model

    again = refit_estimator(model, X, labels)

    assert_allclose(again.predict_proba(X), model.predict_proba(X))
