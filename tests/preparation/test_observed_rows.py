"""Measurements beside the rows of the raw file."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.config import Data, read_targets
from ratchet.monitoring.measurements import Measurement
from ratchet.preparation.contract import typed_rows

TARGETS = read_targets(
    {
        "load": {
            "column": "load",
            "task": "forecasting",
            "candidates": {name: {"estimator": name} for name in ("persistence", "seasonal")},
            "baseline": "seasonal",
        }
    }
)


def data_of(zone: str | None = None, several: bool = False, **column: Any) -> Data:
    columns: dict[str, Any] = {
        "at": {"type": "date", "timezone": zone},
        "load": {"type": "number", "nullable": True, **column},
        "open": {"type": "integer"},
        "shop": {"type": "string", "nullable": not several},
    }
    series = {"season": 1, "frequency": "h", **({"id": "shop"} if several else {})}
    return Data.model_validate({"time": "at", "columns": columns, "series": series})


def raw_of(*loads: float, shop: str = "x") -> pd.DataFrame:
    times = pd.date_range("2020-01-01", periods=len(loads), freq="h")
    return pd.DataFrame({"at": times.astype(str), "load": loads, "open": 1, "shop": shop})


def of(hour: int, series: str = "", first: Any = None, **fields: Any) -> Measurement:
    return Measurement(datetime(2020, 1, 1, hour), series, {"open": 1, **fields}, first or {})


def joined(raw: pd.DataFrame, measured: list[Measurement], data: Data) -> pd.DataFrame:
    return typed_rows(raw, data, TARGETS, measured=measured)


def test_rows_go_on_with_what_was_measured(caplog):
    data, raw = data_of(), raw_of(1.0, 2.0)
    caplog.set_level(logging.INFO)

    found = joined(raw, [of(2, load=3.5, shop="x"), of(3, load=4)], data)

    assert found["load"].tolist() == [1.0, 2.0, 3.5, 4.0]
    assert found["at"].dt.hour.tolist() == [0, 1, 2, 3]
    assert found.dtypes.equals(typed_rows(raw, data, TARGETS).dtypes)
    assert "2 rows of the raw file, and 2 more that the service was handed in" in caplog.text


def test_the_file_is_right_but_for_what_it_lacks():
    found = joined(raw_of(1.0, np.nan), [of(0, load=9), of(1, load=2, shop="y")], data_of())

    assert found["load"].tolist() == [1.0, 2.0]
    assert found["shop"].tolist() == ["x", "x"]


def test_corrections_of_what_the_file_has_are_taken():
    """A value that the file has otherwise was delivered after both."""
    measured = [of(0, load=5, first={"load": 1}), of(1, load=6, first={"load": 7})]

    found = joined(raw_of(1.0, 2.0), measured, data_of())

    assert found["load"].tolist() == [5.0, 2.0]
    assert found["open"].dtype == "int64"


def test_times_of_a_zone_are_told_in_utc():
    data = data_of("Europe/Berlin")

    found = joined(raw_of(1.0), [of(1, load=2)], data)  # 02:00 in Berlin

    assert found["at"].dt.hour.tolist() == [0, 2]
    assert str(found["at"].dt.tz) == "Europe/Berlin"


def test_series_are_told_apart():
    raw = pd.concat([raw_of(1.0, shop="a"), raw_of(2.0, shop="b")])
    measured = [of(0, "a", load=9), of(1, "b", load=3), of(1, "c", load=4)]

    found = joined(raw, measured, data_of(several=True))

    assert found[["shop", "load"]].to_numpy().tolist() == [
        *(["a", 1.0], ["b", 2.0], ["b", 3.0], ["c", 4.0])
    ]


def test_rows_are_cut_with_those_of_the_file():
    later = Measurement(datetime(2020, 1, 2), "", {"open": 1, "load": 3})

    found = typed_rows(raw_of(1.0), data_of(), TARGETS, "2020-01-01", [of(1, load=2), later])

    assert found["load"].tolist() == [1.0, 2.0]


def test_rows_under_another_contract_are_left_out(caplog):
    lacking = Measurement(datetime(2020, 1, 1, 2), "", {"load": 3, "gone": 1})

    found = joined(raw_of(1.0), [of(1, load=2), lacking], data_of())
    assert found["load"].tolist() == [1.0, 2.0]
    assert "1 rows that the service was handed in are left out, for they lack" in caplog.text

    found = joined(raw_of(1.0), [of(1, load=-2)], data_of(low=0))
    assert found["load"].tolist() == [1.0]
    assert "1 rows that the service was handed in are left out, for they break" in caplog.text


def test_rows_that_break_the_contract_are_found_among_others(caplog):
    measured = [of(hour, load=-1 if hour in (3, 8) else hour) for hour in range(1, 12)]

    found = joined(raw_of(0.0), measured, data_of(low=0))

    assert found["load"].tolist() == [0, 1, 2, 4, 5, 6, 7, 9, 10, 11]
    assert found.dtypes.equals(typed_rows(raw_of(0.0), data_of(low=0), TARGETS).dtypes)
    assert "2 rows that the service was handed in are left out" in caplog.text


def test_where_most_rows_break_the_contract_none_is_taken(caplog, monkeypatch):
    monkeypatch.setattr("ratchet.preparation.observed_rows._SEARCHED", 2)

    found = joined(raw_of(0.0), [of(hour, load=-hour) for hour in range(9)], data_of(low=0))

    assert found["load"].tolist() == [0.0]
    assert "9 rows that the service was handed in are left out" in caplog.text


@pytest.mark.parametrize("measured", [[], [of(0)]])
def test_rows_without_series_stand_for_themselves(measured):
    data = Data.model_validate(
        {"key": "shop", "columns": {"shop": {"type": "string"}, "load": {"type": "number"}}}
    )
    raw = pd.DataFrame({"shop": ["x"], "load": [1.0]})

    assert len(typed_rows(raw, data, {}, measured=measured)) == 1


def test_a_series_that_two_columns_name_goes_on_with_what_was_measured():
    columns = {
        "at": {"type": "date"},
        "store": {"type": "integer"},
        "shop": {"type": "string"},
        "load": {"type": "number", "nullable": True},
        "open": {"type": "integer"},
    }
    series = {"season": 1, "frequency": "h", "id": ["store", "shop"]}
    data = Data.model_validate({"time": "at", "columns": columns, "series": series})
    raw = raw_of(1.0, 2.0).assign(store=7)
    names = {"store": 7, "shop": "x"}

    corrected = of(1, "7|x", {"load": 2.0}, load=2.5, **names)
    found = joined(raw, [corrected, of(2, "7|x", load=3.5, **names)], data)

    assert found["load"].tolist() == [1.0, 2.5, 3.5]
    assert found["series_id"].tolist() == ["7|x"] * 3
    assert found["store"].tolist() == [7] * 3
    before = [of(2, "x", load=9.0, shop="x"), of(3, "7|x", load=4.0, **names)]  # of one column
    assert joined(raw, before[:1], data)["load"].tolist() == [1.0, 2.0]
    assert joined(raw, before, data)["load"].tolist() == [1.0, 2.0, 4.0]
    assert found.dtypes.equals(typed_rows(raw, data, TARGETS).dtypes)
