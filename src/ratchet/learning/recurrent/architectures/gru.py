"""GRU and variants."""

from __future__ import annotations

from ratchet.learning.recurrent.architectures.blocks import Blocks, Tensor


def gru(net: Blocks, x: Tensor) -> Tensor:
    """One GRU; its last output is read."""
    return net.gru()(x)


def gru_dense(net: Blocks, x: Tensor) -> Tensor:
    """One GRU, read through a dense layer."""
    return net.dense()(net.drop(net.gru()(x)))


def gru_pooled(net: Blocks, x: Tensor) -> Tensor:
    """One GRU; the mean and the maximum of its outputs over time are read."""
    steps = net.gru(every_step=True)(x)
    pools = (net.layers.GlobalAveragePooling1D(), net.layers.GlobalMaxPooling1D())
    return net.layers.Concatenate()([pool(steps) for pool in pools])


def gru_differenced(net: Blocks, x: Tensor) -> Tensor:
    """One GRU that sees every step beside its change since the step before."""
    layers = net.layers
    before = layers.Cropping1D((0, 1))(layers.ZeroPadding1D((1, 0))(x))
    return net.gru()(layers.Concatenate()([x, layers.Subtract()([x, before])]))


def gru_coarse(net: Blocks, x: Tensor) -> Tensor:
    """One GRU over means of two neighbouring steps, and so over half as many."""
    return net.gru()(net.layers.AveragePooling1D(2, padding="same")(x))
