"""What was done with the data of series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ratchet.config import Features, UseCase
from ratchet.reports.blocks import Table, Text
from ratchet.reports.data_preparation import preparation_blocks, rows_left_out, window_sources


@pytest.fixture
def selection() -> dict[str, Any]:
    parts = {
        name: {"rows": rows, "span": ["2024-01-01", "2024-02-01"]}
        for name, rows in {"train": 60, "validation": 20, "test": 20}.items()
    }
    return {
        "rows": 110,
        "kept": 100,
        "missing": {},
        "parts": parts,
        "series": {
            "count": 2,
            "steps": 60,
            "absent": 4,
            "holes": 3,
            "unscaled": ["shop 1"],
            "left_out": {"beginning": 14, "holes": 6, "missing": 0},
        },
    }


def test_steps_are_counted(
    selection: dict[str, Any], series_parameters: Callable[..., UseCase]
) -> None:
    parts = series_parameters()
    blocks = preparation_blocks(selection, parts.data, parts.features)
    text, table = blocks[0], blocks[1]
    assert isinstance(text, Text)
    assert "110 rows of the file are 2 series of 60 steps, a day apart" in text.text
    assert "100 of 120 steps are forecast" in text.text
    assert "At 4 steps a series has no row" in text.text
    assert "At 3 steps no series has a row: such holes are not filled" in text.text
    assert "shop 1 did not change over a season" in text.text
    assert isinstance(table, Table)
    assert table.frame["steps"].to_list() == [14, 6]


def test_many_lost_steps_are_a_limit(selection: dict[str, Any]) -> None:
    assert rows_left_out(selection) == []  # 6 of 120, one in twenty
    selection["series"]["left_out"]["missing"] = 6
    (found,) = rows_left_out(selection)
    assert found.fact.startswith("10% of the steps (12 steps)")


def test_sources_of_a_window_are_named() -> None:
    features = Features.model_validate(
        {
            "numeric": ["warmth"],
            "windows": {
                "lookback": 7,
                "horizon": 3,
                "past": {"units": "value", "price": "log_change"},
                "known": ["warmth"],
                "seasons": [7],
                "lags": [2, 14],
                "rolling": [3, 28],
            },
        }
    )
    sources = window_sources(features)
    assert sources["earlier price"].endswith("as relative changes from step to step")
    assert sources["the target, single steps"] == "14 steps before"  # 2 is not known 3 ahead
    assert sources["the target, on average"] == "mean and spread over the last 3 and 28 steps"
