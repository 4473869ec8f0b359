"""Strategies ask for what they promise, and the same again when started again."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import uniform
from sklearn.model_selection import ParameterSampler

from ratchet.learning.search.strategies import (
    STRATEGIES,
    Batch,
    Plan,
    bayesian,
    grid,
    halving,
    random,
    run,
    survivors,
)

SPACE = {"units": [32, 64, 128], "learning_rate": [1e-3, 5e-4, 1e-4], "layer": ["gru", "lstm"]}


def score(point, epochs=None):
    """Best: 64 units, 1e-4, gru; but with few epochs high learning rates look better."""
    early = 0 if epochs is None else 1e4 * (1e-3 - point["learning_rate"]) / epochs
    good = (
        -abs(point["units"] - 64) / 64 - 1e3 * point["learning_rate"] - (point["layer"] == "lstm")
    )
    return good - early


def batches_of(plan: Plan, score=score) -> list[Batch]:
    batches = []

    def evaluate(batch):
        batches.append(batch)
        return [score(point, batch.epochs) for point in batch.points]

    run(plan, evaluate)
    return batches


def frozen(points):
    return [tuple(sorted(point.items())) for point in points]


def test_grid_is_every_point_once():
    [batch] = batches_of(grid(SPACE))

    assert len(batch.points) == 18 == grid(SPACE).total
    assert len(set(frozen(batch.points))) == 18
    assert batch.epochs is None


@given(n=st.integers(1, 30), seed=st.integers(0, 1000))
def test_random_draws_points_of_the_grid_and_none_twice(n, seed):
    [batch] = batches_of(random(SPACE, n_trials=n, seed=seed))

    points = frozen(batch.points)
    assert len(points) == len(set(points)) == min(n, 18)
    assert set(points) <= set(frozen(grid(SPACE).batches.send(None).points))
    assert frozen(batches_of(random(SPACE, n_trials=n, seed=seed))[0].points) == points


def test_random_draws_from_distributions():
    [batch] = batches_of(
        random({"rate": uniform(1, 2), "units": [3]}, n_trials=50, seed=0), score=int_score
    )

    rates = {point["rate"] for point in batch.points}
    assert len(rates) == 50
    assert 1 < min(rates) < 1.2
    assert 2.8 < max(rates) < 3


def int_score(point, epochs=None):
    return 1.0


@pytest.mark.parametrize("n", [1, 7, 18, 50])
def test_bayesian_asks_in_batches_and_nothing_twice(n):
    plan = bayesian(SPACE, n_trials=n, seed=3, batch_size=4)
    batches = batches_of(plan)

    points = frozen(point for batch in batches for point in batch.points)
    assert plan.total == len(points) == len(set(points)) == min(n, 18)
    assert all(len(batch.points) == 4 for batch in batches[:-1])


def test_bayesian_asks_the_same_again_for_the_same_scores_and_other_points_for_others():
    def points(score, seed):
        return [frozen(b.points) for b in batches_of(bayesian(WIDE, n_trials=40, seed=seed), score)]

    def worst(point, epochs=None):
        return -score(point)

    assert points(score, 1) == points(score, 1)
    assert points(score, 1) != points(score, 2)
    assert points(score, 1)[0] == points(worst, 1)[0]
    assert points(score, 1)[5] != points(worst, 1)[5]


WIDE = {
    "units": list(range(8, 264, 8)),
    "learning_rate": [10 ** -(i / 8) for i in range(16, 33)],
    "layer": ["gru", "lstm"],
}


def test_bayesian_finds_better_points_than_chance():
    def mean_of_last(plan):
        points = [point for batch in batches_of(plan) for point in batch.points][-20:]
        return sum(map(score, points)) / 20

    for seed in range(3):
        drawn = mean_of_last(random(WIDE, n_trials=60, seed=seed))
        assert mean_of_last(bayesian(WIDE, n_trials=60, seed=seed)) > drawn / 2


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_bayesian_bears_trials_that_ran_away(bad):
    batches = batches_of(
        bayesian(SPACE, n_trials=18, seed=0),
        lambda point, _: bad if point["layer"] == "gru" else 1.0,
    )

    assert sum(len(batch.points) for batch in batches) == 18


@pytest.mark.parametrize("strategy", ["random", "bayesian"])
def test_each_of_several_grids_gets_its_trials(strategy):
    grids = [{"kind": [kind], "x": list(range(10))} for kind in ("a", "b")] + [{"kind": ["c"]}]
    plan = STRATEGIES[strategy](grids, n_trials=8, seed=0)
    asked = []

    def evaluate(batch):
        asked.extend(batch.points)
        return [float(point.get("x", 0)) for point in batch.points]

    run(plan, evaluate)

    kinds = [point["kind"] for point in asked]
    assert {kind: kinds.count(kind) for kind in "abc"} == {"a": 8, "b": 8, "c": 1}
    assert plan.total == len(asked) == 17
    assert len({repr(sorted(point.items())) for point in asked}) == 17


@pytest.mark.parametrize("strategy", ["random", "bayesian"])
def test_a_grid_is_drawn_alike_whatever_stands_beside_it(strategy):
    def points(*kinds, seed=0):
        grids = [{"kind": [kind], "x": list(range(100))} for kind in kinds]
        batches = batches_of(STRATEGIES[strategy](grids, n_trials=6, seed=seed), score=int_score)
        result = [(point["kind"], point["x"]) for batch in batches for point in batch.points]
        return {kind: [x for of, x in result if of == kind] for kind in kinds}

    two, three = points("a", "b"), points("new", "b", "a")

    assert {kind: three[kind] for kind in two} == two
    assert two["a"] != two["b"]
    assert points("a", "b", seed=1)["a"] != two["a"]


def test_one_grid_is_drawn_by_the_seed_itself():
    [batch] = batches_of(random([SPACE], n_trials=5, seed=7))

    assert batch.points == list(ParameterSampler(SPACE, 5, random_state=7))


def test_distributions_beside_other_grids_are_drawn_alike_again():
    def points():
        grids = [{"rate": uniform(1, 2)}, {"rate": uniform(3, 4)}]
        [batch] = batches_of(random(grids, n_trials=3, seed=0), score=int_score)
        return batch.points

    assert points() == points()


def test_halving_keeps_half_at_each_rung():
    space = SPACE | {"dropout": [0.1, 0.2, 0.3], "batch_size": [32, 64]}
    plan = halving(space, fair_rungs=3)  # from 10 epochs on the lowest rate looks best
    batches = batches_of(plan)

    assert [(len(batch.points), batch.epochs) for batch in batches] == [
        (108, 2),
        (54, 4),
        (27, 8),
        (14, 16),
        (7, 32),
        (4, None),
    ]
    assert plan.total == 214
    best = {"units": 64, "learning_rate": 1e-4, "layer": "gru"}
    assert all(best.items() <= point.items() for point in batches[-1].points)


def test_halving_keeps_the_share_of_each_learning_rate_where_asked():
    space = SPACE | {"dropout": [0.1, 0.2, 0.3], "batch_size": [32, 64]}
    thirds = {"rungs": (3, 9, 27), "keep": 1 / 3}
    _, by_default, _, _ = batches_of(halving(space, **thirds))
    _, second, third, _ = batches_of(halving(space, **thirds, fair_rungs=2))
    unfair = batches_of(halving(space, **thirds, fair_rungs=0))

    def shares(batch):
        return Counter(point["learning_rate"] for point in batch.points)

    assert shares(by_default) == shares(second)
    assert shares(second) == {1e-3: 12, 5e-4: 12, 1e-4: 12}
    assert shares(third) == {1e-3: 4, 5e-4: 4, 1e-4: 4}
    assert shares(unfair[1])[1e-4] == 0  # what the rule is for


def test_halving_without_rungs_is_the_grid():
    assert batches_of(halving(SPACE, rungs=())) == batches_of(grid(SPACE))


def test_a_rung_that_could_drop_nobody_is_left_out():
    plan = halving({"units": [8, 16, 32]})
    batches = batches_of(plan, lambda point, _: point["units"])

    assert [(len(batch.points), batch.epochs) for batch in batches] == [(3, 2), (2, 4), (1, None)]
    assert plan.total == 6
    assert batches_of(halving(SPACE, keep=0.99)) == batches_of(grid(SPACE))


POINTS = st.lists(
    st.tuples(st.sampled_from([1e-3, 1e-4, None]), st.floats(-9, 9) | st.just(math.nan)), min_size=1
)


@given(trials=POINTS, data=st.data())
def test_survivors_are_the_best_of_their_learning_rate(trials, data):
    points = [{"n": i, "learning_rate": rate} for i, (rate, _) in enumerate(trials)]
    scores = [score for _, score in trials]
    n = data.draw(st.integers(1, len(points)))

    kept = survivors(points, scores, n, "learning_rate")

    assert len(kept) == n
    assert kept == [point for point in points if point in kept]  # in their order
    counts = Counter(point["learning_rate"] for point in points)
    shares = Counter(point["learning_rate"] for point in kept)
    most = max(shares.values())
    assert all(shares[rate] >= min(most - 1, counts[rate]) for rate in counts)
    worst = {}
    for point in kept:
        value = scores[point["n"]]
        rate = point["learning_rate"]
        value = -math.inf if math.isnan(value) else value
        worst[rate] = min(worst.get(rate, math.inf), value)
    for point in points:
        if point not in kept and point["learning_rate"] in worst:
            assert not scores[point["n"]] > worst[point["learning_rate"]]


def test_every_strategy_has_a_name():
    assert list(STRATEGIES) == ["grid", "random", "bayesian", "halving"]
