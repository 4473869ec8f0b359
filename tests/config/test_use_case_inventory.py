"""How goods are ordered: what may be said."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ratchet.config import Inventory, UseCase


def series(inventory: Any) -> dict[str, Any]:
    columns = {"item": "string", "day": "date", "units": "number", "shelf": "number"}
    return {
        "about": {"title": "Shop", "question": "How many?", "source": "made up"},
        "data": {
            "time": "day",
            "columns": {name: {"type": kind} for name, kind in columns.items()},
            "series": {"id": "item", "frequency": "D", "season": 7},
        },
        "features": {"windows": {"lookback": 7, "past": {"units": "value"}}},
        "targets": {
            "units": {
                "column": "units",
                "task": "forecasting",
                "baseline": "naive",
                "candidates": {"naive": {"estimator": "seasonal"}, "ridge": {"estimator": "ridge"}},
            }
        },
        "inventory": inventory,
    }


@pytest.mark.parametrize("stock", [25, 0, "shelf"])
def test_stock_is_a_number_or_a_column(stock: float | str) -> None:
    found = UseCase.model_validate(series({"stock": stock, "lead_time": 2})).inventory
    assert found == Inventory(stock=stock, lead_time=2, review=1, service_level=0.95)
    assert UseCase.model_validate(series(None)).inventory is None


@pytest.mark.parametrize(
    ("inventory", "message"),
    [
        ({"stock": "shelves", "lead_time": 2}, "inventory.stock: 'shelves' is not among"),
        ({"stock": -1, "lead_time": 2}, "greater than or equal to 0"),
        ({"stock": 1, "lead_time": 0}, "greater than or equal to 1"),
        ({"stock": 1, "lead_time": 1, "service_level": 1}, "less than 1"),
        ({"stock": 1}, "Field required"),
    ],
)
def test_mistakes_are_told(inventory: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        UseCase.model_validate(series(inventory))


def test_only_series_are_ordered() -> None:
    parts = series({"stock": 1, "lead_time": 1})
    parts["data"] |= {"key": "item", "series": None}
    parts["features"] = {"numeric": ["shelf"]}
    parts["targets"]["units"]["task"] = "regression"
    with pytest.raises(ValidationError, match="inventory: goes with the forecast of a series"):
        UseCase.model_validate(parts)
