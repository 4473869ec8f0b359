from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.learning.demand import bootstrap
from ratchet.learning.demand.bootstrap import (
    BLOCK,
    TILE,
    Systems,
    solve_packed,
    stride,
    tile_weights,
)
from ratchet.learning.demand.iterations import IterationSettings, Problem, Trained, iterate

SEGMENTS, STEPS = 130, 30
SETTINGS = IterationSettings(iterations=600, retained_draws=100, checkpoint_every=150)
MEAN = np.array([5.0, -2.0, 0.5, 0.0])
COVARIANCE = np.diag([9.0, 0.3, 0.1, 0.05])
COVARIANCE[1, 2] = COVARIANCE[2, 1] = 0.1


def make_problem(segments: int = SEGMENTS, seed: int = 0, steps: int = STEPS) -> Problem:
    """Demand of segments with all rows, of some with few, and of the last with none."""
    random = np.random.default_rng(seed)
    design = random.normal(0, 0.4, (segments, steps, len(MEAN)))
    design[..., 0] = 1
    factor = np.linalg.cholesky(COVARIANCE)
    truth = MEAN + random.standard_normal((segments, len(MEAN))) @ factor.T
    noise = random.uniform(0.02, 0.1, segments)
    mask = np.ones((segments, steps))
    mask[::3, 4:] = 0
    mask[-1] = 0
    errors = np.sqrt(noise)[:, None] * random.standard_normal((segments, steps))
    return Problem(
        design=design * mask[..., None],
        target=(np.einsum("stk,sk->st", design, truth) + errors) * mask,
        mask=mask,
        prior_mean=np.tile(MEAN, (segments, 1)),
        prior_covariance=COVARIANCE,
        noise=noise,
    )


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem()


@pytest.fixture(scope="module")
def trained(problem: Problem) -> Trained:
    return iterate(problem, SETTINGS)


