"""Layers with the names, arguments and defaults of those of Keras, which only record.

Functions that build architectures connect them as they connect those of Keras: what comes of it
says which layers there are, of what shapes, and what goes into them. A layer, or a setting of one,
that is not here has no compiled form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ratchet.compiled import networks
from ratchet.compiled.models import Array
from ratchet.compiled.networks import ACTIVATIONS, HALF, SIMPLE, Layer
from ratchet.compiled.serialization import NotCompilable, require
from ratchet.learning.recurrent.architectures import blocks

Shape = tuple[int, ...]
"""Shape of a tensor or of a weight, without the rows: (steps, channels) or (channels,)."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A symbolic tensor: what a layer gives for other tensors.

    Attributes:
        sizes: its shape without the rows.
        layer: what it comes from; ``None`` of the windows.
        inputs: the tensors that went in.
    """

    sizes: Shape
    layer: RecordedLayer | None = None
    inputs: tuple[Tensor, ...] = ()

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape as Keras gives it: the number of rows is not known."""
        return (None, *self.sizes)


class RecordedLayer:
    """A layer: its settings, under the names and with the defaults that they have in Keras."""

    weights: tuple[Shape, ...] = ()  # shapes, known once the layer is called

    def __call__(self, *inputs: Any) -> Tensor:
        """Connect the layer to tensors, or to a list of them."""
        tensors = tuple(inputs[0]) if isinstance(inputs[0], list | tuple) else inputs
        sizes = [tensor.sizes for tensor in tensors]
        self.weights = tuple(self.weight_shapes(*sizes))
        return Tensor(self.output(*sizes), self, tensors)

    def output(self, *inputs: Shape) -> Shape:
        """Shape of what it gives."""
        raise NotImplementedError

    def weight_shapes(self, *inputs: Shape) -> Sequence[Shape]:
        """Shapes of its weights."""
        return ()

    def compiled(self, *weights: Array) -> Layer:
        """The layer with its weights."""
        raise NotImplementedError


_TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint", "dropout", "seed", "name")
"""Ends of names of arguments that change nothing about a forecast."""


class RecordedLayers:
    """Stands in for ``keras.layers``."""

    def __getattr__(self, name: str) -> Callable[..., RecordedLayer]:
        """The layer of this name."""
        if name not in _LAYERS:
            raise NotCompilable(f"the layer {name} has no compiled form")

        def make(*arguments: Any, **settings: Any) -> RecordedLayer:
            needed = {k: v for k, v in settings.items() if not k.endswith(_TRAINING_ONLY)}
            return _LAYERS[name](*arguments, **needed)

        return make


def _activation(name: str | None) -> str:
    known = blocks.ACTIVATIONS.get(str(name), str(name or "linear"))
    if known not in ACTIVATIONS:
        raise NotCompilable(f"the activation {name} has no compiled form")
    return known


@dataclass(eq=False)
class _Recurrent(RecordedLayer):
    units: int
    activation: str | None = "tanh"
    recurrent_activation: str | None = "sigmoid"
    use_bias: bool = True
    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    reset_after: bool = True

    gates: ClassVar[int]

    def __post_init__(self) -> None:
        require(not (self.return_state or self.stateful), self, "keeps or gives its state")
        require(self.use_bias, self, "has no bias")
        require(self.reset_after, self, "resets before the product")

    def output(self, *inputs: Shape) -> Shape:
        [(steps, _)] = inputs
        return (steps, self.units) if self.return_sequences else (self.units,)

    def weight_shapes(self, *inputs: Shape) -> Sequence[Shape]:
        [(_, channels)] = inputs
        width = self.gates * self.units
        return [(channels, width), (self.units, width), self._bias(width)]

    def _bias(self, width: int) -> Shape:
        return (width,)

    def _settings(self) -> dict[str, Any]:
        return {
            "activation": _activation(self.activation),
            "gates": _activation(self.recurrent_activation),
            "every_step": self.return_sequences,
            "backwards": self.go_backwards,
        }

    def _gate_scale(self, width: int, gates: int) -> Array:
        """Half for the columns of the gates where they are sigmoids, and else 1."""
        halved = (np.arange(width) < gates) & (self._settings()["gates"] == "sigmoid")
        return np.where(halved, HALF, np.float32(1))


class _GRU(_Recurrent):
    gates = 3

    def _bias(self, width: int) -> Shape:
        return (2, width)

    def compiled(self, *weights: Array) -> Layer:
        kernel, recurrent, (bias, inner) = weights
        two = 2 * len(recurrent)
        beside = np.where(np.arange(len(bias)) < two, bias + inner, bias)
        recurrent = np.vstack([recurrent, np.where(np.arange(len(bias)) < two, 0, inner)])
        scale = self._gate_scale(len(bias), two)
        return networks.Gru(kernel * scale, beside * scale, recurrent * scale, **self._settings())


