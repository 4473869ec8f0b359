"""A recurrent network with the manners of a scikit-learn estimator."""

from __future__ import annotations

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from ratchet.learning.calibration import ConformalRegressor
from ratchet.learning.meta_estimators import ResidualRegressor
from ratchet.learning.recurrent import regressor as module
from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.recurrent.training import train_group
from ratchet.learning.recurrent.types import ProgramSpec, TrainOptions, TrainResult, TrialParams
from ratchet.learning.trusted import TRUSTED

TINY = {"units": 4, "epochs": 2, "lookback": 3, "compiled": False}


def windows(n=80, lookback=3, seed=0, horizon=1):
    """Windows of two channels of which the next values of the first follow."""
    rng = np.random.default_rng(seed)
    series = np.column_stack(
        [np.sin(np.arange(n + lookback + horizon) / 4), rng.random(n + lookback + horizon)]
    )
    series = series * [50, 0.1] + [200, 7]
    X = np.stack([series[i : i + lookback].ravel() for i in range(n)])
    y = np.stack([series[i + lookback : i + lookback + horizon, 0] for i in range(n)])
    names = [f"window_{c}_{s:02d}" for s in reversed(range(lookback)) for c in ("load", "noise")]
    return pd.DataFrame(X, columns=names), y[:, 0] if horizon == 1 else y


@pytest.fixture(scope="module")
def fitted():
    return RecurrentRegressor(**TINY).fit(*windows())


@pytest.mark.slow
@parametrize_with_checks(
    [RecurrentRegressor(units=4, epochs=2, compiled=False)],
    expected_failed_checks=lambda _: {
        "check_regressors_train": "two epochs are too few to learn anything"
    },
)
def test_manners(estimator, check):
    check(estimator)


@pytest.mark.slow
def test_it_learns():
    X, y = windows(400)
    model = RecurrentRegressor(
        units=16, lookback=3, learning_rate=0.01, epochs=15, dropout=0.0, compiled=False
    )
    assert model.fit(X, y).score(*windows(100, seed=1)) > 0.9


def test_what_it_knows_once_fitted(fitted):
    X, y = windows()
    assert fitted.predict(X).shape == y.shape
    assert fitted.predict(X).dtype == np.float64
    assert fitted.n_features_in_ == 6
    assert fitted.feature_names_in_.tolist() == X.columns.tolist()
    assert fitted.n_epochs_ == 2
    assert fitted.best_epoch_ in {1, 2}
    assert fitted.status_ == "completed"
    assert {len(values) for values in fitted.history_.values()} == {2}
    assert set(fitted.history_) == {"loss", "val_loss", "val_mae", "learning_rate"}


def test_a_horizon_of_several_steps():
    X, y = windows(horizon=3)
    model = RecurrentRegressor(**TINY, horizon=3).fit(X, y)
    assert model.predict(X).shape == (80, 3)
    with pytest.raises(ValueError, match=r"shape \(n, horizon\), with horizon=3, not \(80, 2\)"):
        model.fit(X, y[:, :2])
    with pytest.raises(ValueError, match="with horizon=3"):
        model.fit(X, y[:, 0])


def test_the_last_tenth_of_the_rows_stops_it(monkeypatch):
    seen = recorded(monkeypatch)
    X, y = windows(45)
    model = RecurrentRegressor(**TINY).fit(X, y)

    train, target, validation, validation_target = seen[0]

    assert (len(train), len(validation)) == (41, 4)
    np.testing.assert_array_equal(validation, model.scaler_.windows(X[41:]))
    np.testing.assert_array_equal(validation_target, model.scaler_.targets(y[41:]))
    # Scaled by what the training rows know, not by what comes later.
    assert (train.min(), train.max(), target.min(), target.max()) == (0, 1, 0, 1)


def test_validation_data_stops_it_and_is_neither_learned_nor_clipped(monkeypatch):
    seen = recorded(monkeypatch)
    X, y = windows(30)
    RecurrentRegressor(**TINY).fit(X, y, validation_data=(X[:5] * 2, y[:5] * 2))

    train, _, validation, validation_target = seen[0]

    assert (len(train), len(validation)) == (30, 5)
    assert validation.max() > 2
    assert validation_target.max() > 1


