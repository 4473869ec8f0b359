"""Training of demand by iterations: what it costs, how exact it is, and what a kill loses.

Segments are simulated: 135 steps, 7 coefficients. CPU seconds, each measurement in a process of its
own.

    speed        1,000 segments x 100,000 whole iterations, with checkpoints: at most 120 CPU
                 seconds and 0.5 GB; and the same by `SGDRegressor.partial_fit` of 300 rows, one
                 segment after the other, from a sample: at least 500 times as much
    scale        more segments, mapped from a file: the same cost of each and the same memory
    precision    single against double precision: means within 1e-5 standard deviations
    ends         error of the ends of the intervals by iterations, in widths, against many more
                 iterations: below 5 % after 1,000 and 1 % after 10,000
    engines      one process, several and Dask, other partitions: the same bits
    kills        kill -9 at random moments: the same bits
    calibration  how often the 80 % interval of an elasticity covers the truth, for segments with
                 few and with many rows, hyper-parameters and market effects given or estimated:
                 .68 to .85
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np
from harness.measure import own_cpu, print_table

from ratchet.learning.demand.hierarchy import HierarchySettings, build_problem, fit_hierarchy
from ratchet.learning.demand.iterations import IterationResult, IterationSettings, Problem, iterate
from ratchet.learning.demand.panel import PRICE, Rows, build_panel
from ratchet.learning.search.worker_pool import ADDRESS

STEPS = 135
MEAN = np.array([6.0, -2.0, 0, 0, 0, 0, 0])
SPREAD = np.array([1.0, 0.5, 0.1, 0.1, 0.1, 0.1, 0.2])
NOISE = 0.04
FULL = IterationSettings(iterations=100_000, checkpoint_every=10_000, stop_when=None)
SGD_ROWS = 300


class Simulated(NamedTuple):
    problem: Problem
    elasticities: np.ndarray


def simulate(
    segments: int,
    seed: int = 0,
    *,
    few: int = 0,
    memory: float = 0.0,
    market: float = 0.0,
    steps: int = STEPS,
) -> Simulated:
    """Demand with a season, a trend and prices that change; every second segment has few rows.

    Args:
        segments: how many.
        seed: of all.
        few: last rows that every second segment has; 0 for all rows.
        memory: autoregression of the errors.
        market: standard deviation of effects common to all segments of a step.
        steps: of time.
    """
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(steps) / 52
    season = [f(k * angle) for k in (1, 2) for f in (np.sin, np.cos)]
    fixed = np.stack([np.ones(steps), *season, np.linspace(-0.5, 0.5, steps)], axis=1)
    design = np.empty((segments, steps, len(MEAN)))
    design[..., [0, 2, 3, 4, 5, 6]] = fixed
    changes = rng.normal(0, 0.15, (segments, -(-steps // 3)))
    design[..., PRICE] = np.repeat(changes, 3, axis=1)[:, :steps]
    truth = MEAN + SPREAD * rng.standard_normal((segments, len(MEAN)))
    errors = rng.standard_normal((segments, steps))
    for step in range(1, steps):
        fresh = np.sqrt(1 - memory**2) * errors[:, step]
        errors[:, step] = memory * errors[:, step - 1] + fresh
    mask = np.ones((segments, steps))
    if few:
        mask[::2, :-few] = 0
    target = np.einsum("stk,sk->st", design, truth) + np.sqrt(NOISE) * errors
    target += market * rng.standard_normal(steps)
    problem = Problem(
        design=design * mask[..., None],
        target=target * mask,
        mask=mask,
        prior_mean=np.tile(MEAN, (segments, 1)),
        prior_covariance=np.diag(SPREAD**2),
        noise=np.full(segments, NOISE),
    )
    return Simulated(problem, truth[:, PRICE])


def mapped(segments: int, folder: Path) -> Problem:
    """The same in files, written a thousand segments at a time."""
    arrays: dict[str, Any] = {}
    for first in range(0, segments, 1000):
        part = simulate(1000, first).problem
        for name in ("design", "target", "mask", "prior_mean", "noise"):
            values = getattr(part, name)
            if not first:
                shape = (segments, *values.shape[1:])
                arrays[name] = np.lib.format.open_memmap(
                    folder / f"{name}.npy", "w+", dtype=np.float64, shape=shape
                )
            arrays[name][first : first + 1000] = values
    for array in arrays.values():
        array.flush()
    read = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in arrays}
    return Problem(prior_covariance=np.diag(SPREAD**2), **read)


class Own:
    """Most memory of this process that is its own: pages of mapped files may go at any time."""

    def __init__(self) -> None:
        self.most = 0.0

    def __call__(self, *_: object) -> None:
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
        self.most = max(self.most, int(line.split()[1]) / 1e6)


def run_full(segments: int, iterations: int) -> tuple[float, float]:
    """CPU seconds and peak gigabytes of whole iterations in memory's reach."""
    problem = simulate(segments).problem
    with TemporaryDirectory() as folder:
        before = own_cpu()
        iterate(problem, replace(FULL, iterations=iterations), checkpoint=folder)
        cpu = own_cpu() - before
    return cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def run_mapped(segments: int, iterations: int, folder: Path) -> tuple[float, float]:
    """CPU seconds and peak gigabytes of what is mapped from files and written to them."""
    (folder / f"{segments}").mkdir()
    problem, own = mapped(segments, folder / f"{segments}"), Own()
    before = own_cpu()
    iterate(
        problem,
        replace(FULL, iterations=iterations),
        checkpoint=folder / "checkpoint",
        on_progress=own,
    )
    own()
    return own_cpu() - before, own.most


