"""The promise of the intervals on simulated rows, and the manners of a scikit-learn estimator."""

import pickle

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from ratchet.learning.calibration import ConformalRegressor, coverage


def simulated(rng, n):
    """A straight line with skewed, heavy-tailed noise that grows with x."""
    x = rng.random((n, 1))
    return x, 3 * x[:, 0] + (0.5 + x[:, 0]) * (rng.standard_t(3, n) + rng.exponential(size=n))


def frozen(rng, n=100):
    return FrozenEstimator(LinearRegression().fit(*simulated(rng, n)))


@parametrize_with_checks([ConformalRegressor(estimator=LinearRegression(), confidence=0.5)])
def test_manners(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("confidence", "n"), [(0.9, 40), (0.8, 9), (0.95, 25)])
def test_coverage_over_many_calibrations(confidence, n):
    rng = np.random.default_rng(0)
    model = ConformalRegressor(estimator=frozen(rng), confidence=confidence)
    repetitions = 400
    shares = np.empty(repetitions)
    for repetition in range(repetitions):
        X, y = simulated(rng, 100)
        model.fit(*simulated(rng, n))
        shares[repetition] = coverage(y, *model.predict_interval(X).T)
    error = shares.std() / np.sqrt(repetitions)
    # Between confidence and confidence + 1 / (n + 1), Lei et al. 2018, theorem 2.2.
    assert confidence - 3 * error <= shares.mean() <= confidence + 1 / (n + 1) + 3 * error


def test_a_model_that_knows_its_rows_by_heart_keeps_the_promise():
    rng = np.random.default_rng(1)
    model = ConformalRegressor(estimator=KNeighborsRegressor(n_neighbors=1)).fit(
        *simulated(rng, 2000)
    )
    X, y = simulated(rng, 4000)
    assert coverage(y, *model.predict_interval(X).T) > 0.86


@pytest.mark.parametrize(
    ("confidence", "n", "rank"), [(0.9, 9, 9), (0.9, 10, 10), (0.9, 100, 91), (0.5, 3, 2)]
)
def test_quantile_is_the_error_of_that_rank(confidence, n, rank):
    zero = FrozenEstimator(DummyRegressor(strategy="constant", constant=0).fit([[0]], [0]))
    errors = np.random.default_rng(2).permutation(np.arange(1, n + 1)) * [1, -1, 1, 1, -1][n % 5]
    model = ConformalRegressor(estimator=zero, confidence=confidence).fit(np.zeros((n, 1)), errors)
    assert model.quantile_ == rank
    assert model.predict_interval([[0.0]]).tolist() == [[-rank, rank]]


@pytest.mark.parametrize(("confidence", "least"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1)])
def test_too_few_calibration_rows_say_how_many_are_needed(confidence, least):
    rng = np.random.default_rng(3)
    model = ConformalRegressor(estimator=frozen(rng), confidence=confidence)
    X, y = simulated(rng, least)
    model.fit(X, y)
    if least > 1:
        with pytest.raises(ValueError, match=f"at least {least} are needed"):
            model.fit(X[1:], y[1:])


def test_a_frozen_estimator_is_not_fitted_again():
    rng = np.random.default_rng(4)
    inner = frozen(rng)
    X, y = simulated(rng, 50)
    model = ConformalRegressor(estimator=inner).fit(X, y + 100)
    assert model.estimator_ is inner
    np.testing.assert_array_equal(model.predict(X), inner.predict(X))
    assert model.quantile_ > 90


def test_another_estimator_is_cloned_and_fitted():
    inner = LinearRegression()
    rng = np.random.default_rng(5)
    model = ConformalRegressor(estimator=inner).fit(*simulated(rng, 100))
    assert not hasattr(inner, "coef_")
    assert hasattr(model.estimator_, "coef_")


def test_bounds_clip_predictions_and_intervals():
    X = np.linspace(-1, 2, 200).reshape(-1, 1)
    y = np.clip(5 * X[:, 0] + np.random.default_rng(6).normal(size=200), 0, 5)
    model = ConformalRegressor(estimator=LinearRegression(), bounds=(0, 5)).fit(X, y)
    low, high = model.predict_interval(X).T
    prediction = model.predict(X)
    assert prediction.min() == low.min() == 0
    assert prediction.max() == high.max() == 5
    assert (low <= prediction).all()
    assert (prediction <= high).all()
    assert coverage(y, low, high) > 0.85


def test_bounds_may_be_open_on_one_side():
    X, y = np.arange(40.0).reshape(-1, 1), np.arange(40.0)
    model = ConformalRegressor(estimator=LinearRegression(), bounds=[0, None]).fit(X, y)
    assert model.predict([[-5.0], [1000.0]]).tolist() == pytest.approx([0, 1000])


def test_scikit_learn_pickle_and_skops_round_trips():
    rng = np.random.default_rng(7)
    X, y = simulated(rng, 60)
    model = ConformalRegressor(estimator=frozen(rng), confidence=0.8, bounds=[-50, 50]).fit(X, y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "quantile_")
    trusted = ["ratchet.learning.calibration.ConformalRegressor"]
    for loaded in (
        pickle.loads(pickle.dumps(model)),
        skops.io.loads(skops.io.dumps(model), trusted=trusted),
    ):
        np.testing.assert_array_equal(loaded.predict_interval(X), model.predict_interval(X))


def test_frames_keep_their_column_names():
    rng = np.random.default_rng(8)
    X, y = simulated(rng, 60)
    frame = pd.DataFrame(X, columns=["x"])
    model = ConformalRegressor(estimator=LinearRegression()).fit(frame, pd.Series(y))
    assert model.feature_names_in_.tolist() == ["x"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"x": "z"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 0.0}, "confidence must lie"),
        ({"confidence": 90}, "confidence must lie"),
        ({"bounds": (5, 0)}, "low < high"),
        ({"bounds": (0, 1)}, "20 values of y lie outside the bounds"),
    ],
)
def test_parameters_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        ConformalRegressor(estimator=LinearRegression(), **options).fit(
            np.zeros((20, 1)), np.full(20, 2.0)
        )


def test_targets_that_make_no_sense():
    model = ConformalRegressor(estimator=LinearRegression())
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.zeros((20, 1)), [np.nan] * 20)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(np.zeros((20, 1)), np.zeros(19))
    with pytest.raises(ValueError, match="1d array"):
        model.fit(np.zeros((20, 1)), np.zeros((20, 2)))
    with pytest.raises(NotFittedError):
        model.predict_interval(np.zeros((1, 1)))


def test_coverage_counts_the_ends():
    assert coverage([1, 2, 3, 4], [1, 0, 4, 0], [2, 2, 5, 9]) == 0.75


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (([], [], []), "columns of one length"),
        (([1.0], [0.0, 0.0], [2.0]), "columns of one length"),
        (([np.nan], [0.0], [2.0]), "missing"),
    ],
)
def test_coverage_refuses(rows, message):
    with pytest.raises(ValueError, match=message):
        coverage(*rows)
