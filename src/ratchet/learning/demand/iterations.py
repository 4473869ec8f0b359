"""Training of demand by iterations, with checkpoints, on one process, several or a Dask cluster.

Module ``bootstrap`` defines an iteration and explains why its bits do not depend on where it runs.
Here partitions of segments go through the iterations in rounds. A round ends at a checkpoint, at an
entry of the history or at a search; the state of each partition is then written, and a training
that was killed continues from there. Only this process writes files.

The mean of the coefficients settles after a few hundred iterations. The ends of the intervals need
more, as their error falls with the square root of the number: ``benchmarks/market_iterations.py
ends`` measures it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np

from ratchet.learning.atomic_files import atomic_write
from ratchet.learning.demand.bootstrap import (
    BLOCK,
    INTERVAL,
    TILE,
    IterationSettings,
    Problem,
    Single,
    State,
    advance,
    blocks,
    marks,
)
from ratchet.learning.demand.panel import Array
from ratchet.learning.search.engine import open_worker_pool
from ratchet.learning.search.store import Store, digest
from ratchet.learning.search.worker_pool import Task, WorkerPool

__all__ = [
    "INTERVAL",
    "HistoryEntry",
    "IterationResult",
    "IterationSettings",
    "Problem",
    "Progress",
    "iterate",
]

_log = logging.getLogger(__name__)

_FORMAT = 2
"""Version of checkpoints; to be raised by changes of their arrays or of the numbers in them."""

Validate = Callable[[Array], float]
"""Error of coefficients, (S, K), on rows that training does not see."""

SearchProblem = Callable[[int], Problem | None]
"""Gives the problem with better hyper-parameters, from an iteration on; ``None`` to go on."""


@dataclass(frozen=True)
class HistoryEntry:
    """Convergence after some of the iterations.

    Attributes:
        iteration: iterations done.
        start: iteration at which the sums began: 0, or the last search that gave a new problem.
        error: of the mean coefficients on validation rows; ``None`` without such rows.
        movement: mean movement of the ends of the elasticities' intervals since the entry before,
            in widths; ``None`` for the first entries.
        worst_movement: the largest of a segment.
    """

    iteration: int
    start: int
    error: float | None
    movement: float | None
    worst_movement: float | None


@dataclass(frozen=True)
class Progress:
    """Progress of a training.

    Attributes:
        segments: number of segments.
        iteration: iterations that all of them have done.
        iterations: iterations in all, unless training stops early.
        share: share of the work that is done.
        error: validation error of the last entry of the history, if any.
        seconds_left: at the pace so far; ``None`` before there is one.
    """

    segments: int
    iteration: int
    iterations: int
    share: float
    error: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class IterationResult:
    """Result of a training of S segments with K coefficients.

    Attributes:
        mean: (S, K) mean of the coefficients.
        covariance: (S, K, K) of the coefficients over the iterations.
        lower: (S, K) lower ends of their 80 % intervals.
        upper: (S, K) upper ends.
        draws: (S, D, K) coefficients of an evenly spaced part of the iterations, in single
            precision; mapped from the folder of the checkpoint where there is one.
        history: entries after 1, 3, 10, 30 ... iterations, and one at the end.
        iterations: iterations done.
        start: iteration at which the sums began (``HistoryEntry``).
        stopped: whether training stopped early because the intervals stopped moving.
    """

    mean: Array
    covariance: Array
    lower: Array
    upper: Array
    draws: Single
    history: tuple[HistoryEntry, ...]
    iterations: int
    start: int
    stopped: bool


def iterate(
    problem: Problem,
    settings: IterationSettings | None = None,
    *,
    checkpoint: str | Path | None = None,
    validation: Problem | Validate | None = None,
    search: SearchProblem | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    engine: str = "local",
    n_jobs: int | None = 1,
    partition_size: int = 1000,
) -> IterationResult:
    """Train by iterations, continuing an interrupted or shorter training of the same problem.

    Neither the engine, the partitions nor interruptions change a bit of the result (for conditions
    see ``bootstrap``). Where a checkpoint has more iterations than the settings, these are computed
    again in memory, and the checkpoint stays.

    Args:
        problem: rows and prior. Its arrays may be mapped from files; a partition is read at a time.
        settings: of the training.
        checkpoint: folder of checkpoints, with a folder for each problem and settings.
        validation: rows of the same segments that training does not see, for the mean absolute
            error of the history; or a function that gives the error.
        search: called every ``search_every`` iterations; a new problem resets the sums. It
            has to give the same problem for the same iteration: it is called again when training
            continues after an interruption.
        on_progress: called after each partition of each round.
        engine: ``local`` or ``dask``.
        n_jobs: local processes; 1 or ``None`` for this one, -1 for one per core.
        partition_size: segments of a task; rounded up to a multiple of ``BLOCK``.

    Raises:
        ValueError: the problem has wrong numbers, the engine no address, or the search gives
            another problem than it did before the interruption.
    """
    settings = settings or IterationSettings()
    if partition_size < 1:
        raise ValueError(f"partition_size is {partition_size}, expected at least 1")
    _check(problem, validation)
    with ExitStack() as stack:
        name = problem.digest()
        states: _States = _Memory()
        if checkpoint is not None:
            store = Store(Path(checkpoint), _fingerprint(name, settings))
            states = _Disk(stack.enter_context(store))
        training = _Training(
            problem,
            name,
            settings,
            states,
            _rounded(partition_size, BLOCK),
            validation=validation,
            search=search,
            on_progress=on_progress,
        )
        if training.resume():
            # A process takes seconds to start, and one without a partition would idle.
            jobs = n_jobs if training.n_partitions > 1 else 1
            return training.run(stack.enter_context(open_worker_pool(engine, _advance, jobs)))
    _log.warning(
        "the checkpoint in %s has more iterations than the %d of the settings; it stays, and these "
        "are computed again",
        checkpoint,
        settings.iterations,
    )
    return iterate(
        problem,
        settings,
        engine=engine,
        n_jobs=n_jobs,
        partition_size=partition_size,
        validation=validation,
        search=search,
        on_progress=on_progress,
    )


class _Work(NamedTuple):
    """Content of a task: arguments of ``advance``."""

    problem: Problem
    state: State
    until: int
    first_segment: int
    settings: IterationSettings


def _advance(work: _Work) -> State:
    return advance(*work)


class _Snapshot(NamedTuple):
    """What an entry of the history is made of, for some segments.

    Attributes:
        mean: (S, K) mean coefficients; empty without validation.
        movement: (S,) of the ends of the elasticity's interval, in widths; NaN for first entries.
    """

    mean: Array
    movement: Array


class _Training:
    """The rounds of one training.

    Attributes:
        start: iteration at which the sums of the present problem began.
        history: entries after 1, 3, 10 ... iterations, those of earlier problems included.
    """

    def __init__(
        self,
        problem: Problem,
        name: str,
        settings: IterationSettings,
        states: _States,
        partition_size: int,
        validation: Problem | Validate | None,
        search: SearchProblem | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._problem, self._name = problem, name
        self._settings, self._states = settings, states
        self._size, self._search, self._on_progress = partition_size, search, on_progress
        self._validate = _mean_error(validation) if isinstance(validation, Problem) else validation
        self._iterations = _rounded(settings.iterations, TILE)
        self.start, self.history = 0, list[HistoryEntry]()
        self._reached: dict[int, int] = {}  # first segment of a partition -> iterations

    def resume(self) -> bool:
        """Read the checkpoint, if there is one.

        Returns:
            Whether it has at most the iterations that are to be done.
        """
        if (journal := self._states.read_journal()) is None:
            self._begin(0)
            return True
        self._size, self.start, self.history = journal.size, journal.start, journal.history
        self._name = journal.problem
        self._reached = {part.start: self._load(part).done for part in self._parts()}
        if max(self._reached.values()) > self._end():
            return False  # before a search is called that a restarted process has not reached
        if self.start:
            self._problem = self._searched_again(journal)
        return True

    @property
    def n_partitions(self) -> int:
        """Number of partitions."""
        return len(self._reached)

    def run(self, pool: WorkerPool) -> IterationResult:
        """Run the iterations that are missing."""
        self._began = perf_counter(), min(self._reached.values())
        self._round(pool, min(self._reached.values()))  # for entries missing after an interruption
        while (done := min(self._reached.values())) < self._end():
            if self._is_searched_at(done) and (problem := self._new_problem(done)) is not None:
                self._problem, self._name = problem, problem.digest()
                self._begin(done)
            self._round(pool, self._next(done))
        return self._trained()

    def _begin(self, start: int) -> None:
        """Reset the sums at an iteration."""
        self.start = start
        self._reached = {part.start: start for part in self._parts()}
        self._write_journal()

    def _write_journal(self) -> None:
        self._states.write_journal(_Journal(self._name, self._size, self.start, self.history))

    def _is_searched_at(self, done: int) -> bool:
        every = _rounded(self._settings.search_every, TILE)
        return bool(every) and done > self.start and done % every == 0

    def _new_problem(self, iteration: int) -> Problem | None:
        problem = None if self._search is None else self._search(iteration)
        if problem is not None:
            _check(problem, None)
            if len(problem) != len(self._problem):
                raise ValueError(
                    f"search gave {len(problem)} segments, expected {len(self._problem)}"
                )
        return problem

    def _searched_again(self, journal: _Journal) -> Problem:
        problem = self._new_problem(journal.start)
        if problem is None or problem.digest() != journal.problem:
            raise ValueError(
                f"search gives another problem for iteration {journal.start} than it did when "
                f"{self._states} was written; delete that folder to start over"
            )
        return problem

    def _end(self) -> int:
        """Iteration at which training ends, given the history so far."""
        if (least := self._settings.stop_when) is None:
            return self._iterations
        still = 0
        for entry in self.history:
            moved = entry.movement if entry.start == self.start else None
            still = still + 1 if moved is not None and moved <= least else 0
            if still == self._settings.patience:
                return min(entry.iteration, self._iterations)
        return self._iterations

    def _next(self, done: int) -> int:
        """Iteration at which the round ends that begins at ``done``."""
        entries = [self.start + mark for mark in marks(10 * max(done - self.start, 10))]
        entries = [entry for entry in entries if entry > done and (entry - self.start) % TILE == 0]
        every = [self._settings.checkpoint_every, self._settings.search_every]
        multiples = [done // n * n + n for n in (_rounded(each, TILE) for each in every) if n]
        return min([entries[0], *multiples, self._iterations])

    def _round(self, pool: WorkerPool, until: int) -> None:
        """Bring all partitions to an iteration."""
        new = [mark for mark in marks(until - self.start) if self.start + mark > self._last()]
        snapshots: dict[int, list[_Snapshot]] = {mark: [] for mark in new}
        parts = list(self._parts())
        # States of as many partitions as there are workers are in memory at a time.
        for group in blocks(len(parts), len(pool.workers)):
            for state in self._brought_to(pool, parts[group], until):
                for mark in new:
                    snapshots[mark].append(self._snapshot(state, mark))
        if new:
            self.history += [self._entry(mark, snapshots[mark]) for mark in new]
            self._write_journal()

    def _brought_to(self, pool: WorkerPool, parts: list[slice], until: int) -> Iterator[State]:
        """States of partitions after the iterations up to a number, in their order."""
        states = {part.start: self._load(part) for part in parts}
        tasks = [
            Task(
                name=f"{part.start}",
                program=part.start,
                cost=(part.stop - part.start) * (until - states[part.start].done),
                content=_Work(
                    self._problem.part(part), states[part.start], until, part.start, self._settings
                ),
            )
            for part in parts
            if states[part.start].done < until
        ]
        sizes = {part.start: part for part in parts}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # megabytes are expected
            for task, state in pool.run(tasks):
                first = task.content.first_segment
                states[first] = state
                self._states.write(sizes[first], self._name, state)
                self._reached[first] = state.done
                self._report_progress()
        return iter(states.values())

    def _load(self, part: slice) -> State:
        state = self._states.read(part, self._name)
        if state is None or state.start != self.start:
            coefficients = self._problem.design.shape[2]
            draws = self._settings.retained_draws
            state = State.empty(part.stop - part.start, coefficients, self.start, draws)
        return state

    def _parts(self) -> Iterator[slice]:
        return blocks(len(self._problem), self._size)

    def _last(self) -> int:
        """Iteration of the last entry for the present problem."""
        return max((e.iteration for e in self.history if e.start == self.start), default=self.start)

    def _snapshot(self, state: State, mark: int) -> _Snapshot:
        mean = np.empty((0, 0)) if self._validate is None else state.mean(mark)
        before = [each for each in marks(mark) if 10 <= each < mark]
        if not before:
            return _Snapshot(mean, np.full(len(state.total), np.nan))
        ends, ends_before = state.elasticity_ends(self._settings, mark), state.previous_ends
        if state.n <= self._settings.first_draws:
            ends_before = state.elasticity_ends(self._settings, before[-1])
        moved, width = np.abs(ends - ends_before).mean(axis=1), ends[:, 1] - ends[:, 0]
        return _Snapshot(mean, np.divide(moved, width, out=np.zeros_like(width), where=width > 0))

    def _entry(self, mark: int, snapshots: list[_Snapshot]) -> HistoryEntry:
        movement = np.concatenate([each.movement for each in snapshots])
        moved = bool(np.isfinite(movement).all())
        error = None
        if self._validate is not None:
            error = float(self._validate(np.concatenate([each.mean for each in snapshots])))
        return HistoryEntry(
            iteration=self.start + mark,
            start=self.start,
            error=error,
            movement=float(movement.mean()) if moved else None,
            worst_movement=float(movement.max()) if moved else None,
        )

    def _report_progress(self) -> None:
        if self._on_progress is None:
            return
        began, before = self._began
        done = sum(self._reached.values()) / len(self._reached)
        seconds = (perf_counter() - began) / (done - before) if done > before else None
        self._on_progress(
            Progress(
                segments=len(self._problem),
                iteration=min(self._reached.values()),
                iterations=self._iterations,
                share=done / self._iterations,
                error=self.history[-1].error if self.history else None,
                seconds_left=seconds and seconds * (self._iterations - done),
            )
        )

    def _trained(self) -> IterationResult:
        """Collect the states."""
        shape = self._problem.prior_mean.shape
        mean, lower, upper = np.empty(shape), np.empty(shape), np.empty(shape)
        covariance = np.empty((*shape, shape[1]))
        snapshots = []

        def draws() -> Iterator[Single]:
            for part in self._parts():
                state = self._load(part)
                mean[part], covariance[part] = state.mean(), state.covariance()
                lower[part], upper[part] = state.ends(self._settings)
                snapshots.append(self._snapshot(state, state.n))
                yield state.retained

        retained = self._states.gather(draws(), len(self._problem))
        done = min(self._reached.values())
        history = list(self.history)
        if self._last() < done:
            history.append(self._entry(done - self.start, snapshots))
        return IterationResult(
            mean=mean,
            covariance=covariance,
            lower=lower,
            upper=upper,
            draws=retained,
            history=tuple(history),
            iterations=done,
            start=self.start,
            stopped=done < self._iterations,
        )


@dataclass
class _Journal:
    """Part of a checkpoint that all partitions share.

    Attributes:
        problem: digest of the present problem.
        size: segments of a partition.
        start: as in ``IterationResult``.
        history: entries so far.
    """

    problem: str
    size: int
    start: int
    history: list[HistoryEntry]


class _States(Protocol):
    """Keeps states between the rounds."""

    def read_journal(self) -> _Journal | None: ...

    def write_journal(self, journal: _Journal) -> None: ...

    def read(self, part: slice, problem: str) -> State | None: ...

    def write(self, part: slice, problem: str, state: State) -> None: ...

    def gather(self, draws: Iterator[Single], segments: int) -> Single: ...


class _Memory:
    """Keeps states in memory."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, int], State] = {}

    def read_journal(self) -> _Journal | None:
        return None

    def write_journal(self, journal: _Journal) -> None:
        pass

    def read(self, part: slice, problem: str) -> State | None:
        return self._states.get((problem, part.start))

    def write(self, part: slice, problem: str, state: State) -> None:
        self._states[problem, part.start] = state

    def gather(self, draws: Iterator[Single], segments: int) -> Single:
        return np.concatenate(list(draws))


