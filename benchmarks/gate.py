"""How often the gate is wrong, and what it misses, on simulated errors.

A champion and a challenger whose errors (t with 5 degrees of freedom, so with outliers) are
correlated, as those of two models on the same rows are. Counted is how often the challenger is
promoted when it is exactly as good, and when it is truly 10 % better: by the bare rule "more than
2 % better", and by the gate. The bar: of equally good challengers at most 8 %.

    regression      RMSE of independent rows
    classification  log loss of three classes; the logits of both models have correlated noise
    series          RMSE of a series, whose errors follow an autoregression

Many repetitions of a case are drawn and bounded at once, by the functions that the gate calls; the
first ones also go through the gate itself, which has to decide the same.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the products are too small to share

import numpy as np
import pandas as pd
from harness.measure import own_cpu, print_table

from ratchet.learning.metrics import bootstrap_means, bounds, long_block_length, share_of
from ratchet.params import Release, Target
from ratchet.release.conditions import NOISE
from ratchet.release.gate import Evidence, Rows, hash_keys, judge

BAR = 0.08
GAIN = 0.10
SIZES = (50, 200, 1000)
CLASSES = ["a", "b", "c"]
SEED = 20260
RELEASE = Release()
AT_ONCE = 100  # repetitions whose losses stay in the cache
Array = np.ndarray
Pair = Callable[[np.random.Generator, int, int, float], tuple[Array, Array]]


@dataclass(frozen=True)
class Simulated:
    """Predictions of both models: (repetitions, rows, ...), and the loss of each, rows first."""

    truth: Array
    champion: Array
    challenger: Array
    losses: tuple[Array, Array]


@dataclass(frozen=True)
class Case:
    task: str
    rows: int
    correlation: float
    memory: float = 0.0

    @property
    def name(self) -> str:
        memory = f", memory {self.memory:g}" if self.memory else ""
        return f"{self.task}, correlation {self.correlation:g}{memory}, {self.rows} rows"


def cases() -> Iterator[Case]:
    for task in ("regression", "classification"):
        for rows in SIZES:
            for correlation in (0.8, 0.95):
                yield Case(task, rows, correlation)
    for rows in SIZES:
        for memory in (0.5, 0.8):
            yield Case("series", rows, 0.8, memory)


def errors(case: Case, repetitions: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Errors of two equally good models, (repetitions, rows): correlated, perhaps with memory."""
    warm = 100 if case.memory else 0
    shocks = rng.standard_t(5, (2, repetitions, case.rows + warm))
    for step in range(1, shocks.shape[2] if case.memory else 0):
        shocks[:, :, step] += case.memory * shocks[:, :, step - 1]
    own, other = shocks[:, :, warm:]
    return own, case.correlation * own + np.sqrt(1 - case.correlation**2) * other


def numbers(case: Case, gain: float, repetitions: int, rng: np.random.Generator) -> Simulated:
    first, second = errors(case, repetitions, rng)
    second *= 1 - gain
    losses = np.square(first).T, np.square(second).T
    return Simulated(np.zeros_like(first), -first, -second, losses)


def classes(case: Case, gain: float, repetitions: int, rng: np.random.Generator) -> Simulated:
    """The truth follows logits, of which either model sees a noisy version of its own."""
    size = (repetitions, case.rows, len(CLASSES))
    logits, common = rng.normal(0, 1.5, size), rng.standard_t(5, size)
    share = np.sqrt(case.correlation), np.sqrt(1 - case.correlation)
    noise = [share[0] * common + share[1] * rng.standard_t(5, size) for _ in range(2)]
    truth = (logits + rng.gumbel(size=size)).argmax(axis=2)
    spread = 1.0, quieter(gain)
    seen = [softmax(logits + s * n) for s, n in zip(spread, noise, strict=True)]
    losses = [-np.log(np.take_along_axis(p, truth[:, :, None], 2)[:, :, 0]).T for p in seen]
    return Simulated(truth, *seen, (losses[0], losses[1]))


def quieter(gain: float) -> float:
    """Spread of the noise at which the log loss is lower by ``gain`` than at a spread of 1."""
    if gain == 0:
        return 1.0
    rng = np.random.default_rng(SEED)
    size = (200_000, len(CLASSES))
    logits, noise = rng.normal(0, 1.5, size), rng.standard_t(5, size)
    true = softmax(logits)

    def loss(spread: float) -> float:
        return float(-(true * np.log(softmax(logits + spread * noise))).sum(axis=1).mean())

    low, high, aim = 0.0, 1.0, (1 - gain) * loss(1.0)
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if loss(middle) < aim else (low, middle)
    return middle


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def simulate(case: Case, gain: float, repetitions: int) -> Simulated:
    rng = np.random.default_rng([SEED, case.rows, *case.task.encode(), int(1000 * gain)])
    return (classes if case.task == "classification" else numbers)(case, gain, repetitions, rng)


