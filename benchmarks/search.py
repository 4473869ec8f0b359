"""What halving saves of a full grid of recurrent networks, and whether it finds as good a one.

Both search the same 108 points on the same windows. Compared are the validation losses of the two
winners, and the CPU time of the training alone: compiling depends on the number of processes and is
shown apart. The bars: a loss at most 1 % above that of the grid, for at most 30 % of its CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from harness.measure import print_table
from harness.windows import windows

from ratchet.learning.recurrent import training
from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.search import Holdout, Search

GRID = {
    "architecture": ["gru", "lstm"],
    "units": [32, 64, 128],
    "batch_size": [32, 64],
    "dropout": [0.1, 0.2, 0.3],
    "learning_rate": [1e-3, 5e-4, 1e-4],
}
LOG = "RATCHET_BENCHMARK_LOG"
STOCK = Path("data", "05_model_input", "stock", "train.parquet")
WORSE, SHARE = 0.01, 0.30

train_group = training.train_group


def noted(spec: Any, trials: Any, *data: Any) -> Any:
    """Train, and write down what it took."""
    before = sum(state["schedule"]["epoch"] for state in data[-1].states or ())
    start = time.process_time()
    trained = train_group(spec, trials, *data)
    cpu = time.process_time() - start
    epochs = sum(len(one.history["loss"]) for one in trained) - before
    with Path(os.environ[LOG]).open("a") as log:
        print(json.dumps([repr(spec), epochs, cpu]), file=log, flush=True)
    return trained


if LOG in os.environ:  # the workers import this file, too
    training.train_group = noted


class Data(NamedTuple):
    name: str
    X: Any
    y: Any
    lookback: int


class Result(NamedTuple):
    loss: float
    point: dict[str, Any]
    calls: list[tuple[str, int, float]]
    wall: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--windows", type=int, default=5000, help="windows of each data set (default: 5000)"
    )
    parser.add_argument(
        "--rows", type=Path, default=STOCK, help=f"second data, its latest rows (default: {STOCK})"
    )
    parser.add_argument("--epochs", type=int, default=50, help="at most (default: 50)")
    parser.add_argument("--patience", type=int, default=10, help="(default: 10)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--n-jobs", type=int, default=-1, help="(default: one process per core)")
    parser.add_argument("--curves", type=Path, help="folder for the losses of the full grids")
    options = parser.parse_args()
    lines = []
    for seed in options.seeds:
        for data in all_data(options.windows, options.rows, seed):
            full, halving = (search(data, strategy, seed, options) for strategy in STRATEGIES)
            lines.append(compare(data.name, seed, full, halving))
            print(" ".join(lines[-1]), file=sys.stderr)
    print_table(
        (
            "data",
            "seed",
            "loss",
            "halving",
            "more",
            "CPU-s",
            "halving",
            "share",
            "compile",
            "wall-s",
        ),
        lines,
    )
    print(f"\nbars: {WORSE:.0%} more loss, {SHARE:.0%} of the CPU time")


STRATEGIES = ("grid", "halving")


def all_data(n: int, rows: Path, seed: int) -> Iterator[Data]:
    """Made windows, and those of the groceries where they are, else made ones of another shape."""
    yield made(n, 7, 10, seed)
    yield groceries(rows, n) if rows.exists() else made(n, 14, 5, seed + 100)


def made(n: int, lookback: int, features: int, seed: int) -> Data:
    """Training and validation windows in one, which ``Holdout`` takes apart again."""
    X, y, X_val, y_val = windows(n, lookback, features, seed)
    both = np.concatenate([X, X_val]).reshape(-1, lookback * features)
    name = f"made {n} x {lookback} x {features}"
    return Data(name, both, np.concatenate([y, y_val])[:, 0], lookback)


def groceries(path: Path, n: int) -> Data:
    """Windows and targets as the recurrent family learns them."""
    import pandas as pd

    frame = pd.read_parquet(path).tail(n)  # in the order of time
    columns = [name for name in frame.columns if name.startswith("window_")]
    lookback = len({name.rpartition("_")[2] for name in columns})
    [target] = [name for name in frame.columns if name.startswith("target_")]
    y = (frame[target] - frame["series_level"]) / frame["series_scale"]
    X = frame[columns].to_numpy(np.float32)
    return Data(f"stock {len(X)} x {lookback} x {len(columns) // lookback}", X, y, lookback)


def search(data: Data, strategy: str, seed: int, options: Any) -> Result:
    """Search; without a folder, so that nothing is known before."""
    network = RecurrentRegressor(
        lookback=data.lookback, epochs=options.epochs, patience=options.patience, random_state=seed
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.txt")
        os.environ[LOG] = str(log)
        training.train_group = noted
        fitted = Search(
            network,
            GRID,
            strategy=strategy,
            cv=Holdout(1 / 9),
            refit=False,
            n_jobs=options.n_jobs,
        ).fit(data.X, data.y)
        calls = [tuple(json.loads(line)) for line in log.read_text().splitlines()]
    if options.curves:
        options.curves.mkdir(parents=True, exist_ok=True)
        name = f"{data.name.replace(' ', '')}-{seed}-{strategy}"
        fitted.curves_.to_parquet(options.curves / f"{name}.parquet")
        (options.curves / f"{name}.json").write_text(
            json.dumps([fitted.cv_results_["params"], calls])
        )
    return Result(-fitted.best_score_, fitted.best_params_, calls, time.perf_counter() - start)


def compare(name: str, seed: int, full: Result, halving: Result) -> tuple[str, ...]:
    """Format a line of the table."""
    rates = per_epoch(full.calls + halving.calls)
    cpu = [sum(rates[spec] * n for spec, n, _ in one.calls) for one in (full, halving)]
    compiling = [
        sum(seconds for *_, seconds in one.calls) - trained
        for one, trained in zip((full, halving), cpu, strict=True)
    ]
    more = halving.loss / full.loss - 1
    same = "same" if halving.point == full.point else f"{more:+.2%}"
    return (
        name,
        str(seed),
        f"{full.loss:.6f}",
        f"{halving.loss:.6f}",
        same,
        f"{cpu[0]:.0f}",
        f"{cpu[1]:.0f}",
        f"{cpu[1] / cpu[0]:.1%}",
        f"{compiling[0]:.0f} {compiling[1]:.0f}",
        f"{full.wall:.0f} {halving.wall:.0f}",
    )


def per_epoch(calls: list[tuple[str, int, float]]) -> dict[str, float]:
    """CPU seconds of an epoch of one candidate, by spec: the least over calls.

    Calls that also compile have more, and one per spec at least has not.
    """
    rates: dict[str, float] = {}
    for spec, epochs, cpu in calls:
        if epochs:
            rates[spec] = min(cpu / epochs, rates.get(spec, cpu / epochs))
    return rates


if __name__ == "__main__":
    main()
