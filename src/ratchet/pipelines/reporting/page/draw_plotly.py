"""Charts for the browser."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ratchet.pipelines.reporting.page.chart import REFERENCE_COLOR, Chart
from ratchet.pipelines.reporting.page.marks_plotly import MARKS

_FONT = {"family": "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif", "size": 13}
_FEW = 12  # names that fit beside each other in a small plot
_GRID = {"gridcolor": "#e6e8eb", "zeroline": False, "linecolor": "#c9ced6", "automargin": True}


def to_plotly(chart: Chart, *, titled: bool = True) -> go.Figure:
    """Draw a chart with plotly.

    Args:
        chart: what to draw.
        titled: whether the title is part of the figure.

    Returns:
        The figure, with fonts and colours of its own and no template.
    """
    figure = go.Figure(MARKS[chart.kind](chart))
    figure.update_layout(
        template="none",
        font=_FONT,
        title={
            "text": chart.title,
            "font": {"size": 16},
            "x": 0,
            "xref": "container",
            "pad": {"l": 12},
        }
        if titled
        else None,
        height=_height(chart) + (40 if titled else 0),
        margin={"l": 60, "r": 24, "t": 60 if titled else 28, "b": 50},
        paper_bgcolor="white",
        plot_bgcolor="white",
        showlegend=chart.group is not None,
        legend={"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0},
        bargap=0.3,
    )
    figure.update_xaxes(title={"text": chart.x_title, "standoff": 8, "font": _FONT}, **_GRID)
    figure.update_yaxes(title={"text": chart.y_title, "standoff": 8, "font": _FONT}, **_GRID)
    _finish_axes(figure, chart)
    return figure


def _height(chart: Chart) -> int:
    if chart.lies:
        marks = len(chart.frame) if chart.group else chart.frame[chart.y].nunique()
        return 110 + max(22 * marks, 60)
    return 380


def _finish_axes(figure: go.Figure, chart: Chart) -> None:
    for axis, update in (("x", figure.update_xaxes), ("y", figure.update_yaxes)):
        if axis in chart.logs:
            update(type="log", **_ticks(chart.ticks(axis)))
    if chart.kind == "box":
        figure.update_xaxes(type="category")
    if "x" in chart.shares:
        figure.update_xaxes(tickformat=".3~%")
    if chart.kind == "bar" and not chart.frame[chart.x].any():
        figure.update_xaxes(range=[0, 1])
    if "y" in chart.shares:
        figure.update_yaxes(tickformat=".3~%")
    days = chart.frame[chart.x]
    if pd.api.types.is_datetime64_any_dtype(days) and (days.dt.dayofyear == 1).all():
        step = f"M{12 * max(1, round(days.dt.year.nunique() / 10))}"
        figure.update_xaxes(tickformat="%Y", dtick=step, tick0=days.min())
    if chart.lies or chart.kind == "heatmap":
        names = list(chart.frame[chart.y].astype(str).unique())
        figure.update_yaxes(
            autorange="reversed",
            # All names also where there is little room, as in the previews of Kedro-Viz.
            dtick=1 if len(names) <= _FEW else None,
            showgrid=chart.kind == "dots",
            type="category",
            # Otherwise the categories of the first colour come first.
            categoryorder="array",
            categoryarray=names,
        )
    if chart.kind == "heatmap":
        figure.update_xaxes(type="category", side="bottom", showgrid=False)
    if chart.kind == "histogram":
        figure.update_layout(barmode="overlay", bargap=0.05)
    line = {"color": REFERENCE_COLOR, "width": 1.5, "dash": "dash"}
    if chart.diagonal:
        low, high = _limits(chart)
        figure.add_shape(type="line", x0=low, y0=low, x1=high, y1=high, line=line, layer="below")
    if chart.reference is not None:
        add = figure.add_vline if chart.lies else figure.add_hline
        label = {"annotation_text": chart.reference_title, "annotation_font_size": 11}
        place = "top" if chart.lies else "top right"
        add(chart.reference, line=line, annotation_position=place, **label)


def _ticks(values: list[float]) -> dict[str, Any]:
    return {"tickvals": values, "ticktext": [f"{value:g}" for value in values]} if values else {}


def _limits(chart: Chart) -> tuple[float, float]:
    both = pd.concat([chart.frame[chart.x], chart.frame[chart.y]])
    return float(both.min()), float(both.max())