def promoted(case: Case, simulated: Simulated, n_bootstrap: int) -> tuple[Array, Array]:
    """Who is promoted, of all repetitions: by the bare rule, and by the gate."""
    repetitions = simulated.losses[0].shape[1]
    parts = np.array_split(np.arange(repetitions), -(-repetitions // AT_ONCE))
    of_parts = [
        _promoted(case, [p[:, part] for p in simulated.losses], n_bootstrap) for part in parts
    ]
    bare, gate = (np.concatenate(found) for found in zip(*of_parts, strict=True))
    return bare, gate


def _promoted(case: Case, losses: list[Array], n_bootstrap: int) -> tuple[Array, Array]:
    times, block = None, 1
    if case.task == "series":
        times, block = np.arange(case.rows), long_block_length(case.rows)
    table = np.hstack(losses)
    drawn = bootstrap_means(table, n_bootstrap, SEED, times=times, block=block)
    means = np.vstack([table.mean(axis=0), drawn])
    scores = means if case.task == "classification" else np.sqrt(means)
    champion, challenger = np.split(scores, 2, axis=1)
    shares = share_of(champion - challenger, champion)
    low, _ = bounds(shares, RELEASE.confidence, case.rows, block)
    bare = shares[0] - RELEASE.min_gain > NOISE
    return bare, bare & (low > NOISE)


def by_the_gate(case: Case, simulated: Simulated, number: int, n_bootstrap: int) -> bool:
    """Whether the gate itself promotes the challenger of one repetition."""
    task = "forecasting" if case.task == "series" else case.task
    keys = pd.Index([f"row {place}" for place in range(case.rows)])
    truth = simulated.truth[number]
    frames = []
    for predicted in (simulated.challenger[number], simulated.champion[number]):
        if task == "classification":
            frame = pd.DataFrame(predicted, columns=[f"probability_{c}" for c in CLASSES])
            label = np.asarray(CLASSES)[predicted.argmax(axis=1)]
            frame = frame.assign(truth=np.asarray(CLASSES)[truth], prediction=label)
        else:
            frame = pd.DataFrame({"truth": truth, "prediction": predicted})
        if task == "forecasting":
            moments = pd.date_range("2026-01-01", periods=case.rows, freq="h")
            frame = frame.assign(time=moments, scale=1.0, rms=1.0)
        frames.append(frame.set_index(keys))
    named = CLASSES if task == "classification" else None
    rows = {"y": Rows(task, named, *frames, None, {})}
    evidence = Evidence(rows, {"bundle": None}, 1.0, 1.0, "2025-12-31", hash_keys(rows))
    target = Target(
        column="y",
        task=task,
        classes=named,
        scoring="" if named else "neg_root_mean_squared_error",
        candidates={name: {"estimator": name} for name in ("dummy", "model")},
    )
    release = RELEASE if named else RELEASE.model_copy(update={"metric": "rmse"})
    verdict = judge(evidence, release, {"y": target}, SEED, n_bootstrap=n_bootstrap)
    return verdict.decision == "PROMOTE"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=2000, help="of each case (2000)")
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap draws (2000)")
    parser.add_argument("--judged", type=int, default=5, help="by the gate itself (5)")
    options = parser.parse_args()
    rows, worst = [], 0.0
    for case in cases():
        shares = []
        for gain in (0.0, GAIN):
            simulated = simulate(case, gain, options.repetitions)
            bare, gate = promoted(case, simulated, options.draws)
            for number in range(min(options.judged, options.repetitions)):
                if by_the_gate(case, simulated, number, options.draws) != gate[number]:
                    raise SystemExit(f"{case.name}: the gate decides otherwise in {number}")
            shares += [bare.mean(), gate.mean()]
        worst = max(worst, shares[1])
        rows.append([case.name, *(f"{share:.1%}" for share in shares)])
    print(f"Promoted of {options.repetitions} challengers, in percent\n")
    print_table(["", "equal: > 2 %", "equal: gate", "10 % better: > 2 %", "gate"], rows)
    print(f"\nMost of the equal ones: {worst:.1%} (bar: {BAR:.0%}); {own_cpu():.0f} s of CPU")


if __name__ == "__main__":
    main()