class _LSTM(_Recurrent):
    gates = 4

    def compiled(self, *weights: Array) -> Layer:
        kernel, recurrent, bias = weights
        units = len(recurrent)
        enter, forget, candidate, leave = np.arange(4 * units).reshape(4, units)
        order = np.concatenate([enter, forget, leave, candidate])
        scale = self._gate_scale(4 * units, 3 * units)
        recurrent = np.vstack([recurrent, np.zeros((1, 4 * units), np.float32)])
        return networks.Lstm(
            *(kernel[:, order] * scale, bias[order] * scale, recurrent[:, order] * scale),
            **self._settings(),
        )


class _Bidirectional(RecordedLayer):
    def __init__(
        self,
        layer: _Recurrent,
        merge_mode: str | None = "concat",
        backward_layer: _Recurrent | None = None,
    ) -> None:
        require(merge_mode in ("concat", "sum", "ave", "mul"), self, f"merges by {merge_mode}")
        self.forwards = layer
        self.backwards = backward_layer or replace(layer, go_backwards=not layer.go_backwards)
        self.merge = str(merge_mode)

    def output(self, *inputs: Shape) -> Shape:
        *steps, width = self.forwards.output(*inputs)
        both = width + self.backwards.output(*inputs)[-1] if self.merge == "concat" else width
        return (*steps, both)

    def weight_shapes(self, *inputs: Shape) -> Sequence[Shape]:
        return [*self.forwards.weight_shapes(*inputs), *self.backwards.weight_shapes(*inputs)]

    def compiled(self, *weights: Array) -> Layer:
        half = len(weights) // 2
        return networks.Bidirectional(
            forwards=self.forwards.compiled(*weights[:half]),
            backwards=self.backwards.compiled(*weights[half:]),
            merge=self.merge,
            every_step=self.forwards.return_sequences,
        )


@dataclass(eq=False)
class _Dense(RecordedLayer):
    units: int
    activation: str | None = None
    use_bias: bool = True

    def __post_init__(self) -> None:
        require(self.use_bias, self, "has no bias")

    def output(self, *inputs: Shape) -> Shape:
        return (*inputs[0][:-1], self.units)

    def weight_shapes(self, *inputs: Shape) -> Sequence[Shape]:
        return [(inputs[0][-1], self.units), (self.units,)]

    def compiled(self, *weights: Array) -> Layer:
        kernel, bias = weights
        return networks.Dense(kernel, bias, _activation(self.activation))


def _time_distributed(layer: RecordedLayer) -> RecordedLayer:
    require(isinstance(layer, _Dense), layer, "is no dense layer, which works at every step")
    return layer


@dataclass(eq=False)
class _Conv1D(RecordedLayer):
    filters: int
    kernel_size: int
    strides: int = 1
    padding: str = "valid"
    data_format: None = None
    dilation_rate: int = 1
    groups: int = 1
    activation: str | None = None
    use_bias: bool = True

    def __post_init__(self) -> None:
        plain = self.use_bias and self.padding in ("same", "valid") and not self.data_format
        single = self.groups == self.strides == self.dilation_rate == 1
        require(plain and single, self, "is no plain one")

    def output(self, *inputs: Shape) -> Shape:
        [(steps, _)] = inputs
        return (steps + self._around - self.kernel_size + 1, self.filters)

    @property
    def _around(self) -> int:
        return self.kernel_size - 1 if self.padding == "same" else 0

    def weight_shapes(self, *inputs: Shape) -> Sequence[Shape]:
        return [(self.kernel_size, inputs[0][-1], self.filters), (self.filters,)]

    def compiled(self, *weights: Array) -> Layer:
        kernel, bias = weights
        before = self._around // 2
        after = self._around - before
        return networks.Convolution(kernel, bias, before, after, _activation(self.activation))


@dataclass(eq=False)
class _LayerNormalization(RecordedLayer):
    axis: int = -1
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    rms_scaling: bool = False

    def __post_init__(self) -> None:
        plain = self.center and self.scale and not self.rms_scaling
        require(plain, self, "is no plain one")
        require(self.axis == -1, self, "works on another axis than the last")

    def output(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def weight_shapes(self, *inputs: Shape) -> Sequence[Shape]:
        return [inputs[0][-1:]] * 2

    def compiled(self, *weights: Array) -> Layer:
        stretch, shift = weights
        return networks.Normalisation(stretch, shift, self.epsilon)


@dataclass(eq=False)
class _Attention(RecordedLayer):
    use_scale: bool = False
    score_mode: str = "dot"

    def __post_init__(self) -> None:
        require(self.score_mode == "dot", self, f"scores by {self.score_mode}")

    def output(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], inputs[1][-1])

    def weight_shapes(self, *inputs: Shape) -> Sequence[Shape]:
        return [()] if self.use_scale else []

    def compiled(self, *weights: Array) -> Layer:
        return networks.Attention(weights[0].item() if self.use_scale else 1.0)


