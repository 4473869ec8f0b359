"""Every kind of chart can be drawn in the browser and on paper."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from plotly.io.json import to_json_plotly

from ratchet.reports.page.chart import Chart
from ratchet.reports.page.draw_matplotlib import to_matplotlib
from ratchet.reports.page.draw_plotly import figure_dict, to_plotly

FRAME = pd.DataFrame(
    {
        "name": ["a", "b", "a", "b"],
        "day": pd.to_datetime(["2020-01-01", "2021-01-01", "2022-01-01", "2023-01-01"]),
        "x": [1.0, 2.0, 3.0, 4.0],
        "y": [0.1, 0.4, 0.2, 0.3],
        "low": [0.0, 0.3, 0.1, 0.2],
        "high": [0.2, 0.5, 0.3, 0.4],
        "group": ["one", "one", "two", "two"],
        "text": ["1<br>2", "3", "4", "5"],
    }
)
INTERVAL = {"low": "low", "high": "high"}
CHARTS = {
    "bar": Chart("c", "bar", "Bars", FRAME[:2], "y", "name", shares="x", reference=0.2),
    "grouped bar": Chart("c", "bar", "Bars", FRAME, "y", "name", group="group", **INTERVAL),
    "dots": Chart("c", "dots", "Dots", FRAME[:2], "y", "name", reference=0.2, **INTERVAL),
    "line": Chart("c", "line", "Lines", FRAME, "day", "y", group="group", **INTERVAL),
    "curve": Chart("c", "curve", "Curves", FRAME, "day", "y", group="group", logs="y"),
    "box": Chart("c", "box", "Boxes", FRAME, "name", "y", logs="y"),
    "log": Chart("c", "points", "Points", FRAME, "x", "y", group="name", logs="xy"),
    "no boxes": Chart("c", "box", "Boxes", FRAME[:0], "name", "y"),
    "diagonal": Chart("c", "line", "Line", FRAME, "x", "y", diagonal=True, reference=0.2),
    "points": Chart("c", "points", "Points", FRAME, "x", "y", diagonal=True),
    "heatmap": Chart("c", "heatmap", "Cells", FRAME, "name", "group", value="y", text="text"),
    "histogram": Chart("c", "histogram", "Counts", FRAME, "x", "y", group="group", shares="y"),
    "zeros": Chart("c", "bar", "Bars", FRAME[:2].assign(y=0.0), "y", "name"),
    "loose": Chart("c", "line", "Lines", FRAME, "x", "y", group="group", loose="two"),
    "many": Chart(
        "c",
        "dots",
        "Dots",
        pd.DataFrame({"y": range(13), "name": [*map(chr, range(97, 110))]}),
        "y",
        "name",
    ),
    "nothing": Chart("c", "dots", "Empty", FRAME[:0], "y", "name"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_chart_is_drawn_in_both_ways(name: str) -> None:
    chart = CHARTS[name]
    figure = to_plotly(chart)
    assert figure.layout.title.text == chart.title
    marks = chart.boxes() if chart.kind == "box" else chart.series()
    assert len(figure.data) == len(marks)
    png = io.BytesIO()
    to_matplotlib(chart).savefig(png, format="png")
    assert png.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", CHARTS)
def test_report_shows_what_plotly_has_checked(name: str) -> None:
    checked = to_plotly(CHARTS[name], titled=False).to_json()
    shown = to_json_plotly(figure_dict(CHARTS[name], titled=False))
    assert json.loads(shown) == json.loads(checked)


def test_error_bars_reach_to_the_ends_of_the_interval() -> None:
    trace = to_plotly(CHARTS["dots"]).data[0]
    ends = [x + length for x, length in zip(trace.x, trace.error_x.array, strict=True)]
    assert ends == pytest.approx(FRAME["high"][:2].to_list())


def test_a_box_holds_the_values_of_its_category() -> None:
    traces = to_plotly(CHARTS["box"]).data
    assert [(trace.name, list(trace.y)) for trace in traces] == [
        ("a", [0.1, 0.2]),
        ("b", [0.4, 0.3]),
    ]


def test_a_band_goes_up_and_back_where_there_is_an_interval() -> None:
    frame = FRAME.assign(low=FRAME["low"].where(FRAME["group"] == "two"))
    chart = Chart(
        "c", "curve", "", frame, "x", "y", group="group", band_title="90%", low="low", high="high"
    )
    one, band, two = to_plotly(chart).data
    assert [trace.name for trace in (one, band, two)] == ["one", "90%", "two"]
    assert list(band.x) == [3, 4, 4, 3]
    assert list(band.y) == [0.3, 0.4, 0.2, 0.1]
    assert len(to_matplotlib(chart).axes[0].collections) == 1


def test_values_on_a_logarithmic_axis_stand_at_its_ticks() -> None:
    layout = to_plotly(CHARTS["log"]).layout
    assert (layout.xaxis.type, layout.xaxis.tickvals) == ("log", (1, 2, 3, 4))


def test_a_value_outside_of_its_interval_has_no_negative_bar() -> None:
    frame = FRAME[:1].assign(low=0.5)
    below, _ = Chart("c", "dots", "", frame, "y", "name", **INTERVAL).errors(frame) or ([], [])
    assert below == [0.0]


def test_heatmap_keeps_the_order_of_rows_and_columns() -> None:
    frame = pd.DataFrame({"x": list("zaza"), "y": list("qqbb"), "v": [1, 2, 3, 4], "t": "."})
    trace = to_plotly(Chart("c", "heatmap", "", frame, "x", "y", value="v", text="t")).data[0]
    assert (trace.x, trace.y) == (("z", "a"), ("q", "b"))
    assert [list(row) for row in trace.z] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        (np.linspace(0.007, 0.09, 20), [0.01, 0.02, 0.05]),
        (np.geomspace(1e-4, 1e4, 20), [10.0**power for power in range(-4, 5)]),
        ([0.001, 0.01], [0.001, 0.01]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round(values: list[float], ticks: list[float]) -> None:
    frame = pd.DataFrame({"x": values, "y": 1.0})
    chart = Chart("c", "points", "", frame, "x", "y", logs="x")
    assert chart.ticks("x") == pytest.approx(ticks)
    assert chart.ticks("y") == []


@pytest.mark.parametrize("kind", ["bar", "dots", "line"])
def test_names_are_drawn_as_they_stand(kind: str) -> None:
    names = ["$10 & $20", "a_$b^$", "<none>", "_hidden"]
    frame = FRAME.assign(name=names)
    ends = {"x": "x", "y": "y", "group": "name"} if kind == "line" else {"x": "y", "y": "name"}
    chart = Chart("c", kind, "How much is $5 & $6 <b>", frame, **ends)

    figure = to_matplotlib(chart)
    figure.savefig(io.BytesIO(), format="png")
    axes = figure.axes[0]
    legend = axes.get_legend()
    drawn = legend.get_texts() if legend else axes.get_yticklabels()
    assert [text.get_text().strip() for text in drawn] == names
    assert not any(text.get_parse_math() for text in [*drawn, axes._left_title])
    told = to_plotly(chart)
    shown = [trace.name for trace in told.data] if legend else list(told.data[0].y)
    assert shown == ["$10 & $20", "a_$b^$", "&lt;none>", "_hidden"]
    assert told.layout.title.text == "How much is $5 & $6 &lt;b>"


def test_marks_and_shaded_ground_have_their_names_in_both_ways() -> None:
    chart = Chart(
        *("c", "curve", "Curves", FRAME, "x", "y"),
        **{"group": "group", "band_title": "80%", **INTERVAL},
        marks=((1.5, "now"), (3.5, "best")),
        shaded=(1.0, 4.0),
        shaded_title="tried",
    )
    drawn, figure = figure_dict(chart), to_matplotlib(chart)
    layout, axes = drawn["layout"], figure.axes[0]

    assert [note["text"] for note in layout["annotations"]] == ["tried", "now", "best"]
    assert [(shape["x0"], shape["x1"]) for shape in layout["shapes"]] == [
        *((1.0, 4.0), (1.5, 1.5), (3.5, 3.5))
    ]
    assert [text.get_text().strip() for text in axes.texts] == ["tried", "now", "best"]
    # The bands of all colours are one entry of the legend.
    shown = [trace["name"] for trace in drawn["data"] if trace.get("showlegend", True)]
    assert shown == ["80%", "one", "two"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["80%", "one", "two"]


def test_several_charts_stand_below_each_other_on_paper() -> None:
    figure = to_matplotlib(CHARTS["curve"], CHARTS["points"])

    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Curves", "Points"]
    assert figure.axes[0].get_position().y0 > figure.axes[1].get_position().y1
