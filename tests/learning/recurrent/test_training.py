"""One interface for every way of training."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from ratchet.learning.recurrent import autodiff, batched
from ratchet.learning.recurrent.training import has_batched_path, train_group
from ratchet.learning.recurrent.types import ProgramSpec, TrainOptions, TrialParams

SPEC = ProgramSpec(
    "gru", units=4, activation="tanh", batch_size=8, lookback=3, features=2, horizon=1
)
TRIALS = [TrialParams(0.1, 0.01, 2, 5), TrialParams(0.2, 0.01, 2, 5)]


def data():
    X = np.random.default_rng(0).random((30, 3, 2))
    y = X[:, -1, :1]
    return [X[:20], y[:20], X[20:], y[20:]]


@pytest.fixture
def taken(monkeypatch):
    """Which way a call took, without going it."""
    ways = []
    for module in (batched, autodiff):
        name = module.__name__.rpartition(".")[2]
        monkeypatch.setattr(
            module, "train_group", lambda *_, name=name, **__: ways.append(name) or []
        )
    return ways


@pytest.mark.parametrize(
    ("changes", "compiled", "expected"),
    [
        ({}, True, "batched"),
        ({"architecture": "lstm"}, True, "batched"),
        ({}, False, "autodiff"),
        ({"activation": "relu"}, True, "autodiff"),
        ({"architecture": "gru_dense"}, True, "autodiff"),
    ],
)
def test_single_layers_take_the_fast_path(taken, changes, compiled, expected):
    spec = replace(SPEC, **changes)

    train_group(spec, TRIALS, *data(), TrainOptions(seed=0, compiled=compiled))

    assert taken == [expected]
    assert has_batched_path(spec) or expected == "autodiff"


def test_results_are_plain_and_in_the_order_of_the_members():
    results = train_group(
        SPEC, TRIALS, *data(), TrainOptions(seed=0, compiled=False, until=1, keep_state=True)
    )

    assert len(results) == 2
    again = pickle.loads(pickle.dumps(results))
    assert [one.history for one in again] == [one.history for one in results]
    assert {type(weight) for one in results for weight in one.weights} == {np.ndarray}
    assert set(results[0].history) == {"loss", "val_loss", "val_mae", "learning_rate"}


@pytest.mark.parametrize("part", range(4))
def test_refuses_what_does_not_fit_the_graph(part):
    parts = data()
    parts[part] = parts[part][:, :-1]
    rows = "train" if part < 2 else "validation"

    with pytest.raises(
        ValueError, match=rf"{rows}: expected at least one window of shape \(3, 2\)"
    ):
        train_group(SPEC, TRIALS, *parts, TrainOptions(seed=0))


@pytest.mark.parametrize("part", range(4))
def test_refuses_what_is_not_finite(part):
    parts = data()
    parts[part] = np.where(np.arange(len(parts[part])) == 1, np.nan, parts[part].T).T

    with pytest.raises(ValueError, match="not finite"):
        train_group(SPEC, TRIALS, *parts, TrainOptions(seed=0))


def test_refuses_empty_validation():
    X, y, X_val, y_val = data()

    with pytest.raises(ValueError, match="validation: expected at least one window"):
        train_group(SPEC, TRIALS, X, y, X_val[:0], y_val[:0], TrainOptions(seed=0))


@pytest.mark.parametrize("module", [autodiff, batched])
def test_rows_of_similar_number_share_a_program(module):
    X, y, *validation = data()
    options = TrainOptions(seed=0, compiled=False, until=1)
    spec = replace(SPEC, units=5)  # of which no other test makes the program

    for n in (17, 20):
        parts = (part.astype(np.float32) for part in (X[:n], y[:n], *validation))
        module.train_group(spec, TRIALS[:1], *parts, options)

    program = (
        batched.program(spec, 1, False) if module is batched else autodiff.program_of(spec, False)
    )
    assert program.epoch.experimental_get_tracing_count() == 1
