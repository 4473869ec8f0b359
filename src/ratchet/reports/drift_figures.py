"""Figure of a drift report: statistics by column, and distributions before and now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ratchet.monitoring.drift.columns import Array, kind_of, numbers
from ratchet.monitoring.drift.report import DriftReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 20  # most unusual ones that are listed
_SHOWN = 4  # of them, whose distributions are drawn
_BARS = 8  # most different values of a category
_BINS = 30
_TICKS = (0, 0.5, 1, 2, 5, 10, 100, 1000)
_BEFORE, _NOW, _INK = "#9aa5b8", "#c8553d", "#2e3440"
_MARKS = {
    "psi": ("o", "stability index"),
    "ks": ("s", "Kolmogorov-Smirnov"),
    "wasserstein": ("^", "Wasserstein"),
    "missing": ("D", "share missing"),
    "unseen": ("P", "share never seen"),
    "distance": ("X", "all columns together"),
}


def draw(report: DriftReport, reference: pd.DataFrame, current: pd.DataFrame) -> Figure:
    """Draw every statistic against its threshold, and distributions of the most unusual columns.

    ``reference`` are rows that the model learned from, ``current`` those of the window.
    """
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False}):  # two dollars in a name are no formula
        return _draw(report, reference, current)


def _draw(report: DriftReport, reference: pd.DataFrame, current: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure

    listed = list(report.columns)[:_COLUMNS]
    shown = [name for name in listed if name in current][:_SHOWN]
    height = 1.8 + 0.27 * (len(listed) + 1)
    below = 2.6 * ((len(shown) + 1) // 2)
    figure = Figure(figsize=(10, height + below), layout="constrained")
    rows = 1 + (len(shown) + 1) // 2
    grid = figure.add_gridspec(rows, 2, height_ratios=[height, *[2.6] * (rows - 1)])
    _thresholds(figure.add_subplot(grid[0, :]), report, listed)
    for place, name in enumerate(shown):
        axes = figure.add_subplot(grid[1 + place // 2, place % 2])
        _distributions(axes, name, reference[name], current[name])
        if place == 0 and axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    return figure


def _thresholds(axes: Axes, report: DriftReport, listed: list[str]) -> None:
    labels = ["(together)", *listed]
    lines = [report.joint, *(report.columns[name] for name in listed)]
    used: set[str] = set()
    for place, column in enumerate(lines):
        for name, statistic in column.statistics.items():
            marker, words = _MARKS[name]
            axes.scatter(
                _share(statistic.value, statistic.threshold),
                place,
                marker=marker,
                s=34,
                facecolors=_NOW if statistic.moved else "none",
                edgecolors=_NOW if statistic.moved else _BEFORE,
                label=None if name in used else words,
            )
            used.add(name)
    axes.axvline(1, color=_INK, linewidth=1)
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels], fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xscale("symlog", linthresh=2)
    axes.set_xlim(-0.05, max(2.0, axes.get_xlim()[1]))
    ticks = [tick for tick in _TICKS if tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("statistic / threshold; right of the line it moved")
    axes.set_title(_title(report), loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.grid(axis="x", alpha=0.25)


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


def _distributions(axes: Axes, name: str, reference: pd.Series, current: pd.Series) -> None:
    axes.set_title(_short(name), loc="left", fontsize=9)
    axes.tick_params(labelsize=8)
    if kind_of(reference, current) == "number":
        _histograms(axes, numbers(reference), numbers(current))
    else:
        _frequencies(axes, _shares(reference), _shares(current))


def _histograms(axes: Axes, before: Array, now: Array) -> None:
    lack = [f"{np.isnan(values).mean():.0%}" for values in (before, now)]
    axes.set_xlabel(f"missing: {lack[0]} before, {lack[1]} now", fontsize=8)
    before, now = (values[~np.isnan(values)] for values in (before, now))
    both = np.concatenate([before, now])
    if len(both) == 0:
        return
    # Of a heavy tail the bulk: both sides lose the same.
    low, high = np.quantile(both, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    for values, color, label in ((before, _BEFORE, "reference"), (now, _NOW, "window")):
        counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
        shares = counts / max(len(values), 1)
        axes.stairs(shares, edges, fill=True, alpha=0.5, color=color, label=label)
    axes.set_ylabel("share", fontsize=8)


def _shares(values: pd.Series) -> pd.Series:
    """Share of the rows with each value or name; without one as ``(missing)``."""
    if kind_of(values) == "list":
        rows = values.map(lambda names: list(names) if isinstance(names, list | np.ndarray) else [])
        values = rows.explode()
    text = values.astype(object).where(values.notna(), "(missing)").map(str)
    return text.groupby(level=0).unique().explode().value_counts() / max(values.index.nunique(), 1)


def _frequencies(axes: Axes, before: pd.Series, now: pd.Series) -> None:
    table = pd.DataFrame({"before": before, "now": now}).fillna(0.0)
    apart = (table["now"] - table["before"]).abs().sort_values(ascending=False)
    table = table.loc[apart.index[:_BARS]]
    places = np.arange(len(table))
    axes.barh(places - 0.2, table["before"], 0.4, color=_BEFORE, label="reference")
    axes.barh(places + 0.2, table["now"], 0.4, color=_NOW, label="window")
    axes.set_yticks(places, [_short(str(name)) for name in table.index], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("share of the rows", fontsize=8)
