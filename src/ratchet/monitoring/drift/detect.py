"""Whether a window of rows is like those that a model learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import Drift
from ratchet.errors import ConfigError, DataError
from ratchet.monitoring.drift.columns import LevelCounts, encode, kind_of, numbers
from ratchet.monitoring.drift.null_distribution import (
    Chunks,
    NullDistribution,
    draw_chunks,
    run_chunks,
)
from ratchet.monitoring.drift.report import (
    ColumnDrift,
    DriftReport,
    ErrorEvidence,
    StatisticResult,
    judge,
)
from ratchet.monitoring.drift.statistics import Statistic, joint_features, measure, measure_joint

_MIN_REFERENCE = 20  # rows: fewer say nothing of what is usual
_MOST_ROWS = 50_000  # of either side, where rows have no order; a sample says as much
_CLOCK = 0.99  # rank correlation with time above which a column is another clock


def detect(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    drift: Drift,
    *,
    importance: Mapping[str, float] | None = None,
    time: str | None = None,
    period: str | None = None,
    earlier: Sequence[DriftReport | Mapping[str, Any]] = (),
    error: ErrorEvidence | None = None,
    seed: int = 0,
) -> DriftReport:
    """Compare the inputs of a window with those of the reference.

    Without drift at most the share ``drift.false_alarms`` of windows raises an alarm, over all
    columns and the joint test together: exactly so where rows have no order, and where they have
    as far as the reference shows what is usual. Columns are compared by their values, their
    missing values and, for categories and lists, values that the reference does not have. Dates
    are left out, and so are numbers that only follow the clock, such as a year.

    Args:
        reference: rows that the model learned from, source columns.
        current: rows of the window, the same columns; one that is absent counts as missing.
        drift: what is looked at, and how strictly.
        importance: column -> what the model loses without it, in any unit.
        time: column that orders the rows, in both frames.
        period: of series: what they repeat after, as pandas writes it (``7D``).
        earlier: reports of the windows before, oldest first, as objects or as JSON.
        error: whether predictions became worse, where that is known.
        seed: seed of the draws.

    Returns:
        The report. The same rows and the same seed give the same report.

    Raises:
        DataError: no row in the window, too few in the reference, or rows without time.
        ConfigError: a column of ``drift.columns`` or ``time`` is not in the reference.
    """
    before, now = _ordered(reference, time, "reference"), _ordered(current, time, "window")
    if time is None:
        before, now = (_at_most(rows, seed) for rows in (before, now))
    names, left_out = _columns(before, now, drift, time)
    chunks = _chunks(before, now, drift, time, period, seed)
    levels = {name: encode(before[name], _column(now, name)) for name in names}
    measured = {name: measure(column_levels, chunks) for name, column_levels in levels.items()}
    together = measure_joint(joint_features(levels, len(before) + len(now), seed), chunks)
    every = [together, *chain.from_iterable(measured.values())]
    largest = np.max([statistic.z for statistic in every], axis=0)
    usual = NullDistribution(largest[1:], chunks.independent, drift.false_alarms)
    shares = _shares(importance or {}, names)
    columns = {
        name: _judge_column(
            f"{name} (absent)" if name not in now else name,
            levels[name],
            measured[name],
            usual,
            shares[name],
            chunks,
        )
        for name in names
    }
    columns = dict(sorted(columns.items(), key=lambda item: item[1].p_value))
    whole = _judge_joint(together, usual)
    severity, reasons = judge(
        columns,
        whole,
        error,
        earlier,
        persistent=drift.persistent,
        important=drift.important,
    )
    return DriftReport(
        severity=severity,
        alarm=whole.moved or any(column.moved for column in columns.values()),
        p_value=usual.p_value(float(largest[0])),
        reasons=reasons,
        rows={"reference": len(reference), "current": len(current)},
        span=[] if time is None else [str(now[time].iloc[0]), str(now[time].iloc[-1])],
        columns=columns,
        joint=whole,
        calibration=_calibration(usual, chunks),
        left_out=left_out,
        error=error,
    )


def _ordered(rows: pd.DataFrame, time: str | None, place: str) -> pd.DataFrame:
    """Rows in the order of their time."""
    least = _MIN_REFERENCE if place == "reference" else 1
    if len(rows) < least:
        raise DataError(f"drift: the {place} has {len(rows)} rows; expected at least {least}")
    if time is None:
        return rows.reset_index(drop=True)
    if time not in rows:
        raise ConfigError(f"drift: the {place} has no column '{time}' to order its rows by")
    times = pd.to_datetime(rows[time], errors="coerce")
    if missing := int(times.isna().sum()):
        raise DataError(f"drift: {missing} of {len(rows)} rows of the {place} have no '{time}'")
    return rows.assign(**{time: times}).sort_values(time, kind="stable", ignore_index=True)


def _at_most(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    if len(rows) <= _MOST_ROWS:
        return rows
    return rows.sample(_MOST_ROWS, random_state=seed).reset_index(drop=True)


def _columns(
    before: pd.DataFrame, now: pd.DataFrame, drift: Drift, time: str | None
) -> tuple[list[str], dict[str, str]]:
    """Columns that are looked at, and why the others are not."""
    if unknown := [name for name in drift.columns or [] if name not in before]:
        raise ConfigError(
            f"parameter monitoring.drift.columns: {unknown} is not among the columns of the "
            f"reference {list(before)}"
        )
    names = [str(name) for name in drift.columns or before if name != time]
    left_out = {str(name): "not in the reference" for name in now if name not in before}
    kinds = {name: kind_of(before[name], now.get(name)) for name in names}
    left_out |= {name: "a date" for name in names if kinds[name] == "date"}
    if time is not None:
        clocks = [
            name
            for name in names
            if kinds[name] == "number" and _follows_clock(before[name], before[time])
        ]
        left_out |= dict.fromkeys(clocks, f"only follows '{time}'")
    return [name for name in names if name not in left_out], left_out


def _follows_clock(values: pd.Series, times: pd.Series) -> bool:
    present = pd.Series(numbers(values))
    if min(present.nunique(), times.nunique()) < 2:
        return False
    return bool(abs(present.rank().corr(times.rank())) > _CLOCK)


def _chunks(
    before: pd.DataFrame,
    now: pd.DataFrame,
    drift: Drift,
    time: str | None,
    period: str | None,
    seed: int,
) -> Chunks:
    if time is None:
        return draw_chunks(len(before), len(now), drift.chunks, seed)
    chunks = run_chunks(before[time], now[time], drift.chunks, period)
    if chunks.independent < 2:
        raise DataError(
            f"drift: the reference has {len(before)} rows at {before[time].nunique()} times; "
            f"expected enough for two runs of {chunks.size} rows"
        )
    return chunks


def _column(now: pd.DataFrame, name: str) -> pd.Series:
    if name in now:
        return now[name]
    return pd.Series([None] * len(now), dtype=object)


def _shares(importance: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Share of each column of the summed importance; what does harm counts for nothing."""
    positive = {name: max(float(value), 0.0) for name, value in importance.items()}
    total = sum(positive.values())
    return {name: positive.get(name, 0.0) / total if total > 0 else 0.0 for name in names}


