"""Recurrent networks as forward passes of NumPy, in single precision as Keras computes them.

``network_compiler`` makes them of fitted networks; neither needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ratchet.compiled.models import Array
from ratchet.compiled.serialization import program

Function = Callable[[Array], Array]
_Into = Callable[[Array, Array], object]

_AT_ONCE = 512  # windows in one pass: bounds the memory
HALF = np.float32(0.5)
"""What arguments of sigmoids are multiplied by; see ``Gru``."""


class Layer(Protocol):
    """A layer without its place in the network."""

    def __call__(self, *inputs: Array) -> Array:
        """Map tensors (n, steps, channels) or (n, channels)."""
        ...


@program
@dataclass(frozen=True)
class Step:
    """A layer in its place.

    Attributes:
        layer: what is computed.
        inputs: numbers of the tensors that go in: 0 is the windows, the others count the steps.
    """

    layer: Layer
    inputs: tuple[int, ...]


@program
@dataclass(frozen=True)
class Network:
    """A network with its scaling: from flattened windows to forecasts in units of the target.

    Attributes:
        steps: the layers, each after those that it needs.
        lookback: time steps of a window.
        low: what is taken off each channel, shape (features,).
        span: what each is divided by then.
        target_low: what is added to forecasts.
        target_span: what they are multiplied by before.
        one: whether there is one value for each window, as shape (n,).
    """

    steps: tuple[Step, ...]
    lookback: int
    low: Array
    span: Array
    target_low: float
    target_span: float
    one: bool

    def __call__(self, X: Array) -> Array:
        """Forecast.

        Args:
            X: flattened windows, shape (n, lookback x features).

        Returns:
            Shape (n,), or (n, horizon) for a horizon above 1.

        Raises:
            ValueError: a window has a gap, of which networks make nothing but gaps.
        """
        if not np.isfinite(X).all():
            raise ValueError("windows must be finite: a network forecasts from all of its steps")
        if not len(X):
            return self(np.zeros((1, X.shape[1])))[:0]
        starts = range(0, len(X), _AT_ONCE)
        scaled = np.concatenate([self._pass(X[start : start + _AT_ONCE]) for start in starts])
        forecast = scaled.astype(np.float64) * self.target_span + self.target_low
        return forecast[:, 0] if self.one else forecast

    def _pass(self, X: Array) -> Array:
        windows = X.reshape(len(X), self.lookback, len(self.low)) - self.low
        windows /= self.span
        tensors = [windows.astype(np.float32)]
        for step in self.steps:
            tensors.append(step.layer(*[tensors[number] for number in step.inputs]))
        return tensors[-1]


# ------------------------------------------------------------------------------------- activations


def _sigmoid(x: Array) -> Array:
    half = x * HALF
    _halved_sigmoid(half, half)
    return half


def _error_function(x: Array) -> Array:
    """Abramowitz and Stegun (1964), 7.1.26: off by 1.5e-7 at most, as single precision is."""
    size = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * size)
    series: Array = np.float32(1.061405429) * np.ones_like(t)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * t + np.float32(factor)
    return np.copysign(1 - series * t * np.exp(-size * size), x)


def _softplus(x: Array) -> Array:
    return np.logaddexp(x, np.float32(0))


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _hard_sigmoid(x: Array) -> Array:
    return ((x + np.float32(3)) / np.float32(6)).clip(0, 1)


def _selu(x: Array) -> Array:
    return np.float32(1.0507009873554805) * np.where(
        x > 0, x, np.float32(1.6732632423543772) * np.expm1(np.minimum(x, 0))
    )


ACTIVATIONS: dict[str, Function] = {
    "elu": _elu,
    "exponential": np.exp,
    "gelu": lambda x: (
        x * (np.float32(0.5) + np.float32(0.5) * _error_function(x * np.float32(0.5**0.5)))
    ),
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda x: x * _hard_sigmoid(x),
    "leaky_relu": lambda x: np.where(x > 0, x, x * np.float32(0.2)),
    "linear": lambda x: x,
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "relu": lambda x: np.maximum(x, 0),
    "selu": _selu,
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanh": np.tanh,
}
"""Name in Keras -> function of an array in single precision."""


# -------------------------------------------------------------------------------- recurrent layers


@dataclass(frozen=True)
class _Recurrent:
    """What recurrent layers have in common.

    Gates come first in the weights and the candidate last. Sigmoids are hyperbolic tangents of half
    their argument: those halves are in the weights.

    Attributes:
        kernel: shape (channels, parts x units).
        bias: what is added to the projected input, shape (parts x units,).
        recurrent: shape (units + 1, parts x units); its last row is added to the projected state.
        activation: name of the activation.
        gates: name of that of the gates.
        every_step: whether all outputs are wanted, not only the last.
        backwards: whether the last step is read first.
    """

    kernel: Array
    bias: Array
    recurrent: Array
    activation: str
    gates: str
    every_step: bool
    backwards: bool

    def __call__(self, *inputs: Array) -> Array:
        """Read a sequence (n, steps, channels)."""
        [x] = inputs
        projected = _by_step(x, self.kernel, self.bias, self.backwards)
        states = _states(len(x), self._units, len(projected) if self.every_step else 1)
        self._run(projected, states, _states(len(x), self._units, 1)[0])
        outputs = states[:, :, :-1]
        return outputs.transpose(1, 0, 2) if self.every_step else outputs[0]

    def _run(self, projected: Array, states: Array, before: Array) -> None:
        """Write states.

        Args:
            projected: inputs, shape (steps, n, parts x units).
            states: where the state of each step goes, or that of the last one alone.
            before: the state before the first step.
        """
        raise NotImplementedError

    @property
    def _units(self) -> int:
        return len(self.recurrent) - 1

    @property
    def _functions(self) -> tuple[_Into, _Into]:
        """What opens the gates, and the activation."""
        return _into(self.gates, halved=True), _into(self.activation)


@program
@dataclass(frozen=True)
class Gru(_Recurrent):
    """Gates in the order update, reset, candidate; reset after the product (Cho et al. 2014)."""

    def _run(self, projected: Array, states: Array, before: Array) -> None:
        units, two = self._units, 2 * self._units
        to_gates = np.ascontiguousarray(projected[:, :, :two])
        to_candidate = np.ascontiguousarray(projected[:, :, two:])
        sums = np.empty((len(before), 3 * units), np.float32)
        gates, inner = sums[:, :two], sums[:, two:]
        update, reset = sums[:, :units], sums[:, units:two]
        open_gates, activate = self._functions
        for t, (gate, candidate) in enumerate(zip(to_gates, to_candidate, strict=True)):
            state = states[t if self.every_step else 0]
            np.matmul(before, self.recurrent, sums)
            np.add(gates, gate, gates)
            open_gates(gates, gates)
            np.multiply(inner, reset, inner)
            np.add(candidate, inner, candidate)
            activate(candidate, candidate)
            # candidate + update * (before - candidate)
            after = state[:, :units]
            np.subtract(before[:, :units], candidate, after)
            np.multiply(after, update, after)
            np.add(after, candidate, after)
            before = state


@program
@dataclass(frozen=True)
class Lstm(_Recurrent):
    """Gates in the order input, forget, output, candidate (Hochreiter and Schmidhuber 1997).

    Keras has the last two the other way round. The last row of ``recurrent`` is 0.
    """

    def _run(self, projected: Array, states: Array, before: Array) -> None:
        n, units = len(before), self._units
        # Side by side: gates, candidate, memory.
        work = np.zeros((n, 5 * units), np.float32)
        sums, gates, ways = work[:, : 4 * units], work[:, : 3 * units], work[:, : 2 * units]
        leave, candidate = work[:, 2 * units : 3 * units], work[:, 3 * units : 4 * units]
        contents, memory = work[:, 3 * units :], work[:, 4 * units :]
        product, squashed = (np.empty((n, width), np.float32) for width in (2 * units, units))
        entered, remembered = product[:, :units], product[:, units:]
        open_gates, activate = self._functions
        for t, step in enumerate(projected):
            state = states[t if self.every_step else 0]
            np.matmul(before, self.recurrent, sums)
            np.add(sums, step, sums)
            open_gates(gates, gates)
            activate(candidate, candidate)
            np.multiply(ways, contents, product)
            np.add(entered, remembered, memory)
            activate(memory, squashed)
            np.multiply(squashed, leave, state[:, :units])
            before = state


def _by_step(x: Array, kernel: Array, bias: Array, backwards: bool) -> Array:
    """Projected inputs, steps leading: (steps, n, width)."""
    n, steps, channels = x.shape
    turned = x.transpose(1, 0, 2)
    if backwards:
        turned = turned[::-1]
    projected = turned.reshape(steps * n, channels) @ kernel
    projected += bias
    return projected.reshape(steps, n, -1)


def _states(n: int, units: int, steps: int) -> Array:
    """Zeros (steps, n, units), and a 1 behind each, which the last row of weights is for."""
    states = np.zeros((steps, n, units + 1), np.float32)
    states[:, :, units] = 1
    return states


def _into(name: str, *, halved: bool = False) -> _Into:
    """An activation as a function of its argument and of where its values go.

    Args:
        name: of the activation.
        halved: whether the argument of a sigmoid was halved before.
    """
    if name == "tanh":
        return np.tanh
    if name == "sigmoid" and halved:
        return _halved_sigmoid
    function = ACTIVATIONS[name]
    return lambda x, out: np.copyto(out, function(x))


def _halved_sigmoid(x: Array, out: Array) -> None:
    np.tanh(x, out)
    np.multiply(out, HALF, out)
    np.add(out, HALF, out)


@program
@dataclass(frozen=True)
class Bidirectional:
    """A layer that reads forwards and one that reads backwards.

    Attributes:
        forwards: the first.
        backwards: the second.
        merge: how their outputs become one: ``concat``, ``sum``, ``ave`` or ``mul``.
        every_step: whether they give an output for each step.
    """

    forwards: Layer
    backwards: Layer
    merge: str
    every_step: bool

    def __call__(self, *inputs: Array) -> Array:
        """Read a sequence (n, steps, channels) both ways."""
        one, other = self.forwards(*inputs), self.backwards(*inputs)
        if self.every_step:
            other = other[:, ::-1]
        if self.merge == "concat":
            return np.concatenate([one, other], axis=-1)
        if self.merge == "mul":
            return one * other
        return one + other if self.merge == "sum" else (one + other) / np.float32(2)


# ------------------------------------------------------------------------------------ other layers


@program
@dataclass(frozen=True)
class Dense:
    """Weighted sums of the channels, at every step the same.

    Attributes:
        kernel: shape (channels, units).
        bias: shape (units,).
        activation: name of the activation.
    """

    kernel: Array
    bias: Array
    activation: str

    def __call__(self, *inputs: Array) -> Array:
        """Shape (..., channels) to (..., units)."""
        [x] = inputs
        sums = x.reshape(-1, x.shape[-1]) @ self.kernel
        sums += self.bias
        return ACTIVATIONS[self.activation](sums).reshape(*x.shape[:-1], -1)


@program
@dataclass(frozen=True)
class Convolution:
    """Weighted sums over neighbouring steps, as many as come in.

    Attributes:
        kernel: shape (steps, channels, units).
        bias: shape (units,).
        before: steps of zeros put before the first.
        after: and after the last.
        activation: name of the activation.
    """

    kernel: Array
    bias: Array
    before: int
    after: int
    activation: str

    def __call__(self, *inputs: Array) -> Array:
        """Shape (n, steps, channels) to (n, steps, units)."""
        [x] = inputs
        padded = np.pad(x, ((0, 0), (self.before, self.after), (0, 0)))
        steps = padded.shape[1] - len(self.kernel) + 1
        beside = np.concatenate([padded[:, i : i + steps] for i in range(len(self.kernel))], axis=2)
        sums = beside.reshape(-1, beside.shape[2]) @ self.kernel.reshape(-1, self.kernel.shape[2])
        sums += self.bias
        return ACTIVATIONS[self.activation](sums).reshape(len(x), steps, -1)


@program
@dataclass(frozen=True)
class Normalisation:
    """Channels of each step brought to mean 0 and variance 1, then stretched and shifted."""

    stretch: Array
    shift: Array
    epsilon: float

    def __call__(self, *inputs: Array) -> Array:
        """Same shape."""
        [x] = inputs
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        centred /= np.sqrt(variance + np.float32(self.epsilon))
        result: Array = centred * self.stretch + self.shift
        return result


@program
@dataclass(frozen=True)
class Attention:
    """Means of a sequence, weighted by how each of its steps answers a query.

    Attributes:
        scale: what products are multiplied by.
    """

    scale: float

    def __call__(self, *inputs: Array) -> Array:
        """Query (n, queries, channels) and sequence (n, steps, channels)."""
        query, steps = inputs[0], inputs[1]
        key = inputs[2] if len(inputs) > 2 else steps
        return _softmax(query @ key.swapaxes(1, 2) * np.float32(self.scale)) @ steps


@program
@dataclass(frozen=True)
class Heads:
    """Attention several times over, each in a projection of its own (Vaswani et al. 2017).

    Attributes:
        query: kernel, shape (channels, heads, width), already divided by the root of the width.
        query_bias: shape (heads, width), likewise.
        key: kernel, shape (channels, heads, width).
        key_bias: shape (heads, width).
        value: kernel, shape (channels, heads, width).
        value_bias: shape (heads, width).
        output: kernel, shape (heads, width, channels).
        output_bias: shape (channels,).
    """

    query: Array
    query_bias: Array
    key: Array
    key_bias: Array
    value: Array
    value_bias: Array
    output: Array
    output_bias: Array

    def __call__(self, *inputs: Array) -> Array:
        """Query, value and maybe key, each (n, steps, channels)."""
        from_query, from_value = inputs[0], inputs[1]
        from_key = inputs[2] if len(inputs) > 2 else from_value
        query = _projected(from_query, self.query, self.query_bias)
        key = _projected(from_key, self.key, self.key_bias)
        value = _projected(from_value, self.value, self.value_bias)
        answers = (_softmax(query @ key.swapaxes(2, 3)) @ value).transpose(0, 2, 1, 3)
        flat = answers.reshape(-1, self.output.shape[0] * self.output.shape[1])
        result: Array = flat @ self.output.reshape(flat.shape[1], -1) + self.output_bias
        return result.reshape(*answers.shape[:2], -1)


def _projected(x: Array, kernel: Array, bias: Array) -> Array:
    """Steps by head: (n, heads, steps, width)."""
    flat = x.reshape(-1, x.shape[-1]) @ kernel.reshape(len(kernel), -1) + bias.reshape(-1)
    return flat.reshape(*x.shape[:2], *bias.shape).transpose(0, 2, 1, 3)


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = powers / powers.sum(axis=-1, keepdims=True)
    return result


@program
@dataclass(frozen=True)
class Crop:
    """Leave out steps at both ends."""

    before: int
    after: int

    def __call__(self, *inputs: Array) -> Array:
        """Shape (n, steps, channels)."""
        [x] = inputs
        return x[:, self.before : x.shape[1] - self.after]


@program
@dataclass(frozen=True)
class Pad:
    """Put steps of zeros at both ends."""

    before: int
    after: int

    def __call__(self, *inputs: Array) -> Array:
        """Shape (n, steps, channels)."""
        return np.pad(inputs[0], ((0, 0), (self.before, self.after), (0, 0)))


@program
@dataclass(frozen=True)
class Pool:
    """Means of so many neighbouring steps; the last of them may have fewer."""

    steps: int

    def __call__(self, *inputs: Array) -> Array:
        """Shape (n, steps, channels)."""
        [x] = inputs
        starts = np.arange(0, x.shape[1], self.steps)
        counts = np.diff(starts, append=x.shape[1]).astype(np.float32)
        result: Array = np.add.reduceat(x, starts, axis=1) / counts[:, None]
        return result


@program
@dataclass(frozen=True)
class Simple:
    """A layer without weights or settings.

    Attributes:
        name: of the layer in Keras.
    """

    name: str

    def __call__(self, *inputs: Array) -> Array:
        """Apply it to all inputs."""
        return SIMPLE[self.name](inputs)


def _flatten(inputs: Sequence[Array]) -> Array:
    return inputs[0].reshape(len(inputs[0]), -1)


def _average(inputs: Sequence[Array]) -> Array:
    return np.add.reduce(inputs) / np.float32(len(inputs))


SIMPLE: dict[str, Callable[[Sequence[Array]], Array]] = {
    "Add": np.add.reduce,
    "Average": _average,
    "Concatenate": lambda inputs: np.concatenate(inputs, axis=-1),
    "Dropout": lambda inputs: inputs[0],
    "Flatten": _flatten,
    "GlobalAveragePooling1D": lambda inputs: inputs[0].mean(axis=1),
    "GlobalMaxPooling1D": lambda inputs: inputs[0].max(axis=1),
    "Maximum": np.maximum.reduce,
    "Multiply": np.multiply.reduce,
    "Subtract": lambda inputs: inputs[0] - inputs[1],
}
"""Name of a layer in Keras -> what it does with its inputs."""
