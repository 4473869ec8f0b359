"""What cannot be learned from is told before any search, whatever the family of models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.config import Data, Features, MarketFeatures, Target, read_targets
from ratchet.errors import ConfigError, DataError
from ratchet.preparation.checks import check_market, check_numbers, check_training
from ratchet.preparation.contract import typed_rows

FEATURES = Features.model_validate({"numeric": ["size"], "lists": ["tags"]})


def targets(task: str, **options: Any) -> dict[str, Target]:
    naive = "seasonal" if task == "forecasting" else "dummy"
    trained = "logistic" if task == "classification" else "ridge"
    parameters = {
        "column": "y",
        "task": task,
        "baseline": naive,
        "candidates": {name: {"estimator": name} for name in (naive, trained)},
        **({"classes": ["0", "1"]} if task == "classification" else {}),
        **options,
    }
    return read_targets({"it": parameters})


def frame(train: int = 30, validation: int = 9, test: int = 1) -> pd.DataFrame:
    n = train + validation + test
    return pd.DataFrame(
        {
            "size": np.arange(float(n)),
            "tags": [["a"]] * n,
            "split": ["train"] * train + ["validation"] * validation + ["test"] * test,
            "series_time": pd.date_range("2020-01-01", periods=n),
            "target_y": np.arange(n) % 2.0,
        },
        index=pd.RangeIndex(1000, 1000 + n),
    )


def test_enough_rows_are_enough():
    check_training(frame(), FEATURES, targets("regression"))
    check_training(frame(10), FEATURES, targets("forecasting"))


def test_too_few_steps_for_the_folds_of_a_series():
    told = r"'y' \(target 'it'\): 5 folds, .* need more than the 9 steps .* lower targets\.it\.cv"
    with pytest.raises(DataError, match=told):
        check_training(frame(9), FEATURES, targets("forecasting"))


@pytest.mark.parametrize(("column", "nothing"), [("size", np.nan), ("tags", [])])
def test_a_column_that_is_empty_in_training(column, nothing):
    rows = frame()
    rows[column] = [nothing] * 30 + rows[column].tolist()[30:]
    told = f"column '{column}': none of the 30 training rows has a value, 10 of the other rows"
    with pytest.raises(DataError, match=told):
        check_training(rows, FEATURES, targets("regression"))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e308])
def test_numbers_that_models_cannot_hold(value):
    rows = frame().assign(lag_1=1.0)
    rows.loc[1003, "lag_1"] = value
    told = rf"column 'lag_1': .* 1 of 40 rows differ \(row 1003: {value}\)"
    with pytest.raises(DataError, match=told.replace("+", r"\+")):
        check_numbers(rows, FEATURES)
    check_numbers(frame().assign(size=np.nan, other=np.inf), FEATURES)


def test_text_among_the_numbers():
    check_numbers(frame().assign(size=pd.Series([1, None] * 20, dtype=object).to_numpy()), FEATURES)
    with pytest.raises(ConfigError, match=r"column 'size' .* has to hold numbers; 40 of 40 rows"):
        check_numbers(frame().assign(size="much"), FEATURES)


def weekly(n: int = 10, frequency: str = "7D", **columns: Any) -> pd.DataFrame:
    weeks = pd.date_range("2020-01-05", periods=n, freq=frequency)
    return pd.DataFrame({"shop": "a", "week": weeks, "price": 1.0, **columns})


def of_market(frequency: str) -> MarketFeatures:
    return MarketFeatures(merchant="shop", price="price", time="week", frequency=frequency)


@pytest.mark.parametrize("missing", [[], [3], [1, 2, 3], [0, 5, 6]])
@pytest.mark.parametrize("frequency", ["7D", "W", "MS", "D"])
def test_rows_of_a_market_may_miss_steps(frequency, missing):
    rows = weekly(12, frequency).drop(index=missing)

    check_market(rows, of_market(frequency))


@pytest.mark.parametrize(
    ("rows", "frequency", "told"),
    [
        (
            weekly(),
            "D",
            "with steps of D all times are at least 7 steps apart; all times fit W-SUN",
        ),
        (
            weekly(30, "D"),
            "7D",
            "of 30 times fall on the step of another one, as .*; all times fit D",
        ),
        (weekly(), "fortnight", "market.frequency: "),
    ],
)
def test_a_market_of_other_steps_is_told_those_that_fit(rows, frequency, told):
    with pytest.raises(ConfigError, match=told):
        check_market(rows, of_market(frequency))


def test_a_time_beside_its_step_is_named():
    rows = weekly().assign(shop="a")
    late = rows.iloc[[3]].assign(shop="b", week=rows["week"].iloc[3] + pd.Timedelta("1D"))

    with pytest.raises(ConfigError, match=r"1 of 11 times .* as .* and .*; .* its first day"):
        check_market(pd.concat([rows, late]), of_market("7D"))


def test_two_rows_of_a_segment_and_week_are_told():
    rows = pd.concat([weekly(), weekly(2)], ignore_index=True)

    with pytest.raises(DataError, match=r"one row of a segment .* 2 of 12 rows differ \(row 10:"):
        check_market(rows, of_market("7D"))


def test_numbers_that_have_to_be_above_zero_are_missing_else():
    column = {"type": "number", "nullable": True}
    contract = {"key": "id", "columns": {"id": {"type": "integer"}, "price": column}}
    data = Data.model_validate(contract | {"positive": ["price"]})
    rows = pd.DataFrame({"id": range(4), "price": [1.5, 0, -2, None]})

    assert typed_rows(rows, data, {})["price"].dropna().tolist() == [1.5]


@pytest.mark.parametrize(
    ("prices", "told"),
    [
        (["1,99", "2,5"], "load_args: {decimal: ','} in the catalog"),
        (["$1.99", "€ 2.50"], "ratchet.use_cases.common.plain_numbers"),
        (["1.234,50 €", "2 EUR"], "ratchet.use_cases.common.plain_numbers"),
        (["cheap", "2"], r"\('cheap'|row 0: 'cheap'\)$"),
    ],
)
def test_what_helps_where_prices_have_commas_and_signs(prices, told):
    contract = {"id": {"type": "integer"}, "price": {"type": "number"}}
    rows = pd.DataFrame({"id": [0, 1], "price": prices})

    with pytest.raises(DataError, match=told):
        typed_rows(rows, Data.model_validate({"key": "id", "columns": contract}), {})


def test_folds_of_rows_that_follow_the_time_need_steps():
    rows = frame().assign(series_time=pd.Timestamp("2020-01-05"), target_y=1.0)

    with pytest.raises(DataError, match=r"5 folds.*lower targets\.it\.cv, or gather more"):
        check_training(rows, FEATURES, targets("regression", learn="log"))
