"""Networks without TensorFlow forecast what Keras forecasts."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.frozen import FrozenEstimator

from ratchet.compiled.estimators import NotCompilable, compile_estimator
from ratchet.compiled.network_compiler import compile_network
from ratchet.compiled.networks import ACTIVATIONS
from ratchet.compiled.serialization import dumps, loads
from ratchet.learning import trusted
from ratchet.learning.calibration import ConformalRegressor
from ratchet.learning.classical import build_estimator
from ratchet.learning.recurrent.architectures import ARCHITECTURES, Architecture, blocks
from ratchet.learning.recurrent.network import build_network
from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.recurrent.scaling import WindowScaler

LOOKBACK, FEATURES, UNITS = 5, 3, 7
COLUMNS = [f"window_{i}" for i in range(LOOKBACK * FEATURES)]


def windows(n: int, seed: int) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(20, 5, size=(n, len(COLUMNS)))
    return pd.DataFrame(values, columns=COLUMNS).astype("float32")


def network(architecture: str, *, seed: int = 0, **options: Any) -> RecurrentRegressor:
    """As if trained: biases and scales that start at 0 or 1 are others, too."""
    sizes = {"units": UNITS, "lookback": LOOKBACK, "horizon": 1, **options}
    model = RecurrentRegressor(architecture=architecture, **sizes)
    rng = np.random.default_rng(seed)
    initial = build_network(architecture=architecture, features=FEATURES, seed=seed, **sizes)
    model.weights_ = [
        weight + rng.normal(0, 0.1, weight.shape).astype(np.float32)
        for weight in initial.get_weights()
    ]
    X = windows(50, seed)
    model.scaler_ = WindowScaler.fit(X, rng.normal(3, 2, size=(50, sizes["horizon"])), LOOKBACK)
    model.n_features_in_, model.feature_names_in_ = len(COLUMNS), np.array(COLUMNS, object)
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(architecture):
    """One that is added to the table has to compile, too."""
    model, X = network(architecture), windows(20, 1)
    run = loads(dumps(compile_network(model)))

    scaled = model.keras_model()(model.scaler_.windows(X), training=False)
    expected = model.scaler_.restore(scaled)[:, 0]

    values = X.to_numpy(np.float64)
    assert_allclose(run(values), expected, rtol=1e-5, atol=1e-6)
    assert_allclose(run(values[3:4]), expected[3:4], rtol=1e-5, atol=1e-6)
    assert run(values[:0]).shape == (0,)


def test_several_values_ahead_and_more_windows_than_in_one_pass():
    model, X = network("gru_coarse", horizon=3), windows(1100, 1)
    run = compile_estimator(model, COLUMNS)
    expected = model.predict(X)
    assert expected.shape == (1100, 3)
    assert_allclose(run(X.to_numpy(float)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gap", [np.nan, np.inf])
def test_windows_with_gaps_are_refused_as_the_network_refuses_them(gap):
    model, X = network("gru"), windows(3, 1).astype("float64")
    X.iloc[1, 4] = gap
    for forecast in (model.predict, lambda rows: compile_network(model)(rows.to_numpy())):
        with pytest.raises(ValueError, match=r"finite|NaN|infinity"):
            forecast(X)


@pytest.mark.parametrize("name", sorted(set(blocks.ACTIVATIONS.values())))
def test_every_activation(name):
    from keras import activations as keras_activations

    values = np.concatenate([np.linspace(-12, 12, 2001), [0, -0.0, 60, -60]]).astype(np.float32)
    expected = np.asarray(keras_activations.get(name)(values))
    found = ACTIVATIONS[name](values)
    assert found.dtype == np.float32
    assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_an_ensemble_on_a_ridge_with_its_interval():
    """As a search with ``base: ridge`` and ``ensemble: 3`` leaves it."""
    from ratchet.config import Target
    from ratchet.modelling.networks import assemble

    X = windows(60, 2).assign(known=np.arange(60.0), naive_seasonal=1.0)
    y = pd.Series(np.random.default_rng(0).normal(size=60))
    base = build_estimator("forecasting", "ridge", 0).fit(
        X[["known", "window_3", "naive_seasonal"]], y
    )
    networks = [network(name, seed=i) for i, name in enumerate(("gru", "gru_differenced", "lstm"))]
    candidates = {name: {"estimator": name} for name in ("ridge", "seasonal")}
    target = Target(column="y", task="forecasting", candidates=candidates, baseline="seasonal")
    wide = X.assign(target_y=y, series_level=2.0, series_scale=0.5)
    model = assemble(base, networks, wide, target)
    conformal = ConformalRegressor(estimator=FrozenEstimator(model))
    conformal.calibrate(model.predict(X), y)

    run = loads(dumps(compile_estimator(conformal, list(X))))
    found = run(X.to_numpy(np.float64))
    assert_allclose(found, conformal.predict_with_interval(X), rtol=1e-5, atol=1e-5)


COMPILE = """
import sys
import numpy as np
from ratchet.compiled.estimators import compile_estimator
from ratchet.learning import trusted
model = trusted.load(sys.argv[1])
print(compile_estimator(model, list(model.feature_names_in_))(np.full((1, 15), 20.0)).tolist())
sys.exit(", ".join({"keras", "tensorflow", "h5py"} & set(sys.modules)) or None)
"""


def test_a_saved_network_is_compiled_without_tensorflow(tmp_path):
    model = network("multi_head_gru")
    trusted.dump(model, tmp_path / "model.skops")
    command = [sys.executable, "-c", COMPILE, str(tmp_path / "model.skops")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = model.predict(pd.DataFrame(np.full((1, 15), 20.0), columns=COLUMNS))
    assert_allclose(float(done.stdout.strip(b"[]\n")), expected[0], rtol=1e-5)


READ = """
import sys
import numpy as np
from ratchet.compiled.serialization import loads
print(loads(sys.stdin.buffer.read())(np.full((1, 15), 20.0)).tolist())
heavy = {"pandas", "sklearn", "scipy", "keras", "tensorflow"}
sys.exit(", ".join(heavy & set(sys.modules)) or None)
"""


def test_forecasts_need_numpy_alone():
    run = compile_estimator(network("multi_head_gru"), COLUMNS)
    done = subprocess.run(
        [sys.executable, "-c", READ], input=dumps(run), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert_allclose(float(done.stdout.strip(b"[]\n")), run(np.full((1, 15), 20.0))[0], rtol=1e-6)


def _shared(net: Any, x: Any) -> Any:
    """A layer that is used twice, and paths of several lengths whose weights have one shape."""
    step = net.dense(FEATURES)
    once = step(x)
    twice = net.dense(FEATURES)(step(net.dense(FEATURES)(once)))
    sides = [net.layers.GRU(UNITS)(one) for one in (twice, x, once)]
    return net.layers.Concatenate()([net.layers.Subtract()(sides[:2]), sides[2]])


def test_weights_go_to_their_layers_whatever_the_order_of_the_graph(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "shared", Architecture("shared", "", "", _shared))
    model, X = network("shared"), windows(20, 1)
    found = compile_network(model)(X.to_numpy(np.float64))
    assert_allclose(found, model.predict(X), rtol=1e-5, atol=1e-6)


def test_settings_that_matter_in_training_alone_change_nothing(monkeypatch):
    def regularised(net: Any, x: Any) -> Any:
        return net.gru(kernel_regularizer="l2", recurrent_dropout=0.1, name="reads")(x)

    monkeypatch.setitem(ARCHITECTURES, "other", Architecture("other", "", "", regularised))
    model, X = network("other"), windows(20, 1)
    found = compile_network(model)(X.to_numpy(np.float64))
    assert_allclose(found, model.predict(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("message", "build"),
    {
        "the layer SimpleRNN": lambda keras, x: keras.SimpleRNN(2)(x),
        "resets before": lambda keras, x: keras.GRU(2, reset_after=False)(x),
        "keeps or gives its state": lambda keras, x: keras.LSTM(2, return_state=True)(x)[0],
        "has no bias": lambda keras, x: keras.Dense(2, use_bias=False)(keras.Flatten()(x)),
        "no plain one": lambda keras, x: keras.Conv1D(2, 3, padding="causal")(x),
        "pads or overlaps": lambda keras, x: keras.AveragePooling1D(2, strides=1)(x),
        "scores by concat": lambda keras, x: keras.Attention(score_mode="concat")([x, x]),
        "other weights": lambda keras, x: keras.MultiHeadAttention(2, 2, use_bias=False)(x, x),
        "works on axis 1": lambda keras, x: keras.Concatenate(axis=1)([x, x]),
        "the activation celu": lambda keras, x: keras.GRU(UNITS, activation="celu")(x),
        "merges by None": lambda keras, x: keras.Bidirectional(keras.GRU(2), merge_mode=None)(x),
        "is no dense layer": lambda keras, x: keras.TimeDistributed(keras.Flatten())(x),
        "argument 'unroll'": lambda keras, x: keras.GRU(2, unroll=True)(x),
        "unsupported operand": lambda keras, x: keras.GRU(2)(x + x),
        "has weights of shapes": lambda keras, x: keras.GRU(UNITS + 1)(x),
    }.items(),
)
def test_what_has_no_compiled_form_says_so(message, build, monkeypatch):
    model = network("gru")
    built = Architecture("gru", "", "", lambda net, x: build(net.layers, x))
    monkeypatch.setitem(ARCHITECTURES, "gru", built)
    with pytest.raises(NotCompilable, match=message):
        compile_network(model)
