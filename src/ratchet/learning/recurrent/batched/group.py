"""Training of candidates that share a spec, in stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ratchet.learning.recurrent.batched.passes import Weights
from ratchet.learning.recurrent.batched.program import (
    Data,
    Program,
    Variables,
    draw,
    program,
)
from ratchet.learning.recurrent.network import build_network
from ratchet.learning.recurrent.schedule import Schedule
from ratchet.learning.recurrent.types import Array, ProgramSpec, State, TrainResult, TrialParams


def train_group(
    spec: ProgramSpec,
    trials: Sequence[TrialParams],
    X: Array,
    y: Array,
    X_val: Array,
    y_val: Array,
    *,
    seed: int,
    states: Sequence[State] | None = None,
    until: int | None = None,
    keep_state: bool = False,
    compiled: bool = True,
    stack: int | None = None,
) -> list[TrainResult]:
    """Train candidates of one GRU or LSTM layer.

    For arguments and results see ``ratchet.learning.recurrent.training.train_group``. ``stack`` is
    how many are trained side by side in one program; ``None`` for all on a GPU and for one on a
    CPU, where a stack is hardly faster: it falls out of the caches, and trials that have stopped
    go on costing.
    """
    data = Data(*(tf.constant(part) for part in (X, y, X_val, y_val)))
    starts = list(states) if states is not None else [_start(spec, seed)] * len(trials)
    size = stack or _stack(len(trials))
    trained = []
    for first in range(0, len(trials), size):
        part = slice(first, first + size)
        run = Run(spec, trials[part], data, starts[part], seed=seed, compiled=compiled)
        trained += run.train(until, keep_state=keep_state)
    return trained


def _stack(trials: int) -> int:
    return trials if tf.config.list_physical_devices("GPU") else 1


def _start(spec: ProgramSpec, seed: int) -> State:
    """State before the first epoch."""
    network = build_network(
        architecture=spec.architecture,
        units=spec.units,
        activation=spec.activation,
        lookback=spec.lookback,
        features=spec.features,
        horizon=spec.horizon,
        seed=seed,
    )
    weights = [np.asarray(weight) for weight in network.get_weights()]
    zeros = [np.zeros_like(weight) for weight in weights]
    return {"schedule": None, "variables": [weights, zeros, zeros], "best": weights}


class Run:
    """Training of one stack.

    Args:
        spec: of all its trials.
        trials: the candidates.
        data: training and validation windows.
        states: where each starts.
        seed: of shuffles and dropout.
        compiled: whether to compile.
    """

    def __init__(
        self,
        spec: ProgramSpec,
        trials: Sequence[TrialParams],
        data: Data,
        states: Sequence[State],
        *,
        seed: int,
        compiled: bool,
    ) -> None:
        self._graph, self._data, self._seed = spec, data, seed
        self._program: Program = program(spec, len(trials), compiled)
        self._dropout = np.array([trial.dropout for trial in trials], dtype=np.float32)
        before = [state["schedule"] for state in states]
        self._schedule = Schedule(trials, None if None in before else before)
        self._variables = Variables(
            *(
                Weights(*(tf.constant(np.stack(parts)) for parts in zip(*of, strict=True)))
                for of in zip(*(state["variables"] for state in states), strict=True)
            )
        )
        self._best = [list(state["best"]) for state in states]

    def train(self, until: int | None, *, keep_state: bool) -> list[TrainResult]:
        """Train up to an epoch, or to the end."""
        while not self._schedule.done and (until is None or self._schedule.epoch < until):
            self._epoch()
        return [self._trained(i, keep_state) for i in range(len(self._best))]

    def _epoch(self) -> None:
        rate = self._schedule.learning_rate * self._schedule.active
        n, m = len(self._data.X), len(self._data.X_val)
        self._variables, losses = self._program.epoch(
            self._variables,
            self._data,
            draw(self._graph, n, m, self._seed, self._schedule.epoch),
            rate.astype(np.float32),
            self._dropout,
        )
        improved = self._schedule.update(*(loss.numpy() for loss in losses))
        if improved.any():
            weights = [part.numpy() for part in self._variables.weights]
            for i in np.flatnonzero(improved):
                self._best[i] = [part[i].copy() for part in weights]

    def _trained(self, i: int, keep_state: bool) -> TrainResult:
        schedule = self._schedule
        state: dict[str, Any] | None = None
        if keep_state and schedule.active[i]:
            state = {
                "schedule": schedule.state(i),
                "variables": [[part[i].numpy() for part in of] for of in self._variables],
                "best": self._best[i],
            }
        history, best_epoch = schedule.history(i), int(schedule.best_epoch[i])
        return TrainResult(self._best[i], history, best_epoch, schedule.status(i), state)
