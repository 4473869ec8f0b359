"""Charts on paper: PNG without a browser, and without pyplot's global state."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator, PercentFormatter

from ratchet.pipelines.reporting.page.chart import COLORS, REFERENCE_COLOR, SCALE, Chart

_INK = "#2e3440"
_LABEL_LENGTH = 36
_LINE_LENGTH = 88  # characters across a figure


def to_matplotlib(chart: Chart) -> Figure:
    """Draw a chart with matplotlib.

    Args:
        chart: what to draw.

    Returns:
        A figure that belongs to no window.
    """
    figure = Figure(
        figsize=(8, _height(chart)), dpi=110, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    )
    axes = figure.add_subplot()
    _DRAW[chart.kind](chart, axes)
    title = textwrap.fill(chart.title, _LINE_LENGTH)
    axes.set_title(title, loc="left", fontsize=12, color=_INK, pad=_title_pad(chart))
    axes.set_xlabel(chart.x_title, color=_INK)
    axes.set_ylabel(chart.y_title, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK, labelsize=9)
    _finish_axes(axes, chart)
    return figure


def _height(chart: Chart) -> float:
    if chart.lies:
        marks = len(chart.frame) if chart.group else chart.frame[chart.y].nunique()
        return 1.5 + max(0.27 * marks, 0.8)
    return 4.2


def _title_pad(chart: Chart) -> float:
    # Legend and the name of the reference line stand between title and axes.
    columns = _legend_columns(chart)
    legend = -(-len(chart.labels) // columns)
    return 8 + 16 * (legend + (chart.reference is not None and chart.lies))


def _legend_columns(chart: Chart) -> int:
    """Entries side by side, so that the longest fits."""
    longest = max(map(len, chart.labels), default=0)
    return max(1, min(6, _LINE_LENGTH // (longest + 7)))


def _finish_axes(axes: Axes, chart: Chart) -> None:
    for axis, set_scale, ticks in (
        ("x", axes.set_xscale, axes.xaxis),
        ("y", axes.set_yscale, axes.yaxis),
    ):
        if axis in chart.logs:
            set_scale("log")
            if values := chart.ticks(axis):
                ticks.set_ticks(values, labels=[f"{value:g}" for value in values])
                ticks.set_minor_locator(NullLocator())
    if chart.kind in ("line", "curve", "points") and pd.api.types.is_datetime64_any_dtype(
        chart.frame[chart.x]
    ):
        locator = AutoDateLocator(minticks=3, maxticks=12)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if "x" in chart.shares:
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    if chart.kind == "bar" and not chart.frame[chart.x].any():
        axes.set_xlim(0, 1)
    if "y" in chart.shares:
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    if chart.kind != "heatmap":
        axes.grid(axis="x" if chart.kind == "bar" else "both", color="#e6e8eb", linewidth=0.8)
        axes.set_axisbelow(True)
    style: Any = {"color": REFERENCE_COLOR, "linewidth": 1.2, "linestyle": "--"}
    if chart.diagonal:
        both = pd.concat([chart.frame[chart.x], chart.frame[chart.y]])
        axes.plot([both.min(), both.max()], [both.min(), both.max()], zorder=1, **style)
    if chart.reference is not None and chart.lies:
        axes.axvline(chart.reference, **style)
        place = {"xy": (chart.reference, 1), "xycoords": axes.get_xaxis_transform()}
        _note(axes, chart.reference_title, ha="center", **place)
    elif chart.reference is not None:
        axes.axhline(chart.reference, **style)
        place = {"xy": (1, chart.reference), "xycoords": axes.get_yaxis_transform()}
        _note(axes, chart.reference_title, ha="right", **place)
    if chart.labels:
        offset = 1.0 if chart.reference is None or not chart.lies else 1.06
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, offset),
            frameon=False,
            fontsize=9,
            ncols=_legend_columns(chart),
        )


def _note(axes: Axes, text: str, **place: Any) -> None:
    axes.annotate(
        text,
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=8,
        color="#5c6370",
        **place,
    )


def _short(label: object) -> str:
    text = str(label)
    return text if len(text) <= _LABEL_LENGTH else f"{text[: _LABEL_LENGTH - 1]}…"


def _bars(chart: Chart, axes: Axes) -> None:
    labels = list(chart.frame[chart.y].unique())
    series = chart.series()
    width = 0.75 / len(series)
    for i, (name, rows) in enumerate(series):
        shift = (i - (len(series) - 1) / 2) * width
        axes.barh(
            [labels.index(label) + shift for label in rows[chart.y]],
            rows[chart.x],
            height=width,
            label=name,
            color=COLORS[i % len(COLORS)],
            xerr=chart.errors(rows),
            error_kw={"ecolor": "#3b4252", "elinewidth": 1, "capsize": 2},
        )
    _name_rows(axes, labels)


def _dots(chart: Chart, axes: Axes) -> None:
    labels = list(chart.frame[chart.y].unique())
    for i, (name, rows) in enumerate(chart.series()):
        axes.errorbar(
            rows[chart.x],
            [labels.index(label) for label in rows[chart.y]],
            xerr=chart.errors(rows),
            label=name,
            color=COLORS[i % len(COLORS)],
            ecolor="#7b8494",
            fmt="o",
            markersize=7,
            elinewidth=1.2,
            capsize=2.5,
        )
    _name_rows(axes, labels)


def _name_rows(axes: Axes, labels: list[object]) -> None:
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)


def _lines(chart: Chart, axes: Axes) -> None:
    for i, (name, rows) in enumerate(chart.series()):
        axes.errorbar(
            rows[chart.x],
            rows[chart.y],
            yerr=chart.errors(rows),
            label=name,
            color=COLORS[i % len(COLORS)],
            marker="o",
            markersize=4.5,
            linewidth=0 if name == chart.loose else 1.6,
            alpha=0.6 if name == chart.loose else 1.0,
            elinewidth=1,
            capsize=2,
        )


def _curves(chart: Chart, axes: Axes) -> None:
    for i, (name, rows) in enumerate(chart.series()):
        color = COLORS[i % len(COLORS)]
        band = chart.band(rows)
        if len(band):
            ends = band[chart.x], band[chart.low], band[chart.high]
            axes.fill_between(*ends, color=color, alpha=0.2, linewidth=0, label=chart.band_title)
        axes.plot(rows[chart.x], rows[chart.y], color=color, linewidth=1.4, label=name)


def _boxes(chart: Chart, axes: Axes) -> None:
    boxes = chart.boxes()
    jitter = np.random.default_rng(0)
    axes.boxplot(
        [rows[chart.y] for _, rows in boxes],
        widths=0.5,
        showfliers=False,
        boxprops={"color": COLORS[0]},
        medianprops={"color": COLORS[0], "linewidth": 2},
        whiskerprops={"color": COLORS[0]},
        capprops={"color": COLORS[0]},
    )
    for place, (_, rows) in enumerate(boxes, start=1):
        beside = place + jitter.uniform(-0.15, 0.15, len(rows))
        axes.scatter(beside, rows[chart.y], s=10, alpha=0.5, color=COLORS[1])
    axes.set_xticks(range(1, len(boxes) + 1), [_short(name) for name, _ in boxes])


def _points(chart: Chart, axes: Axes) -> None:
    for i, (name, rows) in enumerate(chart.series()):
        color = COLORS[i % len(COLORS)]
        axes.scatter(rows[chart.x], rows[chart.y], s=12, alpha=0.35, color=color, label=name)


def _heatmap(chart: Chart, axes: Axes) -> None:
    columns, index = chart.frame[chart.x].unique(), chart.frame[chart.y].unique()
    grid = chart.frame.set_index([chart.y, chart.x])
    cells = grid[chart.value].unstack().loc[index, columns].to_numpy(dtype=float)
    words = grid[chart.text].unstack().loc[index, columns].to_numpy()
    if not np.isfinite(cells).any():
        return
    scale = LinearSegmentedColormap.from_list("scale", SCALE)
    axes.imshow(cells, cmap=scale, aspect="auto")
    middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
    for (row, column), word in np.ndenumerate(words):
        color = "white" if cells[row, column] > middle else _INK
        plain = str(word).replace("<br>", "\n")
        axes.text(column, row, plain, ha="center", va="center", color=color, fontsize=10)
    axes.set_xticks(range(len(columns)), [_short(name) for name in columns])
    axes.set_yticks(range(len(index)), [_short(name) for name in index])


def _histogram(chart: Chart, axes: Axes) -> None:
    centres = np.sort(chart.frame[chart.x].unique())
    width = float(np.diff(centres).min()) * 0.95 if len(centres) > 1 else 1.0
    for i, (name, rows) in enumerate(chart.series()):
        axes.bar(
            rows[chart.x],
            rows[chart.y],
            width=width,
            label=name,
            color=COLORS[i % len(COLORS)],
            alpha=0.6 if chart.group else 1.0,
        )


_DRAW: dict[str, Callable[[Chart, Axes], None]] = {
    "bar": _bars,
    "dots": _dots,
    "line": _lines,
    "curve": _curves,
    "box": _boxes,
    "points": _points,
    "heatmap": _heatmap,
    "histogram": _histogram,
}
