"""Relative targets: told back in their own units, for predictions and for intervals."""

import pickle

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeRegressor

from ratchet.learning.calibration import ConformalRegressor, coverage
from ratchet.learning.meta_estimators import LogRegressor, RelativeRegressor
from ratchet.learning.trusted import TRUSTED


def rows(n=200, seed=0, noise=0.0):
    """Series of very different size that are one and the same, told relatively."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "level": rng.uniform(-1e4, 1e4, n),
            "scale": 10.0 ** rng.uniform(-2, 4, n),
        },
        index=[f"row {i}" for i in range(n)],
    )
    return X, X["level"] + X["scale"] * (3 * X["x"] + 1 + noise * rng.normal(size=n))


def relative(estimator=None):
    return RelativeRegressor(
        estimator=estimator or LinearRegression(), level="level", scale="scale"
    )


def test_it_learns_the_relative_target():
    X, y = rows()
    model = relative().fit(X, y)

    assert model.estimator_.coef_ == pytest.approx([3])
    assert model.estimator_.intercept_ == pytest.approx(1)
    assert model.estimator_.feature_names_in_.tolist() == ["x"]
    new, truth = rows(seed=1)
    np.testing.assert_allclose(model.predict(new), truth, rtol=1e-9)


@given(level=st.floats(-1e6, 1e6), scale=st.floats(1e-3, 1e6))
@settings(max_examples=50, deadline=None)
def test_a_row_of_another_size_is_predicted_alike(level, scale):
    X, y = rows(50)
    model = relative(DecisionTreeRegressor(random_state=0)).fit(X, y)
    moved = X.assign(level=X["level"] + level, scale=X["scale"] * scale)

    predicted = (model.predict(moved) - moved["level"]) / moved["scale"]

    expected = (model.predict(X) - X["level"]) / X["scale"]
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-4)


def test_trees_follow_a_trend_beyond_what_they_saw():
    last = pd.DataFrame({"last": np.arange(200.0), "one": 1.0, "weekday": np.arange(200) % 7})
    y = last["last"] + 1
    tree = DecisionTreeRegressor()
    model = RelativeRegressor(estimator=tree, level="last", scale="one").fit(last[:100], y[:100])

    np.testing.assert_allclose(model.predict(last[100:]), y[100:])
    assert abs(tree.fit(last[:100], y[:100]).predict(last[100:]) - y[100:]).min() > 0


def test_intervals_are_scaled_alike():
    X, y = rows(400, noise=1.0)
    model = relative(ConformalRegressor(estimator=LinearRegression())).fit(X, y)
    new, truth = rows(2000, seed=1, noise=1.0)

    low, high = model.predict_interval(new).T

    np.testing.assert_allclose((high - low) / new["scale"], 2 * model.estimator_.quantile_)
    np.testing.assert_allclose((low + high) / 2, model.predict(new), rtol=1e-6, atol=1e-6)
    assert coverage(truth, low, high) == pytest.approx(0.9, abs=0.04)


def test_no_intervals_where_the_estimator_has_none():
    assert not hasattr(relative(), "predict_interval")
    assert not hasattr(relative().fit(*rows()), "predict_interval")
    assert hasattr(relative(ConformalRegressor(estimator=LinearRegression())), "predict_interval")


def test_a_frozen_estimator_is_not_fitted_again():
    X, y = rows()
    inner = relative(ConformalRegressor(estimator=LinearRegression())).fit(X, y).estimator_

    model = relative(FrozenEstimator(inner)).fit(X[:5], y[:5] + 1e6)

    np.testing.assert_allclose(model.predict(X), y, rtol=1e-9)
    assert model.predict_interval(X).shape == (len(X), 2)


def test_scikit_learn_pickle_and_skops():
    X, y = rows()
    model = relative(ConformalRegressor(estimator=LinearRegression())).fit(X, y)
    copy = clone(model.set_params(estimator__confidence=0.8))
    assert copy.get_params()["estimator__confidence"] == 0.8
    assert not hasattr(copy, "estimator_")
    assert model.n_features_in_ == 3
    assert model.feature_names_in_.tolist() == ["x", "level", "scale"]
    for loaded in (
        pickle.loads(pickle.dumps(model)),
        skops.io.loads(skops.io.dumps(model), trusted=list(TRUSTED)),
    ):
        np.testing.assert_array_equal(loaded.predict_interval(X), model.predict_interval(X))


def test_a_grid_search_reaches_inside():
    X, y = rows()
    grid = {"estimator__max_depth": [1, 8]}
    search = GridSearchCV(relative(DecisionTreeRegressor(random_state=0)), grid, cv=3).fit(X, y)
    assert search.best_params_ == {"estimator__max_depth": 8}


def test_numbers_without_precision_are_computed_with_it():
    X, y = rows()
    narrow = X.astype(np.float32)
    model = relative(DummyRegressor(strategy="constant", constant=0.0)).fit(narrow, y)
    np.testing.assert_array_equal(model.predict(narrow), narrow["level"].astype(np.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.to_numpy(), "X must be a DataFrame"),
        (lambda X: X.drop(columns="scale"), r"X lacks the columns \['scale'\]"),
        (lambda X: X[["x"]], r"X lacks the columns \['level', 'scale'\]"),
        (lambda X: X.assign(scale=[1.0, 0.0, -1.0, 1.0]), "2 rows are not.* 'row 1' with 0.0"),
        (lambda X: X.assign(scale=np.nan), "column 'scale' contains NaN"),
        (lambda X: X.assign(level=np.inf), "column 'level' contains infinity"),
    ],
)
def test_rows_that_make_no_sense(change, message):
    X, y = rows(4)
    with pytest.raises(ValueError, match=message):
        relative().fit(change(X), y)
    model = relative().fit(X, y)
    with pytest.raises(ValueError, match=message):
        model.predict(change(X))


def test_other_input_that_makes_no_sense():
    X, y = rows(4)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        relative().fit(X, y[1:])
    with pytest.raises(ValueError, match="Input y contains NaN"):
        relative().fit(X, y * np.nan)
    with pytest.raises(ValueError, match="feature names should match"):
        relative().fit(X, y).predict(X.rename(columns={"x": "z"}))
    with pytest.raises(NotFittedError):
        relative().predict(X)


def logs(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"x": rng.normal(size=n)})
    return X, np.exp(3 * X["x"] + 1 + 0.1 * rng.normal(size=n))


def test_logarithms_are_learned_and_told_in_units():
    X, y = logs()
    model = LogRegressor(estimator=ConformalRegressor(estimator=LinearRegression())).fit(X, y)

    value, low, high = model.predict_with_interval(X).T

    np.testing.assert_array_equal(model.predict(X), value)
    np.testing.assert_array_equal(model.predict_interval(X), np.column_stack([low, high]))
    np.testing.assert_allclose(value / low, high / value)
    assert coverage(y, low, high) > 0.85
    assert not hasattr(LogRegressor(estimator=LinearRegression()), "predict_interval")
    again = skops.io.loads(skops.io.dumps(model), trusted=list(TRUSTED))
    np.testing.assert_array_equal(again.predict(X), value)


def test_bounds_hold_in_units():
    X, y = logs()
    model = LogRegressor(estimator=LinearRegression(), bounds=(0.5, 5)).fit(X, y)

    assert (model.predict(X).min(), model.predict(X).max()) == (0.5, 5)


def test_what_has_no_logarithm_is_refused():
    with pytest.raises(ValueError, match=r"2 values are not, the first one, number 1, is 0\.0"):
        LogRegressor(estimator=LinearRegression()).fit([[1], [2], [3]], [1, 0, -1])
