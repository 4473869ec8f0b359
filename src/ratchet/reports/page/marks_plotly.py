"""What stands between the axes, for the browser: one function for each kind of chart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from ratchet.reports.page.chart import COLORS, SCALE, Chart

Trace = dict[str, Any]


def literal(text: Any) -> Any:
    """Text that plotly shows as it stands: of what looks like a tag it shows nothing."""
    return text.replace("<", "&lt;") if isinstance(text, str) else text


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


def _bars(chart: Chart) -> list[Trace]:
    return [
        {
            "type": "bar",
            "x": rows[chart.x].to_list(),
            "y": [literal(str(value)) for value in rows[chart.y]],
            "name": literal(name),
            "orientation": "h",
            "marker": {"color": COLORS[i % len(COLORS)]},
            **_error_bars(chart, rows),
        }
        for i, (name, rows) in enumerate(chart.series())
    ]


def _scatter(chart: Chart, mode: str, size: int, opacity: float) -> list[Trace]:
    return [
        {
            "type": "scatter",
            "x": rows[chart.x].to_list(),
            "y": [literal(value) for value in rows[chart.y]],
            "name": literal(name),
            "mode": mode,
            "marker": {"color": COLORS[i % len(COLORS)], "size": size, "opacity": opacity},
            "line": {"width": 2},
            **_error_bars(chart, rows),
        }
        for i, (name, rows) in enumerate(chart.series())
    ]


def _dots(chart: Chart) -> list[Trace]:
    return _scatter(chart, "markers", 10, 1.0)


def _lines(chart: Chart) -> list[Trace]:
    traces = _scatter(chart, "lines+markers", 7, 1.0)
    for trace in traces:
        if chart.loose is not None and trace["name"] == literal(chart.loose):
            trace |= {"mode": "markers", "marker": {**trace["marker"], "opacity": 0.6}}
    return traces


def _curves(chart: Chart) -> list[Trace]:
    traces: list[Trace] = []
    for i, (name, rows) in enumerate(chart.series()):
        color = COLORS[i % len(COLORS)]
        band = chart.band(rows)
        if len(band):
            is_first = all("fill" not in trace for trace in traces)
            traces.append(_band(chart, band, color) | {"showlegend": is_first})
        traces.append(
            {
                "type": "scatter",
                "x": rows[chart.x].to_list(),
                "y": rows[chart.y].to_list(),
                "name": literal(name),
                "mode": "lines",
                "line": {"width": 1.8, "color": color},
            }
        )
    return traces


def _band(chart: Chart, rows: pd.DataFrame, color: str) -> Trace:
    return {
        "type": "scatter",
        "x": [*rows[chart.x], *rows[chart.x][::-1]],
        "y": [*rows[chart.high], *rows[chart.low][::-1]],
        "name": chart.band_title,
        "fill": "toself",
        "mode": "none",
        "fillcolor": color,
        "opacity": 0.2,
        "hoverinfo": "skip",
    }


def _boxes(chart: Chart) -> list[Trace]:
    return [
        {
            "type": "box",
            "y": rows[chart.y].to_list(),
            "name": literal(name),
            "boxpoints": "all",
            "jitter": 0.35,
            "pointpos": 0,
            "marker": {"size": 5, "opacity": 0.6, "color": COLORS[1]},
            "line": {"color": COLORS[0], "width": 1.5},
            "fillcolor": "rgba(43, 92, 138, 0.15)",
        }
        for name, rows in chart.boxes()
    ]


def _points(chart: Chart) -> list[Trace]:
    return _scatter(chart, "markers", 6, 0.4)


def _heatmap(chart: Chart) -> list[Trace]:
    columns, index = chart.frame[chart.x].unique(), chart.frame[chart.y].unique()
    grid = chart.frame.set_index([chart.y, chart.x])
    cells = grid[chart.value].unstack().loc[index, columns]
    words = grid[chart.text].unstack().loc[index, columns]
    return [
        {
            "type": "heatmap",
            "x": [literal(str(name)) for name in columns],
            "y": [literal(str(name)) for name in index],
            "z": cells.to_numpy().tolist(),
            "text": words.to_numpy().tolist(),
            "texttemplate": "%{text}",
            "hovertemplate": "%{y} / %{x}: %{text}<extra></extra>",
            "colorscale": [[0, SCALE[0]], [1, SCALE[1]]],
            "showscale": False,
            "xgap": 2,
            "ygap": 2,
        }
    ]


def _histogram(chart: Chart) -> list[Trace]:
    return [
        {
            "type": "bar",
            "x": rows[chart.x].to_list(),
            "y": rows[chart.y].to_list(),
            "name": literal(name),
            "opacity": 0.6 if chart.group else 1.0,
            "marker": {"color": COLORS[i % len(COLORS)]},
        }
        for i, (name, rows) in enumerate(chart.series())
    ]


MARKS: dict[str, Callable[[Chart], list[Trace]]] = {
    "bar": _bars,
    "dots": _dots,
    "line": _lines,
    "curve": _curves,
    "box": _boxes,
    "points": _points,
    "heatmap": _heatmap,
    "histogram": _histogram,
}
