"""Charts in the grammar of Vega-Lite: the browser and the PNG files draw the same specification."""

from __future__ import annotations

import json
import math
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.resources import files
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import vl_convert
from markupsafe import Markup

from ratchet.learning.atomic_files import atomic_write
from ratchet.reports.chart import COLORS, REFERENCE_COLOR, SCALE, Chart
from ratchet.reports.formatting import number, share

Json = dict[str, object]

IMAGE_SCALE = 1.1
"""Pixels of an image per pixel of a specification: a chart is 880 pixels wide."""

_WIDTH, _LABEL_WIDTH = 800, 230
_PAGE_WIDTH = f"min({_WIDTH}, windowSize()[0] || {_WIDTH})"
"""Narrow on phones. That of the chart depends on its legend, and is unknown in sheets of charts."""

_LINE_LENGTH = 88  # characters of a title across a chart
_MOST_TICKS = 12  # places of an axis that all have one
_INK, _SOFT, _INTERVAL = "#2e3440", "#5c6370", "#7b8494"
_DASHED: Json = {"color": REFERENCE_COLOR, "strokeWidth": 1.3, "strokeDash": [5, 4]}
_CONFIG: Json = {
    "font": "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif",
    "background": "white",
    "padding": 10,
    # A page has the title of a chart as its label; of single marks screen readers hear nothing.
    "aria": False,
    "mark": {"aria": False},
    "view": {"stroke": None},
    "axis": {
        "gridColor": "#e6e8eb",
        "domainColor": "#c9ced6",
        "tickColor": "#c9ced6",
        "labelColor": _INK,
        "labelFontSize": 12,
        "labelLimit": _LABEL_WIDTH,
        "labelPadding": 5,
        "labelSeparation": 10,
        "titleColor": _INK,
        "titleFontSize": 13,
        "titleFontWeight": "normal",
        "titlePadding": 8,
    },
    "legend": {
        "orient": "top",
        "labelColor": _INK,
        "labelFontSize": 12,
        "labelLimit": 500,
        "symbolOpacity": 1,
    },
    "title": {
        "anchor": "start",
        "frame": "bounds",
        "fontWeight": "normal",
        "fontSize": 16,
        "color": _INK,
        "offset": 10,
    },
}
_CATEGORIES = {"bar": "y", "dots": "y", "box": "x", "heatmap": "xy"}
"""Kind of chart -> axes that have names on them and no numbers."""

_DASH_PATTERNS = ([1, 0], [6, 4], [2, 3])
"""Lines of further groups than there are colours."""

_HAS_INTERVAL = "isValid(datum.low) && isValid(datum.high)"


def vega_lite(chart: Chart) -> Json:
    """Specify a chart, its data included.

    Returns:
        A Vega-Lite specification of 800 by 420 pixels, or of the height that its bars need.
    """
    return {
        **_header(),
        **_view(chart),
        "description": chart.title,  # which screen readers say
        "width": _WIDTH,
        "height": _height(chart) + 40,
        "autosize": {"type": "fit", "contains": "padding"},
    }


