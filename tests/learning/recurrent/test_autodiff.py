"""The trainer against Keras itself, on the same shuffles and dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from ratchet.learning.recurrent import autodiff, schedule
from ratchet.learning.recurrent.architectures import ARCHITECTURES
from ratchet.learning.recurrent.network import build_network
from ratchet.learning.recurrent.types import ProgramSpec, TrainOptions, TrainResult, TrialParams

SPEC = ProgramSpec(
    "gru", units=8, activation="tanh", batch_size=16, lookback=4, features=3, horizon=2
)
TRIAL = TrialParams(dropout=0.0, learning_rate=0.01, epochs=2, patience=5)
ONE_PER_FAMILY = [
    *("gru", "lstm", "bidirectional_mixed", "stacked_gru"),
    *("highway_gru", "time_distributed_lstm"),
]
SEED = 5
TOLERANCE = 1e-5


def data(n: int = 40, m: int = 9) -> list[Any]:
    """Training and validation windows and targets; neither number fills its last batch."""
    rng = np.random.default_rng(1)
    X = rng.random((n + m, SPEC.lookback, SPEC.features), dtype=np.float32)
    y = np.stack([X[:, -1, 0] + X[:, 0, 1], X.mean(axis=(1, 2))], axis=1) / 2
    return [X[:n], y[:n], X[n:], y[n:]]


def train(trials: Sequence[TrialParams], name: str = "gru", **options: Any) -> list[TrainResult]:
    settings: dict[str, Any] = {"seed": SEED, "compiled": False, **options}
    return autodiff.train_group(
        replace(SPEC, architecture=name), trials, *data(), TrainOptions(**settings)
    )


def network(name: str, dropout: float) -> Any:
    return build_network(
        architecture=name,
        units=SPEC.units,
        activation=SPEC.activation,
        dropout=dropout,
        lookback=SPEC.lookback,
        features=SPEC.features,
        horizon=SPEC.horizon,
        seed=SEED,
    )


@cache
def keras_fit(name: str, trial: TrialParams) -> dict[str, list[float]]:
    """History of Keras' own ``fit`` on windows in our order."""
    import keras

    X, y, X_val, y_val = data()
    model = network(name, trial.dropout)
    adam = keras.optimizers.Adam(trial.learning_rate)
    # On so little data, tracing a spec takes longer than doing without.
    model.compile(adam, loss="mse", metrics=["mae"], run_eagerly=True)
    history: dict[str, list[float]] = {"loss": [], "val_loss": [], "val_mae": []}
    for epoch in range(trial.epochs):
        order = schedule.permutation(len(X), SEED, epoch)
        fitted = model.fit(
            X[order],
            y[order],
            batch_size=SPEC.batch_size,
            validation_data=(X_val, y_val),
            shuffle=False,
            verbose=0,
        )
        for series, values in history.items():
            values.extend(fitted.history[series])
    return history


def assert_equal_history(
    ours: dict[str, list[float]], others: dict[str, list[float]], rtol: float = TOLERANCE
) -> None:
    for series in ("loss", "val_loss", "val_mae"):
        np.testing.assert_allclose(ours[series], others[series], rtol=rtol, err_msg=series)


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_training_equals_that_of_keras(name: str) -> None:
    [trained] = train([TRIAL], name)
    assert_equal_history(trained.history, keras_fit(name, TRIAL))


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_compiled_training_equals_that_of_keras_in_every_architecture(name: str) -> None:
    [trained] = train([TRIAL], name, compiled=True)
    assert_equal_history(trained.history, keras_fit(name, TRIAL))


@pytest.mark.parametrize("name", ["gru", "bidirectional_mixed"])
def test_compiled_equals_not_compiled(name: str) -> None:
    trials = [replace(TRIAL, dropout=0.3)]
    [plain], [compiled] = train(trials, name), train(trials, name, compiled=True)
    assert_equal_history(compiled.history, plain.history)
    for ours, others in zip(compiled.weights, plain.weights, strict=True):
        np.testing.assert_allclose(ours, others, atol=1e-5)


