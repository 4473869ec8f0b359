"""Forecasts and gradients of networks of one GRU or LSTM layer, written by hand.

All time steps share one product for the gradient of a weight, where automatic differentiation makes
one for each. Cells follow the conventions of Keras. The first axis is that of the trials trained
side by side: the state of a cell is (trials, batch, units), and its gates are (trials, batch, 3 or
4 x units), in the order of Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

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

    def backward(self, upstream: Tensors, cache: Tensors) -> tuple[Tensors, Tensors]:
        """Gradients of a step.

        Args:
            upstream: of the loss by the state after the step.
            cache: what ``forward`` returned for it.

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

    def backward(self, upstream: Tensors, cache: Tensors) -> tuple[Tensors, Tensors]:
        """One step back."""
        d_output, d_memory = upstream
        gates, memory, squashed = cache
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

    def backward(self, upstream: Tensors, cache: Tensors) -> tuple[Tensors, Tensors]:
        """One step back."""
        (d_output,) = upstream
        gates, inner, candidate, before = cache
        update, reset = tf.split(gates, 2, axis=-1)
        d_candidate = d_output * (1 - update) * (1 - candidate * candidate)
        by_gate = [
            d_output * (before - candidate) * update * (1 - update),
            d_candidate * inner * reset * (1 - reset),
            d_candidate * reset,
        ]
        return (tf.concat(by_gate, axis=-1), d_candidate), (d_output * update,)


CELLS: dict[str, Cell] = {"gru": GRU(), "lstm": LSTM()}


UNROLLED = 16
"""Time steps up to which a program spells them out: it runs faster, but takes longer to compile."""

Steps = Any
"""A tensor for each of some time steps, as a list or stacked on a leading axis."""

Step = Callable[[Tensors, Tensors], tuple[Tensors, Tensors]]


class Weights(NamedTuple):
    """Weights of a stack of trials, in the order of Keras; the first axis is that of the trials.

    Attributes:
        kernel: (trials, features, gates x units).
        recurrent: (trials, units, gates x units).
        bias: (trials, gates x units), for a GRU (trials, 2, gates x units).
        dense: (trials, units, horizon).
        dense_bias: (trials, horizon).
    """

    kernel: tf.Tensor
    recurrent: tf.Tensor
    bias: tf.Tensor
    dense: tf.Tensor
    dense_bias: tf.Tensor


def forecast(cell: Cell, weights: Weights, x: tf.Tensor) -> tf.Tensor:
    """Forecasts (trials, batch, horizon) of windows (lookback, batch, features)."""
    output, *_ = _forward(cell, weights, x)
    return output @ weights.dense + weights.dense_bias[:, None]


def gradients(
    cell: Cell, weights: Weights, x: tf.Tensor, y: tf.Tensor, counted: tf.Tensor, drop: tf.Tensor
) -> tuple[tf.Tensor, Weights]:
    """Loss of each trial, and its gradient, by backpropagation through time (Werbos 1990).

    Args:
        cell: the recurrent layer.
        weights: of the stack.
        x: windows, shape (lookback, batch, features).
        y: targets, shape (batch, horizon).
        counted: what each window counts, shape (batch,).
        drop: factors of the layer's outputs, shape (trials, batch, units).

    Returns:
        Weighted mean squared errors of shape (trials,), and gradients shaped like the weights.
    """
    output, first, later = _forward(cell, weights, x)
    dropped = output * drop
    error = dropped @ weights.dense + weights.dense_bias[:, None] - y
    share = counted[:, None] / y.shape[-1]
    loss = tf.reduce_sum(error * error * share, axis=[1, 2])
    d_forecast = 2 * error * share
    d_output = tf.matmul(d_forecast, weights.dense, transpose_b=True) * drop
    d_first, d_later = _backward(cell, weights, x, d_output, first, later[1:])
    kernel, recurrent, bias = _layer_gradients(weights, x, later[:1], d_first, d_later)
    dense = tf.matmul(dropped, d_forecast, transpose_a=True)
    return loss, Weights(kernel, recurrent, bias, dense, tf.reduce_sum(d_forecast, axis=1))


def _forward(
    cell: Cell, weights: Weights, x: tf.Tensor
) -> tuple[tf.Tensor, Tensors, Sequence[Steps]]:
    """Last output; cache of the first step; outputs before the later steps, and their caches."""
    projecting, adding = cell.biases(weights.bias)
    steps, batch, features = x.shape
    trials, units, gates = weights.recurrent.shape
    projected = tf.reshape(x, [1, steps * batch, features]) @ weights.kernel + projecting
    by_step = tf.transpose(tf.reshape(projected, [trials, steps, batch, gates]), [1, 0, 2, 3])
    # Nothing comes from the zeros before the first step: its product is left out.
    zeros = (tf.zeros([trials, batch, units]),) * cell.states
    start = tf.broadcast_to(adding, [trials, batch, gates])
    state, first = cell.forward(by_step[0], start, zeros)

    def step(state: Tensors, inputs: Tensors) -> tuple[Tensors, Tensors]:
        after, cache = cell.forward(inputs[0], state[0] @ weights.recurrent + adding, state)
        return after, (state[0], *cache)

    state, later = _scan(step, state, [by_step[1:]], range(steps - 1), _one(x))
    return state[0], first, later


