"""What architectures are built from: Keras layers in the sizes that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ACTIVATIONS = {
    "relu": "relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "linear": "linear",
    "leaky_relu": "leaky_relu",
    "elu": "elu",
    "selu": "selu",
    "exponential": "exponential",
    "softplus": "softplus",
    "softsign": "softsign",
    "swish": "silu",
    "mish": "mish",
    "gelu": "gelu",
    "hard_sigmoid": "hard_sigmoid",
    "hard_swish": "hard_silu",
}
"""Name -> name in Keras: a network saved with any of them opens without code of ours."""


def keras_activation(name: str) -> str:
    """Name of an activation in Keras.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]


Layer = Any
"""A Keras layer; Keras is too slow to import for a name."""
Tensor = Any
"""A symbolic tensor of Keras: (batch, steps, channels) or (batch, channels)."""


@dataclass
class Blocks:
    """Layers of one network.

    Attributes:
        units: width of a recurrent layer that fills its place.
        activation: name of the activation of recurrent and dense layers.
        dropout: share of outputs set to zero in training.
        lookback: time steps of a window.
        layers: ``keras.layers``, or what has layers with the same names and arguments.
    """

    units: int
    activation: str
    dropout: float
    lookback: int
    layers: Any

    def __post_init__(self) -> None:
        self._function = keras_activation(self.activation)
        self._dropouts = 0

    def gru(self, width: int | None = None, *, every_step: bool = False, **options: Any) -> Layer:
        """A GRU that gives its last output, or that of every step."""
        return self._recurrent(self.layers.GRU, width, every_step, options)

    def lstm(self, width: int | None = None, *, every_step: bool = False, **options: Any) -> Layer:
        """An LSTM that gives its last output, or that of every step."""
        return self._recurrent(self.layers.LSTM, width, every_step, options)

    def dense(self, width: int | None = None, **options: Any) -> Layer:
        """A dense layer; on a sequence it is the same one at every step."""
        return self.layers.Dense(width or self.units, **{"activation": self._function, **options})

    def conv(self, steps: int) -> Layer:
        """A convolution over so many neighbouring steps, of which it leaves as many as came in."""
        return self.layers.Conv1D(self.units, steps, padding="same", activation=self._function)

    def drop(self, tensor: Tensor) -> Tensor:
        """Dropout; in a sequence all steps share what is dropped (Gal and Ghahramani 2016)."""
        shared = (None, 1, None) if len(tensor.shape) == 3 else None
        # Without a seed of its own the layer would take a number from the generator that draws
        # the initial weights, and at a rate of 0 it would not: the rate would change the weights.
        self._dropouts += 1
        layer = self.layers.Dropout(self.dropout, noise_shape=shared, seed=self._dropouts)
        return layer(tensor)

    def last(self, sequence: Tensor) -> Tensor:
        """The last step of a sequence."""
        return self.layers.Flatten()(self.layers.Cropping1D((self.lookback - 1, 0))(sequence))

    def part(self, divisor: int) -> int:
        """A part of the units, at least one."""
        return max(1, self.units // divisor)

    def _recurrent(
        self, kind: Any, width: int | None, every_step: bool, options: Mapping[str, Any]
    ) -> Layer:
        settings = {"activation": self._function, "return_sequences": every_step, **options}
        return kind(width or self.units, **settings)
