"""Reporting: parameters are read as what they are, whichever of them a use case has."""

from __future__ import annotations

from typing import Any

import pytest
from kedro.validation.type_extractor import TypeExtractor

from ratchet.config import Inventory, UseCase
from ratchet.pipelines.reporting import create_pipeline

CANDIDATES = {name: {"estimator": name} for name in ("persistence", "ridge")}
SHOPS: dict[str, Any] = {
    "about": {"title": "Shops", "question": "How much?", "source": "made up"},
    "data": {
        "time": "day",
        "columns": {"day": {"type": "date"}, "units": {"type": "number"}},
        "series": {"season": 7},
    },
    "features": {"windows": {"lookback": 2, "past": {"units": "value"}}},
    "targets": {
        "units": {"column": "units", "task": "forecasting", "candidates": CANDIDATES}
        | {"baseline": "persistence"}
    },
}
OPTIONAL: dict[str, Any] = {
    "inventory": {"stock": 4, "lead_time": 2},
    "release": {"min_rows": 20},
}


@pytest.mark.parametrize("given", [(), ("inventory",), ("release",), ("inventory", "release")])
def test_optional_parameters_are_of_their_own_type(given):
    use_case = UseCase.model_validate(SHOPS | {name: OPTIONAL[name] for name in given})

    pipelines = {"reporting": create_pipeline("shops", use_case)}
    types = TypeExtractor(pipelines).extract_types_from_pipelines()

    assert ("shops.inventory" in types) == ("inventory" in given)
    assert types.get("shops.inventory", Inventory | None) == Inventory | None
    assert "shops.release" not in types  # read by the node
