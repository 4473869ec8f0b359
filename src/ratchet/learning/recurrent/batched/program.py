"""The compiled program of a stack: an epoch of training, and its validation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ratchet.learning.recurrent import schedule
from ratchet.learning.recurrent.batched.cells import CELLS, Tensors
from ratchet.learning.recurrent.batched.passes import Weights, forecast, gradients
from ratchet.learning.recurrent.memory import MAX_PROGRAMS
from ratchet.learning.recurrent.types import Array, ProgramSpec

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
    """What an epoch is told beside the data.

    Attributes:
        rows: windows of each step, shape (steps, batch).
        counted: what each counts in the loss of its step, likewise.
        share: of the windows that a step sees, shape (steps,).
        uniforms: of the dropout, shape (steps, batch, units).
        corrections: factors of the learning rate, shape (steps,).
        validated: windows of each step of the validation.
        weighed: what each counts.
    """

    rows: NDArray[np.int32]
    counted: Array
    share: Array
    uniforms: Array
    corrections: Array
    validated: NDArray[np.int32]
    weighed: Array


def draw(spec: ProgramSpec, n: int, m: int, seed: int, epoch: int) -> Draws:
    """What an epoch is told with ``n`` training and ``m`` validation windows."""
    rows, counted = schedule.batches(n, spec.batch_size, seed, epoch)
    validated, weighed = schedule.in_order(m, VALIDATED)
    return Draws(
        rows,
        counted,
        np.count_nonzero(counted, axis=1).astype(np.float32) / np.float32(n),
        schedule.uniforms((*rows.shape, spec.units), seed, epoch, layer=0),
        schedule.bias_corrections(epoch, len(rows)),
        validated,
        weighed,
    )


@lru_cache(maxsize=MAX_PROGRAMS)
def program(spec: ProgramSpec, trials: int, compiled: bool) -> Program:
    """The program of a spec for so many trials, compiled when it is first used."""
    return Program(spec, compiled)


class Program:
    """Trains a stack of candidates for an epoch.

    Args:
        spec: what it is made for.
        compiled: whether XLA compiles it.
    """

    def __init__(self, spec: ProgramSpec, compiled: bool) -> None:
        self._cell = CELLS[spec.architecture]
        self.epoch = tf.function(self._epoch, jit_compile=compiled)

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
        steps = draws.rows.shape[0]

        def step(k: tf.Tensor, loss: tf.Tensor, variables: Variables) -> tuple[Any, ...]:
            x, y = _windows(data.X, data.y, draws.rows[k])
            kept = tf.cast(draws.uniforms[k] >= dropout[:, None, None], tf.float32)
            drop = kept / (1 - dropout[:, None, None])
            value, gradient = gradients(self._cell, variables.weights, x, y, draws.counted[k], drop)
            after = _adam(variables, gradient, learning_rate * draws.corrections[k])
            return k + 1, loss + draws.share[k] * value, after

        start = (tf.constant(0), tf.zeros_like(learning_rate), variables)
        _, loss, variables = tf.while_loop(
            lambda k, *_: k < steps, step, start, maximum_iterations=steps, parallel_iterations=1
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
    """One step of Adam (Kingma and Ba 2015) as Keras makes it.

    Args:
        variables: before the step.
        gradient: of the loss.
        learning_rate: of each trial, corrected for the bias of young moments.
    """
    beta_1, beta_2 = schedule.BETAS
    first, second, weights = [], [], []
    for w, m, v, g in zip(*variables, gradient, strict=True):
        rate = tf.reshape(learning_rate, [-1] + [1] * (len(w.shape) - 1))
        first.append(m + (g - m) * (1 - beta_1))
        second.append(v + (g * g - v) * (1 - beta_2))
        weights.append(w - rate * first[-1] / (tf.sqrt(second[-1]) + schedule.EPSILON))
    return Variables(Weights(*weights), Weights(*first), Weights(*second))
