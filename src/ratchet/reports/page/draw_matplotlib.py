"""Charts on paper: PNG without a browser, and without pyplot's global state."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator, PercentFormatter

from ratchet.reports.page.chart import REFERENCE_COLOR, Chart
from ratchet.reports.page.marks_matplotlib import INK, MARKS

_LINE_LENGTH = 88  # characters across a figure


def to_matplotlib(*charts: Chart) -> Figure:
    """Draw charts with matplotlib, one below the other.

    Args:
        charts: what to draw.

    Returns:
        A figure that belongs to no window.
    """
    # What a user calls columns and classes is no formula, though it may hold two dollars.
    with rc_context({"text.parse_math": False}):
        return _draw(charts)


def _draw(charts: Sequence[Chart]) -> Figure:
    heights = [_height(chart) for chart in charts]
    figure = Figure(figsize=(8, sum(heights)), dpi=110)
    places = figure.subplots(len(charts), squeeze=False, height_ratios=heights)
    for chart, axes in zip(charts, places[:, 0], strict=True):
        _draw_in(axes, chart)
    # Places are found once: an engine that stays would draw all a second time when it is saved.
    ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12).execute(figure)
    return figure


def _draw_in(axes: Axes, chart: Chart) -> None:
    MARKS[chart.kind](chart, axes)
    title = textwrap.fill(chart.title, _LINE_LENGTH)
    axes.set_title(title, loc="left", fontsize=12, color=INK, pad=_title_pad(chart))
    axes.set_xlabel(chart.x_title, color=INK)
    axes.set_ylabel(chart.y_title, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    _finish_axes(axes, chart)


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
    _draw_references(axes, chart)
    if chart.labels:
        offset = 1.0 if chart.reference is None or not chart.lies else 1.06
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, offset),
            frameon=False,
            fontsize=9,
            ncols=_legend_columns(chart),
        )


def _draw_references(axes: Axes, chart: Chart) -> None:
    """What the marks are compared with: lines and a shaded ground, with their names."""
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
    if chart.shaded is not None:
        axes.axvspan(*chart.shaded, color=REFERENCE_COLOR, alpha=0.1, linewidth=0, zorder=0)
        place = {"xy": (chart.shaded[0], 0), "xycoords": axes.get_xaxis_transform()}
        _note(axes, chart.shaded_title, ha="left", **place)
    for number, (at, name) in enumerate(chart.marks):
        axes.axvline(at, **style)
        place = {"xy": (at, 0.96 - 0.06 * number), "xycoords": axes.get_xaxis_transform()}
        _note(axes, f" {name}", ha="left", **place)


def _note(axes: Axes, text: str, **place: Any) -> None:
    axes.annotate(
        text,
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=8,
        color="#5c6370",
        **place,
    )
