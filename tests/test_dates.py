"""Dates of a column: one reading, or an error that names the rows and the way out."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ratchet.config import Column
from ratchet.dates import read_dates, utc
from ratchet.errors import DataError

BERLIN = "Europe/Berlin"


def read(values, series=None, **contract):
    return read_dates(pd.Series(values), Column(type="date", **contract), "day", series)


def message(values, **contract):
    with pytest.raises(DataError, match=r"^column 'day': expected") as error:
        read(values, **contract)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2020-01-01", "2020-01-01 06:00:00", " "], ["2020-01-01", "2020-01-01 06:00", None]),
        (["2020-01", "2020/2/5"], ["2020-01-01", "2020-02-05"]),
        (["1492-01-01", "9999-12-31"], ["1492-01-01", "9999-12-31"]),
        (["2020-01-01T10:00:00,25"], ["2020-01-01 10:00:00.25"]),
        (["01.02.2020", "31.01.2020"], ["2020-02-01", "2020-01-31"]),
        (["1/2/2017 0:00", "12/31/2017 23:50"], ["2017-01-02", "2017-12-31 23:50"]),
        (["1/2/2017 12:05 AM", "1/13/2017 1:00 pm"], ["2017-01-02 00:05", "2017-01-13 13:00"]),
        (["1/2/17", "1/31/17"], ["2017-01-02", "2017-01-31"]),
        (["2 Mar 2020", "03-March-2020"], ["2020-03-02", "2020-03-03"]),
        (["Mon, 06 Jan 2020 10:00:00 GMT"], ["2020-01-06 10:00"]),
        (["Sept 5, 2020"], ["2020-09-05"]),
        (["2020Q1", "2020-Q4"], ["2020-01-01", "2020-10-01"]),
        (["01/01/2010", "02/02/2010"], ["2010-01-01", "2010-02-02"]),
        (["2020-01-01T00:00:00Z", "2020-01-01 05:00+00:00"], ["2020-01-01", "2020-01-01 05:00"]),
        ([dt.date(2020, 1, 1), dt.datetime(9999, 12, 31, 5)], ["2020-01-01", "9999-12-31 05:00"]),
        (pd.Series([dt.date(2020, 1, 1)], dtype=pd.ArrowDtype(pa.date32())), ["2020-01-01"]),
        (pd.Series(["2020-01-01"], dtype="category"), ["2020-01-01"]),
        (pd.period_range("2020-01", periods=2, freq="M"), ["2020-01-01", "2020-02-01"]),
        ([None, None], [None, None]),
    ],
    ids=str,
)
def test_values_of_one_shape_are_read(values, expected):
    assert read(values).equals(pd.Series(expected, dtype="datetime64[us]"))


@pytest.mark.parametrize(
    ("contract", "values", "expected"),
    [
        ({"format": "%Y%m%d"}, [20200101.0, None], ["2020-01-01", None]),
        ({"format": "%d%m%Y"}, [1022020, 12022020], ["2020-02-01", "2020-02-12"]),
        ({"format": "%Y"}, ["2010", "2011"], ["2010-01-01", "2011-01-01"]),
        ({"format": "%d.%m.%Y"}, ["01.02.2020"], ["2020-02-01"]),
        ({"format": "%d.%m.%Y"}, ["2020-02-01T05:00:00"], ["2020-02-01 05:00"]),  # as handed on
        ({"format": "ISO8601"}, ["20200201"], ["2020-02-01"]),
        ({"unit": "s"}, ["1577836800", 1577858400.5], ["2020-01-01", "2020-01-01 06:00:00.5"]),
        ({"unit": "ms"}, [1577836800123], ["2020-01-01 00:00:00.123"]),
        ({"unit": "us"}, [2**53 + 1], ["2255-06-05 23:47:34.740993"]),
        ({"unit": "ns"}, [1577836800123456789], ["2020-01-01 00:00:00.123456"]),
        ({"unit": "D"}, [18262, 18262.5], ["2020-01-01", "2020-01-01 12:00"]),
        ({"unit": "excel"}, [43831, "43831.0069444444"], ["2020-01-01", "2020-01-01 00:10"]),
        ({"dayfirst": True}, ["01/02/2010"], ["2010-02-01"]),
        ({"dayfirst": False}, ["01/02/2010"], ["2010-01-02"]),
        ({"dayfirst": True}, ["13/01/17"], ["2017-01-13"]),
    ],
    ids=str,
)
def test_the_contract_says_how_dates_are_written(contract, values, expected):
    assert read(values, **contract).equals(pd.Series(expected, dtype="datetime64[us]"))


@pytest.mark.parametrize(
    ("values", "way_out"),
    [
        ([20200101, 20200102], 'data.columns.day.format: "%Y%m%d"'),
        (["20200101", None], 'data.columns.day.format: "%Y%m%d"'),
        ([2010, 2011], 'data.columns.day.format: "%Y"'),
        ([1577836800], "data.columns.day.unit: s"),
        ([1577836800000.0], "data.columns.day.unit: ms"),
        ([43831], "unit: excel"),
        (["2020-01-01", 5], "data.columns.day.format or unit"),
    ],
)
def test_numbers_are_no_dates_unless_it_is_said_what_they_mean(values, way_out):
    assert way_out in message(values)


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        (["01/01/2010", "01/02/2010"], "1 of 2 rows differ (row 1: '01/02/2010')"),
        (["1.2.20", "2.3.20"], "2 of 2 rows differ (row 0: '1.2.20', row 1: '2.3.20')"),
        (["13/01/17"], "1 of 1 rows differ"),
    ],
)
def test_two_readings_are_asked_about(values, rows):
    text = message(values)

    assert rows in text
    assert "data.columns.day.dayfirst: true (or false)" in text


def test_both_readings_of_a_day_are_shown():
    assert "'01/02/2010' is 2010-02-01 (day first) or 2010-01-02 (month first)" in message(
        ["01/02/2010"]
    )


@pytest.mark.parametrize(
    ("contract", "values", "wrong"),
    [
        ({}, ["2020-02-30", "2020-01-01", "soon"], "row 0: '2020-02-30', row 2: 'soon'"),
        ({}, ["2020-01-01 25:00"], "row 0: '2020-01-01 25:00'"),
        ({}, ["31.01.2020", "01/13/2020"], "row 1: '01/13/2020'"),
        ({}, ["2020-01-01", "31.01.2020", "2020-01-02"], "row 1: '31.01.2020'"),
        ({"format": "%d.%m.%Y"}, ["01.02.2020", "2020-02-01"], "row 1: '2020-02-01'"),
        ({"unit": "s"}, [1577836800, 1577836800000], "row 1: 1577836800000"),
        ({"unit": "excel"}, [43831, "2020-01-01"], "row 1: '2020-01-01'"),
        ({"dayfirst": False}, ["13/01/2020"], "row 0: '13/01/2020'"),
    ],
    ids=str,
)
def test_values_that_cannot_be_read_are_named_with_their_rows(contract, values, wrong):
    assert f"rows differ ({wrong})" in message(values, **contract)


@pytest.mark.parametrize(
    ("values", "way_out"),
    [
        (["2020-01-06T00:00:00+09:00"], "Etc/GMT-9 for the local time as written"),
        (["2020-01-06T00:00+01:00", "2020-07-06T00:00+02:00"], "there is +01:00, +02:00"),
        (["2020-01-06T00:00Z", "2020-01-06T00:00"], "there is +00:00 or none"),
        ([pd.Timestamp("2020-01-06", tz=BERLIN)], f"data.columns.day.timezone: {BERLIN}, or UTC"),
    ],
    ids=str,
)
def test_an_offset_asks_for_the_time_zone_whose_days_are_meant(values, way_out):
    text = message(values)

    assert way_out in text
    assert "data.columns.day.timezone" in text


@pytest.mark.parametrize(
    "values",
    [
        ["2020-01-06T00:00:00+01:00", "2020-07-06T00:00:00+02:00"],
        ["2020-01-06", "2020-07-06"],
        ["2020-01-05T23:00:00Z", "2020-07-05 22:00:00 UTC"],
        pd.Series(["2020-01-06", "2020-07-06"], dtype="datetime64[ns]"),
        pd.Series(["2020-01-05 23:00", "2020-07-05 22:00"], dtype="datetime64[ns, UTC]"),
        pd.Series(
            pd.to_datetime(["2020-01-05 23:00", "2020-07-05 22:00"], utc=True),
            dtype=pd.ArrowDtype(pa.timestamp("ms", "Asia/Tokyo")),
        ),
    ],
    ids=str,
)
def test_a_time_zone_keeps_local_days_however_they_are_delivered(values):
    dates = read(values, timezone=BERLIN)

    assert dates.dtype == f"datetime64[us, {BERLIN}]"
    assert dates.dt.strftime("%a %H:%M").tolist() == ["Mon 00:00", "Mon 00:00"]
    assert utc(dates).tolist() == [
        pd.Timestamp("2020-01-05 23:00"),
        pd.Timestamp("2020-07-05 22:00"),
    ]


@pytest.mark.parametrize("zone", ["UTC", "+00:00"])
def test_utc_by_any_name_stays_in_utc(zone):
    arrow = pd.Series([dt.datetime(2020, 1, 6)], dtype=pd.ArrowDtype(pa.timestamp("us", zone)))

    assert read(arrow).tolist() == [pd.Timestamp("2020-01-06")]


def test_times_of_a_fixed_offset_are_offered_a_zone_that_there_is():
    text = message(pd.Series(pd.to_datetime(["2020-01-06T00:00:00+02:00"])))

    assert "data.columns.day.timezone: the name of the place" in text
    assert "Etc/GMT-2" in text
    assert "data.columns.day.timezone: Europe/Berlin, or UTC" in message(
        pd.Series(pd.to_datetime(["2020-01-06"])).dt.tz_localize(BERLIN)
    )


@pytest.mark.parametrize(
    ("frequency", "day"), [("W", "2019-12-30"), ("Y", "2020-01-01"), ("Q", "2020-01-01")]
)
def test_periods_are_read_by_their_first_day(frequency, day):
    periods = pd.Series(pd.period_range("2020-01-01", periods=2, freq=frequency))

    assert read(periods)[0] == pd.Timestamp(day)


AUTUMN = ["2020-10-25 01:30", "2020-10-25 02:30", "2020-10-25 02:30", "2020-10-25 03:30"]


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_hour_that_comes_twice_is_two_steps_of_a_series(newest_first):
    rows = pd.DataFrame({"day": [*AUTUMN, *AUTUMN], "shop": ["a"] * 4 + ["b"] * 4})
    rows = rows.iloc[::-1] if newest_first else rows

    dates = read(rows["day"], series=rows["shop"], timezone=BERLIN)

    for _, mine in utc(dates).groupby(rows["shop"]):
        assert [moment.hour for moment in mine.sort_values()] == [23, 0, 1, 2]


def test_outside_of_series_the_hour_that_comes_twice_is_the_first():
    assert utc(read(["2020-10-25 02:30"] * 2, timezone=BERLIN)).dt.hour.tolist() == [0, 0]


def test_a_local_time_that_does_not_exist_is_named():
    assert "row 1: '2020-03-29 02:30'" in message(
        ["2020-03-29", "2020-03-29 02:30"], timezone=BERLIN
    )


def test_a_moment_that_no_year_of_utc_holds_is_named():
    assert "row 1: '9999-12-31T23:59:59'" in message(
        ["2020-01-01", "9999-12-31T23:59:59"], timezone="America/New_York"
    )


def test_a_day_without_a_midnight_begins_when_it_begins():
    (day,) = read(["2018-11-04"], timezone="America/Sao_Paulo")

    assert day.isoformat() == "2018-11-04T01:00:00-02:00"


@given(
    st.lists(st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)), min_size=1, max_size=5),
    st.sampled_from(["%Y-%m-%d %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S.%f", "%m/%d/%Y %H:%M:%S.%f"]),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back_or_asked_about(moments, form):
    # strftime pads no years on Linux, which no one writes either.
    text = [moment.strftime(form.replace("%Y", f"{moment.year:04d}")) for moment in moments]

    assert read(text, format=form).tolist() == moments
    if any(moment.day > 12 for moment in moments):
        assert read(text).tolist() == moments
    elif not form.startswith("%Y") and any(moment.day != moment.month for moment in moments):
        assert "read in one way" in message(text)


@pytest.mark.parametrize(
    ("contract", "told"),
    [
        ({"type": "string", "format": "%Y"}, "for columns of type date only"),
        ({"type": "number", "timezone": "UTC"}, "for columns of type date only"),
        ({"type": "date", "format": "mixed"}, "expected ISO8601 or what strptime reads"),
        ({"type": "date", "format": ""}, "expected ISO8601 or what strptime reads"),
        ({"type": "date", "format": "%D"}, "'D' is a bad directive"),
        ({"type": "date", "format": "%Y-%W"}, "without day and year"),
        ({"type": "date", "format": "%Y %Y"}, "expected ISO8601 or what strptime reads"),
        ({"type": "date", "format": "%Y-%m-%d %Z"}, "names of time zones"),
        ({"type": "date", "low": 2024}, "low: expected a date such as 2020-01-31, got 2024"),
        ({"type": "number", "high": "2024-01-31"}, "high: expected a number"),
        ({"type": "string", "low": 1}, "low: for numbers and dates only, this is a string"),
        ({"type": "date", "format": "%Y", "unit": "s"}, "leave out the others"),
        ({"type": "date", "unit": "s", "dayfirst": True}, "leave out the others"),
        ({"type": "date", "timezone": "CET/Nowhere"}, "expected the name of a time zone"),
        ({"type": "date", "timezone": "../etc/passwd"}, "expected the name of a time zone"),
        ({"type": "date", "unit": "h"}, "'s', 'ms', 'us', 'ns', 'D', 'W' or 'excel'"),
    ],
)
def test_a_contract_that_cannot_hold_is_refused(contract, told):
    with pytest.raises(ValidationError, match=told):
        Column.model_validate(contract)
