"""Which points to try next: grid, random, Bayesian and halving.

A strategy is a generator: it yields batches of points and is sent their scores. What it asks
depends on its seed and on those scores alone, so that a search that is started again asks the same.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler

from ratchet.learning.search.store import digest

Point = Mapping[str, Any]
GridIndex = tuple[int, ...]
ParamGrid = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]]

_TRIES = 10
"""Asks per point for one that is not known yet, before it is drawn at random."""


class Batch(NamedTuple):
    """Points to evaluate.

    Attributes:
        points: one value per parameter each.
        epochs: to train to at most; ``None`` for as many as each point says.
    """

    points: list[Point]
    epochs: int | None = None


Batches = Generator[Batch, Sequence[float], None]


class Plan(NamedTuple):
    """How many evaluations a strategy asks for in all, and in which batches."""

    total: int
    batches: Batches


def run(plan: Plan, evaluate: Callable[[Batch], Sequence[float]]) -> None:
    """Evaluate the batches of a plan one after the other; greater scores are better."""
    try:
        batch = next(plan.batches)
        while True:
            batch = plan.batches.send(evaluate(batch))
    except StopIteration:
        pass


def grid(param_grid: ParamGrid) -> Plan:
    """Every point."""
    points = list(ParameterGrid(param_grid))
    return Plan(len(points), _once(points))


def random(param_grid: ParamGrid, *, n_trials: int, seed: int) -> Plan:
    """Points drawn at random, none twice; all of them when there are no more than ``n_trials``.

    Beside lists of values, distributions of ``scipy.stats`` serve, too.

    Args:
        param_grid: parameter -> values to try, or several such mappings.
        n_trials: points to try of each mapping.
        seed: of the draws.
    """
    return _side_by_side([_draw(part, n_trials, own) for part, own in _seeded(param_grid, seed)])


def bayesian(param_grid: ParamGrid, *, n_trials: int, seed: int, batch_size: int = 6) -> Plan:
    """Points near the good ones found so far, none twice.

    The tree-structured Parzen estimator of Optuna (Bergstra et al., 2011, "Algorithms for
    hyper-parameter optimization"). Each batch is asked from a new study, seeded by (seed, number of
    the batch) and filled with what is known by then. Numbers are taken in their order, other values
    as categories. Several grids are searched side by side, each by its own studies.

    Args:
        param_grid: parameter -> values to try, or several such mappings.
        n_trials: points to try of each mapping.
        seed: of the draws.
        batch_size: points asked at a time; more can be trained together, fewer know more.

    Raises:
        ValueError: no batch size.
    """
    if batch_size < 1:
        raise ValueError(f"strategy_options: batch_size must be at least 1, not {batch_size!r}")
    return _side_by_side(
        [_study(part, n_trials, own, batch_size) for part, own in _seeded(param_grid, seed)]
    )


def halving(
    param_grid: ParamGrid,
    *,
    rungs: Sequence[int] = (2, 4, 8, 16, 32),
    keep: float = 1 / 2,
    fair: str = "learning_rate",
    fair_rungs: int = 1,
) -> Plan:
    """Train all points for a few epochs, the better ones further, the best to the end.

    Successive halving (Jamieson and Talwalkar, 2016, "Non-stochastic best arm identification"),
    with one change: few epochs flatter high learning rates. In the first rung points compete with
    those of their own learning rate only, and each learning rate keeps its share. Later rungs have
    no such rule: where a high learning rate is best, it would cost places that the winner needs.

    Half is dropped at each of many rungs: to drop two thirds at few takes more epochs in all, and
    decides about most points at once (docs/explanation/speed.md).

    Args:
        param_grid: parameter -> values to try.
        rungs: epochs after which points are dropped, rising; those from which rounding up would
            drop none are left out. What remains trains to its own number of epochs.
        keep: share of the points kept at each rung, rounded up.
        fair: parameter whose values keep their share in the first rungs.
        fair_rungs: how many rungs these are.

    Raises:
        ValueError: rungs that do not rise, or a share that keeps none or all.
    """
    if list(rungs) != sorted(set(rungs)) or any(rung < 1 for rung in rungs) or not 0 < keep < 1:
        raise ValueError(
            "strategy_options: rungs must be rising numbers of epochs and keep lie between 0 and "
            f"1, not {rungs!r} and {keep!r}"
        )
    points = list(ParameterGrid(param_grid))
    sizes = [len(points)]
    for _ in rungs:
        # 108 * (1 / 3) is not always 36 in floating point.
        left = max(1, math.ceil(round(sizes[-1] * keep, 6)))
        if left == sizes[-1]:
            break
        sizes.append(left)
    kept_after = [*zip(rungs, sizes[1:], strict=False)]
    return Plan(sum(sizes), _halve(points, kept_after, fair, fair_rungs))


def survivors(
    points: Sequence[Point], scores: Sequence[float], n: int, fair: str | None
) -> list[Point]:
    """The ``n`` best points, in the order in which they are given.

    Args:
        points: the points that compete.
        scores: greater is better; NaN is worst.
        n: points to keep.
        fair: parameter whose values keep equal numbers of points, as far as they have as many;
            ``None`` for no such rule.
    """
    value = np.nan_to_num(np.asarray(scores, dtype=float), nan=-np.inf, posinf=-np.inf)
    best_first = sorted(range(len(points)), key=lambda i: (-value[i], i))
    place, taken = {}, defaultdict[str, int](int)
    for i in best_first:
        group = repr(points[i].get(fair)) if fair else ""
        place[i] = taken[group] if fair else 0
        taken[group] += 1
    chosen = sorted(best_first, key=lambda i: place[i])[:n]  # stable: by score among equals
    return [points[i] for i in sorted(chosen)]


def _seeded(param_grid: ParamGrid, seed: int) -> list[tuple[Mapping[str, Sequence[Any]], int]]:
    """Each grid with its own seed; of several grids, derived from the content of each."""
    parts = [param_grid] if isinstance(param_grid, Mapping) else list(param_grid)
    if len(parts) == 1:
        return [(parts[0], seed)]
    return [(part, int(digest([seed, _content(part)])[:8], 16)) for part in parts]


def _content(part: Mapping[str, Any]) -> Mapping[str, list[Any]]:
    """A grid in plain values."""
    return {
        name: _described(values) if hasattr(values, "rvs") else list(values)
        for name, values in part.items()
    }


def _described(distribution: Any) -> list[Any]:
    """Name and arguments of a distribution; its ``repr`` contains a memory address."""
    kind = getattr(distribution, "dist", distribution)
    arguments = [getattr(distribution, name, None) for name in ("args", "kwds")]
    return [getattr(kind, "name", type(kind).__name__), *arguments]


def _side_by_side(plans: list[Plan]) -> Plan:
    """Several plans as one, whose batches join those of each."""

    def batches() -> Batches:
        going = [(plan.batches, next(plan.batches)) for plan in plans]
        while going:
            scores = iter((yield Batch([point for _, batch in going for point in batch.points])))
            scored = [(one, [next(scores) for _ in batch.points]) for one, batch in going]
            going = []
            for one, own_scores in scored:
                with suppress(StopIteration):
                    going.append((one, one.send(own_scores)))

    return Plan(sum(plan.total for plan in plans), batches())


def _draw(param_grid: Mapping[str, Sequence[Any]], n_trials: int, seed: int) -> Plan:
    endless = any(hasattr(values, "rvs") for values in param_grid.values())
    n = n_trials if endless else min(n_trials, len(ParameterGrid(param_grid)))
    return Plan(n, _once(list(ParameterSampler(param_grid, n, random_state=seed))))


def _study(
    param_grid: Mapping[str, Sequence[Any]], n_trials: int, seed: int, batch_size: int
) -> Plan:
    values = {
        name: sorted(options) if _numbers(options) else list(options)
        for name, options in param_grid.items()
    }
    n = min(n_trials, math.prod(len(options) for options in values.values()))
    return Plan(n, _ask(values, n, seed, batch_size))


def _once(points: list[Point]) -> Batches:
    yield Batch(points)


def _halve(
    points: list[Point], kept_after: list[tuple[int, int]], fair: str, fair_rungs: int
) -> Batches:
    for number, (epochs, n_kept) in enumerate(kept_after):
        scores = yield Batch(points, epochs)
        points = survivors(points, scores, n_kept, fair if number < fair_rungs else None)
    yield Batch(points)


def _numbers(options: Sequence[Any]) -> bool:
    return all(isinstance(o, int | float) and not isinstance(o, bool) for o in options)


def _ask(values: dict[str, list[Any]], n: int, seed: int, batch_size: int) -> Batches:
    evaluated: dict[GridIndex, float] = {}
    while len(evaluated) < n:
        size = min(batch_size, n - len(evaluated))
        places = _next_places(values, evaluated, size, [seed, len(evaluated) // batch_size])
        scores = yield Batch(
            [
                {name: values[name][i] for name, i in zip(values, place, strict=True)}
                for place in places
            ]
        )
        evaluated.update(zip(places, scores, strict=True))


def _next_places(
    values: dict[str, list[Any]], evaluated: dict[GridIndex, float], size: int, seed: list[int]
) -> list[GridIndex]:
    """New points as indices into the lists of values."""
    from optuna import create_study
    from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState, create_trial

    space: dict[str, BaseDistribution] = {
        name: (
            IntDistribution(0, len(options) - 1)
            if _numbers(options)
            else CategoricalDistribution(range(len(options)))
        )
        for name, options in values.items()
    }
    draws = np.random.default_rng(seed)
    sampler = TPESampler(seed=int(draws.integers(2**31)), constant_liar=True)
    study = create_study(direction="maximize", sampler=sampler)
    worst = min(filter(math.isfinite, evaluated.values()), default=0.0)
    for place, score in evaluated.items():
        params = dict(zip(values, place, strict=True))
        value = score if math.isfinite(score) else worst
        study.add_trial(create_trial(params=params, distributions=space, value=value))
    new: list[GridIndex] = []
    tries = 0
    while len(new) < size:
        trial = study.ask(space)
        place = tuple(trial.params[name] for name in values)
        if tries > _TRIES * size:  # the sampler has nothing new to say
            place = tuple(int(draws.integers(len(options))) for options in values.values())
        if place in evaluated or place in new:
            study.tell(trial, state=TrialState.FAIL)
            tries += 1
        else:
            new.append(place)
    return new


STRATEGIES: dict[str, Callable[..., Plan]] = {
    "grid": grid,
    "random": random,
    "bayesian": bayesian,
    "halving": halving,
}
DRAWN = ("random", "bayesian")
"""Strategies that take a number of trials and a seed."""