def _judge_column(
    name: str,
    levels: LevelCounts,
    measured: Sequence[Statistic],
    usual: NullDistribution,
    importance: float,
    chunks: Chunks,
) -> ColumnDrift:
    p_value = usual.p_value(max(float(statistic.z[0]) for statistic in measured))
    results = _measured(measured, usual)
    moved = any(statistic.moved for statistic in results.values())
    text = describe(name, levels, results, measured, chunks)
    return ColumnDrift(levels.kind, results, p_value, moved, importance, text)


def _judge_joint(together: Statistic, usual: NullDistribution) -> ColumnDrift:
    results = _measured([together], usual)
    p_value = usual.p_value(float(together.z[0]))
    moved = results["distance"].moved
    return ColumnDrift("all", results, p_value, moved, 1.0, describe_joint(moved=moved))


def _measured(
    statistics: Sequence[Statistic], usual: NullDistribution
) -> dict[str, StatisticResult]:
    return {
        statistic.name: StatisticResult(
            value=statistic.value,
            threshold=statistic.read(usual.threshold),
            moved=bool(usual.p_value(float(statistic.z[0])) <= usual.level),
        )
        for statistic in statistics
    }


def _calibration(usual: NullDistribution, chunks: Chunks) -> dict[str, Any]:
    return {
        "false_alarms": usual.level,
        "chunks": len(chunks),
        "size": chunks.size,
        "independent": chunks.independent,
        "taken": chunks.kind,
        "season": chunks.season,
        "threshold": "rank among the chunks"
        if usual.by_rank
        else "tail beyond the chunks, as there are too few to count",
    }


_SHOWN = 3  # names of values never seen before


def describe(
    name: str,
    levels: LevelCounts,
    results: Mapping[str, StatisticResult],
    measured: Sequence[Statistic],
    chunks: Chunks,
) -> str:
    """Describe the result of a column, by the statistic that is furthest from the usual."""
    if not any(statistic.moved for statistic in results.values()):
        return f"{name} is as usual."
    worst = max(measured, key=lambda statistic: float(statistic.z[0])).name
    value, threshold = results[worst].value, results[worst].threshold
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
    """Describe the result of all columns together."""
    return (
        "The columns together have moved: their values, or how they go with each other."
        if moved
        else "The columns go together as usual."
    )


def _new_names(levels: LevelCounts, chunks: Chunks) -> list[str]:
    """The most frequent levels of the window that the reference rows lack."""
    window = (chunks.members[:1] @ levels.counts).toarray().ravel()
    reference = np.asarray(chunks.base.astype(np.float64) @ levels.counts).ravel()
    new = np.where(reference == 0, window, 0)
    order = np.argsort(-new, kind="stable")
    return [f"'{levels.names[i]}'" for i in order[:_SHOWN] if new[i] > 0]
