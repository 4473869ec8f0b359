"""The rules of training, held to Keras's own callbacks where they follow them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ratchet.learning.recurrent import schedule
from ratchet.learning.recurrent.schedule import Schedule
from ratchet.learning.recurrent.types import TrialParams

LOSSES = np.array([5, 4, 4, 4.5, 3, 3, 3.1, 3, 2.9, 3, 3, 3, 3, 3, 3, 3, 3, 1, 1, 1])


def trial(patience: int = 4, epochs: int = len(LOSSES)) -> TrialParams:
    return TrialParams(dropout=0.1, learning_rate=0.01, epochs=epochs, patience=patience)


def feed(progress: Schedule, losses: np.ndarray) -> Schedule:
    for values in losses.reshape(len(losses), -1):
        if not progress.done:
            progress.update(values, values, values)
    return progress


def test_permutation_depends_on_seed_and_epoch():
    orders = [schedule.permutation(50, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]

    assert_array_equal(orders[0], schedule.permutation(50, 0, 0))
    assert len({order.tobytes() for order in orders}) == 3
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_dropout_draws_depend_on_the_layer():
    first, second = (schedule.uniforms((3, 4, 5), 0, 0, layer) for layer in (0, 1))

    assert first.shape == (3, 4, 5)
    assert not np.any(first == second)


@pytest.mark.parametrize(("n", "batch_size"), [(10, 4), (8, 4), (3, 16)])
def test_each_window_counts_once_in_an_epoch(n, batch_size):
    rows, weights = schedule.batches(n, batch_size, seed=0, epoch=3)

    assert rows.shape == weights.shape == (-(-n // batch_size), batch_size)
    assert sorted(rows[weights > 0]) == list(range(n))
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


@given(st.integers(1, 300))
def test_lengths_are_padded_to_at_most_twice_as_much(n):
    padded = schedule.pad(np.ones((n, 2), dtype=np.float32))

    assert n <= len(padded) < 2 * n + (n == 1)
    assert padded.dtype == np.float32
    assert (padded[:n] == 1).all()
    assert not padded[n:].any()


@pytest.mark.parametrize(("m", "at_most"), [(10, 4), (8, 4), (3, 16), (1, 1)])
def test_validation_in_steps_is_the_mean_of_all(m, at_most):
    rows, weights = schedule.in_order(m, at_most)
    values = np.arange(m) ** 2.0

    assert rows.shape[1] <= at_most
    assert np.sum(values[rows] * weights) == pytest.approx(values.mean(), rel=1e-6)


@pytest.mark.parametrize("patience", [0, 1, 2, 3, 4, 6, 50])
def test_stops_slows_and_chooses_as_keras_does(patience):
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    stopping = keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)
    plateau = keras.callbacks.ReduceLROnPlateau(
        factor=0.5, patience=max(2, patience // 2), min_delta=0
    )
    rates = []
    for callback in (stopping, plateau):
        callback.set_model(model)
        callback.on_train_begin()
    for epoch, loss in enumerate(LOSSES):
        rates.append(float(model.optimizer.learning_rate))
        for callback in (stopping, plateau):
            callback.on_epoch_end(epoch, {"val_loss": loss})
        if stopping.stopped_epoch:
            break

    ours = feed(Schedule([trial(patience)]), LOSSES)

    assert ours.epoch == len(rates)
    assert ours.best_epoch[0] == stopping.best_epoch + 1
    assert ours.history(0)["val_loss"] == list(LOSSES[: len(rates)])
    np.testing.assert_allclose(ours.history(0)["learning_rate"], rates, rtol=1e-6)
    assert ours.status(0) == ("stopped" if stopping.stopped_epoch else "completed")


@pytest.mark.parametrize("loss", [np.nan, np.inf, 5e3 + 1])
def test_stops_when_training_runs_away(loss):
    progress = feed(Schedule([trial()]), np.array([5, 4, loss, 1]))

    assert (progress.status(0), progress.epoch) == ("diverged", 3)
    assert (progress.best[0], progress.best_epoch[0]) == (4, 2)


def test_no_finite_loss_leaves_the_initial_weights():
    progress = feed(Schedule([trial()]), np.array([np.nan]))

    assert progress.best_epoch[0] == 0
    assert progress.status(0) == "diverged"


def test_members_do_not_mind_each_other():
    trials = [trial(2), trial(50), trial(3, epochs=5)]
    losses = np.stack([LOSSES, LOSSES[::-1], np.where(LOSSES > 4, LOSSES, np.inf)], axis=1)

    together = feed(Schedule(trials), losses)

    for i, one in enumerate(trials):
        alone = feed(Schedule([one]), losses[:, i])
        assert alone.history(0) == together.history(i)
        assert alone.status(0) == together.status(i)
        assert alone.best_epoch[0] == together.best_epoch[i]


@pytest.mark.parametrize("pause", [1, 4, 7])
def test_goes_on_from_its_state_as_if_it_had_not_paused(pause):
    trials = [trial(3), trial(50)]
    losses = np.stack([LOSSES, LOSSES], axis=1)
    whole = feed(Schedule(trials), losses)

    before = feed(Schedule(trials), losses[:pause])
    states = json.loads(json.dumps([before.state(i) for i in range(2)]))
    after = feed(Schedule(trials, states), losses[pause:])

    assert [after.history(i) for i in range(2)] == [whole.history(i) for i in range(2)]
    assert_array_equal(after.best_epoch, whole.best_epoch)


def test_refuses_states_of_different_epochs():
    early, late = (feed(Schedule([trial()]), LOSSES[:n]).state(0) for n in (1, 2))

    with pytest.raises(ValueError, match="states of one epoch"):
        Schedule([trial()] * 2, [early, late])
