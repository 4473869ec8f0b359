"""Schedule of training: shuffles, dropout draws, learning rates and early stopping.

Every path of training follows these rules. All is drawn and decided in NumPy, since a compiled
program may draw other numbers than one that is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ratchet.learning.recurrent.types import ScheduleState, TrialParams

Scalar = TypeVar("Scalar", bound=np.generic)

DIVERGED = 1e3
"""Times the first validation loss above which training counts as diverged."""

BETAS = (0.9, 0.999)
"""Shares of the old moments that Adam keeps in a step, as in Keras."""

EPSILON = 1e-7
"""Of Adam, as in Keras."""

_SERIES = ("loss", "val_loss", "val_mae", "learning_rate")
_SHUFFLE, _DROPOUT = 0, 1  # kinds of draws, so that none shares its numbers with another


def permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Order of ``n`` windows in an epoch, shape (n,)."""
    return np.random.default_rng([seed, epoch, _SHUFFLE]).permutation(n)


def uniforms(shape: tuple[int, ...], seed: int, epoch: int, layer: int) -> NDArray[np.float32]:
    """Draws from [0, 1) for the dropout of a layer in an epoch.

    An output is kept where its draw is at least the dropout rate; so one draw serves all rates.

    Args:
        shape: (steps, batch, units): all time steps of a window share their draws.
        seed: of the training.
        epoch: from 0.
        layer: number of the dropout layer, from 0.
    """
    generator = np.random.default_rng([seed, epoch, _DROPOUT, layer])
    return generator.random(shape, dtype=np.float32)


