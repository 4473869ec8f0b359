"""The chapter on the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ratchet.reports.blocks import Chapter
from ratchet.reports.chart_ids import data_charts
from ratchet.reports.data_chapter import data_chapter

TextOf = Callable[[Chapter], str]


def test_data_chapter(text_of: TextOf, use_case: Any, data_inputs: dict[str, Any]) -> None:
    parts = use_case()
    chapter = data_chapter(
        **data_inputs,
        about=parts.about,
        data=parts.data,
        features=parts.features,
        targets=parts.targets,
    )
    text = text_of(chapter)
    assert "holds 700 rows and 5 columns, from 2020-01-01 to 2021-12-31" in text
    assert "650 of 700 rows were kept; 50 (7.1%) were left out" in text
    assert "color 30%" in text
    assert "400 training rows" in text
    assert "grade of 24 rows (known of 400 in train, 100 in validation and 150 in test)" in text
    assert [chart.name for chart in chapter.charts] == data_charts(parts.data)


def test_data_without_time_is_split_at_random(
    text_of: TextOf, use_case: Any, data_inputs: dict[str, Any]
) -> None:
    parts = use_case(time=False)
    profile = {name: value for name, value in data_inputs["profile"].items() if name != "span"}
    chapter = data_chapter(
        **data_inputs | {"profile": profile},
        about=parts.about,
        data=parts.data,
        features=parts.features,
        targets=parts.targets,
    )
    assert "divided at random" in text_of(chapter)
    assert [chart.name for chart in chapter.charts] == ["missing"]