def recorded(monkeypatch):
    """Collect the arrays that training is given."""
    seen = []

    def record(spec, trials, *arguments):
        seen.append(arguments[:-1])
        return train_group(spec, trials, *arguments)

    monkeypatch.setattr(module, "train_group", record)
    return seen


def test_the_seed_decides():
    X, y = windows()
    one, same, other = (
        RecurrentRegressor(**TINY, random_state=seed).fit(X, y).predict(X) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_any_kind_of_random_state_gives_a_seed():
    generator = np.random.RandomState(3)
    model = RecurrentRegressor(random_state=generator)
    assert model.seed() != model.seed()
    assert RecurrentRegressor(random_state=np.int64(7)).seed() == 7
    assert RecurrentRegressor(random_state=None).seed() >= 0


def test_units_of_the_data_do_not_matter(fitted):
    X, y = windows()
    other = RecurrentRegressor(**TINY).fit(X * 1000, y * 1000)
    np.testing.assert_allclose(other.predict(X * 1000), 1000 * fitted.predict(X), rtol=1e-4)


def test_constant_channels_and_targets_do_no_harm():
    X, y = windows()
    X[X.columns[1::2]] = 5.0
    model = RecurrentRegressor(**TINY).fit(X, np.full(len(y), 3.0))
    np.testing.assert_allclose(model.predict(X), 3, atol=1.5)


def test_frames_and_arrays_are_one(fitted):
    X, y = windows()
    model = RecurrentRegressor(**TINY).fit(X.to_numpy(), y)
    np.testing.assert_array_equal(model.predict(X.to_numpy()), fitted.predict(X))
    assert not hasattr(model, "feature_names_in_")


def test_rows_are_forecast_one_by_one_as_together(fitted):
    X, _ = windows()
    alone = [fitted.predict(X[i : i + 1])[0] for i in range(10)]
    np.testing.assert_array_equal(alone, fitted.predict(X)[:10])


def test_more_rows_than_one_pass_takes(fitted):
    X, _ = windows()
    many = pd.concat([X] * 60)
    np.testing.assert_array_equal(fitted.predict(many), np.tile(fitted.predict(X), 60))


def test_scikit_learn_pickle_and_skops_round_trips(fitted):
    X, _ = windows()
    expected = fitted.predict(X)  # the network is there now, and must not be in the way
    for loaded in (
        pickle.loads(pickle.dumps(fitted)),
        copy.deepcopy(fitted),
        skops.io.loads(skops.io.dumps(fitted), trusted=list(TRUSTED)),
    ):
        np.testing.assert_array_equal(loaded.predict(X), expected)
        assert loaded.get_params() == fitted.get_params()
        assert loaded.history_ == fitted.history_
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "weights_")


def test_the_state_is_arrays_and_plain_values(fitted):
    fitted.predict(windows()[0])
    assert b"keras" not in pickle.dumps(fitted)
    assert b"tensorflow" not in pickle.dumps(fitted)
    assert all(isinstance(weight, np.ndarray) for weight in fitted.weights_)


@pytest.mark.slow
def test_another_process_forecasts_the_same(fitted):
    X, _ = windows()
    [there] = joblib.Parallel(n_jobs=2)([joblib.delayed(fitted.predict)(X)])
    np.testing.assert_array_equal(there, fitted.predict(X))


def test_inside_of_other_estimators_through_skops():
    X, y = windows()
    inner = make_pipeline(FunctionTransformer(), RecurrentRegressor(**TINY))
    hybrid = ResidualRegressor(base=Ridge(), estimator=inner).fit(X, y)
    model = ConformalRegressor(estimator=FrozenEstimator(hybrid)).fit(X, y)

    loaded = skops.io.loads(skops.io.dumps(model), trusted=list(TRUSTED))

    np.testing.assert_array_equal(loaded.predict_interval(X), model.predict_interval(X))


def test_fitting_again_forgets():
    X, y = windows()
    model = RecurrentRegressor(**TINY).fit(X, y)
    before = model.predict(X)
    model.fit(X, y + 1000)
    np.testing.assert_allclose(model.predict(X), before + 1000, rtol=1e-4)


