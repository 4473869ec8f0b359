"""From a Keras model to its forward pass: the compiling side of ``networks``.

The model is translated layer by layer, whichever architecture it is: a layer that has no line in
``_LAYERS`` makes it ``NotCompilable``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ratchet.compiled.models import Array
from ratchet.compiled.networks import (
    ACTIVATIONS,
    HALF,
    SIMPLE,
    Attention,
    Bidirectional,
    Convolution,
    Crop,
    Dense,
    Gru,
    Heads,
    Layer,
    Lstm,
    Network,
    Normalisation,
    Pad,
    Pool,
    Simple,
    Step,
)
from ratchet.compiled.serialization import NotCompilable, require


def compile_network(model: Any) -> Network:
    """Compile a fitted ``RecurrentRegressor``; builds its Keras model, and so loads TensorFlow.

    Raises:
        NotCompilable: a layer, or a setting of one, has no compiled form.
    """
    scaler = model.scaler_
    return Network(
        steps=tuple(_steps(model.keras_model())),
        lookback=scaler.lookback,
        low=np.asarray(scaler.low, np.float64),
        span=np.asarray(scaler.span, np.float64),
        target_low=float(scaler.target_low),
        target_span=float(scaler.target_span),
        one=model.horizon == 1,
    )


def _steps(model: Any) -> list[Step]:
    """Layers of a functional Keras model, each after those that it needs."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise NotCompilable("a network has several inputs or outputs")
    [windows], [forecast] = model.inputs, model.outputs
    numbers = {id(windows): 0}
    steps: list[Step] = []
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            inputs = tuple(numbers[id(tensor)] for tensor in node.input_tensors)
            steps.append(Step(_layer(node.operation), inputs))
            if len(node.outputs) != 1:
                raise NotCompilable(f"the layer {node.operation.name} gives several outputs")
            numbers[id(node.outputs[0])] = len(steps)
    if numbers[id(forecast)] != len(steps):
        raise NotCompilable("the last layer of a network is not its forecast")
    return steps


def _layer(layer: Any) -> Layer:
    name = type(layer).__name__
    if type(layer).__module__.split(".")[0] != "keras" or name not in _LAYERS | SIMPLE:
        raise NotCompilable(f"the layer {name} has no compiled form")
    if name == "Concatenate" and layer.axis != -1:
        raise NotCompilable(f"the layer {name} works on axis {layer.axis}")
    return _LAYERS[name](layer) if name in _LAYERS else Simple(name)


def _weights(layer: Any) -> list[Array]:
    return [np.ascontiguousarray(weight, np.float32) for weight in layer.get_weights()]


def _activation(function: Any) -> str:
    name = getattr(function, "__name__", str(function))
    if name not in ACTIVATIONS:
        raise NotCompilable(f"the activation {name} has no compiled form")
    return name


def _recurrent_settings(layer: Any) -> dict[str, Any]:
    require(not (layer.return_state or layer.stateful), layer, "keeps or gives its state")
    require(layer.use_bias, layer, "has no bias")
    return {
        "activation": _activation(layer.activation),
        "gates": _activation(layer.recurrent_activation),
        "every_step": bool(layer.return_sequences),
        "backwards": bool(layer.go_backwards),
    }


def _gru(layer: Any) -> Gru:
    require(layer.reset_after, layer, "resets before the product")
    settings = _recurrent_settings(layer)
    kernel, recurrent, (bias, inner) = _weights(layer)
    two = 2 * len(recurrent)
    beside = np.where(np.arange(len(bias)) < two, bias + inner, bias)
    recurrent = np.vstack([recurrent, np.where(np.arange(len(bias)) < two, 0, inner)])
    scale = _gate_scale(len(bias), two, settings["gates"])
    return Gru(kernel * scale, beside * scale, recurrent * scale, **settings)


def _lstm(layer: Any) -> Lstm:
    settings = _recurrent_settings(layer)
    kernel, recurrent, bias = _weights(layer)
    units = len(recurrent)
    enter, forget, candidate, leave = np.arange(4 * units).reshape(4, units)
    order = np.concatenate([enter, forget, leave, candidate])
    scale = _gate_scale(4 * units, 3 * units, settings["gates"])
    recurrent = np.vstack([recurrent, np.zeros((1, 4 * units), np.float32)])
    return Lstm(
        kernel[:, order] * scale, bias[order] * scale, recurrent[:, order] * scale, **settings
    )


def _gate_scale(width: int, gates: int, function: str) -> Array:
    """Half for the columns of the gates where they are sigmoids, and else 1."""
    halved = (np.arange(width) < gates) & (function == "sigmoid")
    return np.where(halved, HALF, np.float32(1))


def _bidirectional(layer: Any) -> Bidirectional:
    merge = str(layer.merge_mode)
    require(merge in ("concat", "sum", "ave", "mul"), layer, f"merges by {merge}")
    return Bidirectional(
        forwards=_layer(layer.forward_layer),
        backwards=_layer(layer.backward_layer),
        merge=merge,
        every_step=bool(layer.return_sequences),
    )


def _dense(layer: Any) -> Dense:
    require(layer.use_bias, layer, "has no bias")
    kernel, bias = _weights(layer)
    return Dense(kernel, bias, _activation(layer.activation))


def _convolution(layer: Any) -> Convolution:
    plain = layer.use_bias and layer.groups == 1 and layer.padding in ("same", "valid")
    require(plain and layer.strides == layer.dilation_rate == (1,), layer, "is no plain one")
    kernel, bias = _weights(layer)
    around = len(kernel) - 1 if layer.padding == "same" else 0
    before = around // 2
    return Convolution(kernel, bias, before, around - before, _activation(layer.activation))


def _normalisation(layer: Any) -> Normalisation:
    plain = layer.center and layer.scale and not layer.rms_scaling
    require(plain, layer, "is no plain one")
    stretch, shift = _weights(layer)
    require(stretch.ndim == 1, layer, "works on several axes")
    return Normalisation(stretch, shift, float(layer.epsilon))


def _attention(layer: Any) -> Attention:
    require(layer.score_mode == "dot", layer, f"scores by {layer.score_mode}")
    return Attention(float(_weights(layer)[0][0]) if layer.use_scale else 1.0)


def _heads(layer: Any) -> Heads:
    weights = _weights(layer)
    require(len(weights) == 8, layer, "has other weights than kernels and biases")
    root = np.float32(1 / np.sqrt(layer.key_dim))
    query, query_bias, *others = weights
    return Heads(query * root, query_bias * root, *others)


def _pool(layer: Any) -> Pool:
    same = layer.padding == "same" and layer.strides == layer.pool_size
    require(same, layer, "pads or overlaps in another way")
    return Pool(int(layer.pool_size[0]))


_LAYERS: dict[str, Callable[[Any], Layer]] = {
    "Attention": _attention,
    "AveragePooling1D": _pool,
    "Bidirectional": _bidirectional,
    "Conv1D": _convolution,
    "Cropping1D": lambda layer: Crop(*layer.cropping),
    "Dense": _dense,
    "GRU": _gru,
    "LSTM": _lstm,
    "LayerNormalization": _normalisation,
    "MultiHeadAttention": _heads,
    "TimeDistributed": lambda layer: _layer(layer.layer),
    "ZeroPadding1D": lambda layer: Pad(*layer.padding),
}
"""Name of a layer in Keras -> what compiles it; ``SIMPLE`` has those without settings."""
