"""GRU and LSTM cells in the conventions of Keras, one time step forward and one back.

Shapes: trials of a stack lead, so the state of a cell is (trials, batch, units) and its gates
are (trials, batch, 3 or 4 x units), side by side in the order of Keras.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import tensorflow as tf

Tensors = tuple[tf.Tensor, ...]

_SCALES = np.array([0.5, 0.5, 1, 0.5], dtype=np.float32)


class Cell(Protocol):
    """What a program needs to know of a recurrent layer.

    Attributes:
        gates: how often the units stand side by side in kernel, recurrent kernel and bias.
        states: tensors of the state; the output comes first.
    """

    gates: int
    states: int

    def biases(self, bias: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What is added to the projected input and to the projected state."""

    def forward(
        self, projected: tf.Tensor, recurrent: tf.Tensor, state: Tensors
    ) -> tuple[Tensors, Tensors]:
        """The next state, and what ``backward`` needs of this step.

        Args:
            projected: input times kernel, plus bias.
            recurrent: previous output times recurrent kernel, plus bias.
            state: the previous state.
        """

    def backward(self, upstream: Tensors, kept: Tensors) -> tuple[Tensors, Tensors]:
        """Gradients of a step.

        Args:
            upstream: of the loss by the state after the step.
            kept: what ``forward`` kept.

        Returns:
            By ``recurrent``, followed by the last gate of ``projected`` where that differs; and by
            the previous state, without what reaches it through ``recurrent``.
        """


class LSTM:
    """Gates in the order input, forget, candidate, output (Hochreiter and Schmidhuber 1997)."""

    gates = 4
    states = 2

    def biases(self, bias: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One bias, of shape (trials, 4 x units)."""
        return bias[:, None], tf.zeros_like(bias)[:, None]

    def forward(
        self, projected: tf.Tensor, recurrent: tf.Tensor, state: Tensors
    ) -> tuple[Tensors, Tensors]:
        """One step."""
        _, memory = state
        # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2: all gates in one pass, where XLA would make four.
        scale = np.repeat(_SCALES, memory.shape[-1])
        gates = tf.tanh((projected + recurrent) * scale) * scale + (1 - scale)
        enter, forget, candidate, leave = tf.split(gates, 4, axis=-1)
        new = forget * memory + enter * candidate
        squashed = tf.tanh(new)
        return (leave * squashed, new), (gates, memory, squashed)

    def backward(self, upstream: Tensors, kept: Tensors) -> tuple[Tensors, Tensors]:
        """One step back."""
        d_output, d_memory = upstream
        gates, memory, squashed = kept
        enter, forget, candidate, leave = tf.split(gates, 4, axis=-1)
        d_memory += d_output * leave * (1 - squashed * squashed)
        by_gate = [
            d_memory * candidate * enter * (1 - enter),
            d_memory * memory * forget * (1 - forget),
            d_memory * enter * (1 - candidate * candidate),
            d_output * squashed * leave * (1 - leave),
        ]
        return (tf.concat(by_gate, axis=-1),), (tf.zeros_like(d_output), d_memory * forget)


class GRU:
    """Gates in the order update, reset, candidate; reset after the product (Cho et al. 2014)."""

    gates = 3
    states = 1

    def biases(self, bias: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Two biases, of shape (trials, 2, 3 x units)."""
        return bias[:, :1], bias[:, 1:]

    def forward(
        self, projected: tf.Tensor, recurrent: tf.Tensor, state: Tensors
    ) -> tuple[Tensors, Tensors]:
        """One step."""
        (before,) = state
        two = 2 * before.shape[-1]
        gates = tf.sigmoid(projected[..., :two] + recurrent[..., :two])
        update, reset = tf.split(gates, 2, axis=-1)
        inner = recurrent[..., two:]
        candidate = tf.tanh(projected[..., two:] + reset * inner)
        output = candidate + update * (before - candidate)
        return (output,), (gates, inner, candidate, before)

    def backward(self, upstream: Tensors, kept: Tensors) -> tuple[Tensors, Tensors]:
        """One step back."""
        (d_output,) = upstream
        gates, inner, candidate, before = kept
        update, reset = tf.split(gates, 2, axis=-1)
        d_candidate = d_output * (1 - update) * (1 - candidate * candidate)
        by_gate = [
            d_output * (before - candidate) * update * (1 - update),
            d_candidate * inner * reset * (1 - reset),
            d_candidate * reset,
        ]
        return (tf.concat(by_gate, axis=-1), d_candidate), (d_output * update,)


CELLS: dict[str, Cell] = {"gru": GRU(), "lstm": LSTM()}