def test_the_best_epoch_has_the_lowest_validation_loss():
    X, y = windows()
    model = RecurrentRegressor(**{**TINY, "epochs": 6, "learning_rate": 0.1}).fit(X, y)
    losses = model.history_["val_loss"]
    assert model.best_epoch_ == int(np.argmin(losses)) + 1

    scaler = model.scaler_
    error = scaler.targets(model.predict(X[72:])) - scaler.targets(y[72:])

    assert float((error**2).mean()) == pytest.approx(min(losses), rel=1e-4)


def test_a_grid_search_finds_its_way():
    X, y = windows()
    fold = np.r_[np.full(60, -1), np.zeros(20)]
    grid = {"learning_rate": [1e-9, 0.01], "units": [4]}
    model = RecurrentRegressor(**TINY)
    search = GridSearchCV(model, grid, cv=PredefinedSplit(fold), error_score="raise")

    search.fit(X, y, validation_data=(X[60:], y[60:]))

    assert search.best_params_["learning_rate"] == 0.01
    assert search.predict(X).shape == y.shape


def test_graph_and_member_are_its_parameters():
    model = RecurrentRegressor(
        architecture="lstm", units=np.int64(8), dropout=0, lookback=3, horizon=2, patience=4
    )
    assert model.program_spec(12) == ProgramSpec("lstm", 8, "tanh", 32, 3, 4, 2)
    assert model.trial_params() == TrialParams(0.0, 1e-3, 50, 4)


def test_trained_elsewhere_it_is_the_same(fitted):
    X, y = windows()
    model = RecurrentRegressor(**TINY)
    scaler = model.fit_scaler(X[:72], y[:72])
    assert not hasattr(model, "n_features_in_")
    arrays = [f(part) for part in (slice(72), slice(72, None)) for f in scale(scaler, X, y, part)]

    [trained] = train_group(
        model.program_spec(6),
        [model.trial_params()],
        *arrays,
        TrainOptions(seed=model.seed(), compiled=False),
    )
    other = model.from_result(trained, scaler, X.columns)

    assert not hasattr(model, "weights_")
    np.testing.assert_array_equal(other.predict(X), fitted.predict(X))
    assert other.feature_names_in_.tolist() == X.columns.tolist()
    assert other.n_features_in_ == 6
    assert not hasattr(model.from_result(trained, scaler), "feature_names_in_")


def scale(scaler, X, y, part):
    return (lambda rows: scaler.windows(X[rows])), (lambda rows: scaler.targets(y[rows]))


def test_training_that_ran_away_warns(fitted):
    trained = TrainResult(fitted.weights_, {**fitted.history_}, 0, "diverged")
    with pytest.warns(ConvergenceWarning, match="lower learning_rate"):
        model = fitted.from_result(trained, fitted.scaler_)
    assert model.status_ == "diverged"


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"compiled": True}, marks=pytest.mark.slow),
        pytest.param({"compiled": True, "architecture": "gru_dense"}, marks=pytest.mark.slow),
    ],
)
def test_refitting_goes_the_way_that_fitting_went(options):
    X, y = windows()
    # A learning rate at which training falters, and so is slowed down.
    options = {**TINY, "epochs": 12, "patience": 4, "learning_rate": 0.1, **options}
    model = RecurrentRegressor(**options)
    model.fit(X, y, validation_data=(X[:9], y[:9]))
    rates = model.history_["learning_rate"][: model.best_epoch_]
    assert len(set(rates)) > 1, "the learning rate has to change for this test to tell"

    again = RecurrentRegressor(**options).fit_epochs(X, y, rates)

    np.testing.assert_allclose(again.predict(X), model.predict(X), rtol=1e-5)
    assert again.history_["learning_rate"] == rates
    np.testing.assert_allclose(again.history_["loss"], model.history_["loss"][: len(rates)], 1e-5)
    assert again.best_epoch_ == again.n_epochs_ == len(rates)
    assert again.feature_names_in_.tolist() == X.columns.tolist()


