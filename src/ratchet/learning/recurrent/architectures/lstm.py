"""LSTM and variants."""

from __future__ import annotations

from ratchet.learning.recurrent.architectures.blocks import Blocks, Tensor


def lstm(net: Blocks, x: Tensor) -> Tensor:
    """One LSTM; its last output is read."""
    return net.lstm()(x)


def lstm_dense(net: Blocks, x: Tensor) -> Tensor:
    """One LSTM, read through a dense layer."""
    return net.dense()(net.drop(net.lstm()(x)))


def lstm_pooled(net: Blocks, x: Tensor) -> Tensor:
    """One LSTM; the mean and the maximum of its outputs over time are read."""
    steps = net.lstm(every_step=True)(x)
    pools = (net.layers.GlobalAveragePooling1D(), net.layers.GlobalMaxPooling1D())
    return net.layers.Concatenate()([pool(steps) for pool in pools])


def lstm_embedded(net: Blocks, x: Tensor) -> Tensor:
    """Every step goes through a dense layer and a normalisation before one LSTM."""
    return net.lstm()(net.layers.LayerNormalization()(net.dense()(x)))


def lstm_hard_gates(net: Blocks, x: Tensor) -> Tensor:
    """One LSTM with piecewise linear gates, which can open and close all the way."""
    return net.lstm(recurrent_activation="hard_sigmoid")(x)
