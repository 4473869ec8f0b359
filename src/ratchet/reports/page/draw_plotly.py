"""Charts for the browser."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ratchet.reports.page.chart import REFERENCE_COLOR, Chart
from ratchet.reports.page.marks_plotly import MARKS, literal

_FONT = {"family": "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif", "size": 13}
_FEW = 12  # names that fit beside each other in a small plot
_GRID = {"gridcolor": "#e6e8eb", "zeroline": False, "linecolor": "#c9ced6", "automargin": True}
_NO_TEMPLATE = {"data": {"scatter": [{"type": "scatter"}]}}  # plotly's "none"


def to_plotly(chart: Chart, *, titled: bool = True) -> go.Figure:
    """Draw a chart with plotly.

    Args:
        chart: what to draw.
        titled: whether the title is part of the figure.

    Returns:
        The figure, with fonts and colours of its own and no template.
    """
    return go.Figure(figure_dict(chart, titled=titled))


def figure_dict(chart: Chart, *, titled: bool = True) -> dict[str, Any]:
    """Describe a chart as plotly does in JSON; quicker than a figure, which checks all it is given.

    Args:
        chart: what to draw.
        titled: whether the title is part of the figure.

    Returns:
        ``data`` and ``layout``.
    """
    layout = {
        "template": _NO_TEMPLATE,
        "font": _FONT,
        "height": _height(chart) + (40 if titled else 0),
        "margin": {"l": 60, "r": 24, "t": 60 if titled else 28, "b": 50},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "showlegend": chart.group is not None,
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0},
        "bargap": 0.3,
        "xaxis": _axis(chart, "x", chart.x_title) | _x_axis(chart),
        "yaxis": _axis(chart, "y", chart.y_title) | _y_axis(chart),
    }
    if titled:
        place = {"x": 0, "xref": "container", "pad": {"l": 12}}
        layout["title"] = {"text": literal(chart.title), "font": {"size": 16}, **place}
    if chart.kind == "histogram":
        layout |= {"barmode": "overlay", "bargap": 0.05}
    return {"data": MARKS[chart.kind](chart), "layout": layout | _references(chart)}


def _height(chart: Chart) -> int:
    if chart.lies:
        marks = len(chart.frame) if chart.group else chart.frame[chart.y].nunique()
        return 110 + max(22 * marks, 60)
    return 380


def _axis(chart: Chart, axis: str, title: str) -> dict[str, Any]:
    """What both axes have in common."""
    found: dict[str, Any] = {
        "title": {"text": literal(title), "standoff": 8, "font": _FONT},
        **_GRID,
    }
    if axis in chart.logs:
        found |= {"type": "log", **_ticks(chart.ticks(axis))}
    if axis in chart.shares:
        found["tickformat"] = ".3~%"
    return found


def _x_axis(chart: Chart) -> dict[str, Any]:
    values = chart.frame[chart.x]
    if chart.kind == "heatmap":
        return {"type": "category", "side": "bottom", "showgrid": False}
    if chart.kind == "box":
        return {"type": "category"}
    if chart.kind == "bar" and not values.any():
        return {"range": [0, 1]}
    if pd.api.types.is_datetime64_any_dtype(values) and (values.dt.dayofyear == 1).all():
        step = f"M{12 * max(1, round(values.dt.year.nunique() / 10))}"
        return {"tickformat": "%Y", "dtick": step, "tick0": values.min()}
    return {}


def _y_axis(chart: Chart) -> dict[str, Any]:
    if not chart.lies and chart.kind != "heatmap":
        return {}
    names = [literal(name) for name in chart.frame[chart.y].astype(str).unique()]
    return {
        "autorange": "reversed",
        # All names also where there is little room, as in the previews of Kedro-Viz.
        **({"dtick": 1} if len(names) <= _FEW else {}),
        "showgrid": chart.kind == "dots",
        "type": "category",
        # Otherwise the categories of the first colour come first.
        "categoryorder": "array",
        "categoryarray": names,
    }


def _references(chart: Chart) -> dict[str, Any]:
    """The diagonal, and the value to compare with and its name."""
    line = {"type": "line", "line": {"color": REFERENCE_COLOR, "width": 1.5, "dash": "dash"}}
    shapes, notes = [], []
    if chart.diagonal:
        low, high = _limits(chart)
        shapes.append({**line, "x0": low, "y0": low, "x1": high, "y1": high, "layer": "below"})
    if chart.reference is not None:
        at, along = ("x", "y") if chart.lies else ("y", "x")
        axes = {f"{at}ref": at, f"{along}ref": f"{along} domain"}
        ends = {f"{at}{end}": chart.reference for end in (0, 1)} | {f"{along}0": 0, f"{along}1": 1}
        shapes.append({**line, **axes, **ends})
        name = {"text": literal(chart.reference_title), "font": {"size": 11}, "showarrow": False}
        place = {at: chart.reference, along: 1, "yanchor": "bottom"}
        notes.append({**name, **axes, **place, "xanchor": "center" if chart.lies else "right"})
    upright = {"xref": "x", "yref": "y domain", "y0": 0, "y1": 1}
    small = {"font": {"size": 11}, "showarrow": False, "xanchor": "left", "xref": "x"}
    if chart.shaded is not None:
        low, high = chart.shaded
        ground = {"type": "rect", "fillcolor": REFERENCE_COLOR, "opacity": 0.1, "layer": "below"}
        shapes.append({**ground, **upright, "x0": low, "x1": high, "line": {"width": 0}})
        name = {"text": literal(chart.shaded_title), "x": low, "y": 0, "yanchor": "bottom"}
        notes.append({**small, **name, "yref": "y domain"})
    for number, (value, text) in enumerate(chart.marks):
        shapes.append({**line, **upright, "x0": value, "x1": value})
        name = {"text": literal(text), "x": value, "y": 0.98 - 0.07 * number}
        notes.append({**small, **name, "yref": "y domain"})
    drawn = {"shapes": shapes, "annotations": notes}
    return {name: each for name, each in drawn.items() if each}


def _ticks(values: list[float]) -> dict[str, Any]:
    return {"tickvals": values, "ticktext": [f"{value:g}" for value in values]} if values else {}


def _limits(chart: Chart) -> tuple[float, float]:
    both = pd.concat([chart.frame[chart.x], chart.frame[chart.y]])
    return float(both.min()), float(both.max())
