"""Times for a file without them, and what is known ahead."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ratchet.use_cases.power import beyond, change, earlier, read_load, recent_mean, together

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("RATCHET_SHARED_DATA", ROOT.parent / "shared" / "data"))
TETOUAN = SHARED / "power" / "tetouan_10min_2017.csv"


def test_a_file_without_times():
    frame = pd.DataFrame({"Demand": [1.0, 2.0, 3.0], "WorkDay": [0, 1, 1]})
    rename = {"Demand": "demand", "WorkDay": "workday"}

    load = read_load(frame, start="2014-01-01", frequency="30min", rename=rename)

    assert load["time"].astype(str).tolist()[-1] == "2014-01-01 01:00:00"
    assert load[["demand", "workday"]].to_numpy().tolist() == [[1, 0], [2, 1], [3, 1]]


def test_a_file_with_times():
    frame = pd.DataFrame({"Date": ["1/6/17 0:10", "1/7/17 0:10"], "load": [1.0, 2.0]})

    load = read_load(frame, time="Date", time_format="%m/%d/%y %H:%M")

    assert load["time"].tolist() == list(pd.to_datetime(["2017-01-06 00:10", "2017-01-07 00:10"]))
    assert load["workday"].tolist() == [1, 0]  # a Friday and a Saturday


@pytest.mark.parametrize(
    ("time", "zone", "written"),
    [
        ("DateTime", "Zone 2  Power Consumption", "1/13/2017 0:10"),
        ("DateTime", "Zone 2 Power Consumption", "1/13/2017 0:10"),
        ("Date", "Zone2", "1/13/17 0:10"),
    ],
)
def test_tetouan_as_published_and_as_copied(time, zone, written):
    conf = yaml.safe_load((ROOT / "conf/tetouan/parameters/power.yml").read_text("utf-8"))
    arguments = conf["power"]["data"]["prepare"]["arguments"]
    frame = pd.DataFrame({time: [written, written], "Wind Speed": 1.0, zone: [5.0, 6.0]})

    load = read_load(frame, **arguments)

    assert load["time"].tolist() == [pd.Timestamp("2017-01-13 00:10")] * 2
    assert load[["wind", "demand"]].to_numpy().tolist() == [[1, 5], [1, 6]]


def test_only_the_first_rows():
    frame = pd.DataFrame({"time": pd.date_range("2020-01-01", periods=9)})

    assert len(read_load(frame, rows=4)) == 4


def test_no_times():
    with pytest.raises(KeyError, match="time"):
        read_load(pd.DataFrame({"Demand": [1.0]}))


def test_what_is_known_ahead():
    frame = pd.DataFrame({"warm": [1.0, 3.0, 6.0, 10.0]})

    def found(function, steps):
        return function(frame, column="warm", steps=steps).tolist()

    np.testing.assert_array_equal(found(earlier, 1), [np.nan, 1, 3, 6])
    np.testing.assert_array_equal(found(earlier, -1), [3, 6, 10, 10])
    np.testing.assert_array_equal(found(change, 2), [np.nan, np.nan, 5, 7])
    np.testing.assert_array_equal(found(recent_mean, 2), [1, 2, 4.5, 8])


def test_degrees_beyond():
    frame = pd.DataFrame({"warm": [10.0, 18.0, 25.0, np.nan]})

    np.testing.assert_array_equal(beyond(frame, column="warm", above=22), [0, 0, 3, np.nan])
    np.testing.assert_array_equal(beyond(frame, column="warm", below=16), [6, 0, 0, np.nan])


def test_categories_together():
    frame = pd.DataFrame({"hour": [0, 23], "free": [1.0, np.nan]})

    assert together(frame, columns=["hour", "free"]).tolist() == ["0-1", "23-?"]


def rows_of(load_catalog, project: Path, env: str) -> dict[str, int]:
    catalog = load_catalog(project, env=env)
    return {part: len(catalog.load(f"power.{part}")) for part in ("train", "validation", "test")}


@pytest.mark.slow
def test_embedded_data(project, run_kedro, load_catalog):
    run_kedro(project, "understanding", "preprocessing", namespaces=["power"], env="test")

    assert rows_of(load_catalog, project, "test")["test"] == 300


@pytest.mark.slow
@pytest.mark.skipif(not TETOUAN.exists(), reason=f"there is no {TETOUAN}: set RATCHET_SHARED_DATA")
@pytest.mark.parametrize(("horizon", "published"), [(1, False), (144, True)])
def test_the_same_pipelines_on_another_file(project, run_kedro, load_catalog, horizon, published):
    steps = {"00", "01"}
    place = project / "data/01_raw/tetouan.csv"
    place.symlink_to(TETOUAN)
    if published:
        copy = pd.read_csv(TETOUAN).rename(columns={"Date": "DateTime"})
        copy["DateTime"] = copy["DateTime"].str.replace("/17 ", "/2017 ")
        zones = {f"Zone{n}": f"Zone {n}{' ' * (1 + (n > 1))}Power Consumption" for n in (1, 2, 3)}
        place.unlink()
        copy.rename(columns=zones).to_csv(place, index=False)
    windows = {"horizon": horizon, "lookback": 2, "seasons": [144], "rolling": [6], "known": []}
    power = {"features": {"windows": windows}}

    run_kedro(
        project, "understanding", "preprocessing", namespaces=["power"], env="tetouan", power=power
    )

    assert rows_of(load_catalog, project, "tetouan")["test"] == 5_242
    columns = set(load_catalog(project, env="tetouan").load("power.test").columns)
    assert {f"window_demand_{step}" for step in steps} <= columns
    assert ("lag_143" in columns) == (horizon == 1)
    assert {"day", "month", "hour", "minute", "dayofweek", "quarter", "dayofyear"} <= columns
    assert not (project / "data/05_model_input/power").exists()
