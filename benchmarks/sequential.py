"""How often a comparison that is looked at every day is wrong, and what it finds.

Two models answer rows of 90 days; their errors (t with 5 degrees of freedom) are correlated and may
follow an autoregression. Counted is in how many worlds they are ever called different, from the
tenth day on: where they are equally good, and where one is 10 % or 5 % better. The bar: of equal
ones at most 5 %, also with a memory of 0.8.

    t test daily        stops at the first significant day: what must not be done
    always valid        the confidence sequence of a trial, on daily means
    of rows             the same on single rows, as if these were independent
    planned             O'Brien and Fleming, for an end after 90 days
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from harness.measure import print_table
from scipy.signal import lfilter
from scipy.stats import t as student

from ratchet.learning.metrics.sequential import LEAST_UNITS, confidence_sequence

DAYS = 90
BAR = 0.05
Array = np.ndarray


@dataclass(frozen=True)
class World:
    """How two models err."""

    per_day: int
    correlation: float
    memory: float = 0.0
    gain: float = 0.0

    @property
    def name(self) -> str:
        what = f"{self.gain:.0%} better" if self.gain else "equal"
        memory = f", memory {self.memory:g}" if self.memory else ""
        return f"{what}, {self.per_day} rows a day, correlation {self.correlation:g}{memory}"

    def draw(self, random: np.random.Generator) -> Array:
        """Differences of absolute errors, shape (days, rows)."""
        size = DAYS * self.per_day
        common, *own = random.standard_t(5, (3, size))
        weights = np.sqrt([self.correlation, 1 - self.correlation])
        errors = [weights[0] * common + weights[1] * each for each in own]
        if self.memory:
            scale = np.sqrt(1 - self.memory**2)
            errors = [lfilter([scale], [1, -self.memory], each) for each in errors]
        gaps = np.abs(errors[0]) - (1 - self.gain) * np.abs(errors[1])
        return gaps.reshape(DAYS, self.per_day)


WORLDS = [
    World(20, 0.8),
    World(20, 0.95),
    World(48, 0.8, memory=0.5),
    World(48, 0.8, memory=0.8),
    World(20, 0.8, gain=0.1),
    World(20, 0.8, gain=0.05),
    World(48, 0.8, memory=0.8, gain=0.05),
]


def t_test_daily(gaps: Array) -> int | None:
    days = gaps.mean(axis=1)
    n = np.arange(1, DAYS + 1)
    mean = days.cumsum() / n
    spread = np.array([days[:k].std(ddof=1) if k > 1 else np.inf for k in n])
    outside = np.abs(mean) > student.ppf(0.975, np.maximum(n - 1, 1)) * spread / np.sqrt(n)
    found = np.flatnonzero(outside[LEAST_UNITS - 1 :])
    return int(found[0]) + LEAST_UNITS if len(found) else None


def of_rows(gaps: Array) -> int | None:
    per_day = gaps.shape[1]
    found = confidence_sequence(gaps.ravel(), tuned_for=30 * per_day).decided_at
    return None if found is None else -(-found // per_day)


RULES: dict[str, Callable[[Array], int | None]] = {
    "t test daily": t_test_daily,
    "of rows": of_rows,
    "always valid": lambda gaps: confidence_sequence(gaps.mean(axis=1)).decided_at,
    "planned": lambda gaps: confidence_sequence(gaps.mean(axis=1), planned=DAYS).decided_at,
}
KEPT = ("always valid", "planned")


def rates(world: World, repetitions: int) -> Iterator[tuple[str, float, str]]:
    """For every rule: its name, in how many worlds it decides, and that with the median day."""
    random = np.random.default_rng(20260)
    draws = [world.draw(random) for _ in range(repetitions)]
    for name, rule in RULES.items():
        days = [day for gaps in draws if (day := rule(gaps)) is not None]
        share = len(days) / repetitions
        yield name, share, f"{share:.1%} ({np.median(days):.0f})" if days else "0.0%"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    repetitions = parser.parse_args().repetitions
    table, missed = [], []
    for world in WORLDS:
        found = list(rates(world, repetitions))
        table.append([world.name, *(text for *_, text in found)])
        if not world.gain:
            missed += [f"{world.name}: {n} {s:.1%}" for n, s, _ in found if n in KEPT and s > BAR]
    print_table(["world: ever called different (median day)", *RULES], table)
    if missed:
        sys.exit("above the bar: " + "; ".join(missed))


if __name__ == "__main__":
    main()
