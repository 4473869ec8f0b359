"""Rows of paths: every step seen from its origin, and from nothing later."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.config import SERIES_STEP, STEP, UseCase, path_keys
from ratchet.config.names import row_keys
from ratchet.learning.features.windows import (
    View,
    complete_by_horizon,
    complete_rows,
    lag_views,
    naive_views,
    rates_near_origin,
    rolling_views,
    spread_origins,
    systematic_sample,
    window_views,
)
from ratchet.pipelines.preprocessing import build_windows, select_series
from ratchet.preparation.answering import features_of

SIZE = 90


def use_case(horizon: Any, **windows: Any) -> UseCase:
    """Daily sales of two shops with offers that are known ahead."""
    names = ("shop", "date", "units", "offer")
    types = ("string", "date", "number", "integer")
    kinds = [{"type": kind} for kind in types]
    kinds[2]["nullable"] = True
    return UseCase.model_validate(
        {
            "about": dict.fromkeys(("title", "question", "source"), "-"),
            "data": {
                "time": "date",
                "columns": dict(zip(names, kinds, strict=True)),
                "series": {"id": "shop", "frequency": "D", "season": 7},
                "calendar": ["dayofweek"],
                "split": {"validation": 0.2, "test": 0.2},
            },
            "features": {
                "numeric": ["offer"],
                "cyclic": {"dayofweek": 7},
                "windows": {
                    "lookback": 2,
                    "horizon": horizon,
                    "past": {"units": "value"},
                    "known": ["offer", "dayofweek"],
                    "seasons": [14],
                    "lags": [1, 2, 7, 14],
                    "rolling": [3],
                    **windows,
                },
            },
            "targets": {
                "units": {
                    "column": "units",
                    "task": "forecasting",
                    "baseline": "seasonal",
                    "candidates": {n: {"estimator": n} for n in ("seasonal", "persistence")},
                }
            },
        }
    )


def sales(seed: int = 0, size: int = SIZE) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product(
        [pd.date_range("2020-01-01", periods=size), ["a", "b"]], names=["date", "shop"]
    )
    rows = index.to_frame(index=False)
    return rows.assign(units=draw.uniform(1, 9, len(rows)), offer=draw.integers(0, 2, len(rows)))


def built(case: UseCase, rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    data, features, targets = case.data, case.features, dict(case.targets)
    primary, _ = select_series(rows, data, features, targets)
    return build_windows(primary, data, features, targets)


def inputs(frame: pd.DataFrame) -> pd.DataFrame:
    """What models see of rows, and in what terms they learn."""
    return frame.filter(regex="^(?!target_|split)")


@pytest.mark.parametrize("step", [1, 3])
def test_a_path_of_one_step_is_a_forecast_of_that_step(step):
    lags = [lag for lag in (1, 2, 7, 14) if lag >= step]
    one, units = built(use_case(step, lags=lags), sales())
    path, same_units = built(use_case({"first": step, "last": step}, lags=lags), sales())

    assert list(path.index) == [f"{key}#{step}" for key in one.index]
    assert (path[[SERIES_STEP, STEP, f"ahead_{STEP}_00"]] == step).all(axis=None)
    pd.testing.assert_frame_equal(path[list(one)].set_axis(one.index, axis=0), one)
    pd.testing.assert_frame_equal(units, same_units)


def test_every_step_of_a_path_is_the_forecast_of_that_step():
    frame, _ = built(use_case({"last": 9, "every": 1}), sales())

    for step in (1, 5, 9):
        one, _ = built(use_case(step), sales())
        rows = frame[frame[SERIES_STEP] == step]
        rows = rows.set_axis(row_keys(rows.index), axis=0)
        both, named = rows.index.intersection(one.index), [n for n in one if n != "split"]
        named = [name for name in named if not name.startswith("lag_")]  # counted otherwise
        assert len(both) > 100
        pd.testing.assert_frame_equal(rows.loc[both, named], one.loc[both, named])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.integers(40, 80), st.integers(1, 10), st.sampled_from([0, 3, np.nan]))
def test_nothing_after_the_origin_changes_a_row(seed, origin, last, factor):
    case = use_case({"last": last, "every": 1})
    rows = sales(seed)
    _, units = built(case, rows)
    later = rows["date"] > rows["date"].min() + pd.Timedelta(days=origin)

    before = features_of(rows, case, units)
    after = features_of(
        rows.assign(units=rows["units"].mask(later, rows["units"] * factor)), case, units
    )

    steps = (before["series_time"] - rows["date"].min()).dt.days - before[SERIES_STEP]
    seen = before[steps <= origin]
    assert len(seen) > 50
    assert set(seen["series_time"]) & set(rows.loc[later, "date"])
    pd.testing.assert_frame_equal(inputs(after.loc[seen.index]), inputs(seen), check_exact=True)


def test_short_lags_count_from_the_last_known_value():
    frame, _ = built(use_case({"last": 9, "every": 1}), sales())
    units = sales().set_index(["shop", "date"])["units"]
    row = frame.loc["a@2020-03-20#4"]

    origin = pd.Timestamp("2020-03-16")
    days = {"lag_1": origin, "lag_2": origin - pd.Timedelta(days=1)}
    days |= {"lag_14": pd.Timestamp("2020-03-06"), "naive_seasonal": pd.Timestamp("2020-03-13")}
    days |= {"naive_persistence": origin, "window_units_01": origin - pd.Timedelta(days=1)}
    for name, day in days.items():
        assert row[name] * row["series_scale"] == pytest.approx(units["a", day], rel=1e-5)
    beyond = frame.loc["a@2020-03-20#8"]
    assert beyond["naive_seasonal"] * beyond["series_scale"] == pytest.approx(
        units["a", pd.Timestamp("2020-03-06")], rel=1e-5
    )


def test_a_seasonal_series_is_forecast_without_error_at_every_step():
    rows = sales(size=200)
    rows["units"] = 5.0 + rows["date"].dt.dayofweek
    frame, _ = built(use_case({"last": 20, "every": 1}), rows)

    errors = frame["naive_seasonal"] * frame["series_scale"] - frame["target_units"]

    assert set(frame[SERIES_STEP]) == set(range(1, 21))
    np.testing.assert_allclose(errors, 0, atol=1e-5)


def test_parts_keep_their_distance():
    """No origin of a part lies before the last value that the part before it has as a target."""
    frame, _ = built(use_case({"last": 6, "every": 1}), sales())

    origin = frame["series_time"] - pd.to_timedelta(frame[SERIES_STEP], "D")
    for earlier, later in (("train", "validation"), ("validation", "test")):
        last = frame.loc[frame["split"] == earlier, "series_time"].max()
        assert origin[frame["split"] == later].min() >= last


def test_a_request_is_seen_from_the_last_known_step():
    case, rows = use_case({"first": 2, "last": 5}), sales()
    _, units = built(case, rows)
    ahead = sales(1, SIZE + 7)[-14:].drop(columns="units")
    ended = (rows["shop"] == "b") & (rows["date"] > "2020-03-28")  # two days before the other
    known = rows.assign(units=rows["units"].mask(ended))
    both = pd.concat([known, ahead], ignore_index=True)

    asked = np.arange(len(both)) >= len(known)
    found = features_of(both, case, units, asked)

    steps = found[SERIES_STEP].to_dict()
    assert [steps[f"a@2020-03-{day}"] for day in (31,)] == [2]
    assert [steps[f"a@2020-04-0{day}"] for day in range(1, 5)] == [2, 3, 4, 5]
    assert [steps[f"b@2020-0{day}"] for day in ("3-31", "4-01", "4-02")] == [3, 4, 5]
    assert len(steps) == 8


@pytest.mark.parametrize(
    ("count", "season", "every"),
    [(1, 7, 1), (2, 48, 1), (3, 7, 3), (48, 48, 47), (7, 7, 6), (12, 12, 11)],
)
def test_origins_are_spread_by_the_length_of_the_path(count, season, every):
    found = spread_origins(count, season)

    assert found == every
    assert math.gcd(found, season) == 1


@given(st.integers(1, 60), st.floats(0.02, 1.0))
def test_near_steps_are_drawn_more_often_and_none_more_than_always(count, share):
    rates = rates_near_origin(count, share * count)

    assert rates.sum() == pytest.approx(share * count)
    assert (rates > 0).all()
    assert (rates <= 1 + 1e-12).all()
    assert (np.diff(rates) <= 1e-12).all()


@given(st.integers(1, 20), st.floats(0.05, 1.0), st.integers(0, 99))
def test_a_sample_has_as_many_steps_of_each_place_as_the_rates_sum_up_to(count, share, seed):
    rates, start = rates_near_origin(count, share * count), np.random.default_rng(seed).random(500)

    drawn = np.stack([*systematic_sample(rates, start)])

    assert np.abs(drawn.sum(axis=0) - rates.sum()).max() < 1
    assert np.abs(drawn.mean(axis=1) - rates).max() < 0.15
    assert drawn[rates == 1].all()


def test_rows_that_are_learned_from_are_of_many_origins_and_those_of_the_test_of_whole_paths():
    case = use_case({"last": 6, "every": 5})
    frame, _ = built(case, sales(size=400))

    series = frame["series_id"].astype(str)
    origins = frame["series_time"] - pd.to_timedelta(frame[SERIES_STEP], "D")
    for part, most in (("train", 2.0), ("validation", 2.0)):
        rows = frame["split"] == part
        assert origins[rows].groupby([series[rows], origins[rows]]).size().mean() < most
    test = frame["split"] == "test"
    whole = origins[test].groupby([series[test], origins[test]]).size()
    assert (whole == 6).mean() > 0.8
    steps = frame.groupby("split", observed=True)[SERIES_STEP].value_counts().unstack()
    assert steps.loc["train", 1] > 3 * steps.loc["train", 6]
    assert steps.loc["validation", 1] < 2 * steps.loc["validation", 6]


def test_rows_stay_where_they_are_when_the_series_grow():
    case = use_case({"last": 6})
    few, _ = built(case, sales(size=200))
    many, _ = built(case, sales(size=290))

    train = few[few["split"] == "train"]
    assert train.index.isin(many.index[many["split"] == "train"]).all()


def test_spread_origins_cover_every_step_in_every_part():
    frame, _ = built(use_case({"last": 6, "every": 5}), sales())

    counts = frame.groupby("split", observed=True)[SERIES_STEP].value_counts().unstack()
    assert counts.shape == (3, 6)
    assert counts.notna().all(axis=None)
    assert len(frame) < 1.4 * frame["series_time"].nunique() * 2


def test_keys_name_the_row_and_the_step():
    rows = pd.Index(["a#3@2020-01-01", "b@2020-01-01T00:00:00+0100"], name="row")

    keys = path_keys(rows, [12, 1])

    assert list(keys) == ["a#3@2020-01-01#12", "b@2020-01-01T00:00:00+0100#1"]
    pd.testing.assert_index_equal(row_keys(keys), rows)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(1, 8), st.integers(2, 5))
def test_complete_rows_are_those_of_each_horizon(seed, last, season):
    draw = np.random.default_rng(seed)
    panel = draw.uniform(size=(40, 2))
    panel[draw.uniform(size=panel.shape) < 0.05] = np.nan
    views = [
        *window_views([View("past", panel, last, anchor="origin"), View("ahead", panel, 0)], 2),
        *lag_views(panel, [1, 3, 9], last, path=True),
        *rolling_views(panel, [3], last),
        *naive_views(panel, last, [season]),
    ]

    for horizon, complete in complete_by_horizon(views, last, range(1, last + 1)):
        expected = complete_rows([view.at(horizon, last) for view in views])
        np.testing.assert_array_equal(complete, expected)
