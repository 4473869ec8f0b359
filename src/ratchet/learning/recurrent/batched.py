"""Training of networks of one GRU or LSTM layer, the fast path.

Gradients are those of ``backpropagation``; trials are stacked on a leading axis of all tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ratchet.learning.recurrent import schedule
from ratchet.learning.recurrent.backpropagation import CELLS, Tensors, Weights, forecast, gradients
from ratchet.learning.recurrent.network import build_network
from ratchet.learning.recurrent.schedule import Schedule
from ratchet.learning.recurrent.types import (
    MAX_PROGRAMS,
    Array,
    ProgramSpec,
    State,
    TrainOptions,
    TrainResult,
    TrialParams,
)

VALIDATED = 512
"""Validation windows at a time: bounds the memory."""


class Data(NamedTuple):
    """Windows and targets, as tensors that stay where they are from epoch to epoch."""

    X: tf.Tensor
    y: tf.Tensor
    X_val: tf.Tensor
    y_val: tf.Tensor


class Variables(NamedTuple):
    """What training changes; trials lead.

    Attributes:
        weights: in the order of Keras.
        first: running means of the gradients.
        second: running means of their squares.
    """

    weights: Weights
    first: Weights
    second: Weights


class Draws(NamedTuple):
    """What an epoch takes beside the data; that of steps is padded, see ``schedule.pad``.

    Attributes:
        steps: how many there are.
        rows: windows of each step, shape (steps, batch).
        counted: what each counts in the loss of its step, likewise.
        share: of the windows that a step sees, shape (steps,).
        uniforms: of the dropout, shape (steps, batch, units).
        corrections: factors of the learning rate, shape (steps,).
        validated: windows of each step of the validation.
        weighed: what each counts.
    """

    steps: np.int32
    rows: NDArray[np.int32]
    counted: Array
    share: Array
    uniforms: Array
    corrections: Array
    validated: NDArray[np.int32]
    weighed: Array


def draw(spec: ProgramSpec, n: int, m: int, seed: int, epoch: int) -> Draws:
    """Draws of an epoch with ``n`` training and ``m`` validation windows."""
    rows, counted = schedule.batches(n, spec.batch_size, seed, epoch)
    validated, weighed = schedule.in_order(m, VALIDATED)
    share = np.count_nonzero(counted, axis=1).astype(np.float32) / np.float32(n)
    uniforms = schedule.uniforms((*rows.shape, spec.units), seed, epoch, layer=0)
    return Draws(
        np.int32(len(rows)),
        schedule.pad(rows),
        schedule.pad(counted),
        schedule.pad(share),
        schedule.pad(uniforms),
        schedule.pad(schedule.bias_corrections(epoch, len(rows))),
        validated,
        weighed,
    )


@lru_cache(maxsize=MAX_PROGRAMS)
def program(spec: ProgramSpec, trials: int, compiled: bool) -> Program:
    """The program of a specification for so many trials, compiled when it is first used."""
    return Program(spec, compiled)


class Program:
    """Trains a stack of candidates for an epoch.

    Args:
        spec: what it is made for.
        compiled: whether XLA compiles it.
    """

    def __init__(self, spec: ProgramSpec, compiled: bool) -> None:
        self._cell = CELLS[spec.architecture]
        self.epoch = tf.function(self._epoch, jit_compile=compiled, autograph=False)

    def _epoch(
        self,
        variables: Variables,
        data: Data,
        draws: Draws,
        learning_rate: tf.Tensor,
        dropout: tf.Tensor,
    ) -> tuple[Variables, Tensors]:
        """Train for an epoch.

        Args:
            variables: before it.
            data: training and validation windows.
            draws: of this epoch.
            learning_rate: of each trial, shape (trials,); 0 leaves its weights as they are.
            dropout: of each trial, shape (trials,).

        Returns:
            The variables after it, and three losses of shape (trials,): of training, and mean
            squared and mean absolute error of the validation.
        """
        at_most = draws.rows.shape[0]

        def step(k: tf.Tensor, loss: tf.Tensor, variables: Variables) -> tuple[Any, ...]:
            x, y = _windows(data.X, data.y, draws.rows[k])
            keep_mask = tf.cast(draws.uniforms[k] >= dropout[:, None, None], tf.float32)
            drop = keep_mask / (1 - dropout[:, None, None])
            value, gradient = gradients(self._cell, variables.weights, x, y, draws.counted[k], drop)
            after = _adam(variables, gradient, learning_rate * draws.corrections[k])
            return k + 1, loss + draws.share[k] * value, after

        start = (tf.constant(0), tf.zeros_like(learning_rate), variables)
        _, loss, variables = tf.while_loop(
            lambda k, *_: k < draws.steps,
            step,
            start,
            maximum_iterations=at_most,
            parallel_iterations=1,
        )
        return variables, (loss, *self._validate(variables.weights, data, draws))

    def _validate(self, weights: Weights, data: Data, draws: Draws) -> Tensors:
        """Mean squared and mean absolute error of each trial."""
        steps = draws.validated.shape[0]

        def step(k: tf.Tensor, squared: tf.Tensor, absolute: tf.Tensor) -> tuple[Any, ...]:
            x, y = _windows(data.X_val, data.y_val, draws.validated[k])
            error = forecast(self._cell, weights, x) - y
            weighed = draws.weighed[k][:, None] / y.shape[-1]
            return (
                k + 1,
                squared + tf.reduce_sum(error * error * weighed, axis=[1, 2]),
                absolute + tf.reduce_sum(tf.abs(error) * weighed, axis=[1, 2]),
            )

        zeros = tf.zeros_like(weights.dense_bias[:, 0])
        _, squared, absolute = tf.while_loop(
            lambda k, *_: k < steps, step, (tf.constant(0), zeros, zeros), maximum_iterations=steps
        )
        return squared, absolute


def _windows(X: tf.Tensor, y: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Chosen windows, time steps first, and their targets."""
    return tf.transpose(tf.gather(X, rows), [1, 0, 2]), tf.gather(y, rows)


