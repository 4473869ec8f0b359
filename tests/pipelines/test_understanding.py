"""Data understanding: typed rows up to a day, and what is in them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.config import Data
from ratchet.errors import ConfigError, DataError
from ratchet.pipelines.understanding import profile_rows, read_rows

DATA = Data.model_validate(
    {
        "key": "id",
        "time": "day",
        "columns": {
            "id": {"type": "integer"},
            "day": {"type": "date"},
            "size": {"type": "number", "nullable": True},
            "colour": {"type": "string", "nullable": True},
            "tags": {"type": "list", "nullable": True, "separator": "/"},
        },
    }
)


@pytest.fixture
def raw() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [3, 1, 2, 4],
            "day": ["2020-01-02", "2020-01-01", "2020-01-03", "2020-01-03"],
            "size": [1.0, 2.0, np.nan, 6.0],
            "colour": ["red", "red", None, "green"],
            "tags": ["a/b", "a", "", None],
        }
    )


TARGETS: dict[str, Any] = {
    "size": {
        "column": "size",
        "task": "regression",
        "bounds": [0, 10],
        "candidates": {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}},
    }
}


def test_rows_are_typed(raw):
    typed = read_rows(raw, DATA, TARGETS, None)

    assert typed["day"].dtype.kind == "M"
    assert typed["tags"].tolist() == [["a", "b"], ["a"], [], None]
    assert len(typed) == 4


@pytest.mark.parametrize(
    ("as_of", "ids"), [("2020-01-01", [1]), ("2020-01-02", [3, 1]), ("2021-01-01", [3, 1, 2, 4])]
)
def test_as_of_is_the_last_day_that_is_seen(raw, as_of, ids):
    typed = read_rows(raw, DATA, TARGETS, as_of)

    assert typed["id"].tolist() == ids
    assert typed.index.tolist() == list(range(len(ids)))
    pd.testing.assert_frame_equal(read_rows(raw, DATA, TARGETS, pd.Timestamp(as_of).date()), typed)


@pytest.mark.parametrize(
    "as_of", ["soon", "now", "12:00", "2020", "2020-02-30", "", True, 20200101, ["2020-01-01"]]
)
def test_as_of_must_be_a_date(raw, as_of):
    with pytest.raises(ConfigError, match="parameter as_of: expected a date"):
        read_rows(raw, DATA, TARGETS, as_of)


@pytest.mark.parametrize("day", ["2200-01-01", "9999-12-31"])
def test_truth_of_a_time_to_come_is_refused(raw, day):
    """One such row would be the last that a model knows, and none that follows would be new."""
    wrong = raw.assign(day=[*raw["day"].iloc[:-1], day])

    with pytest.raises(DataError, match=r"column 'day': expected no row after .* known") as error:
        read_rows(wrong, DATA, TARGETS, "2020-01-01")  # whatever the run sees of it

    assert f"1 of 4 rows differ (row 3: '{day}" in str(error.value)
    assert "data.ahead says how far (now 1D; null: any)" in str(error.value)
    assert len(read_rows(wrong, DATA.model_copy(update={"ahead": None}), TARGETS, None)) == 4


@pytest.mark.parametrize(("ahead", "hours", "right"), [("1D", 20, True), ("1D", 28, False)])
def test_how_far_ahead_the_clock_of_the_data_may_be(raw, ahead, hours, right):
    moment = pd.Timestamp.now("UTC").tz_localize(None) + pd.Timedelta(hours=hours)
    rows = raw.assign(day=[*raw["day"].iloc[:-1], moment.isoformat()])
    data = DATA.model_copy(update={"ahead": ahead})

    if right:
        assert len(read_rows(rows, data, TARGETS, None)) == 4
    else:
        with pytest.raises(DataError, match="expected no row after"):
            read_rows(rows, data, TARGETS, None)


def test_plans_are_rows_without_truth(raw):
    plans = raw.assign(day=[*raw["day"].iloc[:-1], "2200-01-01"], size=[1, 2, 3, None])

    assert len(read_rows(plans, DATA, TARGETS, None)) == 4


def test_as_of_before_the_first_row(raw):
    with pytest.raises(DataError, match="no row up to as_of=2019-12-31, first is 2020-01-01"):
        read_rows(raw, DATA, TARGETS, "2019-12-31")


def test_as_of_needs_a_time_column(raw):
    with pytest.raises(ConfigError, match=r"names no data\.time column"):
        read_rows(raw, DATA.model_copy(update={"time": None}), TARGETS, "2020-01-01")


def test_a_target_out_of_bounds_is_told_before_anything_is_written(raw):
    with pytest.raises(
        DataError, match=r"column 'size' \(target 'size'\): .* from 0 to 10; 1 of 4"
    ):
        read_rows(raw.assign(size=[1, 2, 3, 11]), DATA, TARGETS, None)


def test_profile(raw):
    profile = profile_rows(read_rows(raw, DATA, TARGETS, None), DATA)

    assert profile["rows"] == 4
    assert profile["span"] == ["2020-01-01", "2020-01-03"]
    columns = profile["columns"]
    assert columns["size"]["missing"] == 1
    assert (columns["size"]["min"], columns["size"]["mean"], columns["size"]["max"]) == (1, 3, 6)
    assert columns["day"] == {
        "type": "date",
        "missing": 0,
        "min": "2020-01-01",
        "max": "2020-01-03",
    }
    assert columns["colour"]["distinct"] == 2
    assert columns["colour"]["most_frequent"] == {"red": 2, "green": 1}
    assert columns["tags"]["missing"] == 2  # an empty list is nothing
    assert columns["tags"]["most_frequent"] == {"a": 2, "b": 1}
    json.dumps(profile, allow_nan=False)


@pytest.mark.parametrize(("row", "empty"), [(2, ["size", "colour", "tags"]), (3, ["tags"])])
def test_profile_of_a_slice_in_which_a_column_is_empty(raw, row, empty):
    """``as_of`` may leave nothing of a column that has values in the file."""
    typed = read_rows(raw, DATA, TARGETS, None).iloc[[row]]

    profile = profile_rows(typed, DATA)

    missing = [name for name, column in profile["columns"].items() if column["missing"]]
    assert missing == empty
    json.dumps(profile, allow_nan=False)


def prepared(raw: pd.DataFrame, *, column: str, factor: float = 1) -> pd.DataFrame:
    return raw.assign(size=raw[column] * factor)


def with_prepare(**arguments: Any) -> Data:
    prepare = {"function": "prepare_for_tests.prepared", "arguments": arguments}
    return Data.model_validate({**DATA.model_dump(exclude={"prepare"}), "prepare": prepare})


@pytest.fixture
def _prepare_module(monkeypatch):
    """A module of the user's own."""
    import sys
    from types import ModuleType

    module = ModuleType("prepare_for_tests")
    module.prepared = prepared
    monkeypatch.setitem(sys.modules, "prepare_for_tests", module)