@dataclass(eq=False)
class _MultiHeadAttention(RecordedLayer):
    num_heads: int
    key_dim: int
    value_dim: int | None = None
    use_bias: bool = True

    def __post_init__(self) -> None:
        require(self.use_bias, self, "has other weights than kernels and biases")

    def output(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def weight_shapes(self, *inputs: Shape) -> Sequence[Shape]:
        from_query, from_value, from_key = inputs[0][-1], inputs[1][-1], inputs[-1][-1]
        key, value = (self.num_heads, self.key_dim), (self.num_heads, self._value_dim)
        projections = [((from_query, *key), key), ((from_key, *key), key)]
        outwards = [((from_value, *value), value), ((*value, from_query), (from_query,))]
        return [shape for pair in [*projections, *outwards] for shape in pair]

    @property
    def _value_dim(self) -> int:
        return self.value_dim or self.key_dim

    def compiled(self, *weights: Array) -> Layer:
        root = np.float32(1 / np.sqrt(self.key_dim))
        query, query_bias, *others = weights
        return networks.Heads(query * root, query_bias * root, *others)


@dataclass(eq=False)
class _AveragePooling1D(RecordedLayer):
    pool_size: int
    strides: int | None = None
    padding: str = "valid"

    def __post_init__(self) -> None:
        same = self.padding == "same" and self.strides in (None, self.pool_size)
        require(same, self, "pads or overlaps in another way")

    def output(self, *inputs: Shape) -> Shape:
        [(steps, channels)] = inputs
        return (-(-steps // self.pool_size), channels)

    def compiled(self, *weights: Array) -> Layer:
        return networks.Pool(self.pool_size)


class _Ends(RecordedLayer):
    """Leaves out steps at both ends, or adds some."""

    def __init__(self, kind: Callable[[int, int], Layer], steps: int | tuple[int, int]) -> None:
        self.kind = kind
        self.before, self.after = (steps, steps) if isinstance(steps, int) else steps

    def output(self, *inputs: Shape) -> Shape:
        [(steps, channels)] = inputs
        more = self.before + self.after
        return (steps + (more if self.kind is networks.Pad else -more), channels)

    def compiled(self, *weights: Array) -> Layer:
        return self.kind(self.before, self.after)


def _cropping(cropping: int | tuple[int, int] = 1) -> RecordedLayer:
    return _Ends(networks.Crop, cropping)


def _padding(padding: int | tuple[int, int] = 1) -> RecordedLayer:
    return _Ends(networks.Pad, padding)


class _Simple(RecordedLayer):
    def __init__(self, name: str) -> None:
        self.name = name

    def output(self, *inputs: Shape) -> Shape:
        if self.name == "Concatenate":
            return (*inputs[0][:-1], sum(shape[-1] for shape in inputs))
        if self.name == "Flatten":
            return (math.prod(inputs[0]),)
        if self.name.startswith("Global"):
            return inputs[0][-1:]
        return np.broadcast_shapes(*inputs)

    def compiled(self, *weights: Array) -> Layer:
        return networks.Simple(self.name)


def _simple(name: str) -> Callable[[], RecordedLayer]:
    return lambda: _Simple(name)


def _concatenate(axis: int = -1) -> RecordedLayer:
    layer = _Simple("Concatenate")
    require(axis == -1, layer, f"works on axis {axis}")
    return layer


def _dropout(rate: float, noise_shape: object = None) -> RecordedLayer:
    return _Simple("Dropout")


_LAYERS: dict[str, Callable[..., RecordedLayer]] = {
    **{name: _simple(name) for name in SIMPLE},
    "Attention": _Attention,
    "AveragePooling1D": _AveragePooling1D,
    "Bidirectional": _Bidirectional,
    "Concatenate": _concatenate,
    "Conv1D": _Conv1D,
    "Cropping1D": _cropping,
    "Dense": _Dense,
    "Dropout": _dropout,
    "GRU": _GRU,
    "LSTM": _LSTM,
    "LayerNormalization": _LayerNormalization,
    "MultiHeadAttention": _MultiHeadAttention,
    "TimeDistributed": _time_distributed,
    "ZeroPadding1D": _padding,
}
"""Name of a layer in Keras -> what records it; ``SIMPLE`` has those without weights or settings."""
