"""Keras models of the architectures, and their forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ratchet.learning.private_api import seeds_of_layers
from ratchet.learning.recurrent.architectures import architecture as look_up
from ratchet.learning.recurrent.architectures.blocks import Blocks, Tensor, keras_activation
from ratchet.learning.recurrent.types import Array

if TYPE_CHECKING:
    import keras


_AT_A_TIME = 4096  # windows in one pass: bounds the memory
_BLOCK = 8  # rows that the processor's matrix kernels take together


def build_network(
    *,
    architecture: str,
    units: int,
    activation: str = "tanh",
    dropout: float = 0.0,
    lookback: int,
    features: int,
    horizon: int,
    seed: int = 0,
) -> keras.Model:
    """A network of plain Keras layers, with initial weights that depend on the seed alone.

    Args:
        architecture: name of an architecture.
        units: width of its recurrent layers.
        activation: name of the activation of its recurrent and dense layers.
        dropout: share of outputs set to zero in training, from 0 to below 1.
        lookback: time steps of a window.
        features: values per time step.
        horizon: values to forecast.
        seed: of the initial weights, which are the same for any dropout.

    Returns:
        A model from windows (batch, lookback, features) to forecasts (batch, horizon), not
        compiled for training.

    Raises:
        ValueError: unknown architecture or activation, or a size out of range.
    """
    look_up(architecture)
    keras_activation(activation)
    sizes = {"units": units, "lookback": lookback, "features": features, "horizon": horizon}
    _check(sizes, dropout)
    import keras

    with seeds_of_layers(seed):
        blocks = Blocks(
            units=units,
            activation=activation,
            dropout=dropout,
            lookback=lookback,
            layers=keras.layers,
        )
        windows = keras.Input((lookback, features))
        forecast = connect(blocks, windows, architecture, horizon)
    return keras.Model(windows, forecast, name=architecture)


def connect(blocks: Blocks, windows: Tensor, architecture: str, horizon: int) -> Tensor:
    """Connect the layers of a network.

    Args:
        blocks: what makes the layers: those of Keras, or others with the same names and arguments.
        windows: a symbolic tensor (batch, lookback, features).
        architecture: name of an architecture.
        horizon: values to forecast.

    Returns:
        The forecast (batch, horizon).

    Raises:
        ValueError: unknown architecture.
    """
    # The layer of the forecast is made first: layers draw their initial weights in the order in
    # which they are made, and a seed has to go on giving the same ones.
    forecast = blocks.layers.Dense(horizon)
    return forecast(blocks.drop(look_up(architecture).build(blocks, windows)))


def count_parameters(
    architecture: str, *, units: int, lookback: int, features: int, horizon: int
) -> int:
    """How many weights a network has."""
    model = build_network(
        architecture=architecture,
        units=units,
        lookback=lookback,
        features=features,
        horizon=horizon,
    )
    return int(model.count_params())


def _check(sizes: dict[str, int], dropout: float) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: expected a share from 0 to below 1, got {dropout}")


class Predictor:
    """A Keras model as a function of NumPy arrays.

    A window's forecast is the same to the last bit, alone or among others: matrix products of few
    rows are summed up in another order, so every pass is filled up to whole blocks of rows.

    Args:
        model: from windows (batch, lookback, features) to forecasts (batch, horizon).
    """

    def __init__(self, model: Any) -> None:
        import tensorflow as tf

        # One program for any number of windows: calling the model costs a hundred times more.
        signature = [tf.TensorSpec(model.input_shape, tf.float32)]
        self._run = tf.function(lambda x: model(x, training=False), input_signature=signature)

    def __call__(self, windows: Array) -> Array:
        """Forecast from scaled windows (n, lookback, features); gives (n, horizon)."""
        starts = range(0, len(windows), _AT_A_TIME)
        return np.concatenate([self._pass(windows[start : start + _AT_A_TIME]) for start in starts])

    def _pass(self, windows: Array) -> Array:
        filling = np.zeros((-len(windows) % _BLOCK, *windows.shape[1:]), dtype=np.float32)
        forecast: Array = self._run(np.concatenate([windows, filling])).numpy()
        return forecast[: len(windows)]
