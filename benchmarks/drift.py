"""How often drift is announced where there is none, and found where there is one.

Simulated windows, ours beside the default rule of evidently, a popular library that is not
installed here: what its documentation says of the choice of tests is written anew below, and run
on the same rows. Then real windows of the sample data, against earlier rows and against the other
weeks of their quarter: real data drift, and nobody knows which of these alarms are false.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from harness.measure import print_table
from harness.project import ROOT
from scipy import stats
from scipy.spatial.distance import jensenshannon

from ratchet.config import Drift
from ratchet.monitoring.drift import detect

Make = Callable[[np.random.Generator, int], pd.DataFrame]
Change = Callable[[pd.DataFrame], pd.DataFrame]

COLUMNS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=100, help="simulated windows (default: 100)")
    parser.add_argument("--chunks", type=int, default=200, help="chunks of each (default: 200)")
    parser.add_argument("--only", choices=["false", "power", "real"], help="one of the tables")
    options = parser.parse_args()
    drift = Drift(chunks=options.chunks)
    if options.only in (None, "false"):
        print_table(
            ("no drift", "alarms", "columns", "evidently: columns", "half of them", "windows", "s"),
            [without_drift(*case, options.windows, drift) for case in FALSE],
        )
    if options.only in (None, "power"):
        print_table(
            ("drift in 1 of 20 columns", "found", "named", "evidently", "windows"),
            [with_drift(*case, options.windows, drift) for case in POWER],
        )
    if options.only in (None, "real"):
        print_table(
            ("real windows", "alarms", "of", "most often"),
            [on_real_rows(*case, drift) for case in REAL],
        )


def normal(rng: np.random.Generator, n: int) -> pd.DataFrame:
    return pd.DataFrame(
        rng.standard_normal((n, COLUMNS)), columns=[f"x{i}" for i in range(COLUMNS)]
    )


def heavy(rng: np.random.Generator, n: int) -> pd.DataFrame:
    return pd.DataFrame(rng.standard_t(1.5, (n, COLUMNS))).add_prefix("x")


def rare(rng: np.random.Generator, n: int) -> pd.DataFrame:
    return pd.DataFrame(rng.zipf(1.7, (n, COLUMNS)).astype(str)).add_prefix("x")


def lacking(rng: np.random.Generator, n: int) -> pd.DataFrame:
    return normal(rng, n).mask(rng.random((n, COLUMNS)) < 0.1)


def with_category(rng: np.random.Generator, n: int) -> pd.DataFrame:
    return normal(rng, n).assign(x3=rng.choice(["a", "b", "c"], n))


FALSE: list[tuple[str, Make, int, int]] = [
    (f"{make.__name__}, {n:,} / {m:,}", make, n, m)
    for n, m in [(5000, 100), (900, 100), (5000, 5000)]
    for make in (normal, heavy, rare, lacking)
]


def _shift(amount: float) -> Change:
    return lambda rows: rows.assign(x3=rows["x3"] + amount)


def _miss(share: float) -> Change:
    return lambda rows: rows.assign(x3=rows["x3"].mask(np.arange(len(rows)) < share * len(rows)))


POWER: list[tuple[str, Make, int, int, Change]] = [
    ("0.09 sd, 50,000 / 50,000", normal, 50_000, 50_000, _shift(0.09)),
    ("0.3 sd, 5,000 / 500", normal, 5000, 500, _shift(0.3)),
    ("0.3 sd, 5,000 / 100", normal, 5000, 100, _shift(0.3)),
    ("0.5 sd, 900 / 100", normal, 900, 100, _shift(0.5)),
    ("60 % missing, 5,000 / 100", normal, 5000, 100, _miss(0.6)),
    ("10 % missing, 5,000 / 100", normal, 5000, 100, _miss(0.1)),
    *(
        (
            f"new category of 5 %, 5,000 / {m}",
            with_category,
            5000,
            m,
            lambda rows: rows.assign(x3=rows["x3"].mask(np.arange(len(rows)) % 20 == 0, "new")),
        )
        for m in (100, 500)
    ),
]


def simulated(make: Make, n: int, m: int, windows: int) -> Iterator[tuple[int, Any, Any]]:
    """Pairs of reference and window; a quarter or less of them where they are large."""
    share = 1 if n + m < 10_000 else 4 if n <= 5000 else 20
    for seed in range(max(windows // share, 3)):
        rng = np.random.default_rng(seed)
        yield seed, make(rng, n), make(rng, m)


def without_drift(title: str, make: Make, n: int, m: int, windows: int, drift: Drift) -> list[str]:
    start, alarms, columns, theirs = time.process_time(), [], [], []
    for seed, before, now in simulated(make, n, m, windows):
        report = detect(before, now, drift, seed=seed)
        alarms.append(report.alarm)
        columns.append(len(report.moved) / COLUMNS)
        theirs.append(np.mean([default_rule(before[name], now[name]) for name in before]))
    return [
        title,
        _percent(alarms),
        _percent(columns),
        _percent(theirs),
        _percent([share >= 0.5 for share in theirs]),
        str(len(alarms)),
        f"{time.process_time() - start:.0f}",
    ]


def with_drift(
    title: str, make: Make, n: int, m: int, change: Change, windows: int, drift: Drift
) -> list[str]:
    found, named, theirs = [], [], []
    for seed, before, unchanged in simulated(make, n, m, windows):
        now = change(unchanged)
        report = detect(before, now, drift, seed=seed)
        found.append(report.alarm)
        named.append("x3" in report.moved)
        theirs.append(default_rule(before["x3"], now["x3"]))
    return [title, _percent(found), _percent(named), _percent(theirs), str(len(found))]


def default_rule(before: pd.Series, now: pd.Series) -> bool:
    """Whether evidently's default finds a column drifted, by the choice that it documents.

    References of up to 1,000 rows are tested at 5 % (Kolmogorov-Smirnov for numbers, chi-squared
    for categories, difference of shares for two values). Larger ones have a distance of at least
    0.1 (Wasserstein by the standard deviation, Jensen-Shannon). Missing values are dropped.
    """
    first, second = before.dropna(), now.dropna()
    is_number = pd.api.types.is_numeric_dtype(first) and first.nunique() > 5
    if is_number and len(before) <= 1000:
        return bool(stats.ks_2samp(first, second).pvalue < 0.05)
    if is_number:
        return bool(stats.wasserstein_distance(first, second) / first.std(ddof=0) >= 0.1)
    counts = pd.DataFrame({"a": first.value_counts(), "b": second.value_counts()}).fillna(0)
    if len(before) > 1000:
        return bool(jensenshannon(counts["a"], counts["b"]) >= 0.1)
    if len(counts) <= 2:
        return bool(_difference_of_shares(counts) < 0.05)
    expected = counts["a"] / counts["a"].sum() * counts["b"].sum()
    with np.errstate(divide="ignore"):  # a new category is an infinite deviation
        deviation = ((counts["b"] - expected) ** 2 / expected).sum()
    return bool(stats.chi2.sf(deviation, len(counts) - 1) < 0.05)


def _difference_of_shares(counts: pd.DataFrame) -> float:
    p = counts.iloc[0] / counts.sum()
    pooled = counts.iloc[0].sum() / counts.to_numpy().sum()
    error = np.sqrt(pooled * (1 - pooled) * (1 / counts.sum()).sum())
    return float(2 * stats.norm.sf(abs(p["a"] - p["b"]) / error)) if error else 1.0


def _percent(values: Any) -> str:
    return f"{np.mean(values):.1%}"


# Real rows


def sources(use_case: str) -> tuple[pd.DataFrame, str, str | None]:
    """Source columns of a use case with their time, the column of the time, and the period."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    from ratchet.config.loader import read_use_cases
    from ratchet.preparation.contract import typed_rows
    from ratchet.preparation.required_columns import source_columns
    from ratchet.preparation.row_features import derive_columns

    bootstrap_project(ROOT)
    with KedroSession.create(ROOT) as session:
        context = session.load_context()
        parameters = read_use_cases(context.params)[use_case]
        raw = context.catalog.load(f"{use_case}.raw")
    data, features = parameters.data, parameters.features
    typed = derive_columns(typed_rows(raw, data, {}), data)
    past = features.windows.past if features.windows else {}
    history = features.history.entities if features.history else []
    named = parameters.monitoring.drift.columns or source_columns(
        [*features.columns, *past, *history], data
    )
    kept = [name for name in typed if name in named]
    time = data.time or ""
    rows = typed.dropna(subset=[time, *data.required]).sort_values(time, kind="stable")
    return rows[list(dict.fromkeys([time, *kept]))], time, "7D" if data.series else None


