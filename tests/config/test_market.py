"""Parameters of a market: what they say of features and rows, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from ratchet.config import Market, UseCase, with_market
from ratchet.config.loader import read_use_cases
from ratchet.errors import ConfigError

SHOPS: dict[str, Any] = {
    "about": {"title": "t", "question": "q", "source": "s"},
    "data": {
        "key": ["shop", "sort", "week"],
        "time": "week",
        "columns": {
            "shop": {"type": "string"},
            "sort": {"type": "string"},
            "week": {"type": "date"},
            "price": {"type": "number"},
            "cost": {"type": "number", "nullable": True},
            "promoted": {"type": "number", "nullable": True},
            "sold": {"type": "number"},
        },
    },
    "market": {"merchant": "shop", "product": "sort", "price": "price", "covariates": ["promoted"]},
    "targets": {
        "sold": {
            "column": "sold",
            "task": "regression",
            "learn": "log",
            "baseline": "last",
            "candidates": {
                "last": {"estimator": "last_value"},
                "demand": {"estimator": "demand", "param_grid": {"n_origins": [2]}},
            },
        }
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    def at(content: Any, keys: list[str]) -> Any:
        if not keys:
            return value
        return {**content, keys[0]: at(content.get(keys[0], {}), keys[1:])}

    return {"shops": at(SHOPS, path.split("."))}


def test_a_market_says_what_models_see_and_which_rows_count():
    use_case = UseCase.model_validate(SHOPS)

    assert use_case.features.columns == ["shop", "sort", "price", "promoted"]
    assert use_case.features.encoded == ["shop", "sort", "price", "promoted", "week"]
    assert use_case.data.positive == ["price"]
    assert use_case.data.required == ["shop", "sort", "price"]
    assert use_case.targets["sold"].candidates["demand"].param_grid == {
        "period": [52],
        "n_origins": [2],
    }


def test_it_does_so_once():
    once = with_market(SHOPS)

    assert with_market(once) == once
    assert UseCase.model_validate(once) == UseCase.model_validate(SHOPS)
    assert "positive" not in SHOPS["data"]


@pytest.mark.parametrize(
    ("given", "season"),
    [
        ({}, 52),
        ({"frequency": "W-SUN"}, 52),
        ({"frequency": "D"}, 7),
        ({"frequency": "MS"}, 12),
        ({"frequency": "10min"}, 0),
        ({"season": 4}, 4),
        ({"season": 0}, 0),
    ],
)
def test_seasons(given, season):
    use_case = UseCase.model_validate(SHOPS | {"market": SHOPS["market"] | given})

    assert use_case.targets["sold"].candidates["demand"].param_grid["period"] == [season]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("market.price", "prise", "market.price: 'prise' is not among the columns"),
        ("market.unit_cost", "costs", "market.unit_cost: 'costs' is not among the columns"),
        ("market.merchant", "price", "['price']: merchant, product, price and covariates are"),
        ("market.covariates", ["week"], "market.covariates.0: column 'week' has type date"),
        ("market.product", "cost", "market.product: column 'cost' has type number"),
        ("market.bounds", [2, 1], "bounds: expected the lowest price first"),
        ("market.unit_cost", -1, "market.unit_cost"),
        ("market.price_steps", [1.99], "market.price_steps.0: Input should be less than 1"),
        ("market.frequency", "7", "expected a length of time with its unit"),
        ("market.season", -1, "market.season: "),
        ("market.iterations.engine", "spark", "market.iterations.engine: "),
        ("market.prices", 1, "unknown key; allowed are merchant, product, price, covariates"),
        ("market", None, "candidates.last: the estimator 'last_value' takes rows of a market"),
        ("targets.sold.learn", "value", "one target is the quantity sold and has learn: log"),
        ("data.time", None, "date column in data.time"),
        ("features", {"numeric": ["price", "step"]}, "['step'] would be called like what"),
        ("data.positive", ["prize"], "positive: 'prize' is not among the columns"),
    ],
)
def test_mistakes_are_told(path, value, told):
    content = changed(path, value)
    if path == "market":
        content["shops"]["features"] = {"numeric": ["price"]}

    with pytest.raises(ConfigError) as error:
        read_use_cases(content)

    assert told in str(error.value)


@pytest.mark.parametrize(("path", "value"), [("market.min_margin", 30), ("market", 5)])
def test_a_market_that_cannot_be_read_is_all_that_is_told(path, value):
    with pytest.raises(ConfigError) as error:
        read_use_cases(changed(path, value))

    assert path in str(error.value)
    assert "Field required" not in str(error.value)


@pytest.mark.parametrize("key", ["week", ["week"]])
def test_the_time_alone_tells_rows_of_one_segment_apart_and_stays_a_column(key):
    given = changed("data.key", key)["shops"]
    market = {
        name: value
        for name, value in given["market"].items()
        if name not in ("merchant", "product")
    }

    data = UseCase.model_validate({**given, "market": market}).data

    assert (data.key, data.key_columns) == ("row", ["week"])


@pytest.mark.parametrize(
    ("frequency", "steps"),
    [
        ("7D", 52),
        ("1W", 52),
        ("W-SUN", 52),
        ("D", 7),
        ("1D", 7),
        ("MS", 12),
        ("17D", 0),
        ("12h", 0),
    ],
)
def test_a_season_follows_from_the_distance_of_two_steps(frequency, steps):
    assert Market(price="price", frequency=frequency).steps_of_season == steps
