"""Forecasts of a trained network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_AT_A_TIME = 4096  # windows in one pass: bounds the memory
_BLOCK = 8  # rows that the processor's matrix kernels take together


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
