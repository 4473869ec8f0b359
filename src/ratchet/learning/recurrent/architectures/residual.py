"""Residual, skip, highway and dense: ways past the recurrent layers."""

from __future__ import annotations

from ratchet.learning.recurrent.architectures.blocks import Blocks, Layer, Tensor


def residual_lstm(net: Blocks, x: Tensor) -> Tensor:
    """Two LSTM, each of which adds to what comes in (He et al. 2016)."""
    return _residual(net, x, net.lstm(every_step=True), net.lstm())


def residual_gru(net: Blocks, x: Tensor) -> Tensor:
    """Two GRU, each of which adds to what comes in (He et al. 2016)."""
    return _residual(net, x, net.gru(every_step=True), net.gru())


def skip_gru(net: Blocks, x: Tensor) -> Tensor:
    """One GRU, beside which all steps go straight to the forecast, as in an autoregression."""
    return net.layers.Concatenate()([net.gru()(x), net.layers.Flatten()(x)])


def highway_gru(net: Blocks, x: Tensor) -> Tensor:
    """A gate chooses between one GRU and the last step (Srivastava et al. 2015)."""
    layers = net.layers
    last, seen = net.dense()(net.last(x)), net.gru()(x)
    gate = net.dense(activation="sigmoid")(last)
    change = layers.Multiply()([gate, layers.Subtract()([seen, last])])
    return layers.Add()([last, change])


def dense_gru(net: Blocks, x: Tensor) -> Tensor:
    """Two GRU of half the units; each sees all that was there before it (Huang et al. 2017)."""
    width, join = net.part(2), net.layers.Concatenate
    first = net.gru(width, every_step=True)(x)
    second = net.gru(width)(join()([x, net.drop(first)]))
    return join()([net.last(x), net.last(first), second])


def _residual(net: Blocks, x: Tensor, first: Layer, second: Layer) -> Tensor:
    """Two layers with ways past them, on inputs brought to their width."""
    add = net.layers.Add
    x = net.dense(activation="linear")(x)
    x = add()([x, net.drop(first(x))])
    return add()([net.last(x), second(x)])
