"""Training of recurrent networks: one interface to the compiled programs.

A program is compiled for a ``ProgramSpec``. Trials that differ in ``TrialParams`` alone share it:
compiling is paid once per specification, not once per trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from ratchet.learning.recurrent.types import (
    Array,
    ProgramSpec,
    State,
    TrainOptions,
    TrainResult,
    TrialParams,
)


def train_group(
    spec: ProgramSpec,
    trials: Sequence[TrialParams],
    X: Array,
    y: Array,
    X_val: Array,
    y_val: Array,
    options: TrainOptions,
) -> list[TrainResult]:
    """Train trials that share a program.

    All start from the same weights and see the same shuffles and dropout draws, so the result of a
    trial does not depend on the trials beside it.

    Args:
        spec: what the program is compiled for.
        trials: their parameters.
        X: windows, shape (n, lookback, features), scaled 0-1.
        y: targets, shape (n, horizon), scaled likewise.
        X_val: windows that stop and rank, shape (m, lookback, features).
        y_val: their targets, shape (m, horizon).
        options: seed, states and others.

    Returns:
        One result per trial, in their order.

    Raises:
        ValueError: shapes that do not fit ``spec``, or values that are not finite.
    """
    _check(spec, X, y, "train")
    _check(spec, X_val, y_val, "validation")
    from ratchet.learning.recurrent import autodiff, batched

    fast = has_batched_path(spec) and options.compiled
    train: Callable[..., list[TrainResult]] = batched.train_group if fast else autodiff.train_group
    return train(
        spec,
        trials,
        *(np.ascontiguousarray(part, dtype=np.float32) for part in (X, y, X_val, y_val)),
        options,
    )


def has_batched_path(spec: ProgramSpec) -> bool:
    """Whether ``batched`` can train it: a single GRU or LSTM layer with tanh."""
    return spec.architecture in {"gru", "lstm"} and spec.activation == "tanh"


def _check(spec: ProgramSpec, X: Array, y: Array, rows: str) -> None:
    windows, targets = (spec.lookback, spec.features), (spec.horizon,)
    if X.shape[1:] != windows or y.shape[1:] != targets or not 0 < len(X) == len(y):
        raise ValueError(
            f"{rows}: expected at least one window of shape {windows} and as many targets of "
            f"shape {targets}, got {X.shape} and {y.shape}"
        )
    if not (np.isfinite(X).all() and np.isfinite(y).all()):
        raise ValueError(f"{rows}: windows or targets hold values that are not finite")


def train_epochs(
    spec: ProgramSpec,
    trial: TrialParams,
    X: Array,
    y: Array,
    learning_rates: Sequence[float],
    *,
    seed: int,
    weights: Sequence[Array] | None = None,
    compiled: bool = True,
) -> TrainResult:
    """Train for given epochs at given learning rates; the last weights are the result.

    Args:
        spec: what the program is compiled for.
        trial: its parameters; ``learning_rates`` replaces its epochs and patience.
        X: windows, shape (n, lookback, features), scaled 0-1.
        y: targets, shape (n, horizon), scaled likewise.
        learning_rates: of Adam, one per epoch.
        seed: of initial weights, shuffles and dropout.
        weights: initial weights instead of those of the seed.
        compiled: whether to compile.

    Returns:
        The result, with ``loss`` and ``learning_rate`` as history.

    Raises:
        ValueError: no epochs, or a learning rate that is not greater than 0.
    """
    if not len(learning_rates) or not all(0 < rate < np.inf for rate in learning_rates):
        raise ValueError(
            f"learning_rates must be one number greater than 0 per epoch, not {learning_rates}"
        )
    epochs = len(learning_rates)
    # Training wants rows to judge it by. With this patience any will do, but for one thing: if the
    # first epoch happened to fit them, later ones would seem to diverge. It cannot fit this.
    judged = X[:1], y[:1] + 10
    patient = replace(
        trial, learning_rate=learning_rates[0], epochs=epochs, patience=3 * epochs + 6
    )
    states: list[State] | None = None
    for until, rate in _stretches(learning_rates):
        if states is not None:
            states = [_prepared(states[0], rate)]
        [trained] = train_group(
            spec,
            [patient],
            X,
            y,
            *judged,
            TrainOptions(
                seed=seed,
                weights=weights,
                states=states,
                until=until,
                keep_state=True,
                compiled=compiled,
            ),
        )
        if trained.state is None:
            break
        states = [trained.state]
    history = {name: trained.history[name] for name in ("loss", "learning_rate")}
    return replace(trained, history=history, state=None)


def _stretches(learning_rates: Sequence[float]) -> list[tuple[int, float]]:
    """Runs of equal learning rates as (last epoch, rate); the last epoch is its own run."""
    ends, epoch = [], 0
    for rate, same in groupby(learning_rates[:-1]):
        epoch += len(list(same))
        ends.append((epoch, rate))
    return [*ends, (epoch + 1, learning_rates[-1])]


def _prepared(state: State, rate: float) -> State:
    """Continue at another rate, and treat the next weights as the best so far."""
    schedule = state["schedule"]
    assert schedule is not None  # an epoch was trained
    return {**state, "schedule": {**schedule, "learning_rate": rate, "best": np.inf}}
