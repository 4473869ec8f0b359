"""The fast path of single layers, held to Keras."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ratchet.learning.recurrent import autodiff, backpropagation, schedule
from ratchet.learning.recurrent.backpropagation import CELLS
from ratchet.learning.recurrent.batched import program, train_group
from ratchet.learning.recurrent.network import build_network
from ratchet.learning.recurrent.types import ProgramSpec, TrainOptions, TrialParams

NAMES = ("gru", "lstm")
SPEC = ProgramSpec(
    "gru", units=8, activation="tanh", batch_size=16, lookback=3, features=3, horizon=2
)
SEED = 4
TOLERANCE = 1e-5


def data(spec=SPEC, n=90, m=25):
    """Training and validation windows and targets; neither number fills its last batch."""
    rng = np.random.default_rng(1)
    X = rng.random((n + m, spec.lookback, spec.features), dtype=np.float32)
    signal = np.stack([X[:, -1, 0] + X[:, 0, 1], X.mean(axis=(1, 2))], axis=1) / 2
    y = signal[:, : spec.horizon] + rng.normal(scale=0.1, size=(n + m, spec.horizon))
    y = y.astype(np.float32)
    return X[:n], y[:n], X[n:], y[n:]


def network(spec, dropout=0.0):
    return build_network(
        architecture=spec.architecture,
        units=spec.units,
        activation=spec.activation,
        dropout=dropout,
        lookback=spec.lookback,
        features=spec.features,
        horizon=spec.horizon,
        seed=SEED,
    )


@pytest.fixture(params=[True, False], ids=["unrolled", "looped"])
def loops(request, monkeypatch):
    """Short look-backs are spelled out, long ones looped over: both must be right."""
    monkeypatch.setattr(backpropagation, "UNROLLED", 100 if request.param else 0)
    program.cache_clear()
    yield
    program.cache_clear()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lookback", [1, 2, 6])
def test_gradients_by_hand_are_those_of_autodiff(name, lookback, loops):
    import tensorflow as tf

    spec = replace(SPEC, architecture=name, lookback=lookback)
    X, y, *_ = data(spec, n=16)
    rng = np.random.default_rng(0)
    counted = rng.random(16, dtype=np.float32)
    drop = rng.random((1, 16, spec.units), dtype=np.float32)
    model = network(spec)
    _, layer, _, dense = model.layers
    # Zeros, as biases begin, would hide mistakes in them.
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(scale=0.3, size=variable.shape))
    with tf.GradientTape() as tape:
        error = tf.reduce_mean((dense(layer(X) * drop[0]) - y) ** 2, axis=1)
        expected_loss = tf.reduce_sum(error * counted)
    expected = tape.gradient(expected_loss, [v.value for v in model.trainable_variables])

    weights = backpropagation.Weights(*(tf.constant(w[None]) for w in model.get_weights()))
    x = tf.constant(X.transpose(1, 0, 2))
    loss, result = backpropagation.gradients(CELLS[name], weights, x, y, counted, drop)

    assert_allclose(loss[0], expected_loss, rtol=TOLERANCE)
    for ours, theirs in zip(result, expected, strict=True):
        assert_allclose(ours[0], theirs, rtol=1e-4, atol=1e-5)
    forecast = backpropagation.forecast(CELLS[name], weights, x)
    assert_allclose(forecast[0], model(X), rtol=1e-5, atol=1e-6)


def keras_losses(spec, trial, epochs):
    """Validation losses of Keras's layers and optimiser on our shuffles and masks, by epoch."""
    import keras
    import tensorflow as tf

    X, y, X_val, y_val = data(spec)
    model = network(spec)
    _, layer, _, dense = model.layers
    adam = keras.optimizers.Adam(trial.learning_rate)
    adam.build(model.trainable_variables)

    @tf.function
    def step(x, y, counted, mask):
        with tf.GradientTape() as tape:
            error = tf.reduce_mean((dense(layer(x) * mask) - y) ** 2, axis=1)
            loss = tf.reduce_sum(error * counted)
        variables = model.trainable_variables
        adam.apply(tape.gradient(loss, variables), variables)

    progress = schedule.Schedule([trial])
    weights = []
    while not progress.done and progress.epoch < epochs:
        rows, counted = schedule.batches(len(X), spec.batch_size, SEED, progress.epoch)
        draws = schedule.uniforms((*rows.shape, spec.units), SEED, progress.epoch, 0)
        mask = (draws >= trial.dropout) / np.float32(1 - trial.dropout)
        adam.learning_rate = progress.learning_rate[0]
        for k, chosen in enumerate(rows):
            step(X[chosen], y[chosen], counted[k], mask[k].astype(np.float32))
        error = np.asarray(model(X_val)) - y_val
        losses = [np.array([value]) for value in (0.0, np.mean(error**2), np.mean(abs(error)))]
        if progress.update(*losses)[0]:
            weights = model.get_weights()
    return progress.history(0)["val_loss"], weights


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("patience", [50, 2], ids=["to the end", "early stopping"])
@pytest.mark.parametrize("name", NAMES)
def test_twenty_epochs_are_those_of_keras(name, dropout, patience):
    spec = replace(SPEC, architecture=name)
    trial = TrialParams(dropout, learning_rate=0.02, epochs=20, patience=patience)
    others = [TrialParams(0.5, 0.001, 20, 50), TrialParams(0.1, 0.05, 20, 1)]

    losses, weights = keras_losses(spec, trial, epochs=20)
    (alone,) = train_group(spec, [trial], *data(spec), TrainOptions(seed=SEED))
    _, stacked, _ = train_group(
        spec, [others[0], trial, others[1]], *data(spec), TrainOptions(seed=SEED), stack=3
    )

    assert patience == 50 or len(losses) < 20
    for ours in (alone, stacked):
        assert_allclose(ours.history["val_loss"], losses, rtol=TOLERANCE)
        for mine, theirs in zip(ours.weights, weights, strict=True):
            assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_trains_as_the_general_trainer_does(name, loops):
    spec = replace(SPEC, architecture=name)
    trials = [TrialParams(0.3, 0.01, 3, 9), TrialParams(0.0, 0.001, 3, 9)]

    ours = train_group(spec, trials, *data(spec), TrainOptions(seed=SEED), stack=2)
    theirs = autodiff.train_group(
        spec, trials, *data(spec), TrainOptions(seed=SEED, compiled=False)
    )

    for one, other in zip(ours, theirs, strict=True):
        for series, values in other.history.items():
            assert_allclose(one.history[series], values, rtol=TOLERANCE, err_msg=series)
        for mine, general in zip(one.weights, other.weights, strict=True):
            assert_allclose(mine, general, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stack", [1, 3])
def test_goes_on_from_states_as_if_it_had_not_paused(stack):
    trials = [
        TrialParams(0.2, rate, 9, patience) for rate, patience in ((1e-2, 9), (3e-2, 3), (1, 1))
    ]
    options = TrainOptions(seed=SEED)
    whole = train_group(SPEC, trials, *data(), options, stack=stack)

    part = replace(options, until=2, keep_state=True)
    paused = train_group(SPEC, trials, *data(), part, stack=stack)
    kept = [i for i, one in enumerate(paused) if one.state is not None]
    rest = replace(options, states=[paused[i].state for i in kept])
    after = train_group(SPEC, [trials[i] for i in kept], *data(), rest)

    assert len(kept) >= 2
    for i, ours in zip(kept, after, strict=True):
        assert ours.status == whole[i].status
        assert ours.best_epoch == whole[i].best_epoch
        assert_allclose(ours.history["val_loss"], whole[i].history["val_loss"], rtol=TOLERANCE)
        for mine, uninterrupted in zip(ours.weights, whole[i].weights, strict=True):
            assert_allclose(mine, uninterrupted, rtol=1e-4, atol=1e-6)


def test_a_finished_member_has_no_state():
    (trained,) = train_group(
        SPEC,
        [TrialParams(0.1, 0.01, 2, 9)],
        *data(),
        TrainOptions(seed=SEED, until=5, keep_state=True),
    )

    assert trained.state is None
    assert len(trained.history["loss"]) == 2


@pytest.mark.parametrize("name", NAMES)
def test_best_weights_predict_the_same_in_a_plain_keras_model(name, tmp_path):
    import keras

    spec = replace(SPEC, architecture=name)
    *_, X_val, y_val = data(spec)
    (trained,) = train_group(
        spec, [TrialParams(0.1, 0.05, 6, 9)], *data(spec), TrainOptions(seed=SEED)
    )
    model = network(spec, dropout=0.1)
    model.set_weights(trained.weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)

    predicted = loaded.predict(X_val, verbose=0)

    stacked = backpropagation.Weights(*(weight[None] for weight in trained.weights))
    ours = backpropagation.forecast(CELLS[name], stacked, X_val.transpose(1, 0, 2))
    assert_allclose(predicted, ours[0], rtol=1e-6, atol=1e-6)
    best = trained.history["val_loss"][trained.best_epoch - 1]
    assert best == min(trained.history["val_loss"])
    assert np.mean((predicted - y_val) ** 2) == pytest.approx(best, rel=TOLERANCE)


def test_a_member_that_runs_away_leaves_the_others_alone():
    wild, calm = TrialParams(0.0, 1e30, 4, 9), TrialParams(0.0, 0.01, 4, 9)

    together = train_group(SPEC, [wild, calm], *data(), TrainOptions(seed=SEED), stack=2)
    (alone,) = train_group(SPEC, [calm], *data(), TrainOptions(seed=SEED))

    assert [one.status for one in together] == ["diverged", "completed"]
    assert all(np.isfinite(weight).all() for weight in together[0].weights)
    assert_allclose(together[1].history["val_loss"], alone.history["val_loss"], rtol=TOLERANCE)


def test_one_compilation_serves_all_members():
    program.cache_clear()
    trials = [TrialParams(dropout, rate, 2, 9) for dropout in (0.1, 0.3) for rate in (1e-2, 1e-3)]

    train_group(SPEC, trials, *data(), TrainOptions(seed=SEED), stack=1)

    compiled = program(SPEC, 1, True)
    assert program.cache_info().misses == 1
    assert compiled.epoch.experimental_get_tracing_count() == 1


def test_same_seed_same_result():
    first, second = (
        train_group(SPEC, [TrialParams(0.2, 0.01, 2, 9)], *data(), TrainOptions(seed=SEED))[0]
        for _ in range(2)
    )

    for one, other in zip(first.weights, second.weights, strict=True):
        assert_array_equal(one, other)
