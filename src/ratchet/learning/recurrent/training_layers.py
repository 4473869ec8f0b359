"""A network as it is trained: a copy of the plain one, in layers that a program can be made of."""

from __future__ import annotations

from typing import Any

import keras


class GivenDropout(keras.layers.Layer):
    """Dropout with factors given from outside: 0 for what is dropped, 1 / (1 - rate) for the rest.

    Attributes:
        width: channels of its input.
        factor: tensor (batch, width), set while a program is traced.
    """

    factor: Any = None

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Learn the width."""
        self.width = input_shape[-1]

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Multiply in training, at every time step of a sequence by the same."""
        if not training or self.factor is None:
            return inputs
        return inputs * (self.factor[:, None] if len(inputs.shape) == 3 else self.factor)


class AtAllSteps(keras.layers.TimeDistributed):
    """A dense layer on all time steps in one product, where Keras makes one for each."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Apply the layer, which works on the last axis."""
        return self.layer(inputs)


def training_copy(model: keras.Model) -> keras.Model:
    """The same network with the same weights' order, in layers that a program can be made of."""
    copy = keras.models.clone_model(model, clone_function=_training_layer)
    for layer in copy._flatten_layers():
        if hasattr(layer, "use_cudnn"):
            layer.use_cudnn = False  # XLA cannot compile calls of cuDNN
    return copy


def _training_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.Dropout):
        return GivenDropout(name=layer.name)
    kind = type(layer)
    if isinstance(layer, keras.layers.TimeDistributed):
        kind = AtAllSteps
    return kind.from_config(layer.get_config())
