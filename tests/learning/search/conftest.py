"""Recurrent candidates whose training is made up: exact, quick, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ratchet.learning.recurrent import training
from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.recurrent.types import ProgramSpec, TrainOptions, TrainResult, TrialParams
from ratchet.learning.search import Holdout, Search

GRID = {
    "units": [4, 8, 16],
    "dropout": [0.0, 0.1, 0.2],
    "learning_rate": [1e-1, 1e-2, 1e-3],
}
EPOCHS = 20


class Trainer:
    """Stands in for ``train_group``.

    A trial's loss falls the faster the higher its learning rate, to a floor that is the lower the
    wider and the slower it is. Members of 16 units and no dropout stop by themselves in epoch 7.

    Attributes:
        calls: trials trained, and how often, by (units, dropout, learning rate, from, to).
        kinds: (spec, seed, compiled) of each call.
        kill_at: number of the call that does not come back, from 1.
    """

    def __init__(self) -> None:
        self.calls: Counter[tuple[Any, ...]] = Counter()
        self.groups: list[int] = []
        self.kinds: list[tuple[ProgramSpec, int, bool]] = []
        self.kill_at = 0

    def __call__(
        self,
        spec: ProgramSpec,
        trials: Sequence[TrialParams],
        X: np.ndarray,
        y: np.ndarray,
        X_val: np.ndarray,
        y_val: np.ndarray,
        options: TrainOptions,
    ) -> list[TrainResult]:
        self.groups.append(len(trials))
        self.kinds.append((spec, options.seed, options.compiled))
        if self.kill_at == len(self.groups):
            raise KeyboardInterrupt
        start = {"epoch": 0, "nested": {"w": [np.zeros(3)]}, "losses": []}
        given: Sequence[Any] = options.states or [start] * len(trials)
        fold = float(len(X)) / 1e6  # folds differ
        return [
            self._one(spec, trial, state, options, fold)
            for trial, state in zip(trials, given, strict=True)
        ]

    def _one(
        self,
        spec: ProgramSpec,
        trial: TrialParams,
        state: dict[str, Any],
        options: TrainOptions,
        fold: float,
    ) -> TrainResult:
        stop = 7 if spec.units == 16 and trial.dropout == 0 else trial.epochs + 1
        last = min(options.until or trial.epochs, trial.epochs, stop)
        name = (spec.units, trial.dropout, trial.learning_rate, state["epoch"], last)
        self.calls[name] += 1
        epochs = np.arange(state["epoch"] + 1, last + 1)
        floor = trial.learning_rate + 0.1 / spec.units + abs(trial.dropout - 0.1) / 10 + fold
        losses = [
            *state["losses"],
            *(floor + np.exp(-100 * trial.learning_rate * epochs)).tolist(),
        ]
        weights = [state["nested"]["w"][0] + len(epochs)]
        ended = last in {stop, trial.epochs}
        return TrainResult(
            weights,
            {
                "loss": losses,
                "val_loss": losses,
                "val_mae": [loss / 2 for loss in losses],
                "learning_rate": [trial.learning_rate] * last,
            },
            len(losses),
            "stopped" if last == stop else "completed",
            {"epoch": last, "nested": {"w": weights}, "losses": losses}
            if options.keep_state and not ended
            else None,
        )


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    made_up = Trainer()
    monkeypatch.setattr(training, "train_group", made_up)
    return made_up


@pytest.fixture
def windows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((40, 6)).astype(np.float32), rng.random(40)


def make_search(**changed: Any) -> Search:
    """Of recurrent candidates; nothing is fitted again, as that would be real training."""
    settings: dict[str, Any] = {
        "estimator": RecurrentRegressor(lookback=3, epochs=EPOCHS),
        "param_grid": GRID,
        "cv": Holdout(0.25),
        "refit": False,
    }
    return Search(**(settings | changed))


@pytest.fixture
def search():
    return make_search