@pytest.mark.usefixtures("_prepare_module")
def test_raw_rows_are_prepared_before_the_contract(raw):
    raw = raw.rename(columns={"size": "width"})

    typed = read_rows(raw, with_prepare(column="width", factor=0.5), TARGETS, None)

    assert typed["size"].tolist()[:2] == [0.5, 1]
    assert "size" not in raw


@pytest.mark.usefixtures("_prepare_module")
@pytest.mark.parametrize(
    ("arguments", "told"), [({"column": "width"}, "KeyError: 'width'"), ({"width": 1}, "TypeError")]
)
def test_a_preparation_that_fails_is_told(raw, arguments, told):
    with pytest.raises(
        ConfigError, match=rf"parameter data\.prepare: prepare_for_tests\.prepared: {told}"
    ):
        read_rows(raw, with_prepare(**arguments), TARGETS, None)


def series(**options: Any) -> Data:
    columns = {name: DATA.columns[name] for name in ("day", "size", "colour")}
    settings = {"time": "day", "columns": columns, "series": {"season": 1, **options}}
    return Data.model_validate(settings)


def test_a_series_has_one_row_at_a_time(raw):
    with pytest.raises(
        DataError,
        match=r"column 'day': expected every time once; .*\(row 3: '2020-01-03'.*\.id: colour",
    ):
        read_rows(raw, series(), TARGETS, None)


def test_each_series_has_its_own_times(raw):
    assert len(read_rows(raw, series(id="colour"), TARGETS, None)) == 4
    again = raw.assign(colour="red")

    with pytest.raises(DataError, match=r"once for each 'colour'; 1 of 4 .* 'red, 2020-01-03'"):
        read_rows(again, series(id="colour"), TARGETS, None)


def test_the_hour_that_daylight_saving_time_repeats_is_told(raw):
    hours = ["2021-10-31 02:00", "2021-10-31 02:30", "2021-10-31 02:00", "2021-10-31 02:30"]

    with pytest.raises(DataError, match=r"2 of 4 rows .*daylight-saving time ends: name the "):
        read_rows(raw.assign(day=hours), series(), TARGETS, None)
