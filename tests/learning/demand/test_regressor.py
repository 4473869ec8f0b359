"""Demand as a scikit-learn regressor."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

from ratchet.learning.demand.regressor import DemandRegressor, rolling_origins
from ratchet.learning.trusted import dump, load


def market(*, S=8, T=40, slope=-1.5, season=0.0, trend=0.0, level=0.0, noise=0.1, seed=0):
    """Rows of S segments of two products over T steps, and their log quantities."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "segment": np.repeat(np.arange(S), T),
            "product": np.repeat(np.arange(S) % 2, T),
            "step": np.tile(np.arange(T, dtype=float), S),
            "log_price": 0.2 * rng.normal(size=S * T),
            "display": rng.random(S * T),
        }
    )
    step = X["step"].to_numpy()
    y = (
        5
        + 0.3 * X["segment"].to_numpy()
        + slope * X["log_price"].to_numpy()
        + 0.5 * X["display"].to_numpy()
        + season * np.sin(2 * np.pi * step / 12)
        + trend * step
        + level * (step >= T - 12)
        + noise * rng.normal(size=len(X))
    )
    return X, y


@pytest.fixture(scope="module")
def fitted():
    X, y = market(season=0.4)
    return DemandRegressor(period=12).fit(X[X["step"] < 32], y[X["step"] < 32])


def ahead():
    X, y = market(season=0.4)
    return X[X["step"] >= 32], y[X["step"] >= 32]


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_mixin_order,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_set_params,
        estimator_checks.check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_manners(check):
    """All common checks that make no arrays: those of any numbers are no market."""
    check("DemandRegressor", DemandRegressor(search=False))


def test_fitting_changes_neither_rows_nor_parameters_and_gives_the_same_again(fitted):
    X, y = market(season=0.4)
    early = X[X["step"] < 32]
    before, parameters = early.copy(), fitted.get_params()
    again = clone(fitted).fit(early, y[X["step"] < 32])

    pd.testing.assert_frame_equal(early, before)
    assert again.get_params() == parameters
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    shuffled = X.sample(frac=1, random_state=0)
    np.testing.assert_allclose(fitted.predict(shuffled), again.predict(X)[shuffled.index])


def test_it_forecasts_prices_season_and_covariates(fitted):
    X, y = ahead()

    assert np.abs(fitted.predict(X) - y).mean() < 0.13
    assert fitted.settings_.harmonics == 2
    assert fitted.hierarchy_.elasticity == pytest.approx([-1.5] * 8, abs=0.25)
    dearer = fitted.predict(X.assign(log_price=X["log_price"] + 0.1))
    assert (dearer - fitted.predict(X)).mean() == pytest.approx(-0.15, abs=0.03)


def test_the_search_tells_trends_from_none():
    X, y = market(trend=0.03)
    assert DemandRegressor().fit(X, y).settings_.trend
    X, y = market()
    model = DemandRegressor().fit(X, y)
    wape = [score for score, _ in model.scores_]
    assert not model.settings_.trend
    assert wape == sorted(wape)


def test_without_search_parameters_are_taken_as_they_are():
    X, y = market()
    model = DemandRegressor(search=False, trend=False, market="none", carry=0.0).fit(X, y)

    assert model.scores_ == []
    assert (model.settings_.trend, model.settings_.market, model.settings_.carry) == (
        False,
        "none",
        0.0,
    )


def test_recent_residuals_are_carried_on():
    X, y = market(level=1.0, noise=0.02)
    plain = DemandRegressor(search=False, trend=False, market="none", carry=0.0).fit(X, y)
    carried = clone(plain).set_params(carry=1.0).fit(X, y)
    late = X[X["step"] == 39]

    gain = carried.predict(late) - plain.predict(late)
    assert gain == pytest.approx([0.33] * 8, abs=0.1)


def test_a_new_segment_leans_on_its_product(fitted):
    X, _ = ahead()
    row = X.head(1).assign(step=32.0, log_price=0.0)
    new = fitted.predict(row.assign(segment=-1, product=0))
    other = fitted.predict(row.assign(segment=99, product=0))
    stranger = fitted.predict(row.assign(segment=-1, product=-1))
    known = fitted.predict(pd.concat([row.assign(segment=s) for s in (0, 2, 4, 6)]))

    assert new == other
    assert new[0] == pytest.approx(known.mean(), abs=0.2)
    assert np.isfinite(stranger).all()
    dearer = fitted.predict(row.assign(segment=-1, product=0, log_price=0.1))
    assert dearer < new