class _Disk:
    """Keeps states in a folder: a file per partition, and the journal."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __str__(self) -> str:
        return str(self._store.folder)

    def read_journal(self) -> _Journal | None:
        records = self._store.read_group("journal")
        try:
            common, *entries = records or []
            return _Journal(**common, history=[HistoryEntry(**entry) for entry in entries])
        except (TypeError, ValueError):
            if any((self._store.folder / "states").iterdir()):
                _log.warning("the checkpoint in %s is damaged; training starts over", self)
                self._store.drop_states()
            return None

    def write_journal(self, journal: _Journal) -> None:
        common = {"problem": journal.problem, "size": journal.size, "start": journal.start}
        self._store.write_group("journal", [common, *map(asdict, journal.history)])

    def read(self, part: slice, problem: str) -> State | None:
        name = f"{part.start}"
        content = self._store.read_arrays("states", name)
        if content is None and self._store.has_arrays("states", name):
            _log.warning(
                "the checkpoint of the partition from segment %s on in %s is damaged; its "
                "iterations are computed again",
                name,
                self,
            )
            self._store.drop_arrays("states", [name])
        if content is None or content.pop("problem", None) != problem:
            return None
        return State(**content)

    def write(self, part: slice, problem: str, state: State) -> None:
        values = {field.name: getattr(state, field.name) for field in fields(state)}
        self._store.write_arrays("states", f"{part.start}", {"problem": problem} | values)

    def gather(self, draws: Iterator[Single], segments: int) -> Single:
        """Write the draws one partition after the other, and map the file."""
        path = self._store.folder / "draws.npy"
        with atomic_write(path) as partial, partial.open("wb") as file:
            for number, part in enumerate(draws):
                if not number:
                    header = np.lib.format.header_data_from_array_1_0(part)
                    header["shape"] = (segments, *part.shape[1:])
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(part).data)
        mapped: Single = np.load(path, mmap_mode="r")
        return mapped


def _fingerprint(problem: str, settings: IterationSettings) -> str:
    """Hash of all that the numbers of a training depend on, except the number of iterations."""
    common = ("simulated_rows", "block_length", "search_every", "retained_draws", "seed", "dtype")
    return digest([_FORMAT, problem, *(getattr(settings, name) for name in common)])


def _check(problem: Problem, validation: object) -> None:
    for part in blocks(len(problem), 1000):
        problem.part(part).check()
    if isinstance(validation, Problem):
        if len(validation) != len(problem):
            raise ValueError(f"validation has {len(validation)} segments, expected {len(problem)}")
        _check(validation, None)


def _mean_error(validation: Problem) -> Validate:
    """Mean absolute error on the rows of a problem."""

    def error(mean: Array) -> float:
        total = 0.0
        for part in blocks(len(validation), BLOCK):
            rows = validation.part(part)
            predicted = np.einsum("stk,sk->st", rows.design, mean[part])
            total += float((np.abs(rows.target - predicted) * rows.mask).sum())
        return total / max(float(validation.mask.sum()), 1.0)

    return error


def _rounded(n: int, unit: int) -> int:
    """The next multiple of a unit."""
    return -(-n // unit) * unit
