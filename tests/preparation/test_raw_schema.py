"""Data contracts: good frames pass unchanged, and every broken cell is told with its row."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ratchet.config import Column, Target
from ratchet.errors import DataError
from ratchet.preparation.raw_schema import check_steps, check_target, read_contract

COLUMNS = {
    "id": Column(type="integer"),
    "amount": Column(type="number", nullable=True, low=-1e6, high=1e6),
    "name": Column(type="string", nullable=True),
    "colour": Column(type="string", values=["red", "green"]),
    "day": Column(type="date", low=dt.date(1900, 1, 1), high=dt.date(2100, 1, 1)),
    "tags": Column(type="list", nullable=True, separator="; "),
    "rank": Column(type="integer", nullable=True),
}

# A validation takes 20 ms; looking for the smallest failure could take minutes.
FEW = settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])

WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


@st.composite
def frames(draw: st.DrawFn, min_size: int = 1) -> pd.DataFrame:
    """Frames as a CSV reader may deliver them, that keep the contract."""
    n = draw(st.integers(min_size, 8))

    def column(
        values: st.SearchStrategy[Any], *, nullable: bool = False, **options: Any
    ) -> list[Any]:
        cells = draw(st.lists(values, min_size=n, max_size=n, **options))
        if nullable:  # but for one: a column without values is a breach
            gaps = draw(st.lists(st.booleans(), min_size=n, max_size=n))
            cells = [
                None if gap and i else v for i, (v, gap) in enumerate(zip(cells, gaps, strict=True))
            ]
        return cells

    return pd.DataFrame(
        {
            "id": column(st.integers(-(2**62), 2**62), unique=True),
            "amount": pd.array(column(st.floats(-1e6, 1e6), nullable=True), dtype=float),
            "name": column(WORDS, nullable=True),
            "colour": column(st.sampled_from(["red", "green"])),
            "day": column(st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)).map(str)),
            "tags": column(st.lists(WORDS, min_size=1).map("; ".join), nullable=True),
            "rank": pd.array(column(st.integers(0, 99), nullable=True), dtype=float),
            "unused": range(n),
        },
        index=pd.Index(range(10, 10 + n)),
    )


@FEW
@given(frames())
def test_good_frames_keep_their_values(raw):
    before = raw.copy(deep=True)

    typed = read_contract(raw, COLUMNS, key="id")

    pd.testing.assert_frame_equal(raw, before)
    assert list(typed) == list(COLUMNS)
    assert list(typed.index) == list(range(len(raw)))
    assert typed["id"].tolist() == raw["id"].tolist()
    np.testing.assert_array_equal(typed["amount"], raw["amount"])
    np.testing.assert_array_equal(typed["rank"].to_numpy(float), raw["rank"])
    assert str(typed["rank"].dtype) == "Int64"
    for name in ("name", "colour"):
        assert typed[name].isna().tolist() == raw[name].isna().tolist()
        assert typed[name].dropna().tolist() == raw[name].dropna().tolist()
    assert typed["day"].dt.strftime("%Y-%m-%d").tolist() == [f"{day:0>10}" for day in raw["day"]]
    for cell, text in zip(typed["tags"], raw["tags"], strict=True):
        assert cell == (text.split("; ") if isinstance(text, str) else None)


BREAKS = [
    ("id", 1.5, "type integer"),
    ("id", "one", "type integer"),
    ("id", None, "type integer"),
    ("id", np.inf, "type integer"),
    ("amount", "much", "type number"),
    ("amount", np.inf, "finite numbers"),
    ("amount", -np.inf, "finite numbers"),
    ("amount", 1e6 + 1, "nothing above 1000000.0"),
    ("amount", -1e6 - 1, "nothing below -1000000.0"),
    ("colour", "blue", "one of ['red', 'green']"),
    ("colour", None, "a value in every row"),
    ("colour", "", "one of ['red', 'green']"),
    ("day", "soon", "type date"),
    ("day", "2001-02-30", "type date"),
    ("day", None, "a value in every row"),
    ("day", "1899-12-31", "nothing below 1900-01-01"),
    ("day", "2100-01-02", "nothing above 2100-01-01"),
    ("rank", 2.5, "type integer"),
]


@FEW
@given(frames(min_size=2), st.data(), st.sampled_from(BREAKS))
def test_a_broken_cell_is_told_with_its_row(raw, data, broken):
    column, value, rule = broken
    row = data.draw(st.integers(0, len(raw) - 1))
    raw[column] = raw[column].astype(object)
    raw.iloc[row, raw.columns.get_loc(column)] = value

    with pytest.raises(DataError) as error:
        read_contract(raw, COLUMNS, key="id")

    lines = [line for line in str(error.value).splitlines() if f"column '{column}'" in line]
    assert any(
        f"expected {rule}; 1 of {len(raw)} rows differ (row {row}: " in line for line in lines
    ), str(error.value)
    # An empty cell may make a gap in the only value of the column; nothing else is told.
    others = {line.split("'")[1] for line in str(error.value).splitlines()} - {column}
    assert not others


@FEW
@given(frames(min_size=3))
def test_a_key_that_comes_twice_is_told_with_both_rows(raw):
    raw.iloc[-1, 0] = raw.iloc[0, 0]

    with pytest.raises(DataError) as error:
        read_contract(raw, COLUMNS, key="id")

    expected = f"column 'id': expected no value twice; 2 of {len(raw)} rows differ (row 0: "
    assert str(error.value).startswith(expected)
    assert f"row {len(raw) - 1}: " in str(error.value)


@pytest.fixture
def raw() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": range(20),
            "amount": np.arange(20.0),
            "name": "x",
            "colour": "red",
            "day": "2020-01-01",
            "tags": "a; b",
            "rank": 1,
        }
    )


def test_missing_columns_are_told(raw):
    with pytest.raises(DataError, match=r"columns \['day', 'rank'\] are missing.*'amount'"):
        read_contract(raw.drop(columns=["rank", "day"]), COLUMNS, "id")


def test_a_file_without_rows_is_told(raw):
    with pytest.raises(DataError, match="the file has no rows"):
        read_contract(raw.iloc[:0], COLUMNS, "id")


@pytest.mark.parametrize("name", ["amount", "name", "rank"])
def test_a_column_without_values_is_told_even_if_it_may_have_gaps(raw, name):
    raw[name] = None

    with pytest.raises(DataError) as error:
        read_contract(raw, COLUMNS, "id")

    assert (
        str(error.value) == f"column '{name}': expected at least one value, found none in 20 rows"
    )


def test_many_broken_rows_are_counted_and_the_first_shown(raw):
    raw["colour"] = ["blue"] * 12 + ["red"] * 8

    with pytest.raises(DataError) as error:
        read_contract(raw, COLUMNS, "id")

    message = str(error.value)
    assert "12 of 20 rows differ (row 0: 'blue'" in message
    assert "row 4: 'blue'" in message
    assert "row 5" not in message


def test_values_are_shown_as_they_are_written(raw):
    raw.loc[3, "amount"] = 2e6

    with pytest.raises(DataError, match=r"\(row 3: 2000000\.0\)"):
        read_contract(raw, COLUMNS, "id")


def test_lists_lose_blanks_and_empty_parts(raw):
    raw["tags"] = raw["tags"].astype(object)
    raw.loc[:3, "tags"] = ["a;  b ; ; c", "", " ; ", None]

    tags = read_contract(raw, COLUMNS, "id")["tags"]

    assert tags[:4].tolist() == [["a", "b", "c"], [], [], None]


def test_lists_may_come_as_lists_with_separators_of_their_own(raw):
    raw["tags"] = [["a; b", "c"]] * len(raw)
    assert read_contract(raw, COLUMNS, key="id")["tags"][0] == ["a; b", "c"]
    allowed = COLUMNS | {"tags": Column(type="list", values=["a; b"])}
    with pytest.raises(DataError, match=r"expected one of \['a; b'\]; 20 of 20 rows differ"):
        read_contract(raw, allowed, key="id")


def test_floats_that_may_have_been_rounded_are_no_integers(raw):
    raw["rank"] = [2.0**53, *range(19)]
    with pytest.raises(DataError, match=r"'rank': expected type integer; 1 of 20 .* rounded"):
        read_contract(raw, COLUMNS, key="id")


def test_blank_text_is_a_missing_number(raw):
    blank = raw.astype({"rank": object, "amount": object})
    blank.loc[[0, 1], "rank"] = ["", " "]
    assert (
        read_contract(blank, COLUMNS, key="id")["rank"].isna().tolist() == [True] * 2 + [False] * 18
    )

    blank["id"] = ["", *range(1, 20)]
    with pytest.raises(DataError, match=r"'id': expected type integer; 1 of 20 .*row 0: ''"):
        read_contract(blank, COLUMNS, key="id")


@pytest.mark.parametrize("name", ["day", None])
def test_a_column_may_be_in_the_index(raw, name):
    indexed = raw.set_index(pd.DatetimeIndex(raw["day"], name=name)).drop(columns="day")
    assert read_contract(indexed, COLUMNS, key="id")["day"].dt.year.unique().tolist() == [2020]


def test_a_column_that_is_there_twice_is_told(raw):
    twice = pd.concat([raw, raw[["name"]]], axis=1)
    with pytest.raises(DataError, match=r"columns \['name'\] are there more than once"):
        read_contract(twice, COLUMNS, key="id")


def test_dates_may_come_as_dates(raw):
    raw["day"] = pd.Timestamp("2020-01-01")

    assert (read_contract(raw, COLUMNS, "id")["day"] == "2020-01-01").all()


def classes(**options: Any) -> Target:
    candidates = {"dummy": {"estimator": "dummy"}, "logistic": {"estimator": "logistic"}}
    options = {"classes": ["good", "bad"]} | options
    return Target(column="grade", task="classification", candidates=candidates, **options)


def numbers(**options: Any) -> Target:
    candidates = {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}}
    return Target(column="price", task="regression", candidates=candidates, **options)


@pytest.mark.parametrize(
    ("values", "target", "told"),
    [
        (
            ["good", "odd", None, "odd"],
            classes(),
            "one of ['good', 'bad']; 2 of 4 rows differ (row 1",
        ),
        ([None, None], classes(), "at least one value, found none in 2 rows"),
        ([1.0, np.inf, np.nan], numbers(), "finite numbers; 1 of 3 rows differ (row 1: inf)"),
        (
            [1.0, 7.0],
            numbers(bounds=(0, 5)),
            "numbers from 0 to 5; 1 of 2 rows differ (row 1: 7.0)",
        ),
        (["1", "dear"], numbers(), "finite numbers; 1 of 2 rows differ (row 1: 'dear')"),
        ([np.nan], numbers(), "at least one value, found none in 1 rows"),
    ],
)
def test_targets_that_cannot_be_predicted_are_told(values, target, told):
    with pytest.raises(DataError) as error:
        check_target("worth", pd.Series(values), target)

    assert str(error.value).startswith(
        f"column '{target.column}' (target 'worth'): expected {told}"
    )


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (["good", None, "bad"], classes()),
        ([1.0, np.nan, -3.0], numbers()),
        ([0.0, 5.0], numbers(bounds=(0, 5))),
        ([0.0, None, 1.0], classes(classes=["0", "1"])),
    ],
)
def test_good_targets_may_have_gaps(values, target):
    check_target("worth", pd.Series(values), target)


def test_rows_of_one_time_are_told_apart_by_a_column():
    hours = {"when": pd.to_datetime(["2020-01-01"] * 2 + ["2020-01-02"] * 2), "hr": [0, 1, 0, 1]}
    typed = pd.DataFrame({**hours, "sold": [1.0, 2.0, 3.0, 4.0]})

    with pytest.raises(DataError, match=r"Column 'hr' tells them apart: .*common\.join_hour"):
        check_steps(typed, "when", [])
    with pytest.raises(DataError, match="Leave out what is there twice"):
        check_steps(typed.assign(hr=0), "when", [])
    one = typed.assign(store="a")
    with pytest.raises(DataError, match=r"each 'store'; .*write data\.series\.id: \[store, hr\]; "):
        check_steps(one, "when", ["store"])


def test_bounds_of_dates_are_days_of_their_clock():
    column = Column(type="date", timezone="Asia/Tokyo", low=dt.date(2020, 1, 1))

    typed = read_contract(pd.DataFrame({"day": ["2019-12-31T15:00Z"]}), {"day": column}, "")

    assert typed["day"].tolist() == [pd.Timestamp("2020-01-01", tz="Asia/Tokyo")]
    with pytest.raises(DataError, match="nothing below 2020-01-01; 1 of 1 rows differ"):
        read_contract(pd.DataFrame({"day": ["2019-12-31T14:59Z"]}), {"day": column}, "")


def test_dates_may_lie_beyond_the_nanoseconds():
    days = [dt.date(1, 1, 1), dt.date(1492, 10, 12), dt.date(9999, 12, 31)]
    column = Column(type="date", low=days[0], high=days[2])

    typed = read_contract(pd.DataFrame({"day": [*map(str, days)]}), {"day": column}, "day")

    assert typed["day"].dt.date.tolist() == days
    lower = {"day": column.model_copy(update={"high": days[1]})}
    with pytest.raises(DataError, match=r"nothing above 1492-10-12; 1 of 3 rows differ \(row 2: "):
        read_contract(pd.DataFrame({"day": [*map(str, days)]}), lower, "day")


def test_what_is_wrong_with_dates_and_with_other_columns_is_told_at_once():
    columns = {"day": Column(type="date"), "size": Column(type="number", high=5)}

    with pytest.raises(DataError) as error:
        read_contract(pd.DataFrame({"day": [20200101], "size": [9]}), columns, "")

    first, second = str(error.value).splitlines()
    assert "column 'day'" in first
    assert "column 'size': expected nothing above 5" in second


@FEW
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40)), min_size=1, max_size=12),
    st.booleans(),
)
def test_a_step_twice_is_found_among_few_and_many_times(rows, named):
    typed = pd.DataFrame(rows, columns=["store", "day"])
    typed["when"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(typed["day"], unit="D")
    series = ["store"] if named else []
    if typed.duplicated([*series, "when"]).any():
        with pytest.raises(DataError, match="expected every time once"):
            check_steps(typed, "when", series)
    else:
        check_steps(typed, "when", series)