def test_refitting_learns_from_all_rows_and_keeps_the_last_weights():
    X, y = windows()
    model = RecurrentRegressor(**TINY)
    three, four = (model.fit_epochs(X, y, [0.05] * n).predict(X) for n in (3, 4))
    assert not np.allclose(three, four)
    assert model.status_ == "completed"
    assert set(model.history_) == {"loss", "learning_rate"}
    assert model.scaler_.target_low == y.min()
    y[-1] += 500
    assert not np.allclose(model.fit_epochs(X, y, [0.05] * 4).predict(X), four)


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"compiled": True, "architecture": "gru"}, marks=pytest.mark.slow)],
)
def test_training_continues_from_the_weights_in_their_scaling_and_leaves_the_model(options):
    X, y = windows()
    model = RecurrentRegressor(**{**TINY, **options}).fit_epochs(X, y, [0.05] * 6)
    before = model.predict(X)

    # At a rate of almost 0 the weights stay, whatever the rows are.
    same = model.continue_epochs(X[:9], y[:9] + 500, [1e-12])
    again = model.continue_epochs(X, y, [0.05] * 3)

    np.testing.assert_allclose(same.predict(X), before, rtol=1e-5)
    assert same.scaler_ is model.scaler_
    assert again.history_["loss"][0] < model.history_["loss"][0]
    assert again.history_["learning_rate"] == [0.05] * 3
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("rates", [[], [0.01, 0.0], [np.nan], [np.inf]])
def test_refitting_needs_a_rate_for_every_epoch(rates):
    with pytest.raises(ValueError, match="one number greater than 0 per epoch"):
        RecurrentRegressor(**TINY).fit_epochs(*windows(), rates)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 0}, "units must be a whole number of at least 1, not 0"),
        ({"units": 2.5}, "units must be a whole number"),
        ({"batch_size": -1}, "batch_size must be a whole number"),
        ({"epochs": "50"}, "epochs must be a whole number"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"patience": 0}, "patience must be a whole number"),
        ({"lookback": 0}, "lookback must be a whole number"),
        ({"horizon": None}, "horizon must be a whole number"),
        ({"dropout": 1}, "dropout must be a number with 0 <= x < 1, not 1"),
        ({"dropout": -0.1}, "dropout must be"),
        ({"dropout": float("nan")}, "dropout must be"),
        ({"learning_rate": 0}, "learning_rate must be a number with x > 0, not 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be"),
        ({"learning_rate": "fast"}, "learning_rate must be"),
        (
            {"architecture": "transformer"},
            "unknown architecture 'transformer'; known: .*gru",
        ),
        ({"architecture": None}, "unknown architecture None"),
        ({"activation": "step"}, "unknown activation 'step'; known: .*tanh"),
        ({"lookback": 4}, "X has 6 columns, which lookback=4 does not divide"),
    ],
)
def test_parameters_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        RecurrentRegressor(**{**TINY, **options}).fit(*windows())


def with_a(value):
    X, y = windows()
    X.iloc[40, 2] = value
    return X, y


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (with_a(np.nan), "NaN"),
        (with_a(np.inf), "infinity"),
        ((windows()[0], np.full(80, np.nan)), "y contains NaN"),
        ((windows()[0], windows()[1][1:]), "inconsistent numbers of samples"),
        ((windows()[0], np.zeros((80, 2))), "1d array"),
        ((windows()[0][:1], windows()[1][:1]), r"1 sample\(s\).* minimum of 2"),
        ((windows()[0][:0], windows()[1][:0]), r"0 sample\(s\)"),
    ],
)
def test_rows_that_make_no_sense(rows, message):
    with pytest.raises(ValueError, match=message):
        RecurrentRegressor(**TINY).fit(*rows)


def test_validation_rows_that_make_no_sense():
    X, y = windows()
    model = RecurrentRegressor(**TINY)
    for validation, message in (
        ((X[:0], y[:0]), "0 sample"),
        ((X[X.columns[:3]], y), "feature names"),
        ((X, y * np.nan), "NaN"),
        ((X, y, y), r"validation_data must be a pair \(X, y\)"),
        ((X.to_numpy()[:, :3], y), "3 features"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X.to_numpy() if "3 features" in message else X, y, validation_data=validation)


def test_one_row_is_enough_to_train_when_others_stop_it():
    X, y = windows()
    model = RecurrentRegressor(**TINY).fit(X[:1], y[:1], validation_data=(X[1:2], y[1:2]))
    assert np.isfinite(model.predict(X)).all()


def test_forecasts_need_a_fitted_network_and_its_columns(fitted):
    X, _ = windows()
    with pytest.raises(NotFittedError):
        RecurrentRegressor().predict(X)
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(X[X.columns[::-1]])
    with pytest.raises(ValueError, match="NaN"):
        fitted.predict(X * np.nan)