def _adam(variables: Variables, gradient: Weights, learning_rate: tf.Tensor) -> Variables:
    """One step of Adam (Kingma and Ba 2015) as in Keras; learning rates are bias-corrected."""
    beta_1, beta_2 = schedule.BETAS
    first, second, weights = [], [], []
    for w, m, v, g in zip(*variables, gradient, strict=True):
        rate = tf.reshape(learning_rate, [-1] + [1] * (len(w.shape) - 1))
        first.append(m + (g - m) * (1 - beta_1))
        second.append(v + (g * g - v) * (1 - beta_2))
        weights.append(w - rate * first[-1] / (tf.sqrt(second[-1]) + schedule.EPSILON))
    return Variables(Weights(*weights), Weights(*first), Weights(*second))


def train_group(
    spec: ProgramSpec,
    trials: Sequence[TrialParams],
    X: Array,
    y: Array,
    X_val: Array,
    y_val: Array,
    options: TrainOptions,
    *,
    stack: int | None = None,
) -> list[TrainResult]:
    """Train candidates of one GRU or LSTM layer.

    For arguments and results see ``ratchet.learning.recurrent.training.train_group``. ``stack`` is
    how many are trained side by side in one program; ``None`` for all on a GPU and for one on a
    CPU, where a stack is hardly faster: it falls out of the caches, and trials that have stopped
    go on costing.
    """
    data = Data(*(tf.constant(schedule.pad(part)) for part in (X, y, X_val, y_val)))
    seed, compiled = options.seed, options.compiled
    if options.states is None:
        starts = [_start(options.weights or _initial_weights(spec, seed))] * len(trials)
    else:
        starts = [*options.states]
    size = stack or (len(trials) if tf.config.list_physical_devices("GPU") else 1)
    trained = []
    for first in range(0, len(trials), size):
        part = slice(first, first + size)
        run = Run(
            spec, trials[part], data, (len(X), len(X_val)), starts[part], seed, compiled=compiled
        )
        trained += run.train(options.until, keep_state=options.keep_state)
    return trained


def _initial_weights(spec: ProgramSpec, seed: int) -> list[Array]:
    network = build_network(
        architecture=spec.architecture,
        units=spec.units,
        activation=spec.activation,
        lookback=spec.lookback,
        features=spec.features,
        horizon=spec.horizon,
        seed=seed,
    )
    return [np.asarray(weight) for weight in network.get_weights()]


def _start(weights: Sequence[Array]) -> State:
    """State before the first epoch."""
    zeros = [np.zeros_like(weight) for weight in weights]
    return {"schedule": None, "variables": [weights, zeros, zeros], "best": weights}


class Run:
    """Training of one stack.

    Args:
        spec: of all its trials.
        trials: the candidates.
        data: training and validation windows, padded, see ``schedule.pad``.
        sizes: how many there are of both.
        states: where each starts.
        seed: of shuffles and dropout.
        compiled: whether to compile.
    """

    def __init__(
        self,
        spec: ProgramSpec,
        trials: Sequence[TrialParams],
        data: Data,
        sizes: tuple[int, int],
        states: Sequence[State],
        seed: int,
        *,
        compiled: bool,
    ) -> None:
        self._spec, self._data, self._sizes, self._seed = spec, data, sizes, seed
        self._program: Program = program(spec, len(trials), compiled)
        self._dropout = np.array([trial.dropout for trial in trials], dtype=np.float32)
        self._schedule = Schedule(trials, [state["schedule"] for state in states])
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
        self._variables, losses = self._program.epoch(
            self._variables,
            self._data,
            draw(self._spec, *self._sizes, self._seed, self._schedule.epoch),
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
        state: State | None = None
        if keep_state and schedule.active[i]:
            state = {
                "schedule": schedule.state(i),
                "variables": [[part[i].numpy() for part in of] for of in self._variables],
                "best": self._best[i],
            }
        history, best_epoch = schedule.history(i), int(schedule.best_epoch[i])
        return TrainResult(self._best[i], history, best_epoch, schedule.status(i), state)
