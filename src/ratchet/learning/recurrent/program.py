"""The program that trains any architecture for an epoch.

The time of a small network on a CPU goes into Python and into starting tiny kernels, not into
arithmetic. Here Keras builds the network and TensorFlow differentiates it, but the program that XLA
compiles runs from the first batch of an epoch to the last and then over the validation windows.
Learning rate and dropout are its inputs, so one compilation serves all candidates of a spec.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ratchet.learning.recurrent import schedule
from ratchet.learning.recurrent.network import build_network
from ratchet.learning.recurrent.training_layers import GivenDropout, training_copy
from ratchet.learning.recurrent.types import Array, ProgramSpec

VALIDATED = 1024  # validation windows at a time: bounds the memory

Tensors = tuple[tf.Tensor, ...]


class Program:
    """What trains the networks of a spec for an epoch.

    Args:
        spec: what it is made for.
        compiled: whether XLA compiles it; without, TensorFlow runs the same spec by its kernels.
    """

    def __init__(self, spec: ProgramSpec, compiled: bool) -> None:
        self._graph = spec
        self._model = training_copy(self._network(seed=0))
        self._dropouts = [layer for layer in self._model.layers if isinstance(layer, GivenDropout)]
        self._fixed = [np.asarray(v) for v in self._model.non_trainable_variables]
        # A function of its own: TensorFlow warns of many traces of one and the same.
        self.epoch = tf.function(partial(self._epoch), jit_compile=compiled)

    def initial_weights(self, seed: int) -> list[Array]:
        """Weights before the first epoch, in the order of Keras' ``get_weights``."""
        weights: list[Array] = self._network(seed).get_weights()
        return weights

    def inputs(
        self, n: int, m: int, learning_rate: float, dropout: float, seed: int, epoch: int
    ) -> dict[str, Any]:
        """What an epoch takes beside the data.

        Args:
            n: training windows.
            m: validation windows.
            learning_rate: of Adam.
            dropout: share of outputs set to zero.
            seed: of shuffles and dropout.
            epoch: from 0.
        """
        rows, counted = schedule.batches(n, self._graph.batch_size, seed, epoch)
        shape = rows.shape
        corrections = schedule.bias_corrections(epoch, len(rows))
        return {
            "rows": rows,
            "counted": counted,
            "share": np.count_nonzero(counted, axis=1).astype(np.float32) / n,
            "learning_rate": np.float32(learning_rate) * corrections,
            "dropout": np.array(dropout, dtype=np.float32),
            "draws": tuple(
                schedule.uniforms((*shape, layer.width), seed, epoch, number)
                for number, layer in enumerate(self._dropouts)
            ),
            "validated": schedule.in_order(m, VALIDATED),
        }

    def _network(self, seed: int) -> keras.Model:
        spec = self._graph
        return build_network(
            architecture=spec.architecture,
            units=spec.units,
            activation=spec.activation,
            # Any rate but 0, at which Keras leaves dropout out.
            dropout=0.5,
            lookback=spec.lookback,
            features=spec.features,
            horizon=spec.horizon,
            seed=seed,
        )

    def _epoch(
        self, variables: dict[str, Tensors], inputs: dict[str, Any], data: Tensors
    ) -> tuple[dict[str, Tensors], Tensors]:
        X, y, X_val, y_val = data
        steps = inputs["rows"].shape[0]

        def step(k: tf.Tensor, loss: tf.Tensor, variables: dict[str, Tensors]) -> tuple[Any, ...]:
            rows, counted = inputs["rows"][k], inputs["counted"][k]
            with tf.GradientTape() as tape:
                tape.watch(variables["weights"])
                forecast = self._forecast(variables["weights"], tf.gather(X, rows), inputs, k)
                squared = tf.reduce_mean(tf.square(forecast - tf.gather(y, rows)), axis=1)
                value = tf.reduce_sum(counted * squared)
            gradients = tape.gradient(value, variables["weights"])
            variables = _adam(variables, gradients, inputs["learning_rate"][k])
            return k + 1, loss + inputs["share"][k] * value, variables

        start = (tf.constant(0), tf.constant(0.0), variables)
        _, loss, variables = tf.while_loop(
            lambda k, *_: k < steps, step, start, maximum_iterations=steps, parallel_iterations=1
        )
        errors = self._validate(variables["weights"], inputs["validated"], X_val, y_val)
        return variables, (loss, *errors)

    def _forecast(
        self, weights: Tensors, X: tf.Tensor, inputs: dict[str, Any] | None, k: tf.Tensor
    ) -> tf.Tensor:
        """Forecasts, in training with the dropout of step ``k``."""
        if inputs is not None:
            for layer, draws in zip(self._dropouts, inputs["draws"], strict=True):
                kept = tf.cast(draws[k] >= inputs["dropout"], tf.float32)
                layer.factor = kept / (1 - inputs["dropout"])
        forecast, _ = self._model.stateless_call(
            list(weights), self._fixed, X, training=inputs is not None
        )
        return forecast

    def _validate(
        self, weights: Tensors, validated: tuple[Any, Any], X: tf.Tensor, y: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean squared and mean absolute error."""
        rows, counted = validated
        chunks = rows.shape[0]

        def chunk(k: tf.Tensor, squared: tf.Tensor, absolute: tf.Tensor) -> tuple[Any, ...]:
            forecast = self._forecast(weights, tf.gather(X, rows[k]), None, k)
            error = forecast - tf.gather(y, rows[k])
            return (
                k + 1,
                squared + tf.reduce_sum(counted[k] * tf.reduce_mean(tf.square(error), axis=1)),
                absolute + tf.reduce_sum(counted[k] * tf.reduce_mean(tf.abs(error), axis=1)),
            )

        start = (tf.constant(0), tf.constant(0.0), tf.constant(0.0))
        _, squared, absolute = tf.while_loop(
            lambda k, *_: k < chunks, chunk, start, maximum_iterations=chunks
        )
        return squared, absolute


def _adam(
    variables: dict[str, Tensors], gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor
) -> dict[str, Tensors]:
    """One step of Adam (Kingma and Ba 2015) as Keras makes it.

    Args:
        variables: weights, first and second moments.
        gradients: of the loss, one per weight.
        learning_rate: corrected for the bias of the young moments.
    """
    beta_1, beta_2 = schedule.BETAS
    first = tuple(
        m + (g - m) * (1 - beta_1) for m, g in zip(variables["first"], gradients, strict=True)
    )
    second = tuple(
        v + (g * g - v) * (1 - beta_2) for v, g in zip(variables["second"], gradients, strict=True)
    )
    weights = tuple(
        w - learning_rate * m / (tf.sqrt(v) + schedule.EPSILON)
        for w, m, v in zip(variables["weights"], first, second, strict=True)
    )
    return {"weights": weights, "first": first, "second": second}
