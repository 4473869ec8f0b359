"""Bidirectional: one layer reads forwards, another backwards."""

from __future__ import annotations

from ratchet.learning.recurrent.architectures.blocks import Blocks, Tensor


def bidirectional_lstm(net: Blocks, x: Tensor) -> Tensor:
    """An LSTM in each direction, side by side."""
    return net.layers.Bidirectional(net.lstm())(x)


def bidirectional_gru(net: Blocks, x: Tensor) -> Tensor:
    """A GRU in each direction, side by side."""
    return net.layers.Bidirectional(net.gru())(x)


def bidirectional_gru_mean(net: Blocks, x: Tensor) -> Tensor:
    """A GRU in each direction; the mean of both is read."""
    return net.layers.Bidirectional(net.gru(), merge_mode="ave")(x)


def bidirectional_mixed(net: Blocks, x: Tensor) -> Tensor:
    """A GRU reads forwards, an LSTM backwards."""
    backwards = net.lstm(go_backwards=True)
    return net.layers.Bidirectional(net.gru(), backward_layer=backwards)(x)


def bidirectional_deep(net: Blocks, x: Tensor) -> Tensor:
    """A GRU of half the units in each direction, and a GRU over both."""
    both = net.layers.Bidirectional(net.gru(net.part(2), every_step=True))
    return net.gru()(net.drop(both(x)))
