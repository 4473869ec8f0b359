"""Windows: equal to a slow obvious loop, and blind to what comes after the origin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ratchet.learning.features import windows
from ratchet.learning.features.series import seasonal_change
from ratchet.learning.features.windows import (
    View,
    complete_rows,
    max_lookback,
    naive_views,
    rolling_moments,
    rolling_views,
    select_rows,
    shift,
    target_scaling,
    transform,
    window_views,
)


def values(steps: int = 12, series: int = 2) -> np.ndarray:
    """1, 2, 3 ... in the first series, 101, 102 ... in the second."""
    return np.arange(1.0, steps + 1)[:, None] + 100 * np.arange(series)


def shown(views: list[View], row: tuple[int, int]) -> dict[str, float]:
    """One row of the columns, in plain units."""
    panel = views[0].values
    rows = np.zeros(panel.shape, dtype=bool)
    rows[row] = True
    frame = select_rows(views, rows, np.zeros_like(panel), np.ones_like(panel))
    assert (frame.dtypes == np.float32).all()
    return frame.iloc[0].to_dict()


def test_a_window_is_told_step_by_step_oldest_first():
    past, ahead = View("sold", values(), 2), View("ahead", -values(), 0)

    views = window_views([past, ahead], lookback=3)

    assert [view.name for view in views] == [
        *("sold_02", "ahead_02", "sold_01", "ahead_01", "sold_00", "ahead_00"),
    ]
    # The target is step 9 (value 10), the origin two steps before.
    assert list(shown(views, (9, 0)).values()) == [6, -8, 7, -9, 8, -10]
    assert list(shown(views, (9, 1)).values()) == [106, -108, 107, -109, 108, -110]


def test_rolling():
    views = rolling_views(values(), [2, 4], horizon=3)

    result = shown(views, (9, 0))  # the origin has value 7
    assert result == pytest.approx(
        {
            "rolling_mean_2": 6.5,
            "rolling_std_2": 0.5,
            "rolling_mean_4": 5.5,
            "rolling_std_4": np.std([4, 5, 6, 7]),
        }
    )


@pytest.mark.parametrize(
    ("horizon", "seasonal", "weekly"), [(1, 3, 5), (3, 3, 5), (4, 6, 5), (6, 6, 10)]
)
def test_naive_forecasts_use_the_last_seasons_that_are_known(horizon, seasonal, weekly):
    result = shown(naive_views(values(), horizon, [3, 5, 3]), (11, 0))

    assert result == {
        "naive_persistence": 12 - horizon,
        "naive_seasonal": 12 - seasonal,
        "naive_seasonal_5": 12 - weekly,
    }


@pytest.mark.parametrize(
    ("transformation", "expected"),
    [
        ("value", [4, -1, 0, 2, np.nan]),
        ("log1p", [np.log(5), np.nan, 0, np.log(3), np.nan]),
        ("change", [np.nan, -5, 1, 2, np.nan]),
        ("log_change", [np.nan, np.nan, np.nan, np.nan, np.nan]),
    ],
)
def test_transformations_leave_out_what_has_no_logarithm(transformation, expected):
    result = transform(np.array([[4.0], [-1.0], [0.0], [2.0], [np.nan]]), transformation)

    np.testing.assert_allclose(result.ravel(), expected)


def test_log_change():
    result = transform(np.array([[1.0], [2.0], [1.0]]), "log_change")

    np.testing.assert_allclose(result.ravel(), [np.nan, np.log(2), -np.log(2)])


def test_shift_by_more_than_there_is():
    assert np.isnan(shift(values(3), 5)).all()


def test_rows_are_complete_where_every_view_is():
    panel = values()
    panel[4, 1] = np.nan
    views = [*window_views([View("sold", panel, 1)], 2), View("lag_4", panel, 4)]

    result = complete_rows(views)

    assert max_lookback(views) == 4
    assert np.flatnonzero(result[:, 0]).tolist() == [4, 5, 6, 7, 8, 9, 10, 11]
    assert np.flatnonzero(result[:, 1]).tolist() == [4, 7, 9, 10, 11]


def test_reach_counts_what_values_look_back_themselves():
    assert max_lookback(rolling_views(values(), [2, 5], horizon=3)) == 7


def test_a_target_is_told_in_the_terms_of_the_row():
    panel = values()
    views = [
        View("level", panel, 2, "level"),
        View("spread", panel, 2, "scale"),
        View("other", panel, 2),
    ]
    rows = np.zeros(panel.shape, dtype=bool)
    rows[5] = True

    result = select_rows(views, rows, panel - 3, np.full_like(panel, 10))

    assert result["level"].tolist() == pytest.approx([0.1, 0.1])
    assert result["spread"].tolist() == pytest.approx([0.4, 10.4])
    assert result["other"].tolist() == [4, 104]


def scaling_of(
    panel: np.ndarray, season: int, horizon: int, learn: str, n_train: int | None = None
):
    """The terms of each row, by what the first steps say of every series."""
    mean, rms, _ = seasonal_change(panel[:n_train], season, relative=learn == "return")
    return target_scaling(panel, horizon, learn, mean, rms)


@pytest.mark.parametrize(
    ("learn", "level", "scale"), [("value", 0, 3), ("change", 8, 3), ("return", 8, 8)]
)
def test_terms(learn, level, scale):
    """Doubling series: a change over one step is the value itself."""
    panel = 2.0 ** np.arange(6)[:, None]
    mean = {"value": (1 + 2 + 4 + 8 + 16) / 5, "return": 1}

    result = scaling_of(panel, season=1, horizon=1, learn=learn)

    assert result["level"][4] == level
    assert result["scale"][4] == (8 if learn == "return" else mean["value"])
    squares = (1 + 4 + 16 + 64 + 256) / 5
    assert result["rms"][4] == pytest.approx(8 if learn == "return" else np.sqrt(squares))


@st.composite
def cases(draw: st.DrawFn) -> dict:
    horizon = draw(st.integers(1, 4))
    return {
        "horizon": horizon,
        "lookback": draw(st.integers(1, 5)),
        "season": draw(st.integers(horizon, 6)),
        "lag": draw(st.integers(horizon, 6)),
        "rolling": draw(st.integers(2, 5)),
        "transformation": draw(st.sampled_from(["value", "log1p", "change", "log_change"])),
        "learn": draw(st.sampled_from(["value", "change", "return"])),
        "seed": draw(st.integers(0, 99)),
    }


def features_of(panel: np.ndarray, case: dict, rows: np.ndarray) -> np.ndarray:
    horizon = case["horizon"]
    channels = [
        View("past", transform(panel, case["transformation"]), horizon),
        View("own", panel, horizon, "level"),
        View("season", panel, case["season"], "level"),
    ]
    views = [
        *window_views(channels, case["lookback"]),
        View("lag", panel, case["lag"], "level"),
        *rolling_views(panel, [case["rolling"]], horizon),
        *naive_views(panel, horizon, [case["season"], 2]),
    ]
    scaling = scaling_of(panel, case["season"], horizon, case["learn"], n_train=12)
    usable = complete_rows(views)
    assert usable[rows].all()
    frame = select_rows(views, rows, scaling["level"], scaling["scale"])
    return np.column_stack([frame, scaling["level"][rows], scaling["scale"][rows]])


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 7), st.floats(0.1, 9))
def test_nothing_after_the_origin_changes_a_row(case, later, factor):
    panel = np.random.default_rng(case["seed"]).uniform(1, 9, size=(30, 2))
    rows = np.zeros(panel.shape, dtype=bool)
    rows[20] = True
    changed = panel.copy()
    changed[20 - case["horizon"] + 1 + later :] *= factor

    np.testing.assert_array_equal(features_of(panel, case, rows), features_of(changed, case, rows))


@settings(max_examples=20, deadline=None)
@given(cases())
def test_the_origin_itself_is_seen(case):
    """Or the test above would pass on columns that see nothing."""
    panel = np.random.default_rng(case["seed"]).uniform(1, 9, size=(30, 2))
    rows = np.zeros(panel.shape, dtype=bool)
    rows[20] = True
    changed = panel.copy()
    changed[20 - case["horizon"]] *= 2

    assert (features_of(panel, case, rows) != features_of(changed, case, rows)).any()


@given(
    hnp.arrays(
        float,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements=st.one_of(st.just(np.nan), st.floats(-1e6, 1e6), st.just(1e6 + 0.1)),
    ),
    st.integers(2, 40),
)
def test_rolling_moments_are_those_of_each_window(panel, length):
    mean, spread = rolling_moments(panel, length)
    assert np.isnan(mean[: length - 1]).all()
    assert np.isnan(spread[: length - 1]).all()
    for last in range(length - 1, len(panel)):
        window = panel[last - length + 1 : last + 1]
        np.testing.assert_allclose(mean[last], window.mean(axis=0), rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(spread[last], window.std(axis=0), rtol=1e-9, atol=1e-9)
        same = (window == window[0]).all(axis=0)
        assert (spread[last][same] == 0).all()


def test_rolling_moments_of_many_series_at_a_time(monkeypatch):
    panel = np.random.default_rng(0).normal(size=(9, 7))
    whole = rolling_moments(panel, 3)
    monkeypatch.setattr(windows, "_PLACES", 20)
    for one, other in zip(whole, rolling_moments(panel, 3), strict=True):
        np.testing.assert_array_equal(one, other)
