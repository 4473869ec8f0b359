"""What raw files may need before their contract."""

from __future__ import annotations

import pandas as pd
import pytest

from ratchet.config import Column
from ratchet.dates import read_dates
from ratchet.use_cases.common import join_hour, plain_numbers


@pytest.mark.parametrize("days", [["1/13/2011", "1/14/2011"], pd.to_datetime(["2011-01-13"] * 2)])
def test_an_hour_in_its_own_column_is_joined(days):
    rows = join_hour(pd.DataFrame({"day": days, "hr": ["5", "23"]}), date="day", hour="hr")

    times = read_dates(rows["day"], Column(type="date"), "day")

    assert times.dt.hour.tolist() == [5, 23]
    assert times.iloc[0] == pd.Timestamp("2011-01-13 05:00")


def test_an_hour_that_there_is_not_is_named():
    with pytest.raises(ValueError, match=r"expected hours from 0 to 23 \(row 1: 24\)"):
        join_hour(pd.DataFrame({"day": ["2011-01-13"] * 2, "hr": [0, 24]}), date="day", hour="hr")


def test_signs_of_currencies_and_thousands_are_taken_away():
    frame = pd.DataFrame({"price": ["1.234,50 €", "EUR 2,5", "-3", None, "free", 4.5], "x": "1 €"})

    plain = plain_numbers(frame, columns=["price"], decimal=",")

    assert plain["price"].tolist() == ["1234.50", "2.5", "-3", None, "free", 4.5]
