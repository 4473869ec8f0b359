"""How often the gate is wrong, and what it misses, on simulated errors.

A champion and a challenger whose errors (t with 5 degrees of freedom, so with outliers) are
correlated, as those of two models on the same rows are. Counted is how often the challenger is
promoted when it is exactly as good, and when it is truly 10 % better: by the bare rule "more than
2 % better", by the rule of version 0 ("before": rows of a regression one by one, blocks that know
nothing of the errors), and by the gate. The bar: of equally good challengers at most 8 %.

    rows        RMSE of independent rows
    log loss    of three classes; the logits of both models have correlated noise
    time        RMSE of rows with a time, whose errors follow an autoregression
    clusters    RMSE of rows of which ten belong to the same customer
    series      RMSE of a series, whose errors follow an autoregression
    ahead       RMSE of forecasts 48 steps ahead, whose errors are sums of 48 shocks
    season      RMSE of a series whose errors are alike after 7 or after 24 steps
    unseen      after 24 steps, but the gate is not told of the season: what cannot be had

Then ten equally good challengers, one after the other: before the same 200 rows, and before rows
that grow by 50 with each of them. The bar: at least one promoted in at most 10 %.

Many repetitions of a case are drawn and bounded at once, by the functions that the gate calls; the
first ones also go through the gate itself, which has to decide the same.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the products are too small to share

import numpy as np
import pandas as pd
from harness.measure import own_cpu, print_table
from scipy.signal import lfilter

from ratchet.config import Release, Target
from ratchet.gate.conditions import NOISE
from ratchet.gate.evidence import corrected_confidence, earlier_challengers
from ratchet.gate.verdict import Evidence, PairedRows, hash_keys, judge
from ratchet.learning.metrics import (
    Resampling,
    ResamplingUnits,
    bootstrap_means,
    bounds,
    find_metric,
    influence_values,
    long_block_length,
    relative_to_baseline,
    resampling_units,
)

BAR, BAR_OF_TEN = 0.08, 0.10
GAIN = 0.10
SIZES = (50, 200, 1000)
CLASSES = ["a", "b", "c"]
CLUSTER = 10
SEED = 20260
RELEASE = Release()
AT_ONCE = 100  # repetitions whose losses stay in the cache
Array = np.ndarray


@dataclass(frozen=True)
class Simulated:
    """Predictions of both models: (repetitions, rows, ...), and the loss of each, rows first."""

    truth: Array
    champion: Array
    challenger: Array
    losses: tuple[Array, Array]


@dataclass(frozen=True)
class Case:
    kind: str
    rows: int
    correlation: float = 0.8
    memory: float = 0.0
    horizon: int = 1
    season: int = 1

    @property
    def name(self) -> str:
        memory = f", memory {self.memory:g}" if self.memory else ""
        season = f", after {self.season} steps" if self.season > 1 else ""
        return f"{self.kind}, correlation {self.correlation:g}{memory}{season}, {self.rows} rows"

    @property
    def task(self) -> str:
        if self.kind == "log loss":
            return "classification"
        return "regression" if self.kind in ("rows", "time", "clusters") else "forecasting"

    @property
    def has_time(self) -> bool:
        return self.task == "forecasting" or self.kind == "time"

    @property
    def clusters(self) -> Array | None:
        return np.arange(self.rows) // CLUSTER if self.kind == "clusters" else None

    @property
    def known_season(self) -> int:
        """The season that the gate is told."""
        return 1 if self.kind == "unseen" else self.season


def cases() -> Iterator[Case]:
    for kind in ("rows", "log loss"):
        for correlation in (0.8, 0.95):
            for rows in SIZES:
                yield Case(kind, rows, correlation)
    others = [("time", {"memory": 0.8}), ("clusters", {})]
    others += [("series", {"memory": memory}) for memory in (0.5, 0.8, 0.95)]
    others += [("ahead", {"horizon": 48})]
    others += [("season", {"memory": 0.8, "season": season}) for season in (7, 24)]
    others += [("unseen", {"memory": 0.8, "season": 24})]
    for kind, options in others:
        for rows in SIZES:
            yield Case(kind, rows, **options)


def shocks(case: Case, repetitions: int, rng: np.random.Generator) -> Array:
    """Errors of one model, (repetitions, rows)."""
    if case.kind == "clusters":
        size = repetitions, -(-case.rows // CLUSTER)
        common = rng.standard_t(5, size).repeat(CLUSTER, axis=1)[:, : case.rows]
        return common + 0.5 * rng.standard_t(5, (repetitions, case.rows))
    warm = 100 * case.season if case.memory else case.horizon - 1
    made = rng.standard_t(5, (repetitions, warm + case.rows))
    if case.memory:
        weights = np.zeros(1 + case.season)
        weights[[0, -1]] = 1, -case.memory
        made = lfilter([1.0], weights, made)
    elif case.horizon > 1:
        made = lfilter(np.ones(case.horizon), [1.0], made)
    return made[:, warm:]


def numbers(case: Case, gain: float, repetitions: int, rng: np.random.Generator) -> Simulated:
    first, other = shocks(case, repetitions, rng), shocks(case, repetitions, rng)
    second = beside(case, first, other) * (1 - gain)
    losses = np.square(first).T, np.square(second).T
    return Simulated(np.zeros_like(first), -first, -second, losses)


def beside(case: Case, own: Array, other: Array) -> Array:
    """Errors of a model as good as another, and correlated with it."""
    return case.correlation * own + np.sqrt(1 - case.correlation**2) * other


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


@cache
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
    rng = np.random.default_rng([SEED, case.rows, *case.kind.encode(), int(1000 * gain)])
    return (classes if case.task == "classification" else numbers)(case, gain, repetitions, rng)


def promoted(case: Case, simulated: Simulated, n_bootstrap: int) -> tuple[Array, Array, Array]:
    """Who is promoted, of all repetitions: by the bare rule, the former one, and the gate."""
    repetitions = simulated.losses[0].shape[1]
    parts = np.array_split(np.arange(repetitions), -(-repetitions // AT_ONCE))
    of_parts = [
        _promoted(case, [p[:, part] for p in simulated.losses], n_bootstrap) for part in parts
    ]
    bare, before, gate = (np.concatenate(found) for found in zip(*of_parts, strict=True))
    return bare, before, gate


def _promoted(case: Case, losses: list[Array], n_bootstrap: int) -> tuple[Array, Array, Array]:
    units = [units_in(case, *pair) for pair in zip(losses[0].T, losses[1].T, strict=True)]
    shares = drawn_shares(case, losses, n_bootstrap, units[0])
    better = shares[0] - RELEASE.min_gain > NOISE
    # Bounds of challengers that are not better need not be known.
    gate = np.array(
        [sure(part, one) for part, one, b in zip(shares.T, units, better, strict=True) if b]
    )
    former = formerly(case)
    if (former.by, former.block) != (units[0].by, units[0].block):
        shares = drawn_shares(case, losses, n_bootstrap, former)
    before = np.array([sure(part, former) for part in shares.T[better]])
    return better, _spread_out(before, better), _spread_out(gate, better)


def _spread_out(found: Array, where: Array) -> Array:
    whole = np.zeros(len(where), dtype=bool)
    whole[where] = found
    return whole


def units_in(case: Case, champion: Array, challenger: Array) -> ResamplingUnits:
    """What the gate draws together, as it says itself, by the losses of one repetition."""
    if case.task == "classification":
        metric, table = find_metric("log_loss", case.task, CLASSES), [champion, challenger]
    else:
        metric = find_metric("rmse", "regression")
        table = [champion, champion, challenger, challenger]
    return resampling_units(
        influence_values(metric, np.column_stack(table)),
        times=np.arange(case.rows) if case.has_time else None,
        groups=case.clusters,
        horizon=case.horizon,
        season=case.known_season,
    )


def formerly(case: Case) -> ResamplingUnits:
    """What was drawn together before: the time stamps of series, other rows one by one."""
    n = case.rows
    if case.task != "forecasting":
        return ResamplingUnits("row", None, n, freedom=n - 1, captured=1 - 1 / n)
    block = long_block_length(n, case.horizon)
    share = 1 - block / n
    return ResamplingUnits(
        "time", np.arange(n), n, block, freedom=min(n - 1, n / block), captured=share
    )


def drawn_shares(
    case: Case, losses: list[Array], n_bootstrap: int, units: ResamplingUnits
) -> Array:
    """Gains over all rows (index 0) and over draws, (1 + draws, repetitions)."""
    table = np.hstack(losses)
    drawn = bootstrap_means(
        table, Resampling(SEED, n_bootstrap=n_bootstrap), times=units.codes, block=units.block
    )
    means = np.vstack([table.mean(axis=0), drawn])
    scores = means if case.task == "classification" else np.sqrt(means)
    champion, challenger = np.split(scores, 2, axis=1)
    return relative_to_baseline(champion - challenger, champion)


def sure(shares: Array, units: ResamplingUnits, confidence: float = RELEASE.confidence) -> bool:
    return bool(bounds(shares, units.width(confidence))[0] > NOISE)


def ten_in_a_row(repetitions: int, n_bootstrap: int, *, growing: bool) -> tuple[float, float]:
    """How often one of ten equally good challengers is promoted: before, and by the gate."""
    rng = np.random.default_rng([SEED, 10, growing])
    case, lengths = Case("rows", 200), [50 * k for k in range(1, 11)] if growing else [200] * 10
    own = rng.standard_t(5, (repetitions, max(lengths)))
    wins = np.zeros((2, repetitions), dtype=bool)
    seen: list[dict[str, object]] = []
    for n in lengths:
        other = rng.standard_t(5, (repetitions, max(lengths)))
        losses = [np.square(e[:, :n]).T for e in (own, beside(case, own, other))]
        earlier = earlier_challengers(seen, "y", str(n), n, None)
        seen.append({"gain": {}, "keys_hash": str(n), "rows": {"y": n}})
        units = formerly(Case("rows", n))
        levels = RELEASE.confidence, corrected_confidence(earlier, RELEASE.confidence)
        for part in np.array_split(np.arange(repetitions), -(-repetitions // AT_ONCE)):
            shares = drawn_shares(case, [loss[:, part] for loss in losses], n_bootstrap, units)
            better = shares[0] - RELEASE.min_gain > NOISE
            for which, level in enumerate(levels):
                low, _ = bounds(shares, units.width(level))
                wins[which, part] |= better & (low > NOISE)
    return float(wins[0].mean()), float(wins[1].mean())


def by_the_gate(case: Case, simulated: Simulated, number: int, n_bootstrap: int) -> bool:
    """Whether the gate itself promotes the challenger of one repetition."""
    task = case.task
    keys = pd.Index([f"row {place}" for place in range(case.rows)])
    moments = pd.date_range("2026-01-01", periods=case.rows, freq="h")
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
            frame = frame.assign(time=moments, scale=1.0, rms=1.0)
        frames.append(frame.set_index(keys))
    named = CLASSES if task == "classification" else None
    rows = {
        "y": PairedRows(
            task,
            named,
            *frames,
            None,
            {},
            horizon=case.horizon,
            season=case.known_season,
            times=moments.to_numpy() if case.kind == "time" else None,
            groups=case.clusters,
        )
    }
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


def row_of(case: Case, options: argparse.Namespace) -> list[float]:
    """Shares promoted: of equal ones bare, before, gate; of better ones the same."""
    shares: list[float] = []
    for gain in (0.0, GAIN):
        simulated = simulate(case, gain, options.repetitions)
        bare, before, gate = promoted(case, simulated, options.draws)
        for number in range(min(options.judged, options.repetitions)):
            if by_the_gate(case, simulated, number, options.draws) != gate[number]:
                raise SystemExit(f"{case.name}: the gate decides otherwise in {number}")
        shares += [found.mean() for found in (bare, before, gate)]
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=2000, help="of each case (2000)")
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap draws (2000)")
    parser.add_argument("--judged", type=int, default=5, help="by the gate itself (5)")
    parser.add_argument("--only", default="", help="kinds of cases, such as 'time,clusters'")
    options = parser.parse_args()
    kinds = options.only.split(",") if options.only else None
    rows, worst = [], 0.0
    for case in cases():
        if kinds is None or case.kind in kinds:
            shares = row_of(case, options)
            worst = max(worst, 0.0 if case.kind == "unseen" else shares[2])
            rows.append([case.name, *(f"{share:.1%}" for share in shares)])
    print(f"Promoted of {options.repetitions} challengers, in percent\n")
    head = ["equal: > 2 %", "before", "gate", "10 % better: > 2 %", "before", "gate"]
    print_table(["", *head], rows)
    print(f"\nMost of the equal ones, unseen seasons apart: {worst:.1%} (bar: {BAR:.0%})")
    if kinds is None or "ten" in kinds:
        for growing, where in ((False, "the same 200 rows"), (True, "50, 100, ... 500 rows")):
            before, gate = ten_in_a_row(options.repetitions, options.draws, growing=growing)
            print(
                f"Ten equal ones before {where}, at least one promoted: before {before:.1%}, "
                f"gate {gate:.1%} (bar: {BAR_OF_TEN:.0%})"
            )
    print(f"{own_cpu():.0f} s of CPU")


if __name__ == "__main__":
    main()
