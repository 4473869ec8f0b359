"""Every kind of chart can be drawn, as a file and in a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from ratchet.reports import vega_lite as module
from ratchet.reports.chart import COLORS, Chart
from ratchet.reports.vega_lite import (
    to_png,
    to_script,
    to_svg,
    vega_lite,
    vega_lite_sheet,
    vega_script,
)

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
    "bar": Chart("c", "bar", "Bars", FRAME[:2], "y", "name", percent_axes="x", reference=0.2),
    "grouped bar": Chart("c", "bar", "Bars", FRAME, "y", "name", group="group", **INTERVAL),
    "dots": Chart("c", "dots", "Dots", FRAME[:2], "y", "name", reference=0.2, **INTERVAL),
    "line": Chart("c", "line", "Lines", FRAME, "day", "y", group="group", **INTERVAL),
    "curve": Chart("c", "curve", "Curves", FRAME, "day", "y", group="group", log_axes="y"),
    "box": Chart("c", "box", "Boxes", FRAME, "name", "y", log_axes="y"),
    "log": Chart("c", "points", "Points", FRAME, "x", "y", group="name", log_axes="xy"),
    "no boxes": Chart("c", "box", "Boxes", FRAME[:0], "name", "y"),
    "diagonal": Chart("c", "line", "Line", FRAME, "x", "y", diagonal=True, reference=0.2),
    "points": Chart("c", "points", "Points", FRAME, "x", "y", diagonal=True),
    "heatmap": Chart("c", "heatmap", "Cells", FRAME, "name", "group", value="y", text="text"),
    "histogram": Chart(
        "c", "histogram", "Counts", FRAME, "x", "y", group="group", percent_axes="y"
    ),
    "zeros": Chart("c", "bar", "Bars", FRAME[:2].assign(y=0.0), "y", "name"),
    "loose": Chart("c", "line", "Lines", FRAME, "x", "y", group="group", points_only="two"),
    "many": Chart(
        "c",
        "dots",
        "Dots",
        pd.DataFrame({"y": range(13), "name": [*map(chr, range(97, 110))]}),
        "y",
        "name",
    ),
    "dotted": Chart(
        *("c", "curve", "Curves", FRAME, "x", "y"),
        **{"group": "group", "with_points": "two", "band_title": "90%", **INTERVAL},
    ),
    "no cells": Chart("c", "heatmap", "Cells", FRAME[:0], "name", "group", value="y", text="text"),
    "no bars": Chart("c", "bar", "Bars", FRAME[:0], "y", "name", group="group", **INTERVAL),
    "no points": Chart("c", "points", "Points", FRAME[:0], "x", "y", diagonal=True),
    "nothing": Chart("c", "dots", "Empty", FRAME[:0], "y", "name"),
}


def texts(svg: str) -> list[str]:
    """All that can be read in a drawing, from top to bottom of the file."""
    elements = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()) for element in elements]


def layers(chart: Chart, kind: str) -> list[dict[str, Any]]:
    """Layers of a chart with a kind of mark."""
    return [layer for layer in vega_lite(chart)["layer"] if layer["mark"]["type"] == kind]


def rows(chart: Chart) -> pd.DataFrame:
    """Rows that a chart is drawn from."""
    lines = [line.split(",") for line in vega_lite(chart)["data"]["values"].splitlines()]
    return pd.DataFrame(lines[1:], columns=lines[0])


@pytest.mark.parametrize("name", CHARTS)
def test_every_kind_of_chart_is_drawn(name: str) -> None:
    specification = vega_lite(CHARTS[name])

    assert CHARTS[name].title in texts(to_svg(specification))
    assert to_png(specification).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", CHARTS)
def test_a_page_draws_the_same_without_the_title(name: str) -> None:
    file = vega_lite(CHARTS[name])
    page = json.loads(to_script(CHARTS[name]), parse_constant=pytest.fail)

    assert page["layer"] == file["layer"]
    assert page["data"] == file["data"]
    assert (page["width"], "title" in page) == ("container", False)


def test_the_script_of_pages_is_bundled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Mock(return_value="draw()")
    monkeypatch.setattr(module.vl_convert, "javascript_bundle", bundle)
    monkeypatch.setattr(module.sys, "prefix", str(tmp_path))

    scripts = [vega_script(), vega_script()]

    assert scripts[0] == scripts[1]
    assert scripts[0].endswith("*/\ndraw()")
    assert "University of Washington" in scripts[0]
    assert bundle.call_count == 1


def test_the_script_is_there_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "share").touch()  # a file where the folder would be
    monkeypatch.setattr(module.vl_convert, "javascript_bundle", Mock(return_value="draw()"))
    monkeypatch.setattr(module.sys, "prefix", str(tmp_path))

    assert vega_script().endswith("draw()")


def test_nothing_in_a_specification_ends_its_element() -> None:
    chart = Chart("c", "dots", "</script>", FRAME.assign(name="</script>"), "y", "name")

    assert "<" not in to_script(chart)


def test_error_bars_reach_to_the_ends_of_the_interval() -> None:
    (rule,) = [one for one in layers(CHARTS["dots"], "rule") if "x2" in one["encoding"]]

    assert (rule["encoding"]["x"]["field"], rule["encoding"]["x2"]["field"]) == ("low", "high")
    assert [*rows(CHARTS["dots"])["high"].astype(float)] == pytest.approx([*FRAME["high"][:2]])


def test_a_value_outside_of_its_interval_is_its_end() -> None:
    chart = Chart("c", "dots", "", FRAME[:1].assign(low=0.5), "y", "name", **INTERVAL)

    assert rows(chart)["low"].astype(float)[0] == FRAME["y"][0]


def test_the_interval_of_a_value_is_shown_at_the_pointer() -> None:
    frame = FRAME.assign(low=[0.05, np.nan, 0.1, 0.2], high=[0.2, np.nan, 0.3, 0.4])
    names = {"x": "x", "y": "y", "percent_axes": "y", **INTERVAL}
    chart = Chart("c", "line", "", frame, **names)
    shown = layers(chart, "circle")[0]["encoding"]["tooltip"]

    assert [field["field"] for field in shown] == ["x", "y", "interval"]
    assert [*rows(chart)["interval"]] == ["5.0% to 20%", "–", "10% to 30%", "20% to 40%"]


def test_the_band_of_a_curve_is_where_there_is_an_interval() -> None:
    frame = FRAME.assign(low=FRAME["low"].where(FRAME["group"] == "two"))
    chart = Chart(
        *("c", "curve", "", frame, "x", "y"), **{"group": "group", "band_title": "90%", **INTERVAL}
    )
    (area,) = layers(chart, "area")

    assert (area["encoding"]["y"]["field"], area["encoding"]["y2"]["field"]) == ("low", "high")
    assert [*rows(chart)["low"]] == ["", "", "0.1", "0.2"]
    assert {"90%", "one", "two"} <= {*texts(to_svg(vega_lite(chart)))}


def test_values_on_a_logarithmic_axis_stand_at_its_ticks() -> None:
    x = layers(CHARTS["log"], "circle")[0]["encoding"]["x"]

    assert (x["scale"]["type"], x["axis"]["values"]) == ("log", [1, 2, 3, 4])


def test_heatmap_keeps_the_order_of_rows_and_columns() -> None:
    frame = pd.DataFrame({"x": list("zaza"), "y": list("qqbb"), "v": [1, 2, 3, 4], "t": "."})
    (cells,) = layers(Chart("c", "heatmap", "", frame, "x", "y", value="v", text="t"), "rect")

    assert (cells["encoding"]["x"]["sort"], cells["encoding"]["y"]["sort"]) == (
        ["z", "a"],
        ["q", "b"],
    )


def test_lines_in_a_cell_stand_below_each_other() -> None:
    drawn = ElementTree.fromstring(to_svg(vega_lite(CHARTS["heatmap"])))
    lines = [[*text.itertext()] for text in drawn.iter("{http://www.w3.org/2000/svg}text")]

    assert ["1", "2"] in lines


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
    chart = Chart("c", "points", "", frame, "x", "y", log_axes="x")
    assert chart.ticks("x") == pytest.approx(ticks)
    assert chart.ticks("y") == []


@pytest.mark.parametrize("kind", ["bar", "dots", "line"])
def test_names_are_drawn_as_they_stand(kind: str) -> None:
    names = ["$10 & $20", "a_$b^$", "<none>", '_hid, "den"']
    ends = {"x": "x", "y": "y", "group": "name"} if kind == "line" else {"x": "y", "y": "name"}
    chart = Chart("c", kind, "How much is $5 & $6 <b>", FRAME.assign(name=names), **ends)
    drawn = texts(to_svg(vega_lite(chart)))

    assert "How much is $5 & $6 <b>" in drawn
    assert [text for text in drawn if text in names] == names


def test_numbers_may_be_names() -> None:
    frame = FRAME.assign(name=[0.001, 4711080010112.0, 1e-9, 3.0])

    assert [*rows(Chart("c", "dots", "", frame, "y", "name"))["y"]] == [
        *("0.001", "4711080010112.0", "1e-09", "3.0")
    ]


def test_more_groups_than_colours_have_dashes() -> None:
    names = [f"group {place}" for place in range(len(COLORS) + 1)]
    chart = Chart(
        *(
            "c",
            "line",
            "",
            pd.DataFrame({"x": 1, "y": 1, "group": names}),
            "x",
            "y",
            "",
            "",
            "group",
        )
    )
    encoding = layers(chart, "line")[0]["encoding"]

    assert encoding["color"]["scale"]["range"] == [*COLORS, COLORS[0]]
    assert encoding["strokeDash"]["scale"]["range"][-2:] == [[1, 0], [6, 4]]


def test_what_is_dotted_has_error_bars_and_no_band() -> None:
    filters = {
        kind: [layer["transform"][0]["filter"] for layer in layers(CHARTS["dotted"], kind)][:1]
        for kind in ("area", "rule")
    }

    assert filters["area"][0].endswith('&& !(datum.group === "two")')
    assert filters["rule"][0].endswith('&& datum.group === "two"')


def test_marks_and_shaded_ground_have_their_names() -> None:
    chart = Chart(
        *("c", "curve", "Curves", FRAME, "x", "y"),
        **{"group": "group", "band_title": "80%", **INTERVAL},
        vertical_lines=((1.5, "now"), (3.5, "best")),
        shaded=(1.0, 4.0),
        shaded_title="tried",
    )
    drawn = texts(to_svg(vega_lite(chart)))
    places = [rule["encoding"]["x"] for rule in layers(chart, "rule")]

    # The bands of all colours are one entry of the legend.
    wanted = ("80%", "one", "two", "tried", "now", "best")
    assert sorted(text for text in drawn if text in wanted) == sorted(wanted)
    assert [x for x in places if "datum" in x] == [{"datum": 1.5}, {"datum": 3.5}]


def test_several_charts_stand_below_each_other() -> None:
    charts = [CHARTS["curve"], CHARTS["points"]]
    one, both = (to_svg(each) for each in (vega_lite(charts[0]), vega_lite_sheet(charts)))
    heights = [float(ElementTree.fromstring(drawn).attrib["height"]) for drawn in (one, both)]

    assert heights[1] > 1.8 * heights[0]
    assert texts(both).index("Curves") < texts(both).index("Points")


def test_charts_of_a_sheet_have_ticks_and_small_ones_stand_side_by_side() -> None:
    charts = [CHARTS["bar"], CHARTS["histogram"]]
    sheet = vega_lite_sheet([CHARTS["line"]], charts)
    drawn = texts(to_svg(sheet))

    assert [view["title"] for view in sheet["vconcat"][-1]["concat"]] == [["Bars"], ["Counts"]]
    assert {"0%", "1.0", "2020"} <= {*drawn}


def test_a_line_over_whole_numbers_has_ticks_at_them_alone() -> None:
    windows = FRAME[:3].assign(x=["1", "2", "3"])
    drawn = texts(to_svg(vega_lite(Chart("c", "line", "Lines", windows, "x", "y"))))

    assert [text for text in drawn if text.startswith(("1", "2", "3"))] == ["1", "2", "3"]


def test_a_logarithmic_axis_with_zeros_is_linear_near_them() -> None:
    frame = pd.DataFrame({"x": [0.0, 0.3, 40.0], "y": 1.0})
    (points,) = layers(Chart("c", "points", "", frame, "x", "y", log_axes="x"), "circle")

    assert points["encoding"]["x"]["scale"]["type"] == "symlog"
    assert points["encoding"]["x"]["axis"]["values"] == [0, 0.5, 1, 2, 5, 10]


@pytest.mark.parametrize(
    ("times", "form"),
    [
        (["2001-01-01", "2003-01-01"], "%Y"),
        (["2001-02-01", "2001-04-01"], "%b %Y"),
        (["2001-02-03", "2001-02-28"], "%Y-%m-%d"),
        (["2001-02-03 10:00", "2001-02-03 14:00"], "%b %d %H:%M"),
        (["2001-02-03", "2010-02-03"], "%Y"),
    ],
)
def test_times_are_written_as_their_span_needs(times: list[str], form: str) -> None:
    frame = pd.DataFrame({"x": pd.to_datetime(times), "y": 1.0})

    line = layers(Chart("c", "line", "", frame, "x", "y"), "line")[0]
    assert line["encoding"]["x"]["axis"]["format"] == form
