"""What training takes and returns, and how many compiled programs a process keeps."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class ScheduleState(TypedDict):
    """What ``schedule.Schedule`` needs to continue with one trial: plain numbers and lists."""

    epoch: int
    learning_rate: float
    best: float
    best_epoch: int
    wait: int
    plateau: int
    history: dict[str, list[float]]


class State(TypedDict):
    """What training needs to continue with one trial.

    Attributes:
        schedule: ``None`` before the first epoch.
        variables: weights and moments of Adam, in the structure of the program that made them.
        best: weights of the best epoch so far.
    """

    schedule: ScheduleState | None
    variables: Any
    best: Sequence[Array]


@dataclass(frozen=True)
class ProgramSpec:
    """What a program is compiled for; trials with equal specifications share it.

    Attributes:
        architecture: name of an architecture.
        units: width of a recurrent layer.
        activation: name of the activation of the recurrent layers.
        batch_size: windows per step.
        lookback: time steps of a window.
        features: values per time step.
        horizon: values to forecast.
    """

    architecture: str
    units: int
    activation: str
    batch_size: int
    lookback: int
    features: int
    horizon: int


@dataclass(frozen=True)
class TrialParams:
    """Inputs of a compiled program that may differ from trial to trial.

    Attributes:
        dropout: share of a layer's outputs set to zero in training, from 0 to below 1.
        learning_rate: of Adam, at the start.
        epochs: passes over the training windows at most.
        patience: epochs without a better validation loss after which training stops.
    """

    dropout: float
    learning_rate: float
    epochs: int
    patience: int


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How ``train_group`` trains, the same in all of its implementations.

    Attributes:
        seed: of initial weights, shuffles and dropout.
        weights: initial weights of all trials, in the order of Keras, instead of those of the seed.
        states: where to continue, one per trial, all of the same epoch.
        until: train to this epoch at most; another call can continue from the states.
        keep_state: whether to return states; by default none are.
        compiled: whether to compile, as by default; not worth it for an epoch or two.
    """

    seed: int
    weights: Sequence[Array] | None = None
    states: Sequence[State] | None = None
    until: int | None = None
    keep_state: bool = False
    compiled: bool = True


@dataclass
class TrainResult:
    """A trained network as numbers and arrays, which can be pickled.

    Attributes:
        weights: those of the best epoch, in the order of ``get_weights`` of the Keras model.
        history: ``loss``, ``val_loss``, ``val_mae`` and ``learning_rate``, a value per epoch.
        best_epoch: number of the epoch with the lowest validation loss, from 1; 0 for the initial
            weights, when no epoch had a finite loss.
        status: ``completed`` (trained as far as asked), ``stopped`` (patience) or ``diverged``.
        state: what training needs to continue; ``None`` when it has ended or was not asked for.
    """

    weights: list[Array]
    history: dict[str, list[float]]
    best_epoch: int
    status: str
    state: State | None = None


MAX_PROGRAMS = 16


def most_recent(programs: Iterable[Hashable], used: Hashable) -> list[Hashable]:
    """Programs that a process keeps after it used one, the last used last."""
    return [*(program for program in programs if program != used), used][-MAX_PROGRAMS:]
