"""The grid of 108 recurrent networks: our training against a Python loop of Keras ``fit`` calls.

GRU and LSTM x units 32, 64, 128 x dropout 0.1, 0.2, 0.3 x learning rate 1e-3, 5e-4, 1e-4 x batch
32, 64, on 5,000 windows of 7 steps x 10 features (4,000 to train, 500 to validate), all 50 epochs.
Ours is measured whole unless told otherwise, one process with one thread per core. Keras is sampled
and extrapolated: one point per spec for a few epochs; the other points of a spec cost the same,
an epoch like the next. The bars: at most 1/7 of the CPU time and 1/8 of the wall time; wall times
say something only on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from harness.measure import Cost, children_cpu, median, own_cpu, print_table, python
from harness.windows import windows

HERE = Path(__file__).resolve().parent
BAR_CPU, BAR_WALL, BAR_SCALE, BAR_MEMORY = 1 / 7, 1 / 8, 1.15, 1.5
EPOCHS, LOOKBACK, FEATURES, SEED = 50, 7, 10, 0
RATES = [(d, rate) for d in (0.1, 0.2, 0.3) for rate in (1e-3, 5e-4, 1e-4)]

Shape = tuple[str, int, int]
"""Architecture, units, batch size: what a compiled program is made for."""


class Took(NamedTuple):
    """What the candidates of a spec took."""

    compiling: float  # CPU seconds of the first beyond those of a later one
    candidate: float  # CPU seconds of a later one
    peak: float  # GiB of the process so far
    best: float  # validation loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--epochs", type=int, default=EPOCHS, help="to train; the rest is extrapolated"
    )
    parser.add_argument("--sampled", type=int, default=4, help="epochs of Keras (default: 4)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="(default: cores)")
    parser.add_argument("--quick", action="store_true", help="2 programs, 3 epochs, no scaling")
    options = parser.parse_args()
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KEDRO_DISABLE_TELEMETRY": "1"}
    shapes = [("gru", 32, 64), ("lstm", 64, 64)] if options.quick else grid()
    epochs = 3 if options.quick else options.epochs
    keras = keras_costs(shapes, options.sampled)
    ours, took = our_cost(shapes, epochs, options.processes)
    took = [one._replace(candidate=one.candidate * EPOCHS / epochs) for one in took]
    missing = len(RATES) * sum(one.candidate for one in took) * (1 - epochs / EPOCHS)
    ours = Cost(ours.cpu + missing, ours.wall + missing / options.processes)
    report(shapes, keras, ours, took)
    if epochs < EPOCHS:
        print(f"Ours was trained for {epochs} epochs of {EPOCHS}: the rest is extrapolated, and")
        print("its wall time a bound from below, as if every process had a core to itself")
    if not options.quick:
        report_scaling()


def grid() -> list[Shape]:
    """The programs, longest first."""
    shapes = itertools.product(("lstm", "gru"), (128, 64, 32), (32, 64))
    return sorted(shapes, key=lambda shape: -shape[1])


def keras_costs(shapes: Sequence[Shape], epochs: int) -> list[dict[str, list[float]]]:
    """Of one candidate per spec: CPU and wall seconds of the first and of a later epoch."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "windows.npz", *windows(5000, LOOKBACK, FEATURES, SEED))
        points = [
            {"architecture": a, "units": u, "batch_size": b, "dropout": 0.2, "learning_rate": 5e-4}
            for a, u, b in shapes
        ]
        (folder / "points.json").write_text(json.dumps(points))
        script = HERE / "bare" / "keras_grid.py"
        python(script, folder / "points.json", str(epochs), folder, cwd=folder)
        return json.loads((folder / "keras.json").read_text())


def our_cost(shapes: Sequence[Shape], epochs: int, processes: int) -> tuple[Cost, list[Took]]:
    """Of the whole grid, with start and end of the processes."""
    cpu, start = children_cpu(), time.perf_counter()
    with workers(processes) as pool:
        took = list(pool.map(train_graph, shapes, [epochs] * len(shapes)))
    return Cost(children_cpu() - cpu, time.perf_counter() - start), took


def workers(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=use_one_thread
    )