def test_a_prediction_does_not_depend_on_the_other_rows(fitted):
    X, _ = ahead()
    alone = np.concatenate([fitted.predict(X.iloc[[i]]) for i in range(10)])
    np.testing.assert_allclose(alone, fitted.predict(X)[:10], rtol=1e-12)


def test_intervals_cover_what_they_promise(fitted):
    X, y = market(season=0.4, seed=5)
    late = (X["step"] >= 32).to_numpy()
    model = DemandRegressor(period=12).fit(X[~late], y[~late])
    low, high = model.predict_interval(X[late], 0.8).T
    wide_low, wide_high = model.predict_interval(X[late], 0.95).T

    assert 0.7 <= np.mean((low <= y[late]) & (y[late] <= high)) <= 0.95
    assert (wide_low < low).all()
    assert (wide_high > high).all()


@pytest.mark.parametrize(("S", "T"), [(1, 40), (1, 3), (3, 1), (5, 3), (1, 1), (2, 13)])
def test_little_history_gives_finite_forecasts(S, T):
    X, y = market(S=S, T=T)
    model = DemandRegressor(period=52).fit(X, y)
    later = X.assign(step=X["step"] + T)

    assert np.isfinite(model.predict(later)).all()
    assert np.isfinite(model.hierarchy_.elasticity_sd).all()
    if T < 12:
        assert model.scores_ == []
        with pytest.raises(ValueError, match="too few for intervals"):
            model.predict_interval(later)


def test_missing_weeks_are_no_obstacle():
    X, y = market(S=6, T=60)
    kept = np.random.default_rng(0).random(len(X)) < 0.5
    model = DemandRegressor(period=52).fit(X[kept], y[kept])
    assert model.hierarchy_.elasticity == pytest.approx([-1.5] * 6, abs=0.5)


def test_constant_prices_and_covariates_are_no_obstacle():
    X, y = market()
    X = X.assign(log_price=0.7, display=1.0)
    model = DemandRegressor().fit(X, y)

    assert (model.hierarchy_.evidence < 1e-6).all()
    assert (model.hierarchy_.probability_negative < 0.95).all()
    assert np.isfinite(model.predict(X.assign(display=3.0))).all()


def test_fitted_models_come_back_from_files(fitted, tmp_path):
    X, _ = ahead()
    expected = fitted.predict(X)
    dump(fitted, tmp_path / "model.skops")
    loaded = load(tmp_path / "model.skops")

    np.testing.assert_array_equal(loaded.predict(X), expected)
    np.testing.assert_array_equal(loaded.predict_interval(X), fitted.predict_interval(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), expected)
    assert loaded.settings_ == fitted.settings_
    assert not hasattr(clone(fitted), "forecast_")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.to_numpy(), "must be a DataFrame"),
        (lambda X: X.drop(columns=["step", "product"]), r"lacks the columns \['product', 'step'\]"),
        (lambda X: X.assign(log_price=np.nan), "column 'log_price'"),
        (lambda X: X.assign(segment=-1), "column 'segment' must hold codes from 0"),
        (lambda X: X.assign(step=0.0), "several rows"),
        (lambda X: X.assign(product=np.arange(len(X))), "several products"),
        (lambda X: X.assign(segment=0.5), "column 'segment' must hold whole numbers"),
    ],
)
def test_rows_that_make_no_sense_are_refused(change, message):
    X, y = market(S=2, T=5)
    with pytest.raises(ValueError, match=message):
        DemandRegressor().fit(change(X), y)


def test_forecasts_need_a_fit_and_the_same_columns(fitted):
    X, y = ahead()
    with pytest.raises(NotFittedError):
        DemandRegressor().predict(X)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(X.rename(columns={"display": "promotion"}))
    with pytest.raises(ValueError, match="y contains NaN"):
        DemandRegressor().fit(X, y * np.nan)


def test_origins_follow_each_other_and_leave_the_first_half():
    step = np.repeat(np.arange(25.0), 2)
    origins = rolling_origins(step, 3)

    assert [step[o.validation].min() for o in origins] == [13, 17, 21]
    assert [step[o.validation].max() for o in origins] == [16, 20, 24]
    assert [step[o.training].max() for o in origins] == [12, 16, 20]
    assert rolling_origins(np.arange(11.0), 3) == []