def run_sgd(calls: int) -> float:
    """CPU seconds of a segment's iteration by stochastic gradient descent."""
    from sklearn.linear_model import SGDRegressor

    problem = simulate(1).problem
    rng = np.random.default_rng(0)
    model = SGDRegressor(random_state=0)
    before = own_cpu()
    for _ in range(calls):
        rows = rng.integers(STEPS, size=SGD_ROWS)
        model.partial_fit(problem.design[0, rows], problem.target[0, rows])
    return (own_cpu() - before) / calls


def speed(options: argparse.Namespace) -> bool:
    iterations = options.iterations
    cpu, peak = alone(run_full, 1000, iterations)
    whole = cpu * 100_000 / iterations
    sgd = alone(run_sgd, 2000) * 1000 * 100_000
    print(f"1,000 segments x {iterations:,} iterations: {cpu:.1f} CPU s, {peak:.2f} GB")
    print(f"one segment and iteration: {cpu / iterations / 1000 * 1e6:.3f} us")
    print(f"100,000 iterations: {whole:.1f} CPU s (bar 120); memory {peak:.2f} GB (bar 0.5)")
    print(f"SGDRegressor.partial_fit: {sgd / 3600:.1f} CPU h, {sgd / whole:.0f} times (bar 500)")
    return whole <= 120 and peak <= 0.5 and sgd >= 500 * whole


def scale(options: argparse.Namespace) -> bool:
    rows, costs, peaks = [], [], []
    for segments in (1000, 10_000, 100_000):
        with TemporaryDirectory() as folder:
            cpu, peak = alone(run_mapped, segments, 300, Path(folder))
        costs.append(cpu / segments / 300 * 1e6)
        peaks.append(peak)
        rows.append([f"{segments:,}", f"{cpu:.1f}", f"{costs[-1]:.3f}", f"{peak:.2f}"])
    print_table(("segments x 300 iterations", "CPU s", "us each", "GB of its own"), rows)
    linear, flat = costs[-1] <= 1.25 * costs[0], max(peaks) <= 0.5
    print(f"cost of each at most 1.25 times: {linear}; at most 0.5 GB: {flat}")
    return linear and flat


def precision(options: argparse.Namespace) -> bool:
    problem = simulate(500, few=20).problem
    settings = IterationSettings(iterations=1000)
    single = iterate(problem, settings)
    double = iterate(problem, replace(settings, dtype="float64"))
    spread = np.sqrt(np.einsum("skk->sk", double.covariance))
    mean = np.max(np.abs(single.mean - double.mean) / spread)
    draws = np.max(np.abs(single.draws - double.draws) / spread[:, None])
    print(
        f"largest difference in standard deviations: mean {mean:.1e} (bar 1e-5), draw {draws:.1e}"
    )
    return bool(mean <= 1e-5)


def ends(options: argparse.Namespace) -> bool:
    problem = simulate(125, few=20).problem
    settings = IterationSettings(stop_when=None)
    reference = iterate(problem, replace(settings, iterations=400_000, seed=1000))
    width = reference.upper - reference.lower
    rows, errors = [], {}
    for iterations in (100, 1000, 10_000):
        found = []
        for seed in range(3):
            trained = iterate(problem, replace(settings, iterations=iterations, seed=seed))
            found += [
                np.abs(trained.lower - reference.lower) / width,
                np.abs(trained.upper - reference.upper) / width,
            ]
        every, slopes = np.array(found), np.array(found)[..., PRICE]
        errors[iterations] = slopes.mean()
        rows.append(
            [
                f"{iterations:,}",
                *(
                    f"{value:.2%}"
                    for value in (slopes.mean(), slopes.max(), every.mean(), every.max())
                ),
            ]
        )
    print_table(("iterations", "elasticity", "worst", "all", "worst of all"), rows)
    met = errors[1000] <= 0.05 and errors[10_000] <= 0.01
    print(f"mean below 5 % after 1,000 and 1 % after 10,000: {met}")
    return bool(met)


