"""From a fitted network to its forward pass, without Keras.

The function of the architecture connects recorded layers, see ``network_layers``; then the weights
are dealt out to them in the order of Keras' ``get_weights``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from ratchet.compiled.models import Array
from ratchet.compiled.network_layers import RecordedLayer, RecordedLayers, Tensor
from ratchet.compiled.networks import Network, Step
from ratchet.compiled.serialization import NotCompilable
from ratchet.learning.recurrent.architectures.blocks import Blocks
from ratchet.learning.recurrent.network import connect


def compile_network(model: Any) -> Network:
    """Compile a fitted ``RecurrentRegressor``.

    Raises:
        NotCompilable: a layer, or a setting of one, has no compiled form, or the weights are not
            those of the architecture.
    """
    scaler, spec = model.scaler_, model.program_spec(model.n_features_in_)
    windows = Tensor((spec.lookback, spec.features))
    layers = Blocks(
        units=spec.units,
        activation=spec.activation,
        dropout=model.dropout,
        lookback=spec.lookback,
        layers=RecordedLayers(),
    )
    try:
        forecast = connect(layers, windows, spec.architecture, spec.horizon)
    except (TypeError, AttributeError, ValueError) as error:
        reason = f"the architecture {spec.architecture} has no compiled form: {error}"
        raise NotCompilable(reason) from error
    return Network(
        steps=_steps(windows, forecast, model.weights_),
        lookback=scaler.lookback,
        low=np.asarray(scaler.low, np.float64),
        span=np.asarray(scaler.span, np.float64),
        target_low=float(scaler.target_low),
        target_span=float(scaler.target_span),
        one=model.horizon == 1,
    )


def _steps(windows: Tensor, forecast: Tensor, weights: Sequence[Array]) -> tuple[Step, ...]:
    """The layers that lead to the forecast, each after those that it needs."""
    tensors, layers = _graph(forecast)
    expected = [shape for layer in layers for shape in layer.weights]
    shapes = [np.shape(weight) for weight in weights]
    if shapes != expected:
        raise NotCompilable(f"a network has weights of shapes {shapes}, and not {expected}")
    remaining = iter([np.ascontiguousarray(weight, np.float32) for weight in weights])
    compiled = {
        id(layer): layer.compiled(*islice(remaining, len(layer.weights))) for layer in layers
    }
    numbers = {id(tensor): number for number, tensor in enumerate([windows, *tensors])}
    return tuple(
        Step(compiled[id(tensor.layer)], tuple(numbers[id(one)] for one in tensor.inputs))
        for tensor in tensors
    )


def _graph(forecast: Tensor) -> tuple[list[Tensor], list[RecordedLayer]]:
    """What leads to a forecast.

    Returns:
        The tensors, each after its inputs; and the layers in the order of ``keras.Model.layers``
        (``map_graph`` in ``keras/src/ops/function.py``): the farthest from the forecast come first,
        those of one distance as they are met on the way back from the forecast.
    """
    tensors: list[Tensor] = []
    layers: dict[int, RecordedLayer] = {}
    visited: set[int] = set()

    def visit(tensor: Tensor) -> None:
        if tensor.layer is None or id(tensor) in visited:
            return
        visited.add(id(tensor))
        layers.setdefault(id(tensor.layer), tensor.layer)
        for one in tensor.inputs:
            visit(one)
        tensors.append(tensor)

    visit(forecast)
    distances: dict[int, int] = {}  # of tensors and of layers; a layer that is used twice has two
    for tensor in reversed(tensors):
        distance = max(distances.get(id(tensor), 0), distances.get(id(tensor.layer), 0))
        distances[id(tensor)] = distances[id(tensor.layer)] = distance
        for one in tensor.inputs:
            distances[id(one)] = max(distance + 1, distances.get(id(one), 0))
    return tensors, sorted(layers.values(), key=lambda layer: -distances[id(layer)])
