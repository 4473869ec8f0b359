"""Training of recurrent networks that share a spec: one interface, whatever trains them.

A *spec* is what a compiled program is made for; its *trials* differ only in what a program takes
as input. Compiling is thus paid once per spec, not once per candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ratchet.learning.recurrent.types import Array, ProgramSpec, State, TrainResult, TrialParams


def train_group(
    spec: ProgramSpec,
    trials: Sequence[TrialParams],
    X: Array,
    y: Array,
    X_val: Array,
    y_val: Array,
    *,
    seed: int,
    states: Sequence[State] | None = None,
    until: int | None = None,
    keep_state: bool = False,
    compiled: bool = True,
) -> list[TrainResult]:
    """Train candidates that share a spec.

    All start from the same weights and see the same shuffles and dropout draws, so a candidate
    comes out the same whatever it is trained with.

    Args:
        spec: the program.
        trials: the candidates.
        X: windows, shape (n, lookback, features), scaled 0-1.
        y: targets, shape (n, horizon), scaled likewise.
        X_val: windows that stop and rank, shape (m, lookback, features).
        y_val: their targets, shape (m, horizon).
        seed: of initial weights, shuffles and dropout.
        states: where to go on, one per trial, all of the same epoch.
        until: train to this epoch at most; another call can go on from the states.
        keep_state: whether to return states.
        compiled: whether to compile; not worth it for an epoch or two.

    Returns:
        One result per trial, in their order.

    Raises:
        ValueError: shapes that do not fit the spec, or values that are not finite.
    """
    _check(spec, X, y, "train")
    _check(spec, X_val, y_val, "validation")
    from ratchet.learning.recurrent import batched, trainer

    fast = has_batched_path(spec) and compiled
    train: Callable[..., list[TrainResult]] = batched.train_group if fast else trainer.train_group
    return train(
        spec,
        trials,
        *(np.ascontiguousarray(part, dtype=np.float32) for part in (X, y, X_val, y_val)),
        seed=seed,
        states=states,
        until=until,
        keep_state=keep_state,
        compiled=compiled,
    )


def has_batched_path(spec: ProgramSpec) -> bool:
    """Whether the path for a single GRU or LSTM layer serves this spec."""
    return spec.architecture in {"gru", "lstm"} and spec.activation == "tanh"


def _check(spec: ProgramSpec, X: Array, y: Array, rows: str) -> None:
    windows, targets = (spec.lookback, spec.features), (spec.horizon,)
    if X.shape[1:] != windows or y.shape[1:] != targets or not 0 < len(X) == len(y):
        raise ValueError(
            f"{rows}: expected at least one window of shape {windows} and as many targets of "
            f"shape {targets}, got {X.shape} and {y.shape}"
        )
    if not (np.isfinite(X).all() and np.isfinite(y).all()):
        raise ValueError(f"{rows}: windows or targets hold values that are not finite")