def engines(options: argparse.Namespace) -> bool:
    from distributed import LocalCluster

    problem = simulate(2500, few=20).problem
    settings = IterationSettings(iterations=600, checkpoint_every=200)
    start = time.perf_counter()
    serial = iterate(problem, settings)
    rows, same = [["one process", f"{time.perf_counter() - start:.1f}", ""]], []
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        os.environ[ADDRESS] = cluster.scheduler_address
        for name, how in {
            "partitions of 250": {"partition_size": 250},
            "two processes": {"n_jobs": 2},
            "Dask, two workers": {"engine": "dask"},
        }.items():
            start = time.perf_counter()
            same.append(equal(serial, iterate(problem, settings, **how)))
            rows.append([name, f"{time.perf_counter() - start:.1f}", str(same[-1])])
    print_table(("2,500 segments x 600 iterations", "wall s", "same bits"), rows)
    return all(same)


def kills(options: argparse.Namespace) -> bool:
    problem = simulate(1000, few=20).problem
    settings = IterationSettings(iterations=1500, checkpoint_every=50)
    start = time.perf_counter()
    expected = iterate(problem, settings, partition_size=250)
    longest = 0.6 * (time.perf_counter() - start)
    rng, done, runs, same = random.Random(0), 0, 0, []
    while done < options.kills:
        with TemporaryDirectory() as folder:
            while done < options.kills and killed(problem, settings, folder, rng, longest):
                done += 1
            trained = iterate(problem, settings, checkpoint=folder, partition_size=250)
            same.append(equal(expected, trained))
            runs += 1
    print(f"{done} kills in {runs} trainings: {sum(same)} of {len(same)} end with the same bits")
    return all(same)


def killed(
    problem: Problem,
    settings: IterationSettings,
    folder: str,
    rng: random.Random,
    longest: float,
) -> bool:
    """Train in a child process until it is killed; whether that was before its end."""
    if not (pid := os.fork()):
        iterate(problem, settings, checkpoint=folder, partition_size=250)
        os._exit(0)
    time.sleep(rng.uniform(0, longest))
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def calibration(options: argparse.Namespace) -> bool:
    given = IterationSettings(iterations=1000)
    capped = replace(given, simulated_rows=300)
    cases = {
        "given": (given, {}, False),
        "given, memory .3": (given, {"memory": 0.3}, False),
        "given, 300 simulated rows": (capped, {}, False),
        "estimated": (given, {}, True),
        "estimated, memory .3": (given, {"memory": 0.3}, True),
        "estimated, market": (given, {"market": 0.15}, True),
        "estimated, market, 300 simulated rows": (capped, {"market": 0.15}, True),
    }
    rows, covers = [], []
    for name, (settings, world, is_estimated) in cases.items():
        seen = [coverage(seed, settings, world, is_estimated) for seed in range(6)]
        few, width_few, many, width_many = np.mean(seen, axis=0)
        covers += [few, many] if settings is given else []
        rows.append([name, f"{few:.3f}", f"{width_few:.2f}", f"{many:.3f}", f"{width_many:.2f}"])
    print_table(("hyper-parameters", "20 rows cover", "width", "135 rows cover", "width"), rows)
    met = all(0.68 <= cover <= 0.85 for cover in covers)
    print(f"80 % intervals cover .68 to .85 with the market as the prior says: {met}")
    return met


def coverage(
    seed: int, settings: IterationSettings, world: dict[str, float], is_estimated: bool
) -> tuple[float, ...]:
    """Coverage and median width, for segments with few rows and with many."""
    problem, truth = simulate(120, seed, few=20, **world)
    trained = iterate(estimated(problem) if is_estimated else problem, settings)
    lower, upper = trained.lower[:, PRICE], trained.upper[:, PRICE]
    inside, width = (lower <= truth) & (truth <= upper), upper - lower
    halves = (slice(0, None, 2), slice(1, None, 2))
    return tuple(f(x[half]) for half in halves for f, x in ((np.mean, inside), (np.median, width)))


def estimated(problem: Problem) -> Problem:
    """The same rows with means, variances and market effects estimated from them."""
    segment, step = np.nonzero(problem.mask)
    panel = build_panel(
        Rows(
            segment=segment,
            product=np.zeros(len(segment), np.int64),
            step=step.astype(float),
            log_price=problem.design[segment, step, PRICE],
            covariates=np.empty((len(segment), 0)),
            log_quantity=problem.target[segment, step],
        )
    )
    design = panel.design(panel.layout(harmonics=2, trend=True, period=52))
    return build_problem(fit_hierarchy(panel, design, HierarchySettings()), panel, design)


def equal(one: IterationResult, other: IterationResult) -> bool:
    arrays = ("mean", "covariance", "lower", "upper", "draws")
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
    return same and one.history == other.history


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


PARTS = {
    part.__name__: part for part in (speed, scale, precision, ends, engines, kills, calibration)
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="(default: all)")
    parser.add_argument("--iterations", type=int, default=100_000, help="of speed")
    parser.add_argument("--kills", type=int, default=20, help="(default: 20)")
    options = parser.parse_args()
    failed = []
    for name in options.parts or PARTS:
        print(f"\n{name}")
        if not PARTS[name](options):
            failed.append(name)
    print(f"\nbars not met: {', '.join(failed) or 'none'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