def assert_same(one: Trained, other: Trained) -> None:
    for name in ("mean", "covariance", "lower", "upper", "draws"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in ("history", "iterations", "start", "stopped"):
        assert getattr(one, name) == getattr(other, name)


def weekly(tile: int, steps: int, settings: IterationSettings) -> np.ndarray:
    """Weights of the steps, written out."""
    length = min(settings.block_length, max(1, steps // 5))
    starts, counts = tile_weights(tile, steps, settings)
    out = np.zeros((TILE, steps))
    for start, count in zip(starts, counts.T, strict=True):
        for step in range(length):
            out[:, (start + step) % steps] += count
    return out


def solved(problem: Problem, tile: int, settings: IterationSettings) -> np.ndarray:
    """Coefficients of a tile by the normal equations, one after the other: (TILE, S, K)."""
    weights = weekly(tile, problem.design.shape[1], settings)
    random = bootstrap._random(settings.seed, bootstrap._MARKET, 0, tile)
    normal = random.standard_normal((len(MEAN) - 1, TILE, BLOCK), np.float32)
    factor = bootstrap._square_root(COVARIANCE[1:, 1:])
    precision = np.zeros_like(COVARIANCE)
    precision[1:, 1:] = np.linalg.inv(COVARIANCE[1:, 1:])
    center = Systems(problem, 0, settings).center
    out = np.empty((TILE, len(problem), len(MEAN)))
    for i in range(TILE):
        for s in range(len(problem)):
            market = problem.prior_mean[s].copy()
            market[1:] += factor @ normal[:, i, s]
            weighted = problem.design[s].T * weights[i] / problem.noise[s]
            left = weighted @ problem.design[s] + precision
            right = weighted @ problem.target[s] + precision @ market
            left[0, 0] += 0.01 / problem.noise[s]
            right[0] += 0.01 / problem.noise[s] * center[s, 0]
            out[i, s] = np.linalg.solve(left, right)
    return out


def test_draws_solve_the_weighted_normal_equations():
    problem, settings = make_problem(5), replace(SETTINGS, dtype="float64")
    systems = Systems(problem, 0, settings)

    drawn = systems.draw(3, tile_weights(3, STEPS, settings))[:, :, :5].transpose(1, 2, 0)

    np.testing.assert_allclose(systems.center + drawn, solved(problem, 3, settings), atol=1e-9)


def test_single_precision_is_enough(problem):
    single, double = (
        iterate(problem, replace(SETTINGS, dtype=dtype)) for dtype in ("float32", "float64")
    )

    spread = np.sqrt(np.einsum("skk->sk", double.covariance))[:-1]
    assert np.max(np.abs(single.mean - double.mean)[:-1] / spread) < 1e-5
    assert np.max(np.abs(single.upper - double.upper)[:-1] / spread) < 1e-3
    assert not np.array_equal(single.mean, double.mean)


@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_packed_systems_are_solved(size, seed):
    random = np.random.default_rng(seed)
    factors = random.normal(size=(6, size, size))
    matrices = factors @ factors.transpose(0, 2, 1) + np.eye(size)
    right = random.normal(size=(6, size))
    packed = matrices[:, *np.triu_indices(size)].T.copy()
    solution = right.T.copy()

    solve_packed(packed, solution)

    np.testing.assert_allclose(
        solution.T, np.linalg.solve(matrices, right[..., None])[..., 0], rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize(("steps", "length"), [(30, 4), (31, 4), (3, 4), (12, 50)])
def test_every_step_weighs_the_same_on_average(steps, length):
    settings = replace(SETTINGS, block_length=length)

    weights = np.concatenate([weekly(tile, steps, settings) for tile in range(200)])

    np.testing.assert_allclose(weights.sum(axis=1), steps, rtol=1e-6)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.12)


def test_neighbouring_steps_are_drawn_together():
    weights = np.concatenate([weekly(tile, STEPS, SETTINGS) for tile in range(40)])

    correlation = np.corrcoef(weights.T)

    assert correlation[0, 1] > 0.5  # three of four blocks
    assert abs(correlation[0, 10]) < 0.2


def test_partitions_processes_and_continuing_change_nothing(problem, trained, tmp_path):
    iterate(problem, replace(SETTINGS, iterations=200), checkpoint=tmp_path, partition_size=1)

    continued = iterate(
        problem, replace(SETTINGS, checkpoint_every=80), checkpoint=tmp_path, n_jobs=2
    )

    assert_same(continued, trained)


def test_a_segment_without_rows_is_the_market(trained):
    spread = np.sqrt(np.diag(COVARIANCE))[1:]

    assert np.all(np.abs(trained.mean[-1] - MEAN)[1:] < 4 * spread / np.sqrt(600))
    np.testing.assert_allclose(
        trained.covariance[-1, 1:, 1:], COVARIANCE[1:, 1:], atol=0.15 * spread[0] ** 2
    )
    assert trained.mean[-1, 0] == pytest.approx(MEAN[0], abs=1e-6)


def test_coefficients_are_those_of_even_weights_inside_their_intervals(problem, trained):
    center = Systems(problem.part(slice(0, 100)), 0, SETTINGS).center
    mean, lower, upper = (each[:100] for each in (trained.mean, trained.lower, trained.upper))

    assert np.median(np.abs(mean - center) / (upper - lower)) < 0.05
    assert np.all((lower < mean) & (mean < upper))


def test_ends_of_intervals_are_quantiles_of_all_draws(problem):
    settings = replace(SETTINGS, iterations=4000, retained_draws=4000, stop_when=None)

    trained = iterate(problem.part(slice(0, 20)), settings)

    ends = np.quantile(trained.draws, (0.1, 0.9), axis=1)
    first = np.quantile(trained.draws[:, :500], (0.1, 0.9), axis=1)
    width = ends[1] - ends[0]
    error = np.abs([trained.lower, trained.upper] - ends) / width
    assert trained.draws.shape == (20, 4000, len(MEAN))
    assert error.mean() < 0.005
    assert error.mean() < (np.abs(first - ends) / width).mean() / 4
    np.testing.assert_allclose(trained.mean, trained.draws.mean(axis=1), atol=1e-4)


@given(st.integers(1, 10**6), st.integers(100, 5000))
def test_at_least_half_of_the_draws_stay(n, draws):
    retained = -(-n // stride(n, draws))

    assert min(n, draws / 2) <= retained <= draws


def test_retained_draws_do_not_depend_on_how_long_training_goes_on(problem, trained):
    longer = iterate(problem, replace(SETTINGS, iterations=800))

    # Every 8th of 600 iterations, and of 800 as well.
    np.testing.assert_array_equal(longer.draws[:, :75], trained.draws)


def test_the_market_counts_as_no_more_rows_than_there_are():
    problem = make_problem(40)
    as_many = iterate(problem, replace(SETTINGS, simulated_rows=STEPS))
    more = iterate(problem, replace(SETTINGS, simulated_rows=10**6))
    few = iterate(problem, replace(SETTINGS, simulated_rows=1))

    assert_same(as_many, more)

    def distance(trained: Trained) -> float:
        return float(np.abs(trained.mean - MEAN)[:, 1:].mean())

    assert distance(more) < distance(few)


def test_directions_without_variance_stay_where_the_market_is():
    covariance = COVARIANCE.copy()
    covariance[3] = covariance[:, 3] = 0

    trained = iterate(replace(make_problem(10), prior_covariance=covariance), SETTINGS)

    np.testing.assert_allclose(trained.mean[:, 3], 0, atol=1e-12)
    np.testing.assert_allclose(trained.upper[:, 3] - trained.lower[:, 3], 0, atol=1e-6)
