"""The chapter on one target: its charts, tables and texts together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from ratchet.pipelines.reporting import create_pipeline
from ratchet.reports.blocks import Chapter
from ratchet.reports.chart_ids import target_charts
from ratchet.reports.target_chapter import objective_sentence, target_chapter
from ratchet.reports.target_results import TargetResults
from ratchet.reports.vega_lite import to_svg, vega_lite

Make = Callable[..., TargetResults]
TextOf = Callable[[Chapter], str]


KINDS: list[dict[str, Any]] = [
    {},
    {"many": False, "hourly": True, "stock": None},
    {"stock": "shelf", "best": "seasonal"},
]


@pytest.mark.parametrize("name", ["grade", "points"])
@pytest.mark.parametrize("full", [True, False])
def test_charts_are_those_the_pipeline_expects(
    text_of: TextOf, make_results: Make, name: str, full: bool
) -> None:
    results = make_results(name, time=full, text=full, groups=full)
    chapter = target_chapter(results)
    expected = target_charts(results.target, results.data, results.features)
    assert sorted(chart.name for chart in chapter.charts) == sorted(expected)
    assert "nan" not in text_of(chapter)


@pytest.mark.parametrize(
    "kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])]
)
def test_charts_of_series_are_those_expected(
    text_of: TextOf, make_series: Make, kind: dict[str, Any]
) -> None:
    results = make_series(**kind)
    chapter = target_chapter(results)
    expected = target_charts(results.target, results.data, results.features, results.inventory)
    assert sorted(chart.name for chart in chapter.charts) == sorted(expected)
    assert len(expected) == len(set(expected))
    assert "nan" not in text_of(chapter)
    for chart in chapter.charts:
        assert chart.title
        assert to_svg(vega_lite(chart))


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
    from ratchet.pipelines.reporting import describe_target

    results = make_series()
    keys = ("best", "why", "metric", "ranking")
    chapter = describe_target(
        results.primary.reset_index(),
        results.predictions,
        results.scores,
        {key: results.choice[key] for key in keys},
        {key: value for key, value in results.choice.items() if key not in keys},
        results.importance,
        results.data,
        results.features,
        results.target,
        {"units": results.target},
        0,
        results.inventory,
        **{f"{name}_search": table for name, table in results.searches.items()},
        **{f"{name}_curves": table for name, table in results.curves.items()},
    )
    names = target_charts(results.target, results.data, results.features, results.inventory)
    assert {chart.name for chart in chapter.charts} == set(names)


def test_tables_have_every_candidate_series_and_trial(text_of: TextOf, make_series: Make) -> None:
    chapter = target_chapter(make_series())
    tables = {table.name: table.frame for table in chapter.tables}
    chosen = tables["candidates"].set_index("candidate")["chosen"]
    assert chosen["weighted_ensemble"] == "ridge 75% and net 25%"
    assert "The weighted ensemble is the mean of ridge 75% and net 25%" in text_of(chapter)
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


def test_objectives_say_met_or_not_with_the_interval() -> None:
    judged: dict[str, Any] = {"value": 0.8, "low": 0.76, "high": 0.84, "aim": 0.75}
    met = objective_sentence("accuracy", {**judged, "met": True, "in_doubt": False})
    assert met == (
        "accuracy: 0.800 (0.760 to 0.840) against an aim of 0.75. "
        "Met; the whole interval is better than the aim."
    )
    doubt = {**judged, "aim": 0.82, "met": False, "in_doubt": True}
    production = {"production": 0.7, "fit_for_production": True}
    text = objective_sentence("accuracy", {**doubt, **production})
    assert "Not met; the interval reaches across the aim" in text
    assert text.endswith("The bar for production, 0.7, is reached.")
