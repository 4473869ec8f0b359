"""Targets that are learned as their logarithm: in order of time, told and scored in units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import Memory

from ratchet.compiled.estimators import compile_estimator
from ratchet.config import Candidate, Data, Features, Target
from ratchet.errors import DataError
from ratchet.learning.metrics import Resampling, score_regression
from ratchet.modelling.calibrate_and_refit import refit, uncalibrated
from ratchet.modelling.choice import choose_best
from ratchet.pipelines.classical import search_candidate
from ratchet.pipelines.preprocessing import build_features, encode_features, select_rows
from ratchet.reports.data_preparation import preparation_blocks

DATA = Data.model_validate(
    {
        "key": ["shop", "week"],
        "time": "week",
        "columns": {
            "shop": {"type": "string"},
            "week": {"type": "date"},
            "price": {"type": "number"},
            "sold": {"type": "number"},
        },
        "split": {"validation": 0.2, "test": 0.2},
    }
)
FEATURES = Features(numeric=["price"])
TARGET: dict[str, Any] = {
    "column": "sold",
    "task": "regression",
    "learn": "log",
    "scoring": "neg_wape",
    "cv": 3,
    "confidence": 0.8,
    "candidates": {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}},
}


def sales(weeks: int = 60, shops: int = 4, zeros: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = pd.DataFrame(
        [
            {"row": f"{shop}|{week.date()}", "shop": shop, "week": week}
            for week in pd.date_range("2020-01-05", periods=weeks, freq="W")
            for shop in "abcd"[:shops]
        ]
    )
    rows["price"] = rng.uniform(1, 4, len(rows))
    rows["sold"] = np.exp(5 - 2 * np.log(rows["price"]) + rng.normal(scale=0.2, size=len(rows)))
    rows.loc[rows.index[-3::-17][:zeros], "sold"] = 0.0
    return rows


def prepared(rows: pd.DataFrame, **target: Any) -> tuple[Any, ...]:
    targets = {"sold": TARGET | target}
    primary, selection = select_rows(rows, DATA, targets, 0)
    features = build_features(primary, DATA, FEATURES, targets)
    return (*encode_features(features, FEATURES, 0, targets), primary, selection)


@pytest.fixture(scope="module")
def fitted():
    _, train, validation, test, primary, _ = prepared(sales())
    target, cache = Target.model_validate(TARGET), Memory(None)
    made = {
        name: search_candidate(
            train, validation, target, FEATURES, Candidate(estimator=name), 0, cache
        )
        for name in target.candidates
    }
    return target, train, validation, test, primary, made


def test_no_week_is_cut_in_two(fitted):
    primary = fitted[4]

    assert not primary[["week", "split"]].drop_duplicates()["week"].duplicated().any()
    assert primary["split"].cat.codes.is_monotonic_increasing
    assert primary["split"].value_counts().to_dict() == {"train": 144, "validation": 48, "test": 48}


def test_folds_are_scored_on_later_weeks_and_in_units(fitted):
    train, made = fitted[1], fitted[5]
    dummy = made["dummy"][1].iloc[0]

    week = train["series_time"].rank(method="dense").astype(int) - 1
    sold, step = train["target_sold"], int(week.max() + 1) // 6
    for fold in range(3):
        first = week.max() + 1 - (3 - fold) * step
        known, later = sold[week < first], sold[(week >= first) & (week < first + step)]
        told = np.exp(np.log(known[known > 0]).mean())
        expected = (later[later > 0] - told).abs().sum() / later[later > 0].sum()
        assert dummy[f"split{fold}_test_score"] == pytest.approx(-expected)


def test_rows_without_a_logarithm_are_predicted_and_scored(fitted):
    target, _, validation, _, _, made = fitted

    assert (validation["target_sold"] == 0).sum() == 2
    _, choice, told = choose_best(
        validation,
        target,
        FEATURES,
        0,
        *[made[name][place] for place in range(3) for name in target.candidates],
    )

    assert choice["metric"] == "wape"
    assert choice["best"] == "ridge"
    rows = told[told["candidate"] == "ridge"]
    assert rows["truth"].tolist() == validation["target_sold"].tolist()
    assert rows["time"].tolist() == validation["series_time"].tolist()
    scores = score_regression(
        rows["truth"], rows["prediction"], resampling=Resampling(0, n_bootstrap=1)
    )
    assert choice["ranking"]["ridge"]["validation"] == pytest.approx(scores["wape"]["value"])
    assert scores["wape"]["value"] < 0.6


def test_intervals_are_shares_that_cover(fitted):
    _, _, _, test, _, made = fitted
    model = made["ridge"][0]
    names = list(model.feature_names_in_)

    value, low, high = model.predict_with_interval(test[names]).T

    np.testing.assert_allclose(value / low, high / value)
    np.testing.assert_allclose(high / value, high[0] / value[0])
    sold = test["target_sold"]
    inside = ((low <= sold) & (sold <= high))[sold > 0]
    assert 0.65 <= inside.mean() <= 0.97
    run = compile_estimator(model, names)
    found = run(test[names].to_numpy())
    np.testing.assert_allclose(found, np.column_stack([value, low, high]), rtol=1e-9)


def test_fitting_once_more_learns_logarithms_of_all_rows(fitted):
    target, train, validation, test, _, made = fitted
    model, rows = made["dummy"][0], pd.concat([train, validation, test])

    again = refit(model, rows, target)

    logs = np.log(rows["target_sold"][rows["target_sold"] > 0])
    assert uncalibrated(again, target).constant_.item() == pytest.approx(logs.mean())
    before, after = (each.predict_with_interval(test[["price"]]) for each in (model, again))
    np.testing.assert_allclose(before[:, 2] / before[:, 0], after[:, 2] / after[:, 0])


def test_rows_that_are_not_learned_from_are_counted_and_named():
    *_, selection = prepared(sales())

    assert selection["not_learned"] == {"sold": {"train": 0, "validation": 2, "test": 3}}
    text = " ".join(str(block) for block in preparation_blocks(selection, DATA, FEATURES))
    assert (
        "The logarithm of sold is learned, and 5 rows with a value of 0 or less have none" in text
    )


def test_nothing_above_zero_is_an_error_before_any_search():
    rows = sales().assign(sold=0.0)

    with pytest.raises(DataError, match="none of the training rows has a value above 0"):
        prepared(rows)


def test_random_folds_leave_parts_as_they_were():
    *_, primary, _ = prepared(sales(weeks=33, shops=3, zeros=0), folds="random")

    assert primary["split"].value_counts().to_dict() == {"train": 59, "validation": 20, "test": 20}
