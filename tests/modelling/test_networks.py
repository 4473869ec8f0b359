"""What networks see, what they stop on, and how several become one model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.linear_model import LinearRegression

from ratchet.config import Evaluation, Network, Target, Windows, series_columns
from ratchet.errors import DataError
from ratchet.modelling.calibrate_and_refit import (
    calibrate,
    interval_confidence,
    refit_mean_and_first,
    select_inputs,
    uncalibrated,
)
from ratchet.modelling.networks import (
    assemble,
    fit_base,
    fit_networks,
    holdout_split,
    network_estimator,
    param_grids,
    residuals,
)
from ratchet.modelling.target_scaling import (
    features_and_scaled_target,
    features_and_target,
    to_target_units,
)

TARGET = Target(
    column="load",
    task="forecasting",
    bounds=(0, np.inf),
    candidates={"seasonal": {"estimator": "seasonal"}, "ridge": {"estimator": "ridge"}},
    baseline="seasonal",
)
WINDOWS = Windows(lookback=2, horizon=3, past={"load": "value"})


def rows(n_steps: int = 40, n_series: int = 2, seed: int = 0) -> pd.DataFrame:
    """Rows of a model input, several series at each time."""
    rng = np.random.default_rng(seed)
    n = n_steps * n_series
    frame = pd.DataFrame(
        {
            "hour": np.repeat(np.arange(n_steps) % 24, n_series),
            "window_load_01": rng.normal(size=n),
            "ahead_hour_01": rng.normal(size=n),
            "window_load_00": rng.normal(size=n),
            "ahead_hour_00": rng.normal(size=n),
            "naive_seasonal": rng.normal(size=n),
            "series_id": np.tile([f"s{i}" for i in range(n_series)], n_steps),
            "series_time": np.repeat(pd.date_range("2024", periods=n_steps), n_series),
            "series_level": 100.0,
            "series_scale": np.tile([1.0, 10.0], n)[:n],
            "series_rms": np.tile([2.0, 20.0], n)[:n],
        },
        index=pd.Index([f"row {i}" for i in range(n)], name="row"),
    )
    z = frame["window_load_00"] + 0.5 * frame["ahead_hour_00"] + 0.1 * rng.normal(size=n)
    return frame.assign(target_load=frame["series_level"] + frame["series_scale"] * z)


class Linear(RegressorMixin, BaseEstimator):
    """Stands for a network: a linear model of the windows, with a constant error."""

    def __init__(self, error: float = 0.0) -> None:
        self.error = error

    def fit(self, X: pd.DataFrame, y: Any) -> Linear:
        self.model_ = LinearRegression().fit(X, y)
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        assert list(X.columns) == list(self.feature_names_in_)
        return self.model_.predict(X) + self.error


def test_each_family_sees_its_columns():
    frame = rows()
    recurrent, z = features_and_scaled_target(frame, TARGET, "recurrent")
    classical, _ = features_and_scaled_target(frame, TARGET)

    assert list(recurrent) == [
        "window_load_01",
        "ahead_hour_01",
        "window_load_00",
        "ahead_hour_00",
    ]
    assert list(classical) == ["hour", "window_load_01", "window_load_00", "naive_seasonal"]
    assert to_target_units(z, frame, TARGET).to_numpy() == pytest.approx(
        frame["target_load"].to_numpy()
    )
    assert list(series_columns(frame)) == ["series", "time", "scale", "rms"]


def test_the_last_times_are_held_out_with_a_gap_of_the_horizon():
    frame = rows(n_steps=40)
    fitting, holding = holdout_split(frame, TARGET, 0.25, horizon=3)
    time = frame["series_time"].to_numpy()

    assert len(set(time[holding])) == 10
    assert time[holding].max() == time.max()
    gap = (time[holding].min() - time[fitting].max()) / np.timedelta64(1, "D")
    assert gap == 3  # the target of the last row that fits is known at the first origin held out
    assert not set(time[fitting]) & set(time[holding])


@pytest.mark.parametrize(("share", "n_steps"), [(0.9, 3), (0.01, 3), (0.5, 0)])
def test_too_few_rows_to_hold_out_are_told(share, n_steps):
    with pytest.raises(DataError, match=r"column 'load': .* too few to hold out"):
        holdout_split(rows(n_steps), TARGET, share, horizon=3)


def test_every_architecture_has_its_grid():
    network = Network(architectures=["gru", "lstm"], param_grid={"units": [8, 16]})

    assert param_grids(network) == [
        {"architecture": ["gru"], "units": [8, 16]},
        {"architecture": ["lstm"], "units": [8, 16]},
    ]


def test_fast_mode_trains_every_architecture_once():
    grid = {"units": [8, 16], "epochs": [10, 20]}
    network = Network(architectures="all", mode="fast", param_grid=grid)
    grids = param_grids(network)

    assert len(grids) == 30
    assert all(grid == {"architecture": grid["architecture"], "units": [8]} for grid in grids)
    model = network_estimator(network, WINDOWS, seed=1)
    assert (model.epochs, model.compiled, model.lookback) == (1, False, 2)


@pytest.mark.parametrize(
    ("epochs", "grid", "compiled"),
    [(50, {}, True), (5, {}, True), (4, {}, False), (4, {"epochs": [2, 10]}, True)],
)
def test_short_training_is_not_compiled(epochs, grid, compiled):
    network = Network(epochs=epochs, param_grid=grid)

    assert network_estimator(network, WINDOWS, seed=1).compiled == compiled


@pytest.mark.parametrize("base", [None, "ridge"])
def test_one_network_or_several_become_one_model(base):
    train, later = rows(), rows(seed=1)
    network = Network(base=base)
    fitted_base = fit_base(train, TARGET, network, seed=0)
    X, _ = features_and_scaled_target(train, TARGET, "recurrent")
    y = residuals(fitted_base, train, TARGET)
    networks = [Linear(error).fit(X, y) for error in (0.0, 0.6)]

    one, both = (assemble(fitted_base, networks[:n], train, TARGET) for n in (1, 2))

    seen, _ = features_and_target(later, TARGET)
    predicted = one.predict(select_inputs(one, seen))
    windows, z = features_and_scaled_target(later, TARGET, "recurrent")
    expected = networks[0].predict(windows)
    if base:
        expected = expected + fitted_base.predict(features_and_scaled_target(later, TARGET)[0])
    assert predicted == pytest.approx(expected)
    assert both.predict(select_inputs(both, seen)) == pytest.approx(predicted + 0.3)
    assert np.corrcoef(predicted, z)[0, 1] > 0.9


def test_a_finished_forecast_answers_in_units_with_intervals_to_scale():
    train, validation, test = rows(), rows(seed=1), rows(seed=2)
    X, z = features_and_scaled_target(train, TARGET, "recurrent")
    fitted = Linear().fit(X, z)
    held_out = pd.DataFrame(
        {
            "prediction": fitted.predict(
                features_and_scaled_target(validation, TARGET, "recurrent")[0]
            )
        },
        validation.index,
    )
    model = calibrate(fitted, held_out, validation, TARGET)

    seen, y = features_and_target(test, TARGET)
    low, high = model.predict_interval(select_inputs(model, seen)).T
    width = (high - low) / test["series_scale"]
    assert width.to_numpy() == pytest.approx(width.iloc[0])  # ten times the scale, ten the width
    assert ((low <= y) & (y <= high)).mean() > 0.8
    assert interval_confidence(model) == TARGET.confidence
    assert uncalibrated(model, TARGET) is fitted


def test_forecasts_stay_inside_of_their_bounds():
    train = rows()
    low = train.assign(series_level=-1000.0)
    X, z = features_and_scaled_target(train, TARGET, "recurrent")
    fitted = Linear().fit(X, z)
    held_out = pd.DataFrame({"prediction": fitted.predict(X)}, train.index)
    model = calibrate(fitted, held_out, train, TARGET)

    seen, _ = features_and_target(low, TARGET)
    assert (model.predict(select_inputs(model, seen)) == 0).all()
    assert (model.predict_interval(select_inputs(model, seen)) == 0).all()


class Epochs(Linear):
    """Is fitted again as a network is."""

    history_ = {"learning_rate": [0.1]}  # noqa: RUF012 - what a fitted network has
    best_epoch_ = 1

    def fit_epochs(self, X: pd.DataFrame, y: Any, rates: list[float]) -> Linear:
        assert rates == [0.1]
        return self.fit(X, y)

    def continue_epochs(self, X: pd.DataFrame, y: Any, rates: list[float]) -> Linear:
        return clone(self).fit_epochs(X, y, rates)

    def program_spec(self, n_features_in: int) -> int:
        return n_features_in


@pytest.mark.parametrize("base", [None, "ridge"])
def test_networks_are_trained_again_at_the_cutoffs_and_once_for_their_mean(base):
    frame, network = rows(n_steps=60), Network(base=base, ensemble=2)
    train, validation, test = frame[:60], frame[60:100], frame[100:]
    target = TARGET.model_copy(update={"n_jobs": 1})
    X, _ = features_and_scaled_target(train, target, "recurrent")
    z = residuals(fit_base(train, target, network, seed=0), train, target)
    top = [Epochs(error).fit_epochs(X, z, [0.1]) for error in (0.0, 0.6)]
    evaluation, search = Evaluation(windows=2, step=10, refit=True), pd.DataFrame({"trial": [0, 1]})

    def fitted(validation: pd.DataFrame) -> Any:
        return fit_networks(
            *(train, validation, target, network, 0, top, search),
            horizon=3,
            evaluation=evaluation,
        )

    best, held_out, mean, _, mean_held_out = fitted(validation)

    later = np.arange(len(validation)) >= 20
    others = fitted(validation.assign(target_load=validation["target_load"].mask(later, 0.0)))
    for before, after in ((held_out, others[1]), (mean_held_out, others[4])):
        pd.testing.assert_frame_equal(before, after)
        assert list(before.index) == list(validation.index)
    # On the same rows both are what they were, and no training is for one of them alone.
    earlier, seen = pd.concat([train, validation]), features_and_target(test, target)[0]
    for before, again in zip(
        (mean, best), refit_mean_and_first(mean, best, earlier, target), strict=True
    ):
        inputs = select_inputs(before, seen)
        assert again.predict(inputs) == pytest.approx(before.predict(inputs), rel=1e-5)
    first, second = (part.predict(select_inputs(part, seen)) for part in (best, mean))
    assert np.abs(first - second).max() > 0
