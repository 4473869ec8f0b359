"""One sentence for every column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ratchet.monitoring.drift.columns import LevelCounts
from ratchet.monitoring.drift.measure import Statistic
from ratchet.monitoring.drift.null_distribution import Chunks
from ratchet.monitoring.drift.report import StatisticResult

_SHOWN = 3  # names of values never seen before


def describe(
    name: str,
    levels: LevelCounts,
    found: Mapping[str, StatisticResult],
    measured: Sequence[Statistic],
    chunks: Chunks,
) -> str:
    """Say what became of a column, by the statistic that is furthest from what is usual."""
    if not any(statistic.moved for statistic in found.values()):
        return f"{name} is as usual."
    worst = max(measured, key=lambda statistic: float(statistic.z[0])).name
    value, threshold = found[worst].value, found[worst].threshold
    if worst == "missing":
        before = levels.missing[chunks.base].mean()
        return f"{name}: {value:.1%} of the values are missing, {before:.1%} were before."
    if worst == "unseen":
        shown = ", ".join(_new_names(levels, chunks))
        return f"{name}: {value:.1%} of the values were not there before, such as {shown}."
    if worst == "wasserstein":
        return f"{name} has moved by {value:.2g} spreads, {threshold:.2g} would be usual."
    words = {"psi": "its population stability index is", "ks": "its distributions differ by"}
    return f"{name} has changed: {words[worst]} {value:.2g}, {threshold:.2g} would be usual."


def describe_joint(*, moved: bool) -> str:
    """Say what became of all columns together."""
    return (
        "The columns together have moved: their values, or how they go with each other."
        if moved
        else "The columns go together as usual."
    )


def _new_names(levels: LevelCounts, chunks: Chunks) -> list[str]:
    inside = (chunks.members[:1] @ levels.counts).toarray().ravel()
    known = np.asarray(chunks.base.astype(np.float64) @ levels.counts).ravel()
    order = np.argsort(-np.where(known == 0, inside, 0), kind="stable")
    return [f"'{levels.names[i]}'" for i in order[:_SHOWN] if known[i] == 0 and inside[i] > 0]