def batches(
    n: int, batch_size: int, seed: int, epoch: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Windows of each step of an epoch, and their weights.

    The last batch is filled up with window 0 at weight 0, so that all have one shape.

    Returns:
        Indices and weights, both of shape (steps, batch); the weights of a step sum to 1.
    """
    steps = -(-n // batch_size)
    rows = np.zeros(steps * batch_size, dtype=np.int32)
    rows[:n] = permutation(n, seed, epoch)
    weights = (np.arange(len(rows)) < n).reshape(steps, batch_size).astype(np.float32)
    return rows.reshape(steps, batch_size), weights / weights.sum(axis=1, keepdims=True)


def pad(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Fill an array up with zeros to a power of two in its first axis.

    A program is compiled for the shapes of its inputs; so one serves data of similar lengths.
    """
    length = 1 << (len(array) - 1).bit_length()
    padded = np.zeros((length, *array.shape[1:]), dtype=array.dtype)
    padded[: len(array)] = array
    return padded


def in_order(m: int, at_most: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Windows of each step of a validation, and their weights in the mean over all.

    Args:
        m: windows.
        at_most: windows of a step, which bounds the memory.

    Returns:
        Indices and weights, both of shape (steps, windows of a step); all weights sum to 1, and
        windows that fill up the last step count nothing.
    """
    steps = -(-m // at_most)
    size = -(-m // steps)
    rows = np.zeros(steps * size, dtype=np.int32)
    rows[:m] = np.arange(m)
    weights = (np.arange(len(rows)) < m).astype(np.float32) / np.float32(m)
    return rows.reshape(steps, size), weights.reshape(steps, size)


def bias_corrections(epoch: int, steps: int) -> NDArray[np.float32]:
    """Bias corrections of Adam's learning rate in an epoch.

    In single precision, as Keras computes them: in the first steps that shows in the fifth digit.

    Returns:
        Shape (steps,).
    """
    step = (epoch * steps + np.arange(1, steps + 1)).astype(np.float32)
    first, second = (1 - np.power(np.float32(beta), step) for beta in BETAS)
    factors: NDArray[np.float32] = np.sqrt(second) / first
    return factors


class Schedule:
    """Early stopping, learning rates and histories of candidates trained side by side.

    Early stopping and the choice of the best epoch are those of Keras's ``EarlyStopping(patience,
    restore_best_weights=True)``. The learning rate is halved as by ``ReduceLROnPlateau(factor=0.5,
    patience=max(2, patience // 2), min_delta=0)``: losses of targets scaled 0-1 are far too small
    for its default of ``min_delta=1e-4``.

    Args:
        trials: the candidates.
        states: what ``state`` gave for each, to continue from there; none to begin.

    Attributes:
        epoch: epochs done.
        active: who is still training, shape (trials,).
        learning_rate: of each in the next epoch, shape (trials,).

    Raises:
        ValueError: states of different epochs, or not one per trial.
    """

    def __init__(
        self, trials: Sequence[TrialParams], states: Sequence[ScheduleState | None] = ()
    ) -> None:
        n = len(trials)
        self._epochs = np.array([trial.epochs for trial in trials])
        self._patience = np.array([trial.patience for trial in trials])
        self.epoch = 0
        self.learning_rate = np.array([trial.learning_rate for trial in trials], dtype=float)
        self.best = np.full(n, np.inf)
        self.best_epoch = np.zeros(n, dtype=int)
        self._wait = np.zeros(n, dtype=int)
        self._plateau = np.zeros(n, dtype=int)
        self._status = ["completed"] * n
        self._history: list[dict[str, list[float]]] = [
            {name: [] for name in _SERIES} for _ in trials
        ]
        if before := [state for state in states if state is not None]:
            self._restore(before)
        self.active = self.epoch < self._epochs

    @property
    def done(self) -> bool:
        """Whether all trials have ended."""
        return not self.active.any()

    def update(
        self, loss: NDArray[Any], val_loss: NDArray[Any], val_mae: NDArray[Any]
    ) -> NDArray[np.bool_]:
        """Take the losses of an epoch, each of shape (trials,); those who stopped may be NaN.

        Returns:
            Whose weights are the best so far, shape (trials,).
        """
        self.epoch += 1
        was_active = self.active
        loss, val_loss, val_mae = (
            np.asarray(part, dtype=float) for part in (loss, val_loss, val_mae)
        )
        self._record(loss, val_loss, val_mae)
        first = np.array([(series["val_loss"] or [np.nan])[0] for series in self._history])
        with np.errstate(invalid="ignore"):
            diverged = ~(np.isfinite(loss) & (val_loss <= DIVERGED * first) & np.isfinite(val_loss))
            improved: NDArray[np.bool_] = was_active & ~diverged & (val_loss < self.best)
        self.best = np.where(improved, val_loss, self.best)
        self.best_epoch = np.where(improved, self.epoch, self.best_epoch)
        self._wait = np.where(improved, 0, self._wait + 1)
        self._slow_down(improved)
        stopped = ~improved & (self._wait >= self._patience) & (self.epoch > 1)
        self._end(was_active & diverged, "diverged")
        self._end(was_active & stopped & ~diverged, "stopped")
        self.active = was_active & ~diverged & ~stopped & (self.epoch < self._epochs)
        return improved

    def status(self, trial: int) -> str:
        """Of one candidate: ``completed``, ``stopped`` or ``diverged``."""
        return self._status[trial]

    def history(self, trial: int) -> dict[str, list[float]]:
        """Of one candidate: ``loss``, ``val_loss``, ``val_mae``, ``learning_rate`` by epoch."""
        return {name: list(values) for name, values in self._history[trial].items()}

    def state(self, trial: int) -> ScheduleState:
        """What ``Schedule`` needs to continue with one trial."""
        return {
            "epoch": self.epoch,
            "learning_rate": float(self.learning_rate[trial]),
            "best": float(self.best[trial]),
            "best_epoch": int(self.best_epoch[trial]),
            "wait": int(self._wait[trial]),
            "plateau": int(self._plateau[trial]),
            "history": self.history(trial),
        }

    def _record(self, *losses: NDArray[Any]) -> None:
        for trial in np.flatnonzero(self.active):
            values = (*(part[trial] for part in losses), self.learning_rate[trial])
            for name, value in zip(_SERIES, values, strict=True):
                self._history[trial][name].append(float(value))

    def _slow_down(self, improved: NDArray[np.bool_]) -> None:
        self._plateau = np.where(improved, 0, self._plateau + 1)
        flat = self._plateau >= np.maximum(2, self._patience // 2)
        self.learning_rate = np.where(flat, self.learning_rate * 0.5, self.learning_rate)
        self._plateau[flat] = 0

    def _end(self, who: NDArray[np.bool_], status: str) -> None:
        for trial in np.flatnonzero(who):
            self._status[trial] = status

    def _restore(self, states: Sequence[ScheduleState]) -> None:
        if len(states) != len(self._epochs) or len({state["epoch"] for state in states}) != 1:
            raise ValueError(
                f"expected {len(self._epochs)} states of one epoch, one per trial; got epochs "
                f"{[state['epoch'] for state in states]}"
            )
        self.epoch = int(states[0]["epoch"])
        self.learning_rate = np.array([state["learning_rate"] for state in states])
        self.best = np.array([state["best"] for state in states])
        self.best_epoch = np.array([state["best_epoch"] for state in states])
        self._wait = np.array([state["wait"] for state in states])
        self._plateau = np.array([state["plateau"] for state in states])
        self._history = [
            {name: list(state["history"][name]) for name in _SERIES} for state in states
        ]
