"""Trials of one search: grouped, trained by the workers, and stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ratchet.learning.recurrent.types import TrainResult
from ratchet.learning.search.groups import (
    Group,
    Groupable,
    Outcome,
    Program,
    TrainGroups,
    at_point,
    cost,
    in_groups,
    shared,
)
from ratchet.learning.search.store import FoldRecord, Record, Store, digest
from ratchet.learning.search.strategies import Batch, Point
from ratchet.learning.search.worker_pool import Task, WorkerPool

if TYPE_CHECKING:
    import pandas as pd


OnGroup = Callable[[int, float, int, Sequence[tuple[Point, float]]], None]
"""Called with the evaluations done, the best score so far, the size of the last group, and its
points with their scores."""


@dataclass(eq=False)
class Trial:
    """A point and its results so far.

    Attributes:
        point: its values.
        key: name on disk; the same for the same training, whatever the strategy.
        number: place in the order in which points were first asked for.
        rung: how often it was asked for.
        record: see ``Outcome``; ``None`` as long as it was not trained.
        until: epochs to which it was trained; ``None`` for as many as the point says.
        file: name of the files with its arrays, which changes as training goes on.
    """

    point: Point
    key: str
    number: int
    rung: int = 0
    record: Record | None = None
    until: int | None = None
    file: str = ""

    @property
    def folds(self) -> list[FoldRecord]:
        """Score, losses, epochs and times, for each fold."""
        return self.record["folds"] if self.record else []

    @property
    def score(self) -> float:
        """Mean over the folds, greater is better; NaN when training diverged at once."""
        return float(np.mean([fold["score"] for fold in self.folds])) if self.folds else math.nan


class Trials:
    """Evaluates points and stores their results.

    Args:
        job: trains groups.
        store: where finished groups are; it is open.
        pool: gives the workers, when there is something to do.
        group_size: points trained together at most.
        top_k: trials whose weights are kept; ``None`` for all.
        on_group: called at each finished group.
    """

    def __init__(
        self,
        job: TrainGroups,
        store: Store,
        pool: Callable[[], WorkerPool],
        *,
        group_size: int,
        top_k: int | None,
        on_group: OnGroup,
    ) -> None:
        self._job = job
        self._store = store
        self._pool = pool
        self._group_size = group_size
        self._top_k = top_k
        self._on_group = on_group
        self._done = 0
        self._trials: dict[str, Trial] = {}
        self._groups: dict[str, list[Trial]] = {}  # by the file of each of their trials
        self._with_weights: set[str] = set()

    @property
    def all(self) -> list[Trial]:
        """Trials in the order in which they were first asked for."""
        return list(self._trials.values())

    def ranked(self) -> list[Trial]:
        """Trials from best to worst.

        Those trained further come first, those that diverged at once last.
        """
        scored = [trial for trial in self.all if trial.folds]
        return sorted(
            scored,
            key=lambda trial: (
                not math.isfinite(trial.score),
                -trial.rung,
                -_finite(trial.score),
                trial.number,
            ),
        )

    def best(self) -> list[Trial]:
        """The ``top_k`` best, or as many as have a score."""
        return [trial for trial in self.ranked() if math.isfinite(trial.score)][: self._top_k]

    def evaluate(self, batch: Batch) -> list[float]:
        """Train a batch to its number of epochs, unless that is on disk; gives the scores."""
        trials = [self._trial(point) for point in batch.points]
        going = [trial for trial in trials if not self._has_ended(trial)]
        for trial in trials:
            trial.rung += trial not in going
        self._settle({}, going_on=trials)
        if len(going) < len(trials):
            self._report(len(trials) - len(going), [])
        waiting: dict[str, list[Trial]] = {}
        for group in in_groups(going, [self._shared(trial) for trial in going], self._group_size):
            key = digest([[trial.key for trial in group], batch.epochs])
            records = self._store.read_group(key)
            if records is None:
                waiting[key] = group
            else:
                self._learn(group, records, batch.epochs)
        self._train(waiting, batch.epochs)
        return [trial.score for trial in trials]

    def finish(self) -> list[tuple[Trial, list[NDArray[Any]]]]:
        """Give the best trials with their weights, best first, and tidy up.

        Weights that cannot be read, or were not kept as fewer were asked for, are trained again.

        Raises:
            ValueError: every trial diverged.
        """
        self._settle({}, going_on=self.all)
        if not self.best():
            raise ValueError(
                f"search: all {len(self.all)} trials diverged, none has a finite score; a lower "
                "learning_rate may help"
            )
        best = []
        for trial in self.best():
            weights = self._store.read_arrays("weights", trial.file)
            if weights is None:
                trials = self._groups[trial.file]
                task = self._task("", trials, trial.until, again=True)
                [(_, outcomes)] = self._pool().run([task])
                weights = outcomes[trials.index(trial)].weights
                self._store.write_arrays("weights", trial.file, weights)
            best.append((trial, weights))
        self._settle({}, going_on=[])
        return best

    def _train(self, waiting: Mapping[str, list[Trial]], epochs: int | None) -> None:
        """Train groups; each is on disk before its worker gets the next."""
        tasks = [self._task(key, trials, epochs) for key, trials in waiting.items()]
        for task, outcomes in self._pool().run(tasks) if tasks else ():
            trials = waiting[task.name]
            before = [trial.file for trial in trials]
            self._learn(trials, [outcome.record for outcome in outcomes], epochs)
            arrays = {t.file: o for t, o in zip(trials, outcomes, strict=True)}
            if epochs is not None:
                for file, outcome in arrays.items():
                    self._store.write_arrays("states", file, outcome[1:])
            self._settle({file: outcome.weights for file, outcome in arrays.items()})
            self._store.write_group(task.name, [outcome.record for outcome in outcomes])
            self._store.drop_arrays("states", filter(None, before))

    def _task(
        self, name: str, trials: list[Trial], epochs: int | None, *, again: bool = False
    ) -> Task:
        before = [] if again else [self._before(trial) for trial in trials]
        whole = [outcome for outcome in before if outcome]
        group = Group(
            [trial.point for trial in trials],
            epochs,
            keep=epochs is not None,
            before=whole if whole and len(whole) == len(trials) else None,
        )
        most = max(self._model(trial).epochs for trial in trials)
        start = max(fold["epochs"] for fold in trials[0].folds) if group.before else 0
        n = sum(len(learn) for learn, _ in self._job.folds)
        program, _ = self._shared(trials[0])
        effort = cost(program.spec, n, len(trials), min(epochs or most, most) - start)
        return Task(name, program, effort, group)

    def _before(self, trial: Trial) -> Outcome | None:
        """Stored outcome to continue from; ``None`` where a part is missing."""
        arrays = self._store.read_arrays("states", trial.file) if trial.file else None
        return Outcome(trial.record, *arrays) if arrays and trial.record else None

    def _learn(self, trials: list[Trial], records: list[Record], epochs: int | None) -> None:
        for trial, record in zip(trials, records, strict=True):
            trial.record, trial.until = record, epochs
            trial.rung += 1
            trial.file = f"{trial.key}-{epochs or 'end'}"
            self._groups[trial.file] = trials
            if self._store.has_arrays("weights", trial.file):
                self._with_weights.add(trial.file)
        self._report(len(trials), trials)

    def _settle(
        self, fresh: Mapping[str, list[NDArray[Any]]], going_on: list[Trial] | None = None
    ) -> None:
        """Keep the weights of the best trials and of no others.

        Args:
            fresh: weights of trials that have just been trained, by file.
            going_on: trials whose states may still be needed; ``None`` leaves states alone.
        """
        best = {trial.file for trial in self.best()}
        for file in sorted(best - self._with_weights):
            weights = fresh.get(file) or self._weights_of_state(file)
            if weights:
                self._store.write_arrays("weights", file, weights)
                self._with_weights.add(file)
        self._store.drop_arrays("weights", self._with_weights - best)
        self._with_weights &= best
        if going_on is not None:
            # By trial: a search that goes on has not read yet how far each was taken.
            self._store.drop_states(keep={trial.key for trial in going_on})

    def _weights_of_state(self, file: str) -> list[NDArray[Any]] | None:
        arrays = self._store.read_arrays("states", file)
        return arrays[0] if arrays else None

    def _trial(self, point: Point) -> Trial:
        key = digest({**self._job.estimator.get_params(), **point})
        return self._trials.setdefault(key, Trial(point, key, len(self._trials)))

    def _model(self, trial: Trial) -> Groupable:
        model: Groupable = at_point(self._job.estimator, trial.point)
        return model

    def _shared(self, trial: Trial) -> tuple[Program, int]:
        return shared(self._model(trial), self._job.X.shape[1])

    def _has_ended(self, trial: Trial) -> bool:
        """Whether more epochs would change nothing."""
        most = self._model(trial).epochs
        return bool(trial.folds) and all(
            fold["status"] != "completed" or fold["epochs"] >= most for fold in trial.folds
        )

    def _report(self, evaluated: int, trials: Sequence[Trial]) -> None:
        self._done += evaluated
        best = max((_finite(trial.score) for trial in self.all), default=-math.inf)
        finished = [(trial.point, trial.score) for trial in trials]
        self._on_group(self._done, best if math.isfinite(best) else math.nan, len(trials), finished)


def _finite(score: float) -> float:
    return score if math.isfinite(score) else -math.inf


CURVES = ("loss", "val_loss", "val_mae", "learning_rate")


def outcomes(trials: Sequence[Trial]) -> list[dict[str, float]]:
    """Scores and seconds of each trial and fold, as ``cross_validate`` names them."""
    return [
        {"test_score": fold["score"], "fit_time": fold["fit_time"], "score_time": 0.0}
        for trial in trials
        for fold in trial.folds
    ]


def recurrent_columns(trials: Sequence[Trial], ranked: Sequence[Trial]) -> dict[str, NDArray[Any]]:
    """Columns of ``cv_results_`` that only recurrent trials have, and their ranks.

    Epochs, status and size are those of the last fold, whose weights are kept; the error is the
    mean of all folds; CPU seconds are their sum.
    """
    places: dict[tuple[int, str], int] = {}
    for place, trial in enumerate(ranked, 1):
        places.setdefault((trial.rung, repr(trial.score)), place)  # equals share a place
    columns = {
        "rank_test_score": [places[trial.rung, repr(trial.score)] for trial in trials],
        "rung": [trial.rung for trial in trials],
        "epochs": [trial.folds[-1]["epochs"] for trial in trials],
        "best_epoch": [trial.folds[-1]["best_epoch"] for trial in trials],
        "status": [trial.folds[-1]["status"] for trial in trials],
        "n_parameters": [trial.folds[-1]["n_parameters"] for trial in trials],
        "val_mae": [float(np.mean([fold["val_mae"] for fold in t.folds])) for t in trials],
        "cpu_time": [sum(fold["cpu_time"] for fold in trial.folds) for trial in trials],
    }
    return {name: np.asarray(values) for name, values in columns.items()}


def curves(trials: Sequence[Trial]) -> pd.DataFrame:
    """Losses by epoch: ``trial``, ``split``, ``epoch`` from 1, and what training writes down."""
    import pandas as pd

    parts = [
        pd.DataFrame(
            {name: fold["history"][name] for name in CURVES},
            index=pd.MultiIndex.from_product(
                [[number], [split], range(1, fold["epochs"] + 1)],
                names=["trial", "split", "epoch"],
            ),
        )
        for number, trial in enumerate(trials)
        for split, fold in enumerate(trial.folds)
    ]
    return pd.concat(parts).reset_index()


def estimators(
    job: TrainGroups, best: Sequence[tuple[Trial, list[NDArray[Any]]]], names: Sequence[str] | None
) -> list[Any]:
    """Fitted estimators, from trials and their weights.

    Args:
        job: has the rows.
        best: trials with the weights of their last fold.
        names: of the columns of ``X``, where it was a frame.
    """
    rows, scalers, models = job.folds[-1][0], {}, []
    for trial, weights in best:
        model, fold = at_point(job.estimator, trial.point), trial.folds[-1]
        # Windows of one look-back are scaled alike.
        lookback = getattr(model, "lookback", None)
        if lookback not in scalers:
            scalers[lookback] = model.fit_scaler(job.X[rows], job.y[rows])
        trained = TrainResult(weights, fold["history"], fold["best_epoch"], fold["status"])
        models.append(model.from_result(trained, scalers[lookback], names))
    return models