def _backward(
    cell: Cell,
    weights: Weights,
    x: tf.Tensor,
    d_output: tf.Tensor,
    first: Tensors,
    later: Sequence[Steps],
) -> tuple[Tensors, Sequence[Steps]]:
    """Gradients by the gates of the first step, and of the later ones."""

    def step(state: Tensors, cache: Tensors) -> tuple[Tensors, Tensors]:
        d_gates, (d_output, *others) = cell.backward(state, cache)
        through = tf.matmul(d_gates[0], weights.recurrent, transpose_b=True)
        return (d_output + through, *others), d_gates

    start = (d_output, *[tf.zeros_like(d_output)] * (cell.states - 1))
    state, d_later = _scan(step, start, later, range(x.shape[0] - 2, -1, -1), _one(x))
    return cell.backward(state, first)[0], d_later


def _layer_gradients(
    weights: Weights,
    x: tf.Tensor,
    outputs: Sequence[Steps],
    d_first: Tensors,
    d_later: Sequence[Steps],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """By kernel, recurrent kernel and bias: one product for all later steps each."""
    joined = [_joined(steps) for steps in d_later]
    recurrent = tf.zeros_like(weights.recurrent)
    if joined:
        recurrent = tf.matmul(_joined(outputs[0]), joined[0], transpose_a=True)
    parts = list(zip(*([d_first, joined] if joined else [d_first]), strict=True))
    # The bias is the weight of an input that is always 1: no sums beside the products.
    ones = tf.concat([x, tf.ones_like(x[..., :1])], axis=-1)
    by_input, *last = (_by_input(ones, part) for part in parts)
    if not last:
        return by_input[:, :-1], recurrent, by_input[:, -1]
    units = weights.recurrent.shape[1]
    projected = tf.concat([by_input[..., :-units], *last], axis=-1)
    bias = tf.stack([projected[:, -1], by_input[:, -1]], axis=1)
    return projected[:, :-1], recurrent, bias


def _by_input(x: tf.Tensor, d_gates: Sequence[tf.Tensor]) -> tf.Tensor:
    """Products of the inputs with the gradients by the gates, of the first step and the later."""
    inputs = (x[:1], x[1:])[: len(d_gates)]
    products = [
        tf.matmul(tf.reshape(part, [1, -1, x.shape[-1]]), d, transpose_a=True)
        for part, d in zip(inputs, d_gates, strict=True)
    ]
    return tf.add_n(products)


def _one(x: tf.Tensor) -> tf.Tensor:
    """The number 1, unknown to the compiler."""
    return x[0, 0, 0] * 0 + 1


def _joined(steps: Steps) -> tf.Tensor:
    """All time steps behind each other, shape (trials, steps x batch, width)."""
    if isinstance(steps, list):
        return tf.concat(steps, axis=1)
    n, trials, batch, width = steps.shape
    return tf.reshape(tf.transpose(steps, [1, 0, 2, 3]), [trials, n * batch, width])


def _scan(
    step: Step, state: Tensors, inputs: Sequence[Steps], order: range, one: tf.Tensor
) -> tuple[Tensors, Sequence[Steps]]:
    """Go through time steps, spelled out or in a loop.

    Spelled out, XLA would compute what is cheap again wherever it is used: at every step all the
    sums since the first, in a time quadratic in the steps. Divisions it computes only once.

    Returns:
        The last state, and the outputs of all steps, by time whatever the order.
    """
    if len(order) > UNROLLED:
        return _loop(step, state, inputs, order)
    by_step = {}
    for t in order:
        state, by_step[t] = step(state, tuple(part[t] for part in inputs))
        state = tuple(part / one for part in state)
    return state, [list(steps) for steps in zip(*(by_step[t] for t in sorted(order)), strict=True)]


def _loop(
    step: Step, state: Tensors, inputs: Sequence[Steps], order: range
) -> tuple[Tensors, Sequence[Steps]]:
    n, start, stride = len(order), order.start, order.step
    # The first step outside of the loop says how many outputs there are, and their shapes.
    state, outputs = step(state, tuple(part[start] for part in inputs))
    arrays = tuple(
        tf.TensorArray(tf.float32, n, element_shape=value.shape).write(start, value)
        for value in outputs
    )

    def body(i: tf.Tensor, state: Tensors, arrays: tuple[tf.TensorArray, ...]) -> tuple[Any, ...]:
        t = start + i * stride
        state, outputs = step(state, tuple(tf.gather(part, t) for part in inputs))
        written = tuple(a.write(t, value) for a, value in zip(arrays, outputs, strict=True))
        return i + 1, state, written

    _, state, arrays = tf.while_loop(
        lambda i, *_: i < n, body, (tf.constant(1), state, arrays), maximum_iterations=n
    )
    return state, [array.stack() for array in arrays]
