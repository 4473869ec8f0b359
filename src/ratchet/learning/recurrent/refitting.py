"""Training with nothing held out, the way a training that had rows to hold out has shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ratchet.learning.recurrent.training import train_group
from ratchet.learning.recurrent.types import ProgramSpec, State, TrainResult, TrialParams

Array = NDArray[np.float32]


def train_epochs(
    spec: ProgramSpec,
    trial: TrialParams,
    X: Array,
    y: Array,
    learning_rates: Sequence[float],
    *,
    seed: int,
    compiled: bool = True,
) -> TrainResult:
    """Train for given epochs at given learning rates; the last weights are the result.

    Args:
        spec: the program.
        trial: the candidate; the learning rates stand in for its epochs and patience.
        X: windows, shape (n, lookback, features), scaled 0-1.
        y: targets, shape (n, horizon), scaled likewise.
        learning_rates: of Adam, one per epoch.
        seed: of initial weights, shuffles and dropout.
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
    # first epoch happened to hit them, later ones would seem to run away. It cannot hit this.
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
            seed=seed,
            states=states,
            until=until,
            keep_state=True,
            compiled=compiled,
        )
        if trained.state is None:
            break
        states = [trained.state]
    history = {name: trained.history[name] for name in ("loss", "learning_rate")}
    return replace(trained, history=history, state=None)


def _stretches(learning_rates: Sequence[float]) -> list[tuple[int, float]]:
    """Epochs of one learning rate, as (last epoch, rate); the last epoch of all by itself."""
    ends, epoch = [], 0
    for rate, same in groupby(learning_rates[:-1]):
        epoch += len(list(same))
        ends.append((epoch, rate))
    return [*ends, (epoch + 1, learning_rates[-1])]


def _prepared(state: State, rate: float) -> State:
    """Go on at another rate, and take the next weights for the best so far whatever they are."""
    return {**state, "schedule": {**state["schedule"], "learning_rate": rate, "best": np.inf}}
