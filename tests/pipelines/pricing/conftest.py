"""A small market whose truth is known."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.config import Data, Market
from ratchet.learning.demand.book import DemandBook
from ratchet.pipelines.pricing import iterate_demand, prepare_rows, recommend_prices

WEEKS = 80
DATA: dict[str, Any] = {
    "key": ["store", "item", "week"],
    "time": "week",
    "columns": {
        "store": {"type": "string"},
        "item": {"type": "string"},
        "week": {"type": "date"},
        "paid": {"type": "number"},
        "display": {"type": "number"},
        "sold": {"type": "number"},
        "cost": {"type": "number"},
    },
}
TARGETS: dict[str, Any] = {
    "sold": {
        "column": "sold",
        "task": "regression",
        "learn": "log",
        "scoring": "neg_wape",
        "baseline": "naive",
        "candidates": {
            "naive": {"estimator": "dummy"},
            "demand": {"estimator": "demand"},
        },
    }
}
MARKET: dict[str, Any] = {
    "merchant": "store",
    "product": "item",
    "price": "paid",
    "covariates": ["display"],
    "unit_cost": "cost",
    "season": 0,
    "iterations": {"iterations": 300, "checkpoint_every": 100, "stop_when": None},
}


def sales(
    stores: str = "abcdef", items: tuple[str, ...] = ("milk", "tea"), weeks: int = WEEKS
) -> pd.DataFrame:
    """Prices between 2 and 3, an elasticity of -1.2 for milk and of -4 for tea, a cost of 1."""
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        [
            {"store": store, "item": item, "week": week}
            for store in stores
            for item in items
            for week in pd.date_range("2020-01-05", periods=weeks, freq="W")
        ]
    )
    n = len(rows)
    elasticity = rows["item"].map({"milk": -1.2, "tea": -4.0}).to_numpy()
    rows["paid"] = rng.uniform(2, 3, n).round(2)
    rows["display"] = rng.integers(0, 2, n).astype(float)
    level = 6 + 0.3 * rows["store"].map(ord).to_numpy() % 3
    logs = level + elasticity * np.log(rows["paid"] / 2.5) + 0.4 * rows["display"]
    rows["sold"] = np.exp(logs + rng.normal(scale=0.1, size=n)).round()
    rows["cost"] = 1.0
    rows.insert(0, "row", rows["store"] + "|" + rows["item"] + "|" + rows["week"].dt.date.map(str))
    return rows.assign(split="train")


@pytest.fixture(scope="session")
def data() -> Data:
    return Data.model_validate(DATA)


@pytest.fixture(scope="session")
def market_example() -> Any:
    """This module: its rows, predictions and parameters."""
    return sys.modules[__name__]


def naive_predictions(rows: pd.DataFrame) -> pd.DataFrame:
    """Test rows of the naive candidate, that errs by half, and of the demand, that errs less."""
    parts = []
    for candidate, factor in (("naive", 1.5), ("demand", 1.1)):
        parts.append(
            pd.DataFrame(
                {
                    "candidate": candidate,
                    "split": "test",
                    "truth": rows["sold"].to_numpy(),
                    "prediction": factor * rows["sold"].to_numpy(),
                },
                index=rows["row"],
            )
        )
    return pd.concat(parts)


@dataclass(frozen=True)
class Priced:
    """What the phase has made of a market."""

    rows: pd.DataFrame
    book: DemandBook
    history: pd.DataFrame
    prices: pd.DataFrame


@pytest.fixture(scope="session")
def price(market_example, data, tmp_path_factory):
    """Run the phase on rows with other parameters of the market."""

    def run(rows: pd.DataFrame | None = None, folder: Path | None = None, **changes: Any) -> Priced:
        sold = market_example.sales() if rows is None else rows
        market = Market.model_validate(market_example.MARKET | changes)
        coded = prepare_rows(sold, data, market, market_example.TARGETS)
        book, history = iterate_demand(
            coded,
            market_example.naive_predictions(sold),
            market,
            market_example.TARGETS,
            0,
            folder or tmp_path_factory.mktemp("iterations"),
        )
        return Priced(coded, book, history, recommend_prices(book))

    return run


@pytest.fixture(scope="session")
def priced(price) -> Priced:
    return price()