@pytest.mark.parametrize("name", ["lstm", "stacked_gru"])
def test_dropout_equals_that_of_keras_with_the_same_masks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    import tensorflow as tf

    trial = replace(TRIAL, dropout=0.4)
    X, y, X_val, y_val = data()
    model = network(name, trial.dropout)
    layers = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    draws: dict[str, Any] = {}

    def dropout(x: Any, rate: float, noise_shape: Any, seed: Any) -> Any:
        kept = draws[layer_of[seed]][: len(x)] >= rate
        return x * (kept if noise_shape is None else kept[:, None]) / (1 - rate)

    layer_of = {model.get_layer(layer).seed_generator: layer for layer in layers}
    monkeypatch.setattr("keras.src.backend.random.dropout", dropout)
    optimizer, val_loss = keras.optimizers.Adam(trial.learning_rate), []
    for epoch in range(trial.epochs):
        order = schedule.permutation(len(X), SEED, epoch)
        steps = range(0, len(X), SPEC.batch_size)
        shape = (len(steps), SPEC.batch_size, SPEC.units)
        uniforms = [schedule.uniforms(shape, SEED, epoch, k) for k in range(len(layers))]
        for step, start in enumerate(steps):
            rows = order[start : start + SPEC.batch_size]
            draws.update({layer: u[step] for layer, u in zip(layers, uniforms, strict=True)})
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(X[rows], training=True) - y[rows]))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
        val_loss.append(float(np.mean((np.asarray(model(X_val)) - y_val) ** 2)))
    [trained] = train([trial], name)
    np.testing.assert_allclose(trained.history["val_loss"], val_loss, rtol=TOLERANCE)


def test_the_weights_are_those_of_the_best_epoch_in_the_order_of_keras() -> None:
    trial = replace(TRIAL, learning_rate=0.1, epochs=30, patience=2)
    [trained] = train([trial], "bidirectional_mixed")
    assert trained.status == "stopped"
    losses = trained.history["val_loss"]
    assert trained.best_epoch == 1 + int(np.argmin(losses)) == len(losses) - trial.patience
    model = network("bidirectional_mixed", 0.0)
    model.set_weights(trained.weights)
    _, _, X_val, y_val = data()
    error = np.mean((np.asarray(model(X_val)) - y_val) ** 2)
    assert error == pytest.approx(min(losses), rel=TOLERANCE)


def test_a_candidate_comes_out_the_same_alone_and_in_a_group() -> None:
    trials = [TRIAL, replace(TRIAL, dropout=0.5, learning_rate=0.001)]
    together = train(trials)
    for trial, ours in zip(trials, together, strict=True):
        [alone] = train([trial])
        assert ours.history == alone.history
    assert together[0].history["loss"] != together[1].history["loss"]


def test_one_compilation_serves_all_candidates_of_a_graph() -> None:
    trials = [TRIAL, replace(TRIAL, dropout=0.5, learning_rate=0.001, epochs=1)]
    train(trials, "gru_dense")
    served = autodiff.program_of(replace(SPEC, architecture="gru_dense"), False)
    assert served.epoch.experimental_get_tracing_count() == 1


def test_training_goes_on_where_it_was_left() -> None:
    trial = replace(TRIAL, dropout=0.2, epochs=4)
    [whole] = train([trial])
    [part] = train([trial], until=1, keep_state=True)
    assert len(part.history["loss"]) == 1
    assert part.state is not None
    [rest] = train([trial], states=[part.state], keep_state=True)
    assert rest.history == whole.history
    assert rest.state is None
    assert all(np.array_equal(a, b) for a, b in zip(rest.weights, whole.weights, strict=True))


def test_a_diverging_candidate_stops_and_spoils_no_other() -> None:
    trials = [replace(TRIAL, learning_rate=1e30), TRIAL]
    diverged, sound = train(trials)
    assert diverged.status == "diverged"
    assert len(diverged.history["loss"]) < TRIAL.epochs
    assert all(np.isfinite(weight).all() for weight in diverged.weights)
    assert sound.status == "completed"


def test_validation_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    [whole] = train([TRIAL], "highway_gru")
    monkeypatch.setattr(autodiff, "VALIDATED", 8)
    [chunks] = train([TRIAL], "highway_gru")
    assert_equal_history(chunks.history, whole.history)
