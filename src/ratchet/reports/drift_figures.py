"""Figure of a drift report: statistics by column, and distributions before and now."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ratchet.monitoring.drift.columns import kind_of, numbers
from ratchet.monitoring.drift.report import DriftReport
from ratchet.reports.chart import Chart
from ratchet.reports.vega_lite import to_png, vega_lite_sheet

_COLUMNS = 20  # most unusual ones that are listed
_SHOWN = 4  # of them, whose distributions are drawn
_BARS = 8  # most different values of a category
_BINS = 30
_STATISTICS = {
    "psi": "stability index",
    "ks": "Kolmogorov-Smirnov",
    "wasserstein": "Wasserstein",
    "missing": "share missing",
    "unseen": "share of new categories",
    "distance": "all columns together",
}


def draw(report: DriftReport, reference: pd.DataFrame, current: pd.DataFrame) -> bytes:
    """Draw every statistic against its threshold, and distributions of the most unusual columns.

    ``reference`` are rows that the model learned from, ``current`` those of the window.

    Returns:
        A PNG.
    """
    first, *others = drift_charts(report, reference, current)
    return to_png(vega_lite_sheet([first], others))


def drift_charts(
    report: DriftReport, reference: pd.DataFrame, current: pd.DataFrame
) -> list[Chart]:
    """The statistics of all columns, and the distributions of the most unusual ones."""
    listed = list(report.columns)[:_COLUMNS]
    shown = [name for name in listed if name in current][:_SHOWN]
    distributions = [_distribution(name, reference[name], current[name]) for name in shown]
    return [_thresholds(report, listed), *distributions]


def _thresholds(report: DriftReport, listed: list[str]) -> Chart:
    columns = {"(together)": report.joint, **{name: report.columns[name] for name in listed}}
    rows = [
        (label, _STATISTICS[name], _share(statistic.value, statistic.threshold))
        for label, column in columns.items()
        for name, statistic in column.statistics.items()
    ]
    return Chart(
        name="thresholds",
        kind="dots",
        title=_title(report),
        frame=pd.DataFrame(rows, columns=["column", "statistic", "share"]),
        x="share",
        y="column",
        x_title="statistic / threshold; right of the line it moved",
        group="statistic",
        log_axes="x",
        reference=1.0,
        reference_title="threshold",
    )


def _title(report: DriftReport) -> str:
    span = f", {report.span[0][:10]} to {report.span[1][:10]}" if report.span else ""
    title = f"Drift: {report.severity} ({report.rows['current']:,} rows{span})"
    return title if report.error is None else f"{title}\n{report.error.text}"


def _share(value: float, threshold: float) -> float:
    if np.isfinite(value / threshold if threshold else np.nan):
        return value / threshold
    return 0.0


def _short(text: str) -> str:
    return text if len(text) <= 28 else f"{text[:27]}…"


def _distribution(name: str, reference: pd.Series, current: pd.Series) -> Chart:
    if kind_of(reference, current) == "number":
        return _histogram(name, {"reference": numbers(reference), "window": numbers(current)})
    return _frequencies(name, {"reference": _shares(reference), "window": _shares(current)})


def _histogram(name: str, values: dict[str, np.ndarray]) -> Chart:
    before, now = (f"{np.isnan(each).mean():.0%}" for each in values.values())
    present = {rows: each[~np.isnan(each)] for rows, each in values.items()}
    both = np.concatenate([*present.values()])
    # Of a heavy tail the bulk: both sides lose the same.
    low, high = np.quantile(both, [0.005, 0.995]) if len(both) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    frames = [
        pd.DataFrame(
            {
                "value": (edges[1:] + edges[:-1]) / 2,
                "share": np.histogram(np.clip(each, low, edges[-1]), edges)[0] / max(len(each), 1),
                "rows": rows,
            }
        )
        for rows, each in present.items()
    ]
    return Chart(
        name=name,
        kind="histogram",
        title=_short(name),
        frame=pd.concat(frames),
        x="value",
        y="share",
        x_title=f"missing: {before} before, {now} now",
        y_title="share",
        group="rows",
    )


def _shares(values: pd.Series) -> pd.Series:
    """Share of the rows with each value or name; without one as ``(missing)``."""
    if kind_of(values) == "list":
        rows = values.map(lambda names: list(names) if isinstance(names, list | np.ndarray) else [])
        values = rows.explode()
    text = values.astype(object).where(values.notna(), "(missing)").map(str)
    return text.groupby(level=0).unique().explode().value_counts() / max(values.index.nunique(), 1)


def _frequencies(name: str, shares: dict[str, pd.Series]) -> Chart:
    table = pd.DataFrame(shares).fillna(0.0)
    apart = (table["window"] - table["reference"]).abs().sort_values(ascending=False)
    table = table.loc[apart.index[:_BARS]].rename_axis("value").reset_index()
    return Chart(
        name=name,
        kind="bar",
        title=_short(name),
        frame=table.melt("value", var_name="rows", value_name="share"),
        x="share",
        y="value",
        x_title="share of the rows",
        group="rows",
    )