def forward(
    rows: pd.DataFrame, time: str, window: str, first: int, change: Change = lambda rows: rows
) -> Iterator[tuple[Any, Any]]:
    """Each window against all rows before it, at most 20,000, from the ``first`` one on."""
    periods = rows[time].dt.to_period(window)
    for period in sorted(periods.unique())[first:]:
        yield rows[periods < period].tail(20_000), change(rows[periods == period])


def _warmer(degrees: float) -> Change:
    return lambda rows: rows.assign(temperature=rows["temperature"] + degrees)


def _lacking(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(temperature=rows["temperature"].where(np.arange(len(rows)) % 20 > 0))


def others(
    rows: pd.DataFrame, time: str, window: str, season: str, change: Change = lambda rows: rows
) -> Iterator[tuple[Any, Any]]:
    """Each whole window against the others of its season."""
    periods, seasons = rows[time].dt.to_period(window), rows[time].dt.to_period(season)
    whole = rows.groupby(periods)[time].nunique().max()
    for _, mine in rows.groupby(seasons):
        for period, now in mine.groupby(periods[mine.index]):
            if now[time].nunique() == whole:
                yield mine[periods[mine.index] != period], change(now)


REAL: list[tuple[str, str, Callable[..., Iterator[tuple[Any, Any]]], tuple[Any, ...]]] = [
    ("power: weeks, others of their quarter", "power", others, ("W", "Q")),
    ("power: weeks, all before", "power", forward, ("W", 26)),
    *(
        (f"power: {name}, {degrees} degrees warmer", "power", pairs, (*how, _warmer(degrees)))
        for name, pairs, how in (("quarter", others, ("W", "Q")), ("before", forward, ("W", 26)))
        for degrees in (6, 12)
    ),
    ("power: before, 5 % without temperature", "power", forward, ("W", 26, _lacking)),
    ("stock: weeks, all others", "stock", others, ("W", "2Y")),
    ("stock: weeks, all before", "stock", forward, ("W", 9)),
    ("prices: quarters, all before", "prices", forward, ("Q", 20)),
    ("films: years, 20,000 before", "films", forward, ("Y", -25)),
]


def on_real_rows(
    title: str,
    use_case: str,
    pairs: Callable[..., Iterator[tuple[Any, Any]]],
    how: Any,
    drift: Drift,
) -> list[str]:
    rows, time, period = sources(use_case)
    reports = [
        detect(before, now, drift, time=time, period=period)
        for before, now in pairs(rows, time, *how)
    ]
    moved = pd.Series([name for report in reports for name in report.moved], dtype=str)
    joint = sum(report.joint.moved for report in reports)
    often = [f"{name} {count}" for name, count in moved.value_counts().head(4).items()]
    alarms = sum(report.alarm for report in reports)
    return [title, str(alarms), str(len(reports)), ", ".join([*often, f"together {joint}"])]


if __name__ == "__main__":
    main()
