"""Series on one grid: what is absent, what is a hole, and what each is measured by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.learning.features.series import (
    calendar,
    find_closed_times,
    infer_frequency,
    on_closed_days,
    seasonal_change,
    time_grid,
    to_panel,
)


def day(number: int) -> pd.Timestamp:
    return pd.Timestamp("2020-01-01") + pd.Timedelta(days=number)


def rows(*triples: tuple[int, str, float | None]) -> pd.DataFrame:
    frame = pd.DataFrame(triples, columns=["day", "shop", "sold"])
    return frame.assign(day=frame["day"].map(day), price=frame["sold"] * 2)


def laid_out(frame: pd.DataFrame, absent: dict, **spans: Any) -> tuple[pd.DataFrame, np.ndarray]:
    grid = time_grid(frame["day"], "D")
    named = {"time": "day", "series": "shop", "target": "sold", "season": 2}
    layout = to_panel(frame, grid=grid, absent=absent, **{**named, **spans})
    return layout.rows, layout.given


def panel(frame: pd.DataFrame, column: str) -> list[list[float]]:
    return frame.pivot(index="day", columns="shop", values=column).to_numpy().tolist()


def test_every_series_has_every_step():
    frame = rows((3, "b", 4.0), (0, "a", 1.0), (0, "b", 2.0), (1, "a", 3.0))

    laid, there = laid_out(frame, {})

    assert list(laid) == list(frame)
    assert laid["day"].tolist() == [day(i) for i in range(4) for _ in "ab"]
    assert laid["shop"].tolist() == list("abababab")
    assert there.tolist() == [[True, True], [True, False], [False, False], [False, True]]
    np.testing.assert_array_equal(
        panel(laid, "sold"), [[1, 2], [3, np.nan], [np.nan, np.nan], [np.nan, 4]]
    )


def test_absent_values_are_filled_and_holes_are_not():
    frame = rows((0, "a", 1.0), (0, "b", 2.0), (1, "a", 3.0), (3, "b", 4.0))

    laid, _ = laid_out(frame, {"sold": 0, "price": "previous"})

    hole = [np.nan, np.nan]
    np.testing.assert_array_equal(panel(laid, "sold"), [[1, 2], [3, 0], hole, [0, 4]])
    np.testing.assert_array_equal(panel(laid, "price"), [[2, 4], [6, 4], hole, [6, 8]])


def test_a_missing_value_of_a_row_that_is_there_stays_missing():
    """It was not measured, which is not the same as nothing having happened."""
    frame = rows((0, "a", 1.0), (0, "b", 2.0), (1, "a", None), (1, "b", 3.0))

    laid, _ = laid_out(frame, {"sold": 0, "price": "previous"})

    np.testing.assert_array_equal(panel(laid, "sold"), [[1, 2], [np.nan, 3]])
    np.testing.assert_array_equal(panel(laid, "price"), [[2, 4], [np.nan, 6]])


def test_a_series_begins_with_its_first_row():
    frame = rows((0, "a", 1.0), (1, "a", 2.0), (1, "b", 3.0), (2, "a", 4.0))
    absent = {"sold": 0, "price": "previous"}

    laid, _ = laid_out(frame, absent)

    np.testing.assert_array_equal(panel(laid, "sold"), [[1, np.nan], [2, 3], [4, 0]])
    np.testing.assert_array_equal(panel(laid, "price"), [[2, np.nan], [4, 6], [8, 6]])
    laid, _ = laid_out(frame, absent, begins="first_step")
    np.testing.assert_array_equal(panel(laid, "sold"), [[1, 0], [2, 3], [4, 0]])
    np.testing.assert_array_equal(panel(laid, "price"), [[2, np.nan], [4, 6], [8, 6]])


@pytest.mark.parametrize(
    ("last", "steps", "after", "sold"),
    [
        ((0, 1), 6, None, [1, 1, 0, 0, 0, 0]),  # four steps are two seasons
        ((0, 1), 7, None, [1, 1, *[np.nan] * 5]),
        ((0, 4), 11, None, [1, 0, 0, 0, 1, *[0] * 6]),  # three were missed before: six may be
        ((0, 4), 12, None, [1, 0, 0, 0, 1, *[np.nan] * 7]),
        ((0, 1), 4, 1, [1, 1, np.nan, np.nan]),
        ((0, 1), 4, 2, [1, 1, 0, 0]),
        ((0, 1, 9), 10, 0, [1, 1, *[0] * 7, 1]),  # rows follow
    ],
)
def test_a_series_ends_with_its_last_row(last, steps, after, sold):
    frame = rows(*((i, "a", 5.0) for i in range(steps)), *((i, "b", 1.0) for i in last))

    laid, _ = laid_out(frame, {"sold": 0}, ends_after=after)

    np.testing.assert_array_equal(laid.loc[laid["shop"] == "b", "sold"].to_numpy(), sold)


def test_steps_to_come_and_holes_end_no_series():
    """Of a step to come nobody knows what is sold, so that a series without a row has not ended."""
    frame = rows((0, "a", 1.0), (0, "b", 1.0), (1, "a", 2.0), *((i, "a", None) for i in (8, 9)))

    laid, _ = laid_out(frame, {"sold": 0, "price": "previous"}, ends_after=1)

    np.testing.assert_array_equal(panel(laid, "sold"), [[1, 1], [2, 0], *[[np.nan] * 2] * 8])
    assert laid.loc[laid["day"] > day(1), "price"].isna().all()


@pytest.mark.parametrize(
    ("start", "freq", "periods", "fits"),
    [
        ("2018-01-01", "W-MON", 50, "W-MON"),
        ("2018-01-01", "MS", 50, "MS"),
        ("2018-01-31", "ME", 50, "ME"),
        ("2018-02-01", "QS-FEB", 20, "QS-FEB"),
        ("2018-01-01", "YS", 9, "YS"),
        ("2018-01-01 06:00", "D", 50, "D"),
        ("2018-01-01", "B", 50, "B"),
        ("2018-01-01", "30min", 90, "30min"),
        ("2018-01-15", "MS", 20, "MS"),
        ("2018-01-01", "7s", 90, None),
    ],
)
def test_the_longest_step_that_fits(start, freq, periods, fits):
    times = pd.Series(pd.date_range(start, periods=periods, freq=freq))

    assert infer_frequency(times) == fits
    assert infer_frequency(times.drop(index=[3, 7]).sample(frac=1, random_state=0)) == fits


def test_the_middle_of_the_months_fits_nothing():
    times = pd.Series(pd.date_range("2018-01-01", periods=30, freq="MS") + pd.Timedelta(days=14))

    assert infer_frequency(times) is None


def test_days_of_a_clock_that_skips_a_midnight_fit():
    days = pd.Series(pd.date_range("2018-10-01", periods=60, freq="D"))
    local = days.dt.tz_localize("America/Sao_Paulo", nonexistent="shift_forward")

    assert local.dt.hour.sum() == 1  # of 4 November, which begins at 1:00
    assert infer_frequency(local) == "D"
    assert time_grid(local, "D").tolist() == local.tolist()


def test_closed_days_and_hours():
    days = pd.date_range("2020-01-01", periods=70)
    hours = pd.date_range("2020-01-01", periods=240, freq="h")

    sundays = find_closed_times(days, days.dayofweek < 6)
    nights = find_closed_times(hours, (hours.hour > 1) & (hours.hour < 23))

    assert sundays == (["Sundays"], 7)
    assert nights == (["0:00", "1:00", "23:00"], 24)
    assert find_closed_times(days, np.arange(70) % 10 > 0) is None
    assert find_closed_times(days, np.ones(70, dtype=bool)) is None


def test_closed_days_are_days_of_the_clock():
    hours = pd.date_range("2023-12-24 21:00", periods=30, freq="h", tz="UTC")
    berlin = hours.tz_convert("Europe/Berlin")

    assert hours[on_closed_days(hours, ["12-25"])][0].hour == 0
    assert hours[on_closed_days(berlin, ["12-25"])][0].hour == 23
    assert on_closed_days(hours, ["Sun"]).sum() == 3
    assert on_closed_days(hours, ["2023-12-26"]).sum() == 3
    assert on_closed_days(hours, ["US"]).tolist() == on_closed_days(hours, ["12-25"]).tolist()
    july = pd.date_range("2026-07-01", "2026-07-06")  # the 4th is a Saturday
    assert july[on_closed_days(july, ["US"])].day.tolist() == [3]
    assert not on_closed_days(july[:0], ["US", "Sun"]).any()
    times = july.to_series()
    assert time_grid(times, "D", ["Sun", "US"]).day.tolist() == [1, 2, 4, 6]
    assert time_grid(times, "C", ["US"]).day.tolist() == [1, 2, 6]


def test_steps():
    times = pd.Series([day(5), day(0), day(2)])

    assert len(time_grid(times, "D")) == 6
    assert time_grid(times, None).tolist() == [day(0), day(2), day(5)]
    with pytest.raises(ValueError, match=r"(?i)frequency"):
        time_grid(times, "sometimes")


def test_calendar():
    times = pd.Series(pd.to_datetime(["2020-02-29 23:40", "2021-12-31 00:10"]), index=[7, 9])
    parts = ["minute", "hour", "halfhour", "dayofweek", "day", "month", "quarter", "dayofyear"]

    result = calendar(times, [*parts, "week", "year", "weekend"])

    assert result.index.tolist() == [7, 9]
    assert result.loc[7].tolist() == [40, 23, 47, 5, 29, 2, 1, 60, 9, 2020, 1]
    assert result.loc[9].tolist() == [10, 0, 0, 4, 31, 12, 4, 365, 52, 2021, 0]


def test_every_calendar_part_that_parameters_know_can_be_made():
    from ratchet.config import CALENDAR

    times = pd.Series(pd.date_range("2020-01-01", "2021-01-01", freq="10min"))

    result = calendar(times, list(CALENDAR))

    counts = result.nunique()
    expected = {**CALENDAR, "minute": 6, "year": 2}  # of 60, every tenth
    assert counts.to_dict() == expected


def test_change_over_a_season_is_the_error_of_the_seasonal_naive_forecast():
    values = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, np.nan], [1.0, 60.0]])

    mean, rms, own = seasonal_change(values, 2)

    np.testing.assert_allclose(mean, [2, 40])
    np.testing.assert_allclose(rms, [np.sqrt((9 + 1) / 2), 40])
    assert own.all()


def test_relative_change():
    mean, rms, _ = seasonal_change(np.array([[1.0], [2.0], [1.0]]), 1, relative=True)

    np.testing.assert_allclose(mean, [0.75])
    np.testing.assert_allclose(rms, [np.sqrt((1 + 0.25) / 2)])


def test_series_without_a_change_take_the_mean_of_the_others():
    values = np.array([[0.0, 5.0, 1.0, 1.0, np.nan], [0.0, 5.0, 3.0, 5.0, 4.0]])

    mean, rms, own = seasonal_change(values, 1)

    assert own.tolist() == [False, False, True, True, False]
    np.testing.assert_allclose(mean, [3, 3, 2, 4, 3])
    np.testing.assert_allclose(rms, [3, 3, 2, 4, 3])


@pytest.mark.parametrize("values", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.ones((2, 2))])
def test_where_no_series_changes_the_unit_is_one(values):
    mean, rms, own = seasonal_change(values, 3)

    assert mean.tolist() == rms.tolist() == [1, 1]
    assert not own.any()
