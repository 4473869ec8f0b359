"""Intervals, differences on the same rows, and periods."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ratchet.learning.metrics import Resampling
from ratchet.reports.intervals import (
    differences,
    histogram,
    mean_interval,
    share_interval,
    shares_differ,
)
from ratchet.reports.periods import by_period, period_text


def test_share_interval_is_wilsons() -> None:
    # Brown, Cai & DasGupta (2001): 0 of 10 leaves up to z^2 / (n + z^2).
    assert share_interval(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-4)
    low, high = share_interval(50, 100)
    assert (low + high) / 2 == pytest.approx(0.5)
    assert share_interval(0, 0) == (0.0, 1.0)


def test_mean_interval() -> None:
    values = np.array([1.0, 2.0, 3.0])
    half = 1.96 * 1.0 / np.sqrt(3)
    assert mean_interval(values) == pytest.approx((2 - half, 2 + half), abs=1e-4)
    assert mean_interval([4.0]) == (4.0, 4.0)
    assert np.isnan(mean_interval([])).all()


def test_shares_differ_only_beyond_chance() -> None:
    assert shares_differ((100, 300), (1000, 1000))
    assert not shares_differ((100, 105), (1000, 1000))
    assert not shares_differ((0, 0), (10, 10))
    assert not shares_differ((0, 0), (10, 0))


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 3, 200)
    guess = truth + rng.normal(0, 1, 200)
    rows = {"a": (truth, guess), "same": (truth, guess), "b": (truth, guess + 0.5)}
    gaps = differences(
        "rmse", rows, "a", task="regression", resampling=Resampling(0, n_bootstrap=100)
    )
    assert gaps["a"] == gaps["same"] == (0.0, 0.0, 0.0)

    def rmse(p: np.ndarray) -> float:
        return float(np.sqrt(np.mean((truth - p) ** 2)))

    assert gaps["b"][0] == pytest.approx(rmse(guess + 0.5) - rmse(guess))
    assert gaps["b"][1] < gaps["b"][0] < gaps["b"][2]


def test_histogram_shares_add_up_to_one() -> None:
    frame = histogram({"a": pd.Series([1.0, 2.0, None]), "b": pd.Series([5.0])})
    assert frame.groupby("group")["share"].sum().to_dict() == pytest.approx({"a": 1, "b": 1})
    assert histogram({"a": pd.Series([], dtype=float)})["share"].sum() == 0


@pytest.mark.parametrize(
    ("last", "length", "first"),
    [
        ("2020-12-31", "year", "2010"),
        ("2011-12-31", "quarter", "2010Q1"),
        ("2010-06-30", "month", "2010-01"),
        ("2010-01-29", "week", "2009-12-28"),
        ("2010-01-05", "day", "2010-01-01"),
    ],
)
def test_periods_have_a_readable_length(last: str, length: str, first: str) -> None:
    dates = pd.Series(pd.date_range("2010-01-01", last, freq="D"))
    starts, name = by_period(dates)
    assert name == length
    assert period_text(starts, name).iloc[0] == first
    assert (starts <= dates).all()
