from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from ratchet.learning.demand.iterations import (
    IterationResult,
    IterationSettings,
    Problem,
    Progress,
    iterate,
)
from ratchet.learning.demand.panel import PRICE
from ratchet.learning.search.worker_pool import ADDRESS

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
def trained(problem: Problem) -> IterationResult:
    return iterate(problem, SETTINGS)


def assert_same(one: IterationResult, other: IterationResult) -> None:
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

    def distance(trained: IterationResult) -> float:
        return float(np.abs(trained.mean - MEAN)[:, 1:].mean())

    assert distance(more) < distance(few)


def test_directions_without_variance_stay_where_the_market_is():
    covariance = COVARIANCE.copy()
    covariance[3] = covariance[:, 3] = 0

    trained = iterate(replace(make_problem(10), prior_covariance=covariance), SETTINGS)

    np.testing.assert_allclose(trained.mean[:, 3], 0, atol=1e-12)
    np.testing.assert_allclose(trained.upper[:, 3] - trained.lower[:, 3], 0, atol=1e-6)


class TrainingInterruptedError(Exception):
    pass


def interrupt_after(reports: int):
    """What raises at a report of progress, counted from 1."""
    calls = iter(range(1, 10**6))

    def report(_: Progress) -> None:
        if next(calls) == reports:
            raise TrainingInterruptedError

    return report


@pytest.mark.parametrize("reports", [1, 2, 3, 6, 9])
def test_an_interrupted_training_goes_on(problem, trained, tmp_path, reports):
    with pytest.raises(TrainingInterruptedError):
        iterate(
            problem,
            SETTINGS,
            checkpoint=tmp_path,
            partition_size=BLOCK,
            on_progress=interrupt_after(reports),
        )
    rest: list[Progress] = []

    resumed = iterate(problem, SETTINGS, checkpoint=tmp_path, on_progress=rest.append)

    assert_same(resumed, trained)
    assert len(rest) == 10 - reports  # two partitions in five rounds


def test_kill_9_loses_no_bit(problem, trained, tmp_path):
    random = np.random.default_rng(0)
    for _ in range(4):
        if not (child := os.fork()):
            iterate(problem, replace(SETTINGS, checkpoint_every=50), checkpoint=tmp_path)
            os._exit(0)
        time.sleep(random.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    assert_same(iterate(problem, SETTINGS, checkpoint=tmp_path), trained)


def checkpoint_of(problem: Problem, folder: Path, **settings: Any) -> Path:
    """Folder of a checkpoint of some iterations."""
    iterate(problem, replace(SETTINGS, **({"iterations": 200} | settings)), checkpoint=folder)
    (only,) = (path for path in folder.iterdir() if path.is_dir())
    return only


@pytest.mark.parametrize("damaged", ["states/0.npz", "groups/journal.json.gz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive"])
def test_a_damaged_checkpoint_is_named_and_done_anew(
    problem, trained, tmp_path, caplog, damaged, content
):
    folder = checkpoint_of(problem, tmp_path)
    (folder / damaged).write_bytes(content)

    again = iterate(problem, SETTINGS, checkpoint=tmp_path)

    assert_same(again, trained)
    assert [record.message for record in caplog.records if str(folder) in record.message]


@pytest.mark.parametrize(
    "change",
    [
        lambda problem: replace(problem, noise=problem.noise * 1.01),
        lambda problem: replace(problem, target=problem.target + problem.mask),
        lambda problem: replace(problem, prior_covariance=problem.prior_covariance * 2),
    ],
)
def test_the_checkpoint_of_another_problem_is_not_continued(problem, tmp_path, change):
    checkpoint_of(problem, tmp_path)
    other = change(problem)

    assert_same(iterate(other, SETTINGS, checkpoint=tmp_path), iterate(other, SETTINGS))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"block_length": 2}, {"simulated_rows": 5}, {"retained_draws": 200}]
)
def test_the_checkpoint_of_other_settings_is_not_continued(problem, trained, tmp_path, change):
    checkpoint_of(problem, tmp_path, iterations=600)
    settings = replace(SETTINGS, **change)

    other = iterate(problem, settings, checkpoint=tmp_path)

    assert_same(other, iterate(problem, settings))
    assert other.draws.shape != trained.draws.shape or not np.array_equal(
        other.draws, trained.draws
    )


