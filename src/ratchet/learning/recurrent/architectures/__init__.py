"""Recurrent architectures, by name.

An architecture takes windows and returns what the forecast is read from; dropout and one dense
layer for the horizon follow in all of them, see ``ratchet.learning.recurrent.network``. Adding one
is a function and a line in the table. Only layers of Keras itself appear, so that saved networks
open anywhere, and none that carries statistics from batch to batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ratchet.learning.recurrent.architectures import (
    bidirectional,
    gru,
    hybrid,
    lstm,
    residual,
    stacked,
)
from ratchet.learning.recurrent.architectures.blocks import Blocks, Tensor

Build = Callable[[Blocks, Tensor], Tensor]

FAMILIES: Mapping[str, Sequence[Build]] = {
    "LSTM and variants": (
        lstm.lstm,
        lstm.lstm_dense,
        lstm.lstm_pooled,
        lstm.lstm_embedded,
        lstm.lstm_hard_gates,
    ),
    "GRU and variants": (
        gru.gru,
        gru.gru_dense,
        gru.gru_pooled,
        gru.gru_differenced,
        gru.gru_coarse,
    ),
    "Bidirectional": (
        bidirectional.bidirectional_lstm,
        bidirectional.bidirectional_gru,
        bidirectional.bidirectional_gru_mean,
        bidirectional.bidirectional_mixed,
        bidirectional.bidirectional_deep,
    ),
    "Stacked, pyramid and diamond": (
        stacked.stacked_lstm,
        stacked.stacked_gru,
        stacked.stacked_mixed,
        stacked.pyramid_gru,
        stacked.diamond_gru,
    ),
    "Residual, skip, highway and dense": (
        residual.residual_lstm,
        residual.residual_gru,
        residual.skip_gru,
        residual.highway_gru,
        residual.dense_gru,
    ),
    "Attention and hybrids": (
        hybrid.attention_gru,
        hybrid.multi_head_gru,
        hybrid.conv_gru,
        hybrid.time_distributed_lstm,
        hybrid.multi_path,
    ),
}
"""Family -> functions that build its architectures."""


@dataclass(frozen=True)
class Architecture:
    """One entry of the table.

    Attributes:
        name: what parameters call it.
        family: which of the six families it belongs to.
        description: one line.
        build: turns windows, a symbolic tensor (batch, lookback, features), into one of shape
            (batch, any width) that depends on every time step.
    """

    name: str
    family: str
    description: str
    build: Build


ARCHITECTURES: dict[str, Architecture] = {
    build.__name__: Architecture(build.__name__, family, (build.__doc__ or "").strip(), build)
    for family, builds in FAMILIES.items()
    for build in builds
}
"""Name -> architecture; the name is that of its function, whose docstring describes it."""


def architecture(name: str) -> Architecture:
    """Look up an architecture.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in ARCHITECTURES:
        names = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"unknown architecture {name!r}; known: {names}")
    return ARCHITECTURES[name]
