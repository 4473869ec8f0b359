"""Two regressors in a row: the sum, who sees what, and the manners of a scikit-learn estimator."""

import pickle

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from ratchet.learning.meta_estimators import ResidualRegressor
from ratchet.learning.trusted import TRUSTED


def rows(n=300, seed=0):
    """A trend that a line can follow, and steps that a tree can."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"trend": rng.uniform(0, 50, n), "slot": rng.integers(0, 4, n)}, dtype=float)
    return X, 2 * X["trend"] + np.array([0.0, 9.0, -4.0, 1.0])[X["slot"].astype(int)]


def on(pattern, estimator):
    columns = ColumnTransformer([("columns", "passthrough", make_column_selector(pattern))])
    return Pipeline([("columns", columns), ("model", estimator)])


def hybrid():
    return ResidualRegressor(
        base=on("^trend$", LinearRegression()), estimator=on("^slot$", DecisionTreeRegressor())
    )


@parametrize_with_checks(
    [ResidualRegressor(base=Ridge(), estimator=DecisionTreeRegressor(max_depth=2, random_state=0))]
)
def test_manners(estimator, check):
    check(estimator)


def test_both_together_do_what_neither_can():
    X, y = rows()
    new, truth = rows(seed=1)
    new["trend"] += 100  # beyond what the tree has seen
    truth += 200

    model = hybrid().fit(X, y)

    assert model.score(new, truth) > 0.99
    assert clone(model.base).fit(X, y).score(new, truth) < 0.98
    assert DecisionTreeRegressor().fit(X, y).score(new, truth) < 0


def test_it_is_the_sum_of_both():
    X, y = rows()
    model = ResidualRegressor(base=Ridge(), estimator=DecisionTreeRegressor(max_depth=3))
    base = Ridge().fit(X, y)
    rest = DecisionTreeRegressor(max_depth=3).fit(X, y - base.predict(X))

    model.fit(X, y)

    np.testing.assert_allclose(model.predict(X), base.predict(X) + rest.predict(X))
    assert model.feature_names_in_.tolist() == ["trend", "slot"]


def test_a_frozen_base_is_not_fitted_again():
    X, y = rows()
    base = FrozenEstimator(DummyRegressor(strategy="constant", constant=7.0).fit(X, y))

    model = ResidualRegressor(base=base, estimator=DummyRegressor()).fit(X, y)

    assert model.base_ is base
    np.testing.assert_allclose(model.estimator_.constant_, [[y.mean() - 7]])
    np.testing.assert_allclose(model.predict(X), y.mean())


def test_nested_parameters_and_clone():
    model = hybrid().set_params(base__model__fit_intercept=False, estimator__model__max_depth=5)

    copy = clone(model)

    assert copy.base is not model.base
    assert copy.get_params()["base__model__fit_intercept"] is False
    assert copy.get_params()["estimator__model__max_depth"] == 5


def test_the_parts_given_stay_unfitted():
    model = hybrid().fit(*rows())
    assert not hasattr(model.base.named_steps["model"], "coef_")
    assert not hasattr(model.estimator.named_steps["model"], "tree_")


def test_pickle_and_skops_round_trips():
    X, y = rows()
    model = hybrid().fit(X, y)
    for loaded in (
        pickle.loads(pickle.dumps(model)),
        skops.io.loads(skops.io.dumps(model), trusted=list(TRUSTED)),
    ):
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_input_that_makes_no_sense():
    X, y = rows(20)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        hybrid().fit(X, y[1:])
    with pytest.raises(ValueError, match="1d array"):
        hybrid().fit(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match=r"Input y contains NaN"):
        hybrid().fit(X, y.where(y > y.min()))
    with pytest.raises(NotFittedError):
        hybrid().predict(X)


def test_the_second_sees_what_change_the_base_predicts():
    rng = np.random.default_rng(0)
    last = rng.uniform(0, 100, 400)
    X = pd.DataFrame({"last": last, "next": last + rng.choice([-1.0, 1.0], 400)})
    y = X["next"] + 3 * (X["next"] > X["last"])  # a rise goes on
    tree = DecisionTreeRegressor(max_depth=2, random_state=0)
    given = {"base": on("^next$", LinearRegression()), "estimator": tree}

    without = ResidualRegressor(**given).fit(X[:300], y[:300])
    model = ResidualRegressor(**given, change_from="last").fit(X[:300], y[:300])

    errors = [np.abs(one.predict(X[300:]) - y[300:]).mean() for one in (without, model)]
    assert errors[0] > 1
    assert errors[1] < 0.2
    assert list(model.estimator_.feature_names_in_) == ["last", "next", "base_change"]
    with pytest.raises(ValueError, match="lacks the column 'last'"):
        model.fit(X[["next"]], y)
