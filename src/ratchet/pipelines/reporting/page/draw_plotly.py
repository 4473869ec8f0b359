"""Charts for the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ratchet.pipelines.reporting.page.chart import COLORS, REFERENCE_COLOR, SCALE, Chart

_FONT = {"family": "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif", "size": 13}
_GRID = {"gridcolor": "#e6e8eb", "zeroline": False, "linecolor": "#c9ced6", "automargin": True}


def to_plotly(chart: Chart, *, titled: bool = True) -> go.Figure:
    """Draw a chart with plotly.

    Args:
        chart: what to draw.
        titled: whether the title is part of the figure.

    Returns:
        The figure, with fonts and colours of its own and no template.
    """
    figure = go.Figure(_DRAW[chart.kind](chart))
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
        figure.update_yaxes(
            autorange="reversed",
            showgrid=chart.kind == "dots",
            type="category",
            # Otherwise the categories of the first colour come first.
            categoryorder="array",
            categoryarray=list(chart.frame[chart.y].astype(str).unique()),
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


def _error_bars(chart: Chart, rows: pd.DataFrame) -> dict[str, Any]:
    lengths = chart.errors(rows)
    if lengths is None:
        return {}
    bars = {
        "type": "data",
        "symmetric": False,
        "arrayminus": lengths[0],
        "array": lengths[1],
        "thickness": 1.2,
        "width": 4,
        "color": "#7b8494",
    }
    return {"error_x" if chart.lies else "error_y": bars}


def _bars(chart: Chart) -> list[go.Bar]:
    return [
        go.Bar(
            x=rows[chart.x].to_list(),
            y=rows[chart.y].astype(str).to_list(),
            name=name,
            orientation="h",
            marker={"color": COLORS[i % len(COLORS)]},
            **_error_bars(chart, rows),
        )
        for i, (name, rows) in enumerate(chart.series())
    ]


def _scatter(chart: Chart, mode: str, size: int, opacity: float) -> list[go.Scatter]:
    return [
        go.Scatter(
            x=rows[chart.x].to_list(),
            y=rows[chart.y].to_list(),
            name=name,
            mode=mode,
            marker={"color": COLORS[i % len(COLORS)], "size": size, "opacity": opacity},
            line={"width": 2},
            **_error_bars(chart, rows),
        )
        for i, (name, rows) in enumerate(chart.series())
    ]


def _dots(chart: Chart) -> list[go.Scatter]:
    return _scatter(chart, "markers", 10, 1.0)


def _lines(chart: Chart) -> list[go.Scatter]:
    traces = _scatter(chart, "lines+markers", 7, 1.0)
    for trace in traces:
        if trace.name == chart.loose:
            trace.update(mode="markers", marker={"opacity": 0.6})
    return traces


def _curves(chart: Chart) -> list[go.Scatter]:
    traces = []
    for i, (name, rows) in enumerate(chart.series()):
        color = COLORS[i % len(COLORS)]
        band = chart.band(rows)
        if len(band):
            traces.append(_band(chart, band, color))
        traces.append(
            go.Scatter(
                x=rows[chart.x].to_list(),
                y=rows[chart.y].to_list(),
                name=name,
                mode="lines",
                line={"width": 1.8, "color": color},
            )
        )
    return traces


def _band(chart: Chart, rows: pd.DataFrame, color: str) -> go.Scatter:
    return go.Scatter(
        x=[*rows[chart.x], *rows[chart.x][::-1]],
        y=[*rows[chart.high], *rows[chart.low][::-1]],
        name=chart.band_title,
        fill="toself",
        mode="none",
        fillcolor=color,
        opacity=0.2,
        hoverinfo="skip",
    )


def _boxes(chart: Chart) -> list[go.Box]:
    return [
        go.Box(
            y=rows[chart.y].to_list(),
            name=name,
            boxpoints="all",
            jitter=0.35,
            pointpos=0,
            marker={"size": 5, "opacity": 0.6, "color": COLORS[1]},
            line={"color": COLORS[0], "width": 1.5},
            fillcolor="rgba(43, 92, 138, 0.15)",
        )
        for name, rows in chart.boxes()
    ]


def _points(chart: Chart) -> list[go.Scatter]:
    return _scatter(chart, "markers", 6, 0.4)


def _heatmap(chart: Chart) -> list[go.Heatmap]:
    columns, index = chart.frame[chart.x].unique(), chart.frame[chart.y].unique()
    grid = chart.frame.set_index([chart.y, chart.x])
    cells = grid[chart.value].unstack().loc[index, columns]
    words = grid[chart.text].unstack().loc[index, columns]
    return [
        go.Heatmap(
            x=[str(name) for name in columns],
            y=[str(name) for name in index],
            z=cells.to_numpy().tolist(),
            text=words.to_numpy().tolist(),
            texttemplate="%{text}",
            hovertemplate="%{y} / %{x}: %{text}<extra></extra>",
            colorscale=[[0, SCALE[0]], [1, SCALE[1]]],
            showscale=False,
            xgap=2,
            ygap=2,
        )
    ]


def _histogram(chart: Chart) -> list[go.Bar]:
    return [
        go.Bar(
            x=rows[chart.x].to_list(),
            y=rows[chart.y].to_list(),
            name=name,
            opacity=0.6 if chart.group else 1.0,
            marker={"color": COLORS[i % len(COLORS)]},
        )
        for i, (name, rows) in enumerate(chart.series())
    ]


_DRAW: dict[str, Callable[[Chart], list[Any]]] = {
    "bar": _bars,
    "dots": _dots,
    "line": _lines,
    "curve": _curves,
    "box": _boxes,
    "points": _points,
    "heatmap": _heatmap,
    "histogram": _histogram,
}
