"""Stacked: recurrent layers on top of each other, of equal or of changing width."""

from __future__ import annotations

from ratchet.learning.recurrent.architectures.blocks import Blocks, Tensor


def stacked_lstm(net: Blocks, x: Tensor) -> Tensor:
    """Two LSTM of equal width."""
    return net.lstm()(net.drop(net.lstm(every_step=True)(x)))


def stacked_gru(net: Blocks, x: Tensor) -> Tensor:
    """Two GRU of equal width."""
    return net.gru()(net.drop(net.gru(every_step=True)(x)))


def stacked_mixed(net: Blocks, x: Tensor) -> Tensor:
    """A GRU over an LSTM."""
    return net.gru()(net.drop(net.lstm(every_step=True)(x)))


def pyramid_gru(net: Blocks, x: Tensor) -> Tensor:
    """Three GRU, each half as wide as the one below."""
    x = net.drop(net.gru(every_step=True)(x))
    x = net.drop(net.gru(net.part(2), every_step=True)(x))
    return net.gru(net.part(4))(x)


def diamond_gru(net: Blocks, x: Tensor) -> Tensor:
    """Three GRU, the middle one twice as wide as its neighbours."""
    x = net.drop(net.gru(net.part(2), every_step=True)(x))
    x = net.drop(net.gru(every_step=True)(x))
    return net.gru(net.part(2))(x)
