"""The chapter of a series: charts by name, and texts that say what the numbers say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from ratchet.pipelines.reporting import create_pipeline
from ratchet.reports.blocks import Chapter, Points, Text
from ratchet.reports.chart_ids import target_charts
from ratchet.reports.page.draw_matplotlib import to_matplotlib
from ratchet.reports.page.draw_plotly import to_plotly
from ratchet.reports.target_chapter import target_chapter
from ratchet.reports.target_results import TargetResults

Make = Callable[..., TargetResults]

KINDS: list[dict[str, Any]] = [
    {},
    {"many": False, "hourly": True, "stock": None},
    {"stock": "shelf", "best": "seasonal"},
]


def said(chapter: Chapter) -> str:
    blocks = [block for section in chapter.sections.values() for block in section]
    texts = [block.text for block in blocks if isinstance(block, Text)]
    points = [item for block in blocks if isinstance(block, Points) for item in block.items]
    return " ".join([*texts, *points, *(f"{f.fact} {f.step}" for f in chapter.findings)])


@pytest.mark.parametrize(
    "kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])]
)
def test_charts_are_those_the_pipeline_expects(make_series: Make, kind: dict[str, Any]) -> None:
    case = make_series(**kind)
    chapter = target_chapter(case)
    expected = target_charts(case.target, case.data, case.features, case.inventory)
    assert sorted(chart.name for chart in chapter.charts) == sorted(expected)
    assert len(expected) == len(set(expected))
    assert "nan" not in said(chapter)
    for chart in chapter.charts:
        assert chart.title
        to_plotly(chart).to_json()
        to_matplotlib(chart)


@pytest.mark.parametrize("kind", KINDS)
def test_pipeline_reads_what_the_phases_leave(
    series_parameters: Callable[..., Any], kind: dict[str, Any]
) -> None:
    parts = series_parameters(**{k: v for k, v in kind.items() if k != "best"})
    pipeline = create_pipeline("shops", parts)
    curves = {name for name in pipeline.inputs() if name.endswith(".curves")}
    assert curves == {"shops.units.net.curves", "shops.units.shapes.curves"}
    assert "shops.units.net_ensemble.search" in pipeline.inputs()
    assert ("params:shops.inventory" in pipeline.inputs()) is (parts.inventory is not None)
    assert ("shops.units.error_by_hour_plot" in pipeline.all_outputs()) is bool(kind.get("hourly"))


def test_node_puts_the_tables_in_their_places(make_series: Make) -> None:
    from ratchet.pipelines.reporting.nodes import describe_target

    case = make_series()
    keys = ("best", "why", "metric", "ranking")
    chapter = describe_target(
        case.primary.reset_index(),
        case.predictions,
        case.scores,
        {key: case.choice[key] for key in keys},
        {key: value for key, value in case.choice.items() if key not in keys},
        case.importance,
        case.data,
        case.features,
        case.target,
        {"units": case.target},
        0,
        case.inventory,
        **{f"{name}_search": table for name, table in case.searches.items()},
        **{f"{name}_curves": table for name, table in case.curves.items()},
    )
    names = target_charts(case.target, case.data, case.features, case.inventory)
    assert {chart.name for chart in chapter.charts} == set(names)


def test_tables_have_every_candidate_series_and_trial(make_series: Make) -> None:
    tables = {table.name: table.frame for table in target_chapter(make_series()).tables}
    kinds = tables["ranking"].set_index("candidate")["kind"]
    assert kinds["seasonal"] == kinds["persistence"] == "naive"
    assert kinds["ridge"] == "classical"
    assert kinds["net"] == kinds["net_ensemble"] == "recurrent"
    scores = ["MASE", "RMSSE", "R²", "RMSE", "MAE", "WAPE"]
    assert tables["scores"].columns.to_list() == ["candidate", *scores]
    assert len(tables["net trials"]) == 16
    assert len(tables["shapes trials"]) == 30
    assert len(tables["by_series"]) == 20
    points = pd.MultiIndex.from_frame(tables["net trials"][["units", "dropout", "learning_rate"]])
    assert points.nunique() == 8


def test_errors_are_broken_down_by_recurring_parts_of_the_time(make_series: Make) -> None:
    from ratchet.reports.errors_by_group import group_errors

    case = make_series(many=False, hourly=True)
    frame = group_errors(case, "hour").set_index("group")
    assert frame.index.to_list() == [f"{hour:02d}:00" for hour in range(24)]
    at_five = case.test[case.test["time"].dt.hour == 5]["error"].abs()
    assert frame.loc["05:00", "value"] == pytest.approx(at_five.mean())


def test_errors_of_several_series_are_scaled(make_series: Make) -> None:
    case = make_series()
    assert case.losses(case.test).mean() == pytest.approx(case.test_scores["mase"]["value"])
    assert case.loss_name == "mean scaled error (MASE)"
    single = make_series(many=False)
    assert single.losses(single.test).mean() == pytest.approx(single.test_scores["mae"]["value"])


def test_networks_are_held_against_the_baseline(make_series: Make) -> None:
    from ratchet.reports.search.comparison import comparison

    case = make_series()
    frame = comparison(case, case.target.network_candidates).set_index("candidate")
    assert frame.index.to_list() == ["seasonal", "net", "shapes", "net_ensemble"]
    before, after = (case.scores[name]["test"]["mase"]["value"] for name in ("seasonal", "net"))
    assert frame.loc["net", "change of MASE"] == pytest.approx(after / before - 1)
    assert frame.loc["net", "change of R²"] > 0
    assert pd.isna(frame.loc["seasonal", "change of MASE"])
