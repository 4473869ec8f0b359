"""Which columns of a model input are scaled as the target is, and what candidates of units see."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from joblib import Memory

from ratchet.config import Candidate, Data, Features, Target
from ratchet.modelling.calibrate_and_refit import refit, uncalibrated
from ratchet.modelling.candidate_search import search_candidate
from ratchet.modelling.target_scaling import features_and_scaled_target, scaled_columns
from ratchet.pipelines.preprocessing import build_windows, encode_features, select_series
from ratchet.preparation.contract import typed_rows
from ratchet.preparation.window_columns import make_views

DATA = Data.model_validate(
    {
        "time": "day",
        "columns": {
            "day": {"type": "date"},
            "shop": {"type": "string"},
            "sold": {"type": "number", "low": 0},
            "lag_7": {"type": "number"},
        },
        "series": {"id": "shop", "frequency": "D", "season": 7},
        "calendar": ["dayofweek"],
    }
)
FEATURES = Features.model_validate(
    {
        "numeric": ["dayofweek"],
        "cyclic": {"dayofweek": 7},
        "windows": {
            "lookback": 3,
            "past": {"sold": "value", "lag_7": "change"},
            "known": ["dayofweek"],
            "seasons": [7, 14],
            "lags": [8],
            "rolling": [3],
        },
    }
)


def target(past: str = "value") -> Target:
    return Target.model_validate(
        {
            "column": "sold",
            "task": "forecasting",
            "learn": past,
            "bounds": [0, np.inf],
            "baseline": "seasonal",
            "cv": 2,
            "candidates": {name: {"estimator": name} for name in ("seasonal", "ridge")},
        }
    )


@pytest.fixture(scope="module")
def primary() -> pd.DataFrame:
    """Sales of a small and a large shop."""
    draw = np.random.default_rng(0)
    days = pd.date_range("2020-01-01", periods=120)
    rows = pd.MultiIndex.from_product([days, ["a", "b"]], names=["day", "shop"])
    raw = rows.to_frame(index=False)
    mean = np.where(raw["shop"] == "a", 3, 60)
    raw = raw.assign(sold=draw.poisson(mean).astype(float), lag_7=draw.normal(size=len(raw)))
    targets = {"sold": target()}
    return select_series(typed_rows(raw, DATA, targets), DATA, FEATURES, targets)[0]


@pytest.mark.parametrize("form", ["value", "log1p"])
def test_the_columns_that_views_scale_are_found_by_name(primary, form):
    windows = FEATURES.windows.model_copy(update={"past": {"sold": form, "lag_7": "change"}})
    features = FEATURES.model_copy(update={"windows": windows})
    views = make_views(primary, DATA, features, target())

    found = scaled_columns([view.name for view in views], target(), windows)

    for kind in ("level", "scale"):
        expected = [view.name for view in views if view.rescaled == kind]
        classical = [name for name in expected if not name.startswith("ahead_")]
        assert found[f"by_{kind}"] == classical
    assert ("window_sold_00" in found["by_level"]) is (form == "value")


@pytest.mark.parametrize("learn", ["value", "change"])
def test_a_candidate_of_units_is_searched_calibrated_and_fitted_again(primary, learn):
    goal = target(learn)
    built, _ = build_windows(primary, DATA, FEATURES, {"sold": goal})
    _, train, validation, test = encode_features(built, FEATURES, 0)
    grid = {"estimator__model__max_iter": [5], "estimator__model__loss": ["squared_error"]}
    candidate = Candidate(estimator="unscaled_boosting", param_grid=grid)

    model, _, held_out = search_candidate(
        train, validation, goal, FEATURES, candidate, 0, Memory(None, verbose=0)
    )

    inside = uncalibrated(model, goal)
    X, _ = features_and_scaled_target(pd.concat([train, validation]), goal, "unscaled")
    units = X["window_sold_00"] * X["series_scale"] + X["series_level"]
    seen = inside._in_units(X)[0]
    np.testing.assert_allclose(seen["window_sold_00"], units)
    assert seen["window_sold_00"].round(3).isin(primary["sold"]).all()
    assert list(held_out.index) == list(validation.index)
    value, low, high = model.predict_with_interval(test[list(model.feature_names_in_)]).T
    assert ((low <= value) & (value <= high) & (low >= 0)).all()
    again = uncalibrated(refit(model, pd.concat([train, validation]), goal), goal)
    np.testing.assert_array_equal(again.predict(X), inside.predict(X))
