"""The search and scikit-learn's own agree on real networks."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.search import Search

pytestmark = pytest.mark.slow

GRID = {"units": [4, 8], "dropout": [0.0, 0.3], "learning_rate": [3e-2, 1e-3]}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.random((120, 10))
    y = 50 + 20 * X.reshape(120, 5, 2)[:, :, 0] @ [0.1, 0.1, 0.2, 0.3, 0.3] + rng.normal(size=120)
    return X, y


@pytest.fixture(scope="module")
def searched(rows):
    """Both searches, with the same rows to train on and the same ones to stop and rank."""
    network = RecurrentRegressor(
        lookback=5, epochs=6, patience=3, batch_size=16, compiled=False, random_state=3
    )
    X, y = rows
    split = PredefinedSplit([-1] * 96 + [0] * 24)
    theirs = GridSearchCV(network, GRID, scoring="neg_mean_squared_error", cv=split, refit=False)
    theirs.fit(X, y, validation_data=(X[96:], y[96:]))
    return theirs, Search(network, GRID, cv=split, group_size=4).fit(X, y)


def test_the_ranking_is_that_of_grid_search_cv(rows, searched):
    theirs, ours = (search.cv_results_ for search in searched)

    assert ours["params"] == theirs["params"]
    np.testing.assert_array_equal(ours["rank_test_score"], theirs["rank_test_score"])
    # Ours are in units scaled 0-1.
    span = np.ptp(rows[1][:96])
    np.testing.assert_allclose(
        ours["mean_test_score"] * span**2, theirs["mean_test_score"], rtol=1e-4
    )


def test_the_best_are_fitted(rows, searched):
    X, y = rows
    _, ours = searched
    best = ours.top_estimators_[0]
    scaled = (best.predict(X[96:]) - y[96:]) / np.ptp(y[:96])

    np.testing.assert_allclose(-np.mean(scaled**2), ours.best_score_, rtol=1e-4)
    assert len(ours.top_estimators_) == 5
    assert {name: best.get_params()[name] for name in GRID} == ours.best_params_


def test_refit_takes_all_rows(rows, searched):
    X, _ = rows
    _, ours = searched

    again = ours.estimator.set_params(**ours.best_params_).fit(*rows)
    np.testing.assert_array_equal(ours.best_estimator_.predict(X), again.predict(X))


@pytest.mark.parametrize("architecture", ["gru", "gru_pooled"])
def test_halving_goes_on_as_if_it_had_not_stopped(rows, architecture):
    network = RecurrentRegressor(
        architecture=architecture, lookback=5, epochs=6, patience=3, batch_size=16
    )
    grid = {"learning_rate": [3e-2, 1e-2, 1e-3], "units": [8]}
    split = PredefinedSplit([-1] * 96 + [0] * 24)
    full = Search(network, grid, cv=split, refit=False).fit(*rows)
    halved = Search(
        network,
        grid,
        cv=split,
        refit=False,
        strategy="halving",
        strategy_options={"rungs": [2], "keep": 1 / 3},
    ).fit(*rows)

    assert halved.best_params_ == full.best_params_
    assert halved.cv_results_["epochs"].tolist().count(2) == 2
    np.testing.assert_allclose(halved.best_score_, full.best_score_, rtol=1e-6)
    for a, b in zip(
        halved.top_estimators_[0].weights_, full.top_estimators_[0].weights_, strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
