"""Attention, convolutions, layers per time step, and several ways beside each other."""

from __future__ import annotations

from ratchet.learning.recurrent.architectures.blocks import Blocks, Tensor


def attention_gru(net: Blocks, x: Tensor) -> Tensor:
    """One GRU; its last output asks all of them, and the answer is read too (Luong et al. 2015)."""
    layers = net.layers
    steps = net.gru(every_step=True)(x)
    query = layers.Cropping1D((net.lookback - 1, 0))(steps)
    answer = layers.Attention(use_scale=True)([query, steps])
    return layers.Concatenate()([layers.Flatten()(part) for part in (query, answer)])


def multi_head_gru(net: Blocks, x: Tensor) -> Tensor:
    """One GRU; four attention heads add to its outputs, and their mean is read."""
    layers = net.layers
    steps = net.gru(every_step=True)(x)
    heads = layers.MultiHeadAttention(num_heads=4, key_dim=net.part(4))
    return layers.GlobalAveragePooling1D()(layers.Add()([steps, heads(steps, steps)]))


def conv_gru(net: Blocks, x: Tensor) -> Tensor:
    """A convolution over three steps, and a GRU over what it finds."""
    return net.gru()(net.drop(net.conv(3)(x)))


def time_distributed_lstm(net: Blocks, x: Tensor) -> Tensor:
    """One LSTM between dense layers that work at every step; the mean over time is read."""
    per_step = net.layers.TimeDistributed
    steps = net.lstm(every_step=True)(per_step(net.dense())(x))
    return net.layers.GlobalAveragePooling1D()(per_step(net.dense())(steps))


def multi_path(net: Blocks, x: Tensor) -> Tensor:
    """An ensemble in one network: the mean of a GRU, an LSTM and a convolution."""
    convolved = net.layers.GlobalAveragePooling1D()(net.conv(3)(x))
    return net.layers.Average()([net.gru()(x), net.lstm()(x), convolved])