def test_fewer_iterations_leave_a_longer_checkpoint_as_it_is(problem, trained, tmp_path, caplog):
    folder = checkpoint_of(problem, tmp_path, iterations=600)
    before = (folder / "states" / "0.npz").read_bytes()
    settings = replace(SETTINGS, iterations=200)

    fewer = iterate(problem, settings, checkpoint=tmp_path)

    assert_same(fewer, iterate(problem, settings))
    assert (folder / "states" / "0.npz").read_bytes() == before
    assert "has more iterations than the 200 of the settings" in caplog.text


def test_the_number_of_iterations_is_rounded_up(problem):
    assert iterate(problem, replace(SETTINGS, iterations=1)).iterations == TILE


def test_history_has_the_error_of_the_mean_and_how_the_ends_move(problem):
    validation = make_problem(seed=1)
    settings = replace(SETTINGS, iterations=200, retained_draws=200)

    trained = iterate(problem, settings, validation=validation)

    assert [entry.iteration for entry in trained.history] == [1, 3, 10, 30, 100, 200]
    for entry in trained.history:
        mean = trained.draws[:, : entry.iteration].astype(float).mean(axis=1)
        predicted = np.einsum("stk,sk->st", validation.design, mean)
        errors = np.abs(validation.target - predicted)[validation.mask == 1]
        assert entry.error == pytest.approx(errors.mean(), rel=1e-5)
    ends = [
        np.quantile(trained.draws[:, :n, PRICE].astype(float), (0.1, 0.9), axis=1)
        for n in (100, 200)
    ]
    moved = np.abs(ends[1] - ends[0]).mean(axis=0) / (ends[1][1] - ends[1][0])
    assert trained.history[-1].movement == pytest.approx(moved.mean(), rel=1e-3)
    assert trained.history[-1].worst_movement == pytest.approx(moved.max(), rel=1e-3)
    assert [entry.movement is None for entry in trained.history] == [True] * 3 + [False] * 3


def test_validation_may_be_a_function(problem):
    trained = iterate(problem, replace(SETTINGS, iterations=50), validation=lambda mean: mean[0, 0])

    assert trained.history[-1].error == trained.mean[0, 0]


def test_training_stops_when_the_ends_stand_still(problem, trained, tmp_path):
    settings = replace(SETTINGS, stop_when=0.12, patience=2)

    stopped = iterate(problem, settings, checkpoint=tmp_path)

    moves = {entry.iteration: entry.movement for entry in trained.history}
    assert moves[30] > 0.12 > moves[100] > moves[300]
    assert (stopped.iterations, stopped.stopped) == (300, True)
    assert_same(iterate(problem, settings, checkpoint=tmp_path), stopped)
    assert_same(iterate(problem, SETTINGS, checkpoint=tmp_path), trained)
    assert not trained.stopped


class Search:
    """Search that gives a smaller variance at iteration 200 and nothing at others."""

    def __init__(self, problem: Problem) -> None:
        self.problem = replace(problem, prior_covariance=problem.prior_covariance / 4)
        self.calls: list[int] = []

    def __call__(self, iteration: int) -> Problem | None:
        self.calls.append(iteration)
        return self.problem if iteration == 200 else None


SEARCHES = replace(SETTINGS, search_every=100)


def test_a_new_problem_starts_the_sums_anew(problem):
    search = Search(problem)

    trained = iterate(problem, SEARCHES, search=search)

    assert search.calls == [100, 200, 300, 400, 500]
    assert (trained.start, trained.iterations) == (200, 600)
    assert [entry.iteration for entry in trained.history if entry.start] == [
        *(201, 203, 210, 230, 300),
        *(500, 600),
    ]
    # The same random numbers by the same iterations, without those before.
    other = iterate(search.problem, replace(SETTINGS, retained_draws=1000))
    np.testing.assert_allclose(trained.mean, other.draws[:, 200:].mean(axis=1), atol=1e-4)
    np.testing.assert_array_equal(trained.draws, other.draws[:, 200::4])


