"""Recurrent candidates that share a compiled program, trained together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone

from ratchet.learning.recurrent import training
from ratchet.learning.recurrent.scaling import WindowScaler
from ratchet.learning.recurrent.types import (
    ProgramSpec,
    State,
    TrainOptions,
    TrainResult,
    TrialParams,
    most_recent,
)
from ratchet.learning.search.store import FoldRecord, Record, digest
from ratchet.learning.search.strategies import Point
from ratchet.provenance import code_version

T = TypeVar("T")
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
FoldResult = tuple[FoldRecord, list[NDArray[Any]], State | None]
Scorer = Callable[[BaseEstimator, ArrayLike, ArrayLike], float]


class Groupable(Protocol):
    """What an estimator offers that can be trained together with others."""

    epochs: int

    def program_spec(self, n_features_in: int) -> ProgramSpec:
        """Give the specification of the program that trains it."""

    def trial_params(self) -> TrialParams:
        """Give the inputs of that program."""

    def seed(self) -> int:
        """Give the seed of its training."""

    def fit_scaler(self, X: ArrayLike, y: ArrayLike) -> WindowScaler:
        """Give the scaling of training rows."""

    def from_result(
        self, trained: TrainResult, scaler: WindowScaler, names: Sequence[str] | None = None
    ) -> Any:
        """Give a fitted copy, from training done elsewhere."""


def is_groupable(estimator: Any) -> bool:
    """Whether an estimator can be trained together with others."""
    return all(hasattr(estimator, name) for name in ("program_spec", "trial_params", "from_result"))


def at_point(estimator: Any, point: Point) -> Any:
    """Give an unfitted copy of an estimator with the values of a point."""
    return clone(estimator).set_params(**point)


class Program(NamedTuple):
    """What is compiled once for many candidates.

    Attributes:
        spec: what it is made for.
        compiled: whether it is compiled at all.
    """

    spec: ProgramSpec
    compiled: bool


def shared(model: Groupable, n_features: int) -> tuple[Program, int]:
    """Program and seed of an estimator; candidates of one group share both."""
    compiled = getattr(model, "compiled", True)
    return Program(model.program_spec(n_features), compiled), model.seed()


class Group(NamedTuple):
    """Points to train together.

    Attributes:
        points: they share a program and a seed; see ``shared``.
        epochs: to train to at most; ``None`` for as many as each point says.
        keep: whether training may have to continue later.
        before: for each point what an earlier call gave; ``None`` to begin.
    """

    points: list[Point]
    epochs: int | None
    keep: bool
    before: list[Outcome] | None = None


class Outcome(NamedTuple):
    """Result of training a point.

    Attributes:
        record: ``folds`` with a mapping each: score, losses, epochs and times.
        weights: of the last fold, the one with the latest rows.
        states: what training needs to continue, per fold; ``None`` where it has ended.
    """

    record: Record
    weights: list[NDArray[Any]]
    states: list[State | None]


@dataclass
class TrainGroups:
    """Trains groups on every fold; holds the rows, and is sent to each worker once.

    Attributes:
        estimator: whose parameters the points set.
        X: rows, shape (n, lookback x features).
        y: targets, shape (n,) or (n, horizon).
        folds: rows to train on and rows that stop and rank.
        scorer: greater is better; ``None`` for the negative validation loss, which is the mean
            squared error of targets scaled 0-1.
        uses_tensorflow: tells ``engine`` what to import before workers start.
    """

    estimator: Any
    X: NDArray[Any]
    y: NDArray[Any]
    folds: list[Fold]
    scorer: Scorer | None = None
    uses_tensorflow: ClassVar[bool] = True
    _compiled: list[Hashable] = field(default_factory=list)

    def __call__(self, group: Group) -> list[Outcome]:
        """Train the points of a group; one outcome each."""
        outcomes = [Outcome({"folds": []}, [], []) for _ in group.points]
        for number, fold in enumerate(self.folds):
            going = list(range(len(group.points)))
            if group.before:
                going = [i for i in going if group.before[i].states[number] is not None]
            parts = self._train(group, going, number, fold) if going else {}
            for i, outcome in enumerate(outcomes):
                part, weights, state = parts.get(i) or _from_before(group, i, number)
                outcome.record["folds"].append(part)
                outcome.states.append(state)
                outcomes[i] = outcome._replace(weights=weights)
        return outcomes

    def _train(
        self, group: Group, going: list[int], number: int, fold: Fold
    ) -> dict[int, FoldResult]:
        models: list[Groupable] = [at_point(self.estimator, group.points[i]) for i in going]
        first, (program, seed) = models[0], shared(models[0], self.X.shape[1])
        learn, stop = fold
        scaler = first.fit_scaler(self.X[learn], self.y[learn])
        states = None
        if group.before:
            states = [s for i in going if (s := group.before[i].states[number]) is not None]
        start, cpu = perf_counter(), process_time()
        trained = training.train_group(
            program.spec,
            [model.trial_params() for model in models],
            scaler.windows(self.X[learn]),
            scaler.targets(self.y[learn]),
            scaler.windows(self.X[stop]),
            scaler.targets(self.y[stop]),
            TrainOptions(
                seed=seed,
                states=states,
                until=group.epochs,
                keep_state=group.keep,
                compiled=program.compiled,
            ),
        )
        seconds = (perf_counter() - start) / len(going)
        cpu_seconds = (process_time() - cpu) / len(going)
        compiled = program not in self._compiled
        self._compiled = most_recent(self._compiled, program)
        parts = {}
        for i, model, one in zip(going, models, trained, strict=True):
            before = group.before[i].record["folds"][number] if group.before else None
            best = one.best_epoch - 1
            part = FoldRecord(
                val_mae=one.history["val_mae"][best] if one.best_epoch else np.nan,
                n_parameters=sum(weight.size for weight in one.weights),
                epochs=len(one.history["loss"]),
                best_epoch=one.best_epoch,
                status=one.status,
                history=one.history,
                fit_time=seconds + (before["fit_time"] if before else 0.0),
                cpu_time=cpu_seconds + (before["cpu_time"] if before else 0.0),
                compiled=compiled,
                score=self._score(model, one, scaler, stop),
            )
            parts[i] = (part, one.weights, one.state)
        return parts

    def _score(
        self, model: Groupable, one: TrainResult, scaler: WindowScaler, rows: NDArray[np.int64]
    ) -> float:
        if self.scorer is None or one.best_epoch == 0:
            return -one.history["val_loss"][one.best_epoch - 1] if one.best_epoch else np.nan
        return float(self.scorer(model.from_result(one, scaler), self.X[rows], self.y[rows]))


def _from_before(group: Group, i: int, number: int) -> FoldResult:
    assert group.before is not None
    before = group.before[i]
    return before.record["folds"][number], before.weights, None


def in_groups(trials: Sequence[T], kinds: Sequence[Hashable], size: int) -> list[list[T]]:
    """Group trials of equal kind, in their order, at most ``size`` in a group."""
    by_kind = defaultdict(list)
    for trial, kind in zip(trials, kinds, strict=True):
        by_kind[kind].append(trial)
    return [
        same[start : start + size]
        for same in by_kind.values()
        for start in range(0, len(same), size)
    ]


def cost(spec: ProgramSpec, n: int, n_trials: int, epochs: int) -> float:
    """Estimated cost of a group in arbitrary units: matrix products, and a constant per step."""
    per_row = spec.lookback * spec.units * (spec.units + spec.features)
    steps = -(-n // spec.batch_size)
    return float(n_trials * epochs * (n * per_row + steps * _STEP))


_STEP = 1e6  # what a step costs however small it is, in multiplications


_CODE = ("learning/recurrent", "learning/search/groups.py")
_LIBRARIES = ("keras", "numpy", "tensorflow", "tensorflow-cpu")


def fingerprint(job: TrainGroups) -> str:
    """Hash of what all trials share: rows, folds, score, and the code that trains.

    The parameters of the estimator are not in it, as each trial's own name has them all.
    """
    kind = type(job.estimator)
    return digest(
        [
            joblib.hash([job.X, job.y, job.folds]),
            f"{kind.__module__}.{kind.__qualname__}",
            repr(job.scorer),
            code_version(_CODE, _LIBRARIES),
        ]
    )
