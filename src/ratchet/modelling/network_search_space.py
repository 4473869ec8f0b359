"""What a search among networks tries, and on which rows it stops and ranks."""

from __future__ import annotations

from typing import Any

from ratchet.config import SERIES_PREFIX, Network, Target, Windows
from ratchet.errors import DataError
from ratchet.frames import DataFrame

_SHORT = 4
"""Epochs of a training that takes less time than compiling it would."""


def network_estimator(network: Network, windows: Windows, seed: int) -> Any:
    """The estimator whose parameters are searched."""
    from ratchet.learning.recurrent.regressor import RecurrentRegressor

    fast = network.mode == "fast"
    longest = 1 if fast else max([network.epochs, *network.param_grid.get("epochs", [])])
    return RecurrentRegressor(
        lookback=windows.lookback,
        epochs=1 if fast else network.epochs,
        patience=network.patience,
        compiled=longest > _SHORT,
        random_state=seed,
    )


def param_grids(network: Network) -> list[dict[str, list[Any]]]:
    """One grid per architecture; that of mode ``fast`` has one point, made of the first values."""
    from ratchet.learning.recurrent.architectures import ARCHITECTURES

    names = ARCHITECTURES if network.architectures == "all" else network.architectures
    values = network.param_grid
    if network.mode == "fast":
        values = {name: options[:1] for name, options in values.items() if name != "epochs"}
    return [{"architecture": [name], **values} for name in names]


def holdout_split(rows: DataFrame, target: Target, share: float, horizon: int) -> tuple[Any, Any]:
    """Places of the rows that fit and of the last rows, which stop and rank.

    The cut is between two time stamps. The rows whose target lies after the origin of the first
    row held out are left out.

    Raises:
        DataError: one of the parts is empty.
    """
    import numpy as np

    _, step = np.unique(rows[f"{SERIES_PREFIX}time"].to_numpy(), return_inverse=True)
    n_steps = int(step.max()) + 1 if len(step) else 0
    first = int(n_steps * (1 - share))
    fitting, holding = np.flatnonzero(step <= first - horizon), np.flatnonzero(step >= first)
    if not len(fitting) or not len(holding):
        raise DataError(
            f"column '{target.column}': {len(rows)} training rows at {n_steps} times are too few "
            f"to hold out a share of {share:g} with a horizon of {horizon}"
        )
    return fitting, holding
