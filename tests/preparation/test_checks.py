"""What cannot be learned from is told before any search, whatever the family of models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.errors import ConfigError, DataError
from ratchet.params import Features
from ratchet.preparation import check_numbers, check_training

FEATURES = Features.model_validate({"numeric": ["size"], "lists": ["tags"]})


def targets(task: str, **options: Any) -> dict[str, Any]:
    naive = "seasonal" if task == "forecasting" else "dummy"
    trained = "logistic" if task == "classification" else "ridge"
    return {
        "it": {
            "column": "y",
            "task": task,
            "baseline": naive,
            "candidates": {name: {"estimator": name} for name in (naive, trained)},
            **({"classes": ["0", "1"]} if task == "classification" else {}),
            **options,
        }
    }


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