def vega_lite_sheet(charts: Sequence[Chart], panels: Sequence[Chart] = ()) -> Json:
    """Specify charts below each other, and below them smaller ones in two columns."""
    views = [{**_view(chart), "width": _WIDTH, "height": _height(chart)} for chart in charts]
    small = [{**_view(chart), "width": _WIDTH // 2 - 80, "height": 190} for chart in panels]
    apart: Json = {"scale": {"color": "independent"}, "legend": {"color": "independent"}}
    below = [{"concat": small, "columns": 2, "resolve": apart}] if small else []
    return {**_header(), "vconcat": [*views, *below], "resolve": apart}


def to_png(specification: Json) -> bytes:
    """Render a specification as PNG."""
    return vl_convert.vegalite_to_png(specification, scale=IMAGE_SCALE)


def to_svg(specification: Json) -> str:
    """Render a specification as SVG."""
    return vl_convert.vegalite_to_svg(specification)


def to_script(chart: Chart) -> Markup:
    """Specification for a script element: as wide as its container, without the title."""
    page = {**vega_lite(chart), "width": "container", "height": _height(chart)}
    del page["title"]
    # No character that could end the element.
    return Markup(json.dumps(page, separators=(",", ":")).replace("<", "\\u003c"))


def vega_script() -> Markup:
    """Vega, Vega-Lite and Vega-Embed with their licenses, for the script element of a page."""
    licenses = files("ratchet.reports") / "templates" / "vega-licenses.txt"
    return Markup(f"/*\n{licenses.read_text(encoding='utf-8')}*/\n{_bundled_script()}")


def _bundled_script() -> str:
    """Script of the installed vl-convert, kept beside it: bundling takes more than a CPU second."""
    name = f"vega-{version('vl-convert-python')}.js"
    path = Path(sys.prefix, "share", "ratchet", name)
    with suppress(OSError):
        return path.read_text(encoding="utf-8")
    script = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub is wrong
    with suppress(OSError):  # an installation that cannot be written to bundles it every time
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as draft:
            draft.write_text(script, encoding="utf-8")
    return script


def _header() -> Json:
    return {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "config": _CONFIG}


def _view(chart: Chart) -> Json:
    """What a chart shows, without its size."""
    layers = [*_background(chart), *_LAYERS[chart.kind](chart), *_references(chart)]
    lines = [textwrap.wrap(line, _LINE_LENGTH) for line in chart.title.splitlines()]
    return {"title": list(chain(*lines)), "data": _data(chart), "layer": layers}


def _height(chart: Chart) -> int:
    if chart.is_horizontal:
        is_grouped = chart.kind == "bar" and chart.group
        marks = len(chart.frame) if is_grouped else chart.frame[chart.y].nunique()
        return 110 + max(22 * marks, 60)
    return 380


def _data(chart: Chart) -> Json:
    """The rows as CSV, which is half as long as JSON, in columns named after what they are for."""
    roles = ("x", "y", "group", "low", "high", "value", "text")
    columns = {role: getattr(chart, role) for role in roles}
    frame = pd.DataFrame({role: chart.frame[name] for role, name in columns.items() if name})
    types = {}
    for role in frame:
        if role in (*_CATEGORIES.get(chart.kind, ""), "group", "text"):
            frame[role], types[role] = frame[role].astype(str), "string"
        else:
            types[role] = "date" if pd.api.types.is_datetime64_any_dtype(frame[role]) else "number"
    if chart.has_interval:
        is_percent = ("x" if chart.is_horizontal else "y") in chart.percent_axes
        text = share if is_percent else number
        ends = zip(frame["low"], frame["high"], strict=True)
        frame["interval"] = [
            f"{text(low)} to {text(high)}" if low <= high else "–" for low, high in ends
        ]
        types["interval"] = "string"
    if chart.has_interval and chart.kind != "curve":  # a value may lie outside of its interval
        value = frame["x" if chart.is_horizontal else "y"]
        frame["low"] = frame["low"].clip(upper=value)
        frame["high"] = frame["high"].clip(lower=value)
    if chart.kind == "histogram":
        centres = np.sort(frame["x"].unique())
        width = float(np.diff(centres).min()) * 0.95 if len(centres) > 1 else 1.0
        frame = frame.assign(x=frame["x"] - width / 2, end=frame["x"] + width / 2)
    if chart.kind == "box":
        frame["beside"] = np.random.default_rng(0).uniform(-1, 1, len(frame))
    types |= dict.fromkeys({*frame} - {*types}, "number")
    values = frame.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%S", float_format="%.7g")
    return {"values": values, "format": {"type": "csv", "parse": types}}


def _axis(chart: Chart, axis: str, role: str = "") -> Json:
    """A position on an axis: which column, and how scale and axis look."""
    values = chart.frame[chart.x if axis == "x" else chart.y]
    title = chart.x_title if axis == "x" else chart.y_title
    position: Json = {"field": role or axis, "title": title or None}
    if axis in _CATEGORIES.get(chart.kind, ""):
        level: Json = {"labelAngle": 0} if axis == "x" else {}
        look = {"grid": chart.kind == "dots", "ticks": False, **level}
        order = values.astype(str).unique().tolist()
        return {**position, "type": "nominal", "sort": order, "axis": look}
    if pd.api.types.is_datetime64_any_dtype(values):
        scale: Json = {"padding": 10}
        return {**position, "type": "temporal", "scale": scale, "axis": _time_axis(values)}
    return {**position, "type": "quantitative", **_number_axis(chart, axis, values)}


def _number_axis(chart: Chart, axis: str, values: pd.Series) -> Json:
    from_zero = chart.kind == "bar" or (chart.kind == "histogram" and axis == "y")
    scale: Json = {"zero": True} if from_zero else {"zero": False, "nice": False, "padding": 10}
    look: Json = {"tickCount": _tick_count(90) if axis == "x" else 6}
    if axis in chart.log_axes:
        kind: Json = {"type": "symlog", "constant": 2} if (values == 0).any() else {"type": "log"}
        scale = {**kind, "nice": False, "padding": 10}
        look = {"format": ".4~g", **({"values": ticks} if (ticks := chart.ticks(axis)) else {})}
    if axis in chart.percent_axes:
        look["format"] = ".3~%"
    if axis == "x" and axis not in chart.log_axes and chart.kind in ("line", "curve"):
        places = np.unique(pd.to_numeric(values).dropna())
        if len(places) <= _MOST_TICKS and (places % 1 == 0).all():  # such as windows or steps
            look |= {"values": places.tolist(), "format": "d"}
    if chart.kind == "bar" and not values.any():
        scale["domain"] = [0, 1]
    return {"scale": scale, "axis": look}


def _time_axis(values: pd.Series) -> Json:
    """Years or months where all values are the start of one, otherwise what their span needs."""
    times = values.dropna()
    for unit, form in (("year", "%Y"), ("month", "%b %Y")):
        starts = times.dt.to_period(unit[0].upper())
        if (times == starts.dt.start_time).all():
            step = max(1, round(starts.nunique() / 10))
            return {"format": form, "tickCount": {"interval": unit, "step": step}}
    days = (times.max() - times.min()).days
    by_span = {5: "%b %d %H:%M", 150: "%Y-%m-%d", 2500: "%b %Y"}
    form = next((form for most, form in by_span.items() if days <= most), "%Y")
    return {"format": form, "tickCount": _tick_count(140)}


def _tick_count(pixels: int) -> Json:
    """As many ticks as stand so far apart."""
    return {"expr": f"ceil({_PAGE_WIDTH} / {pixels})"}


def _color(chart: Chart) -> Json:
    """Colour by group, and dashes where there are more groups than colours."""
    if chart.group is None:
        return {"color": {"value": COLORS[0]}}
    names = chart.groups
    colors = [COLORS[position % len(COLORS)] for position in range(len(names))]
    field = {"field": "group", "type": "nominal", "title": None}
    dashes: Json = {}
    if len(names) > len(COLORS) and chart.kind in ("line", "curve"):
        ranges = [
            _DASH_PATTERNS[position // len(COLORS) % len(_DASH_PATTERNS)]
            for position in range(len(names))
        ]
        scale = {"domain": names, "range": ranges}
        dashes = {"strokeDash": {**field, "scale": scale, "legend": None}}
    if chart.band_title:
        names, colors = [chart.band_title, *names], ["#d0dae4", *colors]
    # As many side by side as fit.
    column = 7 * max(map(len, names), default=0) + 40
    labels: list[str] = chart.frame[chart.y].astype(str).to_list() if chart.is_horizontal else []
    beside = min(7 * max(map(len, labels), default=0), _LABEL_WIDTH)
    legend = {
        "columns": {"expr": f"max(1, floor(({_PAGE_WIDTH} - {beside + 60}) / {column}))"},
        "symbolType": "circle" if chart.kind in ("dots", "line", "points") else "square",
        "symbolStrokeWidth": 0,
    }
    scale = {"domain": names, "range": colors}
    return {"color": {**field, "scale": scale, "legend": legend}, **dashes}


def _tooltip(chart: Chart) -> Json:
    """Values shown when the pointer is on a mark."""
    titles = {
        "x": chart.x_title,
        "y": chart.y_title,
        "group": "group" if chart.group else None,
        "text": "value" if chart.text else None,
        "interval": "interval" if chart.has_interval else None,
    }
    fields: list[Json] = []
    for role, title in titles.items():
        if title is None:
            continue
        field: Json = {"field": role, "title": title.split(";")[0].split(",")[0] or "name"}
        values = chart.frame[chart.x if role == "x" else chart.y]
        if role not in ("x", "y") or role in _CATEGORIES.get(chart.kind, ""):
            field["type"] = "nominal"
        elif pd.api.types.is_datetime64_any_dtype(values):
            field |= {"type": "temporal", "format": "%Y-%m-%d %H:%M"}
        else:
            form = ".3~%" if role in chart.percent_axes else ",.4~r"
            field |= {"type": "quantitative", "format": form}
        fields.append(field)
    return {"tooltip": fields}


def _layer(mark: Json, encoding: Json, keep: str = "") -> Json:
    """A layer of one kind of mark; ``keep`` is an expression that filters its rows."""
    only: Json = {"transform": [{"filter": keep}]} if keep else {}
    return {"mark": mark, "encoding": encoding, **only}


def _positions(chart: Chart) -> Json:
    return {"x": _axis(chart, "x"), "y": _axis(chart, "y")}


def _intervals(chart: Chart, keep: str = _HAS_INTERVAL) -> list[Json]:
    """Error bars of the rows for which ``keep`` holds."""
    if not chart.has_interval:
        return []
    along, across = ("x", "y") if chart.is_horizontal else ("y", "x")
    encoding: Json = {across: _axis(chart, across), **_side_by_side(chart)}
    low, high = ({along: _axis(chart, along, end)} for end in ("low", "high"))
    line: Json = {"type": "rule", "color": _INTERVAL, "strokeWidth": 1.2}
    upright = {"orient": "vertical" if chart.is_horizontal else "horizontal"}
    cap: Json = {"type": "tick", "color": _INTERVAL, "thickness": 1.2, "size": 7, **upright}
    return [
        _layer(line, {**encoding, **low, f"{along}2": {"field": "high"}}, keep),
        _layer(cap, {**encoding, **low}, keep),
        _layer(cap, {**encoding, **high}, keep),
    ]


def _side_by_side(chart: Chart) -> Json:
    """Offset of the bars of the groups within a category."""
    if chart.kind != "bar" or chart.group is None:
        return {}
    return {"yOffset": {"field": "group", "sort": chart.groups}}


def _bars(chart: Chart) -> list[Json]:
    encoding = {**_positions(chart), **_color(chart), **_side_by_side(chart), **_tooltip(chart)}
    return [_layer({"type": "bar", "height": {"band": 0.75}}, encoding), *_intervals(chart)]


def _dots(chart: Chart) -> list[Json]:
    encoding = {**_positions(chart), **_color(chart), **_tooltip(chart)}
    return [*_intervals(chart), _layer({"type": "circle", "size": 80, "opacity": 1}, encoding)]


def _lines(chart: Chart) -> list[Json]:
    encoding = {**_positions(chart), **_color(chart)}
    loose = _of_group(chart.points_only)
    faint: Json = {"opacity": {"condition": {"test": loose, "value": 0.6}, "value": 1}}
    return [
        *_intervals(chart),
        _layer({"type": "line", "strokeWidth": 2}, encoding, f"!({loose})"),
        _layer({"type": "circle", "size": 45}, {**encoding, **faint, **_tooltip(chart)}),
    ]


def _curves(chart: Chart) -> list[Json]:
    encoding = {**_positions(chart), **_color(chart)}
    ends = {"y": _axis(chart, "y", "low"), "y2": {"field": "high"}}
    dotted = _of_group(chart.with_points)
    band = _layer(
        {"type": "area", "opacity": 0.2}, {**encoding, **ends}, f"{_HAS_INTERVAL} && !({dotted})"
    )
    return [
        *([band] if chart.has_interval else []),
        *_intervals(chart, f"{_HAS_INTERVAL} && {dotted}"),
        _layer({"type": "line", "strokeWidth": 1.8}, encoding),
        _layer({"type": "circle", "size": 55, "opacity": 1}, encoding, dotted),
        # Invisible, for the pointer.
        _layer({"type": "circle", "size": 55, "opacity": 0}, {**encoding, **_tooltip(chart)}),
    ]


def _of_group(name: str | None) -> str:
    """Expression: whether a row belongs to a group; false without a name."""
    return "false" if name is None else f"datum.group === {json.dumps(name)}"


def _boxes(chart: Chart) -> list[Json]:
    line: Json = {"color": COLORS[0], "strokeWidth": 2}
    box: Json = {"fillOpacity": 0.15, "stroke": COLORS[0], "strokeWidth": 1.5}
    boxes: Json = {"type": "boxplot", "size": 70, "outliers": False, "color": COLORS[0]}
    dots: Json = {"type": "circle", "size": 25, "opacity": 0.6, "color": COLORS[1]}
    # A quarter of the width of a category.
    beside = {"field": "beside", "type": "quantitative", "scale": {"domain": [-4, 4]}}
    return [
        _layer({**boxes, "median": line, "box": box}, _positions(chart)),
        _layer(dots, {**_positions(chart), "xOffset": beside, **_tooltip(chart)}),
    ]


def _points(chart: Chart) -> list[Json]:
    encoding = {**_positions(chart), **_color(chart), **_tooltip(chart)}
    return [_layer({"type": "circle", "size": 32, "opacity": 0.4}, encoding)]


def _heatmap(chart: Chart) -> list[Json]:
    values = chart.frame[chart.value].astype(float)
    middle = (values.min() + values.max()) / 2
    is_dark = f"datum.value > {middle:.9g}" if np.isfinite(middle) else "false"
    scale = {"range": list(SCALE)}
    fill = {"field": "value", "type": "quantitative", "scale": scale, "legend": None}
    ink = {"condition": {"test": is_dark, "value": "white"}, "value": _INK}
    cell: Json = {"type": "rect", "stroke": "white", "strokeWidth": 2}
    words: Json = {"type": "text", "fontSize": 13, "lineBreak": "<br>"}
    return [
        _layer(cell, {**_positions(chart), "fill": fill, **_tooltip(chart)}),
        _layer(words, {**_positions(chart), "text": {"field": "text"}, "color": ink}),
    ]


def _histogram(chart: Chart) -> list[Json]:
    x, y = {**_axis(chart, "x"), "bin": "binned"}, {**_axis(chart, "y"), "stack": None}
    encoding = {"x": x, "x2": {"field": "end"}, "y": y, **_color(chart), **_tooltip(chart)}
    return [_layer({"type": "bar", "opacity": 0.6 if chart.group else 1.0}, encoding)]


_LAYERS: dict[str, Callable[[Chart], list[Json]]] = {
    "bar": _bars,
    "dots": _dots,
    "line": _lines,
    "curve": _curves,
    "box": _boxes,
    "points": _points,
    "heatmap": _heatmap,
    "histogram": _histogram,
}


def _background(chart: Chart) -> list[Json]:
    """Layers below the marks: shaded background and diagonal."""
    layers: list[Json] = []
    if chart.shaded is not None:
        low, high = ({"datum": end} for end in chart.shaded)
        ground: Json = {"type": "rect", "color": REFERENCE_COLOR, "opacity": 0.1}
        name = _label(chart.shaded_title, "left", dx=3, dy=-3)
        layers += [
            _annotation(ground, x=low, x2=high),
            _annotation(name, x=low, y={"value": "height"}),
        ]
    if chart.diagonal and len(chart.frame):
        both = chart.frame[[chart.x, chart.y]].to_numpy(dtype=float)
        ends = {"values": [{"end": np.nanmin(both)}, {"end": np.nanmax(both)}]}
        encoding: Json = {axis: {"field": "end", "type": "quantitative"} for axis in ("x", "y")}
        layers.append({**_layer({"type": "line", **_DASHED}, encoding), "data": ends})
    return layers


def _references(chart: Chart) -> list[Json]:
    """Layers above the marks: reference line and vertical lines, with their labels."""
    layers: list[Json] = []
    rule: Json = {"type": "rule", **_DASHED}
    if chart.reference is not None and math.isfinite(chart.reference):
        along, across = ("x", "y") if chart.is_horizontal else ("y", "x")
        encoding = {along: {"datum": chart.reference}}
        name = _label(
            chart.reference_title, "center" if chart.is_horizontal else "left", dx=0, dy=-3
        )
        layers += [
            _annotation(rule, **encoding),
            _annotation(name, **encoding, **{across: {"value": 0}}),
        ]
    for line, (value, text) in enumerate(chart.vertical_lines):
        x: Json = {"datum": value}
        name = _label(text, "left", dx=4, dy=14 + 16 * line)
        layers += [_annotation(rule, x=x), _annotation(name, x=x, y={"value": 0})]
    return layers


def _annotation(mark: Json, **encoding: object) -> Json:
    """A mark that belongs to no row of the data."""
    return {**_layer(mark, encoding), "data": {"values": [{}]}}


def _label(text: str, align: str, dx: int, dy: int) -> Json:
    look: Json = {"fontSize": 11, "color": _SOFT, "baseline": "bottom", "align": align}
    return {"type": "text", "text": text, **look, "dx": dx, "dy": dy}
