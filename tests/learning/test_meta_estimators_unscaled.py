"""Scaled inputs and targets, learned in units and given back scaled."""

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from ratchet.compiled.estimators import compile_estimator
from ratchet.learning.calibration import ConformalRegressor
from ratchet.learning.classical import build_estimator
from ratchet.learning.meta_estimators import RelativeRegressor, UnscaledRegressor
from ratchet.learning.trusted import TRUSTED
from ratchet.modelling.calibrate_and_refit import refit_estimator

TERMS = {"level": "level", "scale": "scale"}


def rows(n=120, seed=0, level=0.0):
    """Rows as a model sees them, and what they were before they were scaled."""
    rng = np.random.default_rng(seed)
    level, scale = np.full(n, level), rng.uniform(0.5, 20, n)
    units = pd.DataFrame({"day": rng.integers(0, 7, n).astype(float)})
    units["lag"] = rng.poisson(3 * scale).astype(float) + level
    units["spread"] = rng.uniform(0, 3, n) * scale
    y = np.round(units["lag"] - level + units["day"]) + level
    X = units.assign(
        lag=(units["lag"] - level) / scale, spread=units["spread"] / scale, level=level, scale=scale
    )
    return X, (y - level) / scale, units, y


def unscaled(estimator=None, **parameters):
    return UnscaledRegressor(
        estimator=estimator or DecisionTreeRegressor(max_depth=4, random_state=0),
        by_level=["lag"],
        by_scale=["spread"],
        **TERMS,
        **parameters,
    )


def test_it_learns_units_from_units():
    X, z, units, y = rows(level=5.0)
    model = unscaled(LinearRegression()).fit(X, z)
    by_hand = LinearRegression().fit(units, y)

    np.testing.assert_allclose(model.estimator_.coef_, by_hand.coef_, atol=1e-9)
    assert model.estimator_.feature_names_in_.tolist() == ["day", "lag", "spread"]
    expected = (by_hand.predict(units) - X["level"]) / X["scale"]
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-9)


def test_two_rows_by_hand():
    X = pd.DataFrame({"lag": [1.0, -1.0], "level": [10.0, 4.0], "scale": [2.0, 3.0]})
    model = UnscaledRegressor(estimator=DecisionTreeRegressor(), by_level=["lag"], **TERMS).fit(
        X, [2.0, 0.5]
    )

    # The lags are 12 and 1, the targets 14 and 5.5: the tree cuts between the lags at 6.5.
    assert model.estimator_.tree_.threshold[0] == 6.5
    other = pd.DataFrame({"lag": [0.0, 0.0], "level": [7.0, 6.0], "scale": [4.0, 5.0]})
    assert model.predict(other) == pytest.approx([(14 - 7) / 4, (5.5 - 6) / 5])


@given(power=st.integers(-8, 8))
@settings(max_examples=20, deadline=None)
def test_another_unit_gives_the_same_scaled_predictions(power):
    """Powers of two change no digit: the trees are the same, and so is what comes out."""
    X, z, *_ = rows()
    factor = 2.0**power
    other = X.assign(level=X["level"] * factor, scale=X["scale"] * factor)
    tree = DecisionTreeRegressor(max_depth=5, criterion="absolute_error", random_state=0)

    predicted = [unscaled(tree).fit(rows_, z).predict(rows_) for rows_ in (X, other)]

    np.testing.assert_allclose(predicted[0], predicted[1], rtol=1e-6)


def test_counts_stay_counts():
    """A target of 0 that rounding left below 0 would be no count."""
    X, z, _, y = rows(level=0.1)
    z = z.where(y - 0.1 > 3, (0 - 0.1) / X["scale"])
    poisson = HistGradientBoostingRegressor(loss="poisson", max_iter=5)
    assert np.isfinite(unscaled(poisson).fit(X, z).predict(X)).all()


def test_a_relative_regressor_around_it_gives_units_and_intervals():
    X, z, _, y = rows(level=2.0)
    inner = ConformalRegressor(estimator=FrozenEstimator(unscaled().fit(X, z)))
    inner.calibrate(inner.estimator.predict(X), z)

    outer = RelativeRegressor(estimator=FrozenEstimator(inner), **TERMS).fit(X, y)

    units = X["level"] + X["scale"] * unscaled().fit(X, z).predict(X)
    np.testing.assert_allclose(outer.predict(X), units)
    assert outer.predict_interval(X).shape == (len(X), 2)


@pytest.mark.parametrize("name", ["unscaled_boosting", "unscaled_xgboost", "unscaled_mixture"])
def test_candidates_compile_are_written_and_fitted_again(name):
    X, z, *_ = rows(200, level=1.0)
    model = build_estimator("forecasting", name, 0)
    model.set_params(by_level=["lag"], by_scale=["spread"], **TERMS)
    model.fit(X, z)
    new = rows(50, 1, level=3.0)[0].sample(frac=1, axis=1, random_state=0)
    expected = model.predict(new[X.columns])

    program = compile_estimator(model, [*new.columns, "unused"])
    np.testing.assert_allclose(program(new.assign(unused=1.0).to_numpy()), expected, rtol=1e-5)
    one = new.assign(unused=1.0).to_numpy()[:1]
    np.testing.assert_allclose(program(one), expected[:1], rtol=1e-5)
    written = skops.io.loads(skops.io.dumps(model), trusted=list(TRUSTED))
    np.testing.assert_array_equal(written.predict(X), model.predict(X))
    np.testing.assert_array_equal(refit_estimator(model, X, z).predict(X), model.predict(X))
    assert not hasattr(clone(model), "estimator_")


def test_rows_that_make_no_sense():
    X, z, *_ = rows(4)
    for change, message in (
        (X.drop(columns="lag"), r"X lacks the columns \['lag'\] that by_level and by_scale"),
        (X.drop(columns="scale"), r"X lacks the columns \['scale'\] that level and scale"),
        (X.assign(scale=0.0), "4 rows are not"),
        (X.to_numpy(), "X must be a DataFrame"),
    ):
        with pytest.raises(ValueError, match=message):
            unscaled().fit(change, z)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        unscaled().fit(X, z[1:])
    with pytest.raises(ValueError, match="Input y contains NaN"):
        unscaled().fit(X, z * np.nan)
