"""What it costs to train each recurrent architecture, against Keras' own `fit`.

Both train the same network on the same made windows with the same settings, in alternation in one
process; the loading of libraries is not counted, compiling is. The bars: over all architectures
the median is at least 1.6 times as fast in CPU time, and none is slower than `fit`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from harness.measure import alternate, median, own_cpu, print_table

BAR = 1.6
WINDOWS, VALIDATION, LOOKBACK, FEATURES = 4000, 500, 7, 10
UNITS, BATCH, DROPOUT, LEARNING_RATE = 64, 64, 0.1, 1e-3
SEED = 0

Data = tuple[Any, Any, Any, Any]


@dataclass(frozen=True)
class Run:
    """CPU seconds of the first epoch, with all that comes before it, and of each one after it."""

    first: float
    epoch: float

    def total(self, epochs: int) -> float:
        return self.first + (epochs - 1) * self.epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architectures", nargs="*", help="names (default: all)")
    parser.add_argument("--epochs", type=int, default=30, help="(default: 30)")
    parser.add_argument(
        "--sample", type=int, help="train so many epochs and extrapolate (default: all of them)"
    )
    parser.add_argument("--pairs", type=int, default=1, help="measurements of each (default: 1)")
    parser.add_argument(
        "--threads", type=int, default=1, help="of TensorFlow; 0 for as many as it likes"
    )
    parser.add_argument("--fast", action="store_true", help="one epoch on long windows, no `fit`")
    options = parser.parse_args()
    limit_threads(options.threads)
    names = options.architectures or known()
    if options.fast:
        measure_fast(names)
    else:
        sample = min(options.sample or options.epochs, options.epochs)
        measure(names, options.epochs, max(sample, 2), options.pairs)


def limit_threads(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def known() -> list[str]:
    from ratchet.learning.recurrent.architectures import ARCHITECTURES

    return list(ARCHITECTURES)


def windows(train: int, validation: int, lookback: int, features: int) -> Data:
    """Random walks, of which the mean of what is ahead is to be forecast, scaled 0-1."""
    rng = np.random.default_rng(SEED)
    n = train + validation
    walk = rng.normal(size=(n + lookback, features)).cumsum(axis=0).astype(np.float32)
    walk = (walk - walk.min(axis=0)) / np.ptp(walk, axis=0)
    X = np.stack([walk[step : step + n] for step in range(lookback)], axis=1)
    y = walk[lookback:].mean(axis=1, keepdims=True)
    return X[:train], y[:train], X[train:], y[train:]


def measure(names: Sequence[str], epochs: int, sample: int, pairs: int) -> None:
    data = windows(WINDOWS, VALIDATION, LOOKBACK, FEATURES)
    # What happens once in a process, whichever side comes first, counts for neither.
    fit("gru", data, 2)
    train("gru", data, 2)
    rows, ratios = [], []
    for number, name in enumerate(names):
        sides: list[Callable[[], Run]] = [partial(fit, name, data, sample)]
        sides.append(partial(train, name, data, sample))
        measured = alternate(pairs, *(sides if number % 2 else sides[::-1]))
        runs = measured if number % 2 else [pair[::-1] for pair in measured]
        ratios.append(median([of_fit.total(epochs) / ours.total(epochs) for of_fit, ours in runs]))
        rows.append([name, *cells(runs, 0, epochs), *cells(runs, 1, epochs), f"{ratios[-1]:.2f}"])
        print(f"{number + 1}/{len(names)} {name}: {ratios[-1]:.2f}", flush=True)
    report(rows, ratios, epochs, sample)


def fit(name: str, data: Data, epochs: int) -> Run:
    """Keras as its users have it."""
    import keras

    from ratchet.learning.recurrent.network import build_network

    start = own_cpu()
    X, y, *validation = data
    sizes = {"units": UNITS, "lookback": LOOKBACK, "features": FEATURES, "horizon": 1}
    model = build_network(architecture=name, dropout=DROPOUT, seed=SEED, **sizes)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss="mse", metrics=["mae"])
    settings: dict[str, Any] = {"batch_size": BATCH, "validation_data": validation, "verbose": 0}
    model.fit(X, y, epochs=1, **settings)
    after_first = own_cpu()
    model.fit(X, y, initial_epoch=1, epochs=epochs, **settings)
    cost = Run(after_first - start, (own_cpu() - after_first) / (epochs - 1))
    keras.backend.clear_session()
    return cost


def train(name: str, data: Data, epochs: int) -> Run:
    from ratchet.learning.recurrent import autodiff
    from ratchet.learning.recurrent.types import ProgramSpec, TrainOptions, TrialParams

    autodiff.program_of.cache_clear()
    start = own_cpu()
    spec = ProgramSpec(name, UNITS, "tanh", BATCH, LOOKBACK, FEATURES, 1)
    # The patience lets no candidate stop early: `fit` does not.
    trials = [TrialParams(DROPOUT, LEARNING_RATE, epochs, patience=epochs)]
    [begun] = autodiff.train_group(
        spec, trials, *data, TrainOptions(seed=SEED, until=1, keep_state=True)
    )
    after_first = own_cpu()
    assert begun.state is not None
    autodiff.train_group(spec, trials, *data, TrainOptions(seed=SEED, states=[begun.state]))
    return Run(after_first - start, (own_cpu() - after_first) / (epochs - 1))


def cells(runs: Sequence[Sequence[Run]], side: int, epochs: int) -> list[str]:
    of_side = [pair[side] for pair in runs]
    return [
        f"{median([run.first for run in of_side]):.1f}",
        f"{median([run.epoch for run in of_side]):.3f}",
        f"{median([run.total(epochs) for run in of_side]):.1f}",
    ]


def report(rows: list[list[str]], ratios: list[float], epochs: int, sample: int) -> None:
    if sample < epochs:
        print(f"\nExtrapolated from {sample} epochs to {epochs}.")
    print(f"\nCPU seconds of {epochs} epochs on {WINDOWS} windows of {LOOKBACK} x {FEATURES}:")
    side = ["1st epoch", "each", "all"]
    print_table(["", *(f"fit: {c}" for c in side), *(f"ours: {c}" for c in side), "ratio"], rows)
    middle, least = median(ratios), min(ratios)
    print(f"Bar, median {BAR:g}: {'met' if middle >= BAR else 'not met'} ({middle:.2f})")
    print(f"Bar, each at least 1: {'met' if least >= 1 else 'not met'} ({least:.2f})")


def measure_fast(names: Sequence[str]) -> None:
    """One epoch without compiling: which architectures are promising?"""
    from ratchet.learning.recurrent import autodiff
    from ratchet.learning.recurrent.types import ProgramSpec, TrainOptions, TrialParams

    lookback, features = 60, 6
    data = windows(1900, 200, lookback, features)
    rows, start = [], own_cpu()
    for name in names:
        before = own_cpu()
        spec = ProgramSpec(name, UNITS, "tanh", BATCH, lookback, features, 1)
        trials = [TrialParams(DROPOUT, LEARNING_RATE, epochs=1, patience=1)]
        autodiff.train_group(spec, trials, *data, TrainOptions(seed=SEED, compiled=False))
        rows.append([name, f"{own_cpu() - before:.1f}"])
    print(f"CPU seconds of an epoch on {len(data[0])} windows of {lookback} x {features}:")
    print_table(["", "CPU s"], [*rows, ["all", f"{own_cpu() - start:.1f}"]])


if __name__ == "__main__":
    main()