def use_one_thread() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def train_graph(shape: Shape, epochs: int) -> Took:
    """Train the nine candidates of a spec, one call each."""
    from ratchet.learning.recurrent.training import train_group
    from ratchet.learning.recurrent.types import TrainOptions, TrialParams

    data = windows(5000, LOOKBACK, FEATURES, SEED)
    costs, best = [], np.inf
    for dropout, rate in RATES:
        before = own_cpu()
        (trained,) = train_group(
            as_graph(shape),
            [TrialParams(dropout, rate, epochs, epochs)],
            *data,
            TrainOptions(seed=SEED),
        )
        costs.append(own_cpu() - before)
        best = min(best, *trained.history["val_loss"])
    candidate = median(costs[1:])
    return Took(costs[0] - candidate, candidate, peak_memory(), best)


def as_graph(shape: Shape) -> Any:
    from ratchet.learning.recurrent.types import ProgramSpec

    architecture, units, batch_size = shape
    return ProgramSpec(architecture, units, "tanh", batch_size, LOOKBACK, FEATURES, 1)


def peak_memory() -> float:
    """Of this process, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def epoch_cost(shape: Shape, n: int) -> tuple[float, float]:
    """CPU seconds of an epoch on ``n`` windows, compiling apart, and GiB of the process."""
    from ratchet.learning.recurrent.training import train_group
    from ratchet.learning.recurrent.types import TrainOptions, TrialParams

    data, trials = windows(n, LOOKBACK, FEATURES, SEED), [TrialParams(0.2, 5e-4, 50, 50)]
    spec, options = as_graph(shape), {"seed": SEED, "keep_state": True}
    (trained,) = train_group(spec, trials, *data, TrainOptions(until=1, **options))
    costs = []
    for epoch in range(2, 7):
        before = own_cpu()
        (trained,) = train_group(
            spec, trials, *data, TrainOptions(states=[trained.state], until=epoch, **options)
        )
        costs.append(own_cpu() - before)
    return median(costs), peak_memory()


def report(
    shapes: Sequence[Shape],
    keras: list[dict[str, list[float]]],
    ours: Cost,
    took: list[Took],
) -> None:
    rows, totals = [], np.zeros(2)
    for (architecture, units, batch), theirs, mine in zip(shapes, keras, took, strict=True):
        one = np.array(theirs["first"]) + (EPOCHS - 1) * np.array(theirs["later"])
        totals += len(RATES) * one
        cells = (one[0], mine.candidate, one[0] / mine.candidate, mine.compiling, mine.best)
        rows.append([f"{architecture} {units}, batch {batch}", *(f"{cell:.3g}" for cell in cells)])
    header = ["", "Keras: CPU s", "ours: CPU s", "ratio", "compiling: CPU s", "best loss"]
    print(f"A candidate of each spec, {EPOCHS} epochs (Keras extrapolated)")
    print_table(header, rows)
    compiling = sum(mine.compiling for mine in took)
    peak = max(mine.peak for mine in took)
    print(f"\nAll {len(shapes) * len(RATES)} candidates")
    print(f"Keras, extrapolated: {totals[0]:.0f} CPU s, {totals[1]:.0f} s wall")
    print(f"Ours: {ours.cpu:.0f} CPU s ({compiling:.0f} of them compiling), {ours.wall:.0f} s wall")
    judge("CPU", ours.cpu / totals[0], BAR_CPU)
    judge("Wall", ours.wall / totals[1], BAR_WALL)
    print(f"Peak memory of a process: {peak:.2f} GiB (bar {BAR_MEMORY})")


def judge(what: str, ratio: float, bar: float) -> None:
    verdict = "met" if ratio <= bar else "not met"
    print(f"{what}: 1/{1 / ratio:.1f} of Keras (bar 1/{1 / bar:.0f}: {verdict})")


def report_scaling() -> None:
    """An epoch on ten times the windows, each size in a process of its own."""
    rows = []
    for shape in (("gru", 64, 64), ("lstm", 128, 32)):
        costs = []
        for n in (5000, 50000):
            with workers(1) as pool:
                costs.append(pool.submit(epoch_cost, shape, n).result())
        (small, _), (large, peak) = costs
        growth = large / small / 10
        cells = (f"{small:.3f}", f"{large:.3f}", f"{growth:.2f}", f"{peak:.2f}")
        rows.append([f"{shape[0]} {shape[1]}, batch {shape[2]}", *cells])
    print(f"\nAn epoch, CPU s (bar: {BAR_SCALE} times in proportion)")
    print_table(["", "5,000 windows", "50,000", "times in proportion", "peak GiB"], rows)


if __name__ == "__main__":
    main()
