"""Fitting once more: the same rows give the same model, other rows another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesRegressor, VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.refitting import fit_again
from ratchet.learning.residual import ResidualRegressor
from ratchet.learning.stacking import Predictions, stack

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


def models() -> dict[str, Any]:
    trees = ExtraTreesRegressor(5, random_state=0)
    base, mean = picking(ridge("a"), "a"), [("b", picking(ridge("b"), "b"))]
    left_over = Y - ridge("a").predict(X[["a"]])
    network = RecurrentRegressor(
        units=4, lookback=2, epochs=3, patience=3, compiled=False, random_state=1
    )
    network = clone(network).fit_epochs(X, Y, [0.01, 0.01, 0.005])
    return {
        "estimator": trees.fit(X, Y),
        "frozen": FrozenEstimator(ridge(*"abcd")),
        "pipeline": make_pipeline(StandardScaler(), Ridge()).fit(X, Y),
        "picking": base.fit(X, Y),
        "mean": VotingRegressor([("trees", clone(trees)), ("line", LinearRegression())]).fit(X, Y),
        "mean of frozen": VotingRegressor([*mean, ("a", picking(ridge("a"), "a"))]).fit(X, Y),
        "residual": ResidualRegressor(base=Ridge(), estimator=clone(trees)).fit(X, Y),
        "residual of frozen": ResidualRegressor(
            base=base, estimator=picking(Ridge().fit(X[["b"]], left_over), "b")
        ).fit(X, Y),
        "network": network,
        "stack": stack(
            [ridge(*"abcd"), clone(trees).fit(X, Y)],
            LinearRegression().fit([[0, 1], [1, 0], [0, 0]], [0.5, 0.5, 0]),
        ),
    }


@pytest.mark.parametrize("name", list(models()))
def test_the_same_rows_give_the_same_model(name):
    model = models()[name]

    assert_allclose(fit_again(model, X, Y).predict(X), model.predict(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(models()))
def test_other_rows_give_another_model_and_leave_the_first_one(name):
    model = models()[name]
    before = model.predict(X)

    again = fit_again(model, X, Y * 3 + 5)

    assert_allclose(model.predict(X), before)
    assert np.abs(again.predict(X) - before).mean() > 0.1


def test_a_stack_keeps_how_it_combines():
    model = models()["stack"]

    again = fit_again(model, X, Y * 2)

    assert again["combine"] is model["combine"]
    assert isinstance(again["predictions"], Predictions)


def test_classes():
    labels = np.where(Y > 0, "up", "down")
    model = stack(
        [LogisticRegression().fit(X, labels)], LogisticRegression().fit([[0, 1], [1, 0]], [0, 1])
    )

    again = fit_again(model, X, labels)

    assert_allclose(again.predict_proba(X), model.predict_proba(X))