@pytest.mark.parametrize("reports", [3, 4, 6])
def test_an_interrupted_training_with_searches_goes_on(problem, tmp_path, reports):
    with pytest.raises(TrainingInterruptedError):
        iterate(
            problem,
            SEARCHES,
            search=Search(problem),
            checkpoint=tmp_path,
            on_progress=interrupt_after(reports),
        )

    resumed = iterate(problem, SEARCHES, search=Search(problem), checkpoint=tmp_path)

    assert_same(resumed, iterate(problem, SEARCHES, search=Search(problem)))


def test_a_search_that_gives_something_else_when_called_again_is_refused(problem, tmp_path):
    iterate(problem, SEARCHES, search=Search(problem), checkpoint=tmp_path)

    with pytest.raises(
        ValueError, match=r"another problem for iteration 200 .* delete that folder"
    ):
        iterate(problem, replace(SEARCHES, iterations=800), checkpoint=tmp_path)


def test_a_search_has_to_give_all_segments(problem):
    with pytest.raises(ValueError, match="search gave 5 segments, expected 130"):
        iterate(problem, SEARCHES, search=lambda _: make_problem(5))


def test_progress_says_how_far_and_how_long(problem):
    reports: list[Progress] = []

    iterate(problem, SETTINGS, validation=problem, on_progress=reports.append)

    assert [report.iteration for report in reports] == [100, 150, 300, 450, 600]
    assert [report.share for report in reports] == pytest.approx([1 / 6, 1 / 4, 1 / 2, 3 / 4, 1])
    assert reports[0].error is None
    assert reports[-1].error is not None
    assert {report.segments for report in reports} == {SEGMENTS}
    assert reports[-1].seconds_left == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": 0}, "iterations is 0, expected at least 1"),
        ({"simulated_rows": 0}, "simulated_rows is 0, expected at least 1 or None"),
        ({"retained_draws": 99}, "retained_draws is 99, expected at least 100"),
        ({"stop_when": 1.0}, "stop_when is 1.0, expected a share or None"),
        ({"dtype": "float16"}, "dtype is 'float16', expected float32 or float64"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": np.zeros(3)}, "noise has variances that are not positive"),
        ({"noise": np.ones(2)}, r"noise has the shape \(2,\), expected \(3,\)"),
        ({"target": np.full((3, STEPS), np.nan)}, "target has values that are not finite"),
        ({"mask": np.full((3, STEPS), 2.0)}, "mask has values that are not from 0 to 1"),
    ],
)
def test_problems_with_wrong_numbers_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        iterate(replace(make_problem(3), **change), SETTINGS)


def test_weights_below_one_count_less():
    whole = make_problem(3)
    half = replace(whole, mask=whole.mask / 2)
    noisy = replace(whole, noise=whole.noise * 2)

    one, other = (Systems(each, 0, SETTINGS).center for each in (half, noisy))

    np.testing.assert_allclose(one, other, atol=1e-9)


def test_rows_without_noise_and_collinear_columns_leave_the_rest_to_the_prior():
    problem = make_problem(6)
    design = problem.design.copy()
    design[..., 3] = 2 * design[..., 2]
    exact = np.einsum("stk,k->st", design, MEAN)
    problem = replace(problem, design=design, target=exact, noise=np.full(6, 1e-6))

    trained = iterate(problem, SETTINGS)

    with_rows = [1, 2, 4]
    mean = trained.mean[with_rows]
    np.testing.assert_allclose(mean[:, PRICE], MEAN[PRICE], atol=1e-3)
    np.testing.assert_allclose(mean[:, 2] + 2 * mean[:, 3], MEAN[2] + 2 * MEAN[3], atol=1e-3)
    spread = np.sqrt(trained.covariance[with_rows, 2, 2])
    assert np.all((spread > 0.1) & (spread < np.sqrt(COVARIANCE[2, 2])))


def test_partitions_have_segments(problem):
    with pytest.raises(ValueError, match="partition_size is 0, expected at least 1"):
        iterate(problem, SETTINGS, partition_size=0)


@pytest.mark.slow
def test_dask_changes_nothing(problem, trained, monkeypatch, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        monkeypatch.setenv(ADDRESS, cluster.scheduler_address)
        by_dask = iterate(
            problem, SETTINGS, engine="dask", checkpoint=tmp_path, partition_size=BLOCK
        )

    assert_same(by_dask, trained)
