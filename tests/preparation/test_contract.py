"""Rows that are to be answered: typed, and checked for what an answer needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ratchet.config import Data, joined_key
from ratchet.errors import ConfigError, DataError
from ratchet.preparation.contract import read_day, typed_fields, typed_rows
from ratchet.preparation.required_columns import RequiredColumns

FILM: dict[str, Any] = {
    "film": 99,
    "title": "A day",
    "runtime": 95,
    "released": "2015-01-01",
    "date": "2015-12-31",
    "year": 2015,
    "genres": ["Drama", "War"],
    "countries": "France, Italy",
}


@pytest.fixture
def films(slice_of):
    return slice_of("films").use_case


def test_fields_of_a_film(films):
    typed = typed_fields(pd.DataFrame([FILM]), films)

    assert list(typed) == list(films.data.columns)
    row = typed.iloc[0]
    assert row["genres"] == ["Drama", "War"]
    assert row["countries"] == ["France", "Italy"]
    assert row["released"] == pd.Timestamp("2015-01-01")
    unknown = ["rating", "reviews", "box_office", "month", "certificate", "cast", "languages"]
    assert row[unknown].isna().all()


def test_they_are_typed_as_the_rows_of_a_file(films, slice_of):
    typed = typed_fields(pd.DataFrame([FILM]), films)
    rows = slice_of("films").typed

    given = [name for name in FILM if name in rows]
    assert typed[given].dtypes.tolist() == rows[given].dtypes.tolist()
    both = pd.concat([rows, typed], ignore_index=True)
    for name in rows.select_dtypes(["number", "datetime"]):
        assert both[name].dtype.kind == rows[name].dtype.kind


def test_rows_of_a_file_come_out_as_they_are(slice_of):
    for name in ("films", "power", "stock", "prices", "market"):
        part = slice_of(name)
        rows = part.typed.head(40)

        typed = typed_fields(rows, part.use_case)

        pd.testing.assert_frame_equal(typed, rows, check_dtype=False)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"runtime": None}, r"column 'runtime': expected at least one value"),
        ({"runtime": "long"}, r"column 'runtime': expected type number"),
        ({"runtime": 0}, r"column 'runtime': expected nothing below 1"),
        ({"film": None}, r"column 'film': expected"),
        ({"released": "soon"}, r"column 'released': expected type date"),
        ({"rating": 9}, r"column 'rating': expected nothing above 5"),
    ],
)
def test_values_that_break_the_contract(films, change, told):
    with pytest.raises(DataError, match=told):
        typed_fields(pd.DataFrame([FILM | change]), films)


WEEKS: dict[str, Any] = {
    "key": ["shop", "number", "week"],
    "time": "week",
    "columns": {
        "week": {"type": "date"},
        "shop": {"type": "string"},
        "number": {"type": "integer"},
        "sales": {"type": "number"},
    },
}


def weeks(**columns: Any) -> pd.DataFrame:
    plain = {"week": ["2015-01-04", "2015-01-11"], "shop": "A", "number": 3, "sales": [1.0, 2.0]}
    return pd.DataFrame(plain | columns)


def test_several_columns_are_joined_to_a_key_in_their_order():
    typed = typed_rows(weeks(week=["2015-01-04", "2015-01-04T12:00"]), Data(**WEEKS), {})

    assert typed["row"].tolist() == ["A|3|2015-01-04", "A|3|2015-01-04T12:00:00"]


@given(st.lists(st.tuples(*[st.text(alphabet="ab|\\", min_size=1, max_size=4)] * 2), unique=True))
def test_other_parts_give_another_key(parts):
    assert len({joined_key(each) for each in parts}) == len(parts)


def test_rows_of_the_same_key_are_told_with_columns_and_rows():
    told = (
        r"columns \['shop', 'number', 'week'\]: expected no two rows .*"
        r"1 of 2 rows differ \(row 1: 'A\|3\|2015-01-04'\)"
    )
    with pytest.raises(DataError, match=told):
        typed_rows(weeks(week="2015-01-04"), Data(**WEEKS), {})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"key": ["shop", "wek"]}, "'wek' is not among the columns"),
        ({"key": ["shop", "shop"]}, "names a column twice"),
        ({"key": ["shop", "sales"]}, "column 'sales' must have one of the types"),
        ({"columns": WEEKS["columns"] | {"row": {"type": "string"}}}, "'row' is kept for the key"),
        ({"series": {"season": 52}}, "not of series"),
        ({"key": []}, "expected the column that identifies a row"),
    ],
)
def test_columns_that_cannot_name_a_row_together(change, told):
    with pytest.raises(ValidationError, match=told):
        Data(**{**WEEKS, **change})


@pytest.mark.parametrize("name", ["film", "runtime", "released", "date", "genres", "title"])
def test_a_column_that_is_needed_must_be_there(films, name):
    fields = pd.DataFrame([FILM]).drop(columns=name)

    with pytest.raises(DataError, match=rf"columns \['{name}'\] are missing"):
        typed_fields(fields, films)


def test_no_rows(films):
    with pytest.raises(DataError, match="no rows to answer"):
        typed_fields(pd.DataFrame([FILM]).head(0), films)


def test_a_step_to_come(slice_of):
    use_case = slice_of("stock").use_case

    typed = typed_fields(pd.DataFrame({"product": ["1"], "date": ["2001-03-01"]}), use_case)

    assert typed[["units", "tickets", "price", "group"]].isna().all(axis=None)
    assert RequiredColumns(use_case).columns == ["product", "date"]


def test_a_step_twice(slice_of):
    fields = pd.DataFrame({"product": ["1", "1"], "date": ["2001-03-01", "2001-03-01"]})

    with pytest.raises(DataError, match="expected every time once"):
        typed_fields(fields, slice_of("stock").use_case)


def test_rows_are_left_as_they_are(films):
    fields = pd.DataFrame([FILM])
    before = fields.copy()

    typed_fields(fields, films)

    pd.testing.assert_frame_equal(fields, before)


def test_typed_rows_are_all_rows_by_default(slice_of):
    part = slice_of("power")
    raw = part.typed.drop(columns=[]).assign(demand=part.typed["demand"].to_numpy())
    data = part.use_case.data.model_copy(update={"prepare": None})

    typed = typed_rows(raw, data, dict(part.use_case.targets))

    pd.testing.assert_frame_equal(typed, part.typed)
    assert np.isfinite(typed["demand"]).all()


def test_a_day():
    assert read_day("2020-01-31") == pd.Timestamp("2020-01-31")
    with pytest.raises(ConfigError, match="parameter as_of: expected a date"):
        read_day(20200131)
