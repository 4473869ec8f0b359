"""Calendar and derived columns on arrays are those that frames give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.compiled.derived_columns import (
    FUNCTIONS,
    add_columns,
    calendar,
    derived_columns,
    local_times,
    offset_of,
)
from ratchet.compiled.serialization import NotCompilable
from ratchet.config import CALENDAR, Data
from ratchet.learning.features.series import calendar as calendar_of_frame
from ratchet.use_cases import power, prices

ZONES = [None, "UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu"]
NUMBERS = st.lists(
    st.one_of(st.just(np.nan), st.floats(-1e6, 1e6), st.integers(-9, 9).map(float)),
    min_size=1,
    max_size=40,
).map(np.array)
PRICES = st.floats(0, 1e6)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.datetimes(pd.Timestamp("1910-01-01"), pd.Timestamp("2150-12-31")),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(ZONES),
)
def test_parts_of_the_time_are_those_of_pandas(moments, zone):
    times = pd.Series(moments).astype("datetime64[us]")
    if zone:
        times = times.dt.tz_localize("UTC").dt.tz_convert(zone)
    expected = calendar_of_frame(times, list(CALENDAR))

    clock = local_times(np.array(moments, dtype="M8[us]").astype(np.int64), zone)

    for part in CALENDAR:
        assert calendar(clock, part).tolist() == expected[part].tolist(), part


def test_the_clock_of_a_zone_is_ahead_by_its_offset():
    summer = int(np.datetime64("2020-07-01", "us").astype(np.int64))

    assert offset_of(summer, "Europe/Berlin") == 2 * 3_600 * 10**6
    assert offset_of(summer, "America/Sao_Paulo") == -3 * 3_600 * 10**6


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.integers(-5, 45), st.integers(1, 45), st.floats(-9, 9))
def test_functions_of_power_are_the_same_on_arrays(values, steps, length, bound):
    frame = pd.DataFrame({"x": values})
    rows = {"x": values}
    cases: list[tuple[str, dict[str, Any]]] = [
        ("earlier", {"steps": steps}),
        ("change", {"steps": steps}),
        ("recent_mean", {"steps": length}),
        ("beyond", {"above": bound}),
        ("beyond", {"below": bound}),
        ("beyond", {"above": bound + 1, "below": bound}),
    ]
    for name, arguments in cases:
        found = FUNCTIONS[f"ratchet.use_cases.power.{name}"].of(rows, column="x", **arguments)
        expected = getattr(power, name)(frame, column="x", **arguments).to_numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-6, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(*[st.one_of(st.none(), st.integers(-99, 99))] * 2), min_size=1, max_size=9)
)
def test_columns_are_put_together_as_text(pairs):
    frame = pd.DataFrame(pairs, columns=["a", "b"], dtype="float64")
    rows = {name: frame[name].to_numpy() for name in frame}

    found = FUNCTIONS["ratchet.use_cases.power.together"].of(rows, columns=["a", "b"])

    assert found.tolist() == power.together(frame, columns=["a", "b"]).tolist()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(PRICES, PRICES), min_size=1, max_size=9))
def test_ranges_of_prices_are_the_same_on_arrays(pairs):
    frame = pd.DataFrame(pairs, columns=["high", "low"])

    found = FUNCTIONS["ratchet.use_cases.prices.log_range"].of(
        {name: frame[name].to_numpy() for name in frame}, high="high", low="low"
    )

    with np.errstate(divide="ignore", invalid="ignore"):
        expected = prices.log_range(frame, high="high", low="low")
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=40, deadline=None)
@given(NUMBERS, st.integers(-5, 9))
def test_a_column_needs_no_more_rows_than_it_says(values, steps):
    """What a row gets is the same when only the rows within reach are there."""
    for name in ("earlier", "change", "recent_mean"):
        function, arguments = FUNCTIONS[f"ratchet.use_cases.power.{name}"], {"steps": steps}
        if name == "recent_mean" and steps < 1:
            continue
        whole = function.of({"x": values}, column="x", **arguments)
        back, ahead = function.back(arguments), function.ahead(arguments)
        for row in range(len(values)):
            first = max(row - back, 0)
            part = values[first : row + ahead + 1]
            found = function.of({"x": part}, column="x", **arguments)[row - first]
            np.testing.assert_allclose(found, whole[row], rtol=1e-9, atol=1e-6)


def data_of(**derive: Any) -> Data:
    return Data.model_validate(
        {
            "time": "time",
            "columns": {"time": {"type": "date"}, "x": {"type": "number"}},
            "series": {"season": 1},
            "calendar": ["hour"],
            "derive": derive,
        }
    )


def test_one_column_may_build_on_another():
    here = "ratchet.use_cases.power."
    data = data_of(
        over={"function": f"{here}beyond", "arguments": {"column": "x", "above": 2}},
        before={"function": f"{here}earlier", "arguments": {"column": "over", "steps": 1}},
        kind={"function": f"{here}together", "arguments": {"columns": ["hour", "before"]}},
    )
    clock = np.array(["2020-01-01T22", "2020-01-01T23"], dtype="M8[us]")

    derived = derived_columns(data, data.derive)
    rows = add_columns({"x": np.array([5.0, 1.0])}, clock, data.calendar, derived)

    assert [column.sources for column in derived] == [["x"], ["over"], ["hour", "before"]]
    assert rows["over"].tolist() == [3.0, 0.0]
    assert rows["kind"].tolist() == ["22-?", "23-3"]
    assert [column.name for column in derived_columns(data, ["over"])] == ["over"]


def test_a_function_that_is_not_there_is_named():
    data = data_of(odd={"function": "ratchet.use_cases.films.rank_classes", "arguments": {}})

    with pytest.raises(NotCompilable, match=r"data\.derive\.odd: ratchet\.use_cases\.films\.rank"):
        derived_columns(data, ["odd"])
