"""Raw fields mean the same with and without pandas, and what breaks the contract is named."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ratchet.compiled import serialization
from ratchet.compiled.answers import RequestError
from ratchet.compiled.contract import Contract, contract_of
from ratchet.compiled.field_values import LARGEST_NUMBER
from ratchet.config import UseCase
from ratchet.errors import DataError
from ratchet.preparation.contract import typed_fields

COLUMNS: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer", "low": -5, "high": 10**17},
    "integer or none": {"type": "integer", "nullable": True},
    "number": {"type": "number", "low": -1, "high": 1000},
    "number or none": {"type": "number", "nullable": True},
    "size": {"type": "number", "values": ["1", "2.5"]},
    "text": {"type": "string"},
    "colour": {"type": "string", "values": ["pale", "dark", "1"], "nullable": True},
    "list": {"type": "list"},
    "list or none": {"type": "list", "nullable": True, "separator": ";"},
    "letters": {"type": "list", "values": ["a", "b"]},
    "date": {"type": "date", "low": "1990-01-01", "high": "2030-12-31"},
    "date or none": {"type": "date", "nullable": True},
    "day first": {"type": "date", "dayfirst": True},
    "iso": {"type": "date", "format": "ISO8601"},
    "format": {"type": "date", "format": "%d.%m.%Y"},
    "digits": {"type": "date", "format": "%d%m%Y"},
    "with offset": {"type": "date", "format": "%Y-%m-%d %H:%M %z"},
    "seconds": {"type": "date", "unit": "s"},
    "nanoseconds": {"type": "date", "unit": "ns"},
    "excel": {"type": "date", "unit": "excel"},
    "weeks": {"type": "date", "unit": "W"},
    "berlin": {"type": "date", "timezone": "Europe/Berlin"},
    "cairo": {"type": "date", "timezone": "Africa/Cairo", "nullable": True},
    "seconds in berlin": {"type": "date", "unit": "s", "timezone": "Europe/Berlin"},
}


def use_case(column: dict[str, Any], **data: Any) -> UseCase:
    kind = {"list": "lists", "number": "numeric", "integer": "numeric"}.get(
        column["type"], "categorical"
    )
    return UseCase.model_validate(
        {
            "about": {"title": "t", "question": "q", "source": "s"},
            "data": {
                "key": "key",
                "columns": {
                    "key": {"type": "string"},
                    "x": column,
                    "price": {"type": "number"},
                    "note": {"type": "string"},
                },
                **data,
            },
            "features": {kind: ["x"]},
            "targets": {
                "price": {
                    "column": "price",
                    "task": "regression",
                    "candidates": {"dummy": {"estimator": "dummy"}, "r": {"estimator": "ridge"}},
                }
            },
        }
    )


CASES = {name: use_case(column) for name, column in COLUMNS.items()}
CONTRACTS = {name: contract_of(case) for name, case in CASES.items()}

days = st.dates(dt.date(1, 1, 2), dt.date(9999, 12, 30))
moments = st.datetimes(dt.datetime(1960, 1, 1), dt.datetime(2040, 1, 1))
zones = st.sampled_from(["", "Z", "+02:00", "+00:00", " UTC", "-0330"])
written = st.one_of(
    days.map(str),
    moments.map(str),
    st.tuples(moments, zones).map(lambda two: f"{two[0].isoformat()}{two[1]}"),
    st.tuples(
        st.datetimes(dt.datetime(1000, 1, 1)),
        st.sampled_from(
            (
                *("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%y", "%Y%m%d", "%d%m%Y", "%d %B %Y", "%Y-%m"),
                *("%b %d, %Y %H:%M", "%Y/%m/%d %I:%M %p", "%B %Y", "%a, %d %b %Y %H:%M:%S"),
                *("%Y-Q1", "%y-%m-%d", "%Y-%m-%d %H:%M +0200"),
            )
        ),
    ).map(lambda two: two[0].strftime(two[1])),
    st.integers(-(10**11), 10**11),
    st.floats(-(10**6), 10**6),
)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.integers(-10, 20),
    st.floats(allow_nan=False),
    st.floats(-10, 2000).map(lambda x: round(x, 2)),
    st.integers(-20, 20).map(float),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    st.sampled_from(
        ["", " ", "5", " 7 ", "+3", "1e3", "0x10", "1_000", "true", "nan", "inf", "-.5"]
    ),
    st.sampled_from(["pale", "a, b", "a; b", "a,, c", "2.50", "2.5", "1.0", "NULL", "None", "0.0"]),
    st.lists(st.sampled_from(["a", "b", " c ", "", None, 1, 2.0, 2.5, True]), max_size=4),
    written,
)


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return value
    if value is None or pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return value.item() if isinstance(value, np.generic) else value


def slow(case: UseCase, row: dict[str, Any]) -> Any:
    try:
        return plain(typed_fields(pd.DataFrame([row]), case)["x"].iloc[0])
    except DataError:
        return DataError


def fast(contract: Contract, row: dict[str, Any]) -> Any:
    try:
        return contract.read_row(row)["x"]
    except RequestError as error:
        return DataError if (error.field, error.row) == ("x", 0) else error


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(COLUMNS)), values)
@example("integer", 2.0**53)
@example("integer or none", "")
@example("number or none", " ")
@example("date or none", "")
@example("colour", 1.0)
@example("berlin", "2024-03-31T02:30:00")
@example("berlin", "2024-10-27T02:30:00")
@example("cairo", "2024-04-26")
@example("date", "2000-02-30")
@example("iso", "2020-01-01T10:00:00.1234567")
@example("nanoseconds", 2**62)
@example("excel", 45000.5)
@example("weeks", 68)
@example("seconds", "0.")
@example("seconds", ".5")
@example("seconds", "１")
def test_a_value_means_what_it_means_in_a_file(name, value):
    assume(not (isinstance(value, list) and COLUMNS[name]["type"] == "string"))  # refused here
    assume(not str(value).endswith("/0001"))  # 1 January in Berlin is in UTC's year 0: refused here
    row = {"key": "k", "x": value}

    found, expected = fast(CONTRACTS[name], row), slow(CASES[name], row)
    assume(not isinstance(expected, float) or abs(expected) <= LARGEST_NUMBER)  # refused here
    # Before there were time zones, the clock of pandas is minutes off that of other libraries.
    dates = [one for one in (found, expected) if isinstance(one, dt.datetime)]
    assume(not any(one.tzinfo is not None and one.year < 1900 for one in dates))

    assert found == expected
    assert type(found) is type(expected)


FILMS = use_case({"type": "number", "low": 1, "high": 1000, "nullable": True}, required=["x"])
ROW = {"key": "k", "x": 90}


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"x": 0}, "x", "expected a finite number from 1 to 1000, got 0"),
        ({"x": math.nan}, "x", "got nan; leave out what is not known"),
        ({"x": "1e999"}, "x", "leave out what is not known"),
        ({"x": None}, "x", "it cannot be empty"),
        ({"x": {"a": 1}}, "x", "got an object"),
        ({"x": [1]}, "x", "got a list of 1"),
        ({"key": ["k"]}, "key", "expected text, got a list of 1"),
        ({"key": "\ud800"}, "key", "characters that no text can have"),
        ({"key": "k\0"}, "key", "characters that no text can have"),
        ({"key": "k" * 1001}, "key", "at most 1000 characters"),
        ({"note": 10**2000}, "note", "got a number of many digits; at most 1000 characters"),
        ({"pricee": 1}, "pricee", "unknown field 'pricee'; is 'price' meant?"),
    ],
    ids=str,
)
def test_what_breaks_the_contract_is_named(fields, field, told):
    with pytest.raises(RequestError) as refused:
        contract_of(FILMS).read_row({**ROW, **fields}, 3)

    assert (refused.value.field, refused.value.row) == (field, 3)
    assert str(refused.value).startswith("row 3")
    assert told in str(refused.value)


def test_a_field_that_is_needed_cannot_be_left_out():
    with pytest.raises(RequestError, match=r"row 0, field 'x': expected .*; it is missing"):
        contract_of(FILMS).read_row({"key": "k"})


def test_what_only_the_truth_needs_may_be_left_out():
    contract = contract_of(FILMS)

    assert contract.read_row(ROW)["price"] is None
    assert not contract.fields["price"].required
    assert contract_of(FILMS, measured=True).fields["price"].required


def test_a_long_list_is_refused():
    with pytest.raises(RequestError, match="at most 1000 parts"):
        CONTRACTS["list"].read_row({"key": "k", "x": ["a"] * 1001})
    with pytest.raises(RequestError, match="at most 1000 parts"):
        CONTRACTS["list"].read_row({"key": "k", "x": "a, " * 1001 + "a"})


def test_two_rows_of_one_key_are_refused():
    with pytest.raises(RequestError, match="row 2: expected no two rows of one 'key', row 0") as no:
        contract_of(FILMS).read_rows([ROW, {**ROW, "key": "other"}, ROW])

    assert no.value.row == 2


def test_optional_fields_that_a_model_looks_at_are_named():
    contract = CONTRACTS["list or none"]

    assert contract.not_given(contract.read_row({"key": "k"})) == ["x"]
    assert contract.not_given(contract.read_row({"key": "k", "x": "a"})) == []


def test_a_contract_is_kept_as_a_program():
    contract = CONTRACTS["date"]

    assert serialization.loads(serialization.dumps(contract)) == contract


def test_an_hour_that_comes_twice_is_no_row_that_comes_twice():
    at = {"type": "date", "timezone": "Europe/Berlin"}
    contract = Contract({"at": contract_of(use_case(at)).fields["x"]}, ["at"], "at")
    summer, winter = "2024-10-27T02:30+02:00", "2024-10-27T02:30+01:00"

    read = contract.read_rows([{"at": summer}, {"at": winter}])

    assert [values["at"].utcoffset().total_seconds() / 3_600 for values in read] == [2, 1]
    with pytest.raises(RequestError, match="row 2: expected no two rows of one 'at', row 1 has"):
        contract.read_rows([{"at": summer}, {"at": winter}, {"at": "2024-10-27T01:30Z"}])


def test_all_wrong_fields_of_a_row_are_told_at_once():
    with pytest.raises(RequestError, match="unknown field 'y'") as found:
        CONTRACTS["integer"].read_row({"y": 1, "x": "long"}, 3)

    assert [(each.row, each.field) for each in found.value.others] == [(3, "key"), (3, "x")]
