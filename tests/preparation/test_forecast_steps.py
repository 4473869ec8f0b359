"""Data preparation of time series: steps, holes, parts, and rows that cannot see their future."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.config import Data, Features, Target, read_targets
from ratchet.errors import ConfigError, DataError
from ratchet.learning.features.windows import complete_rows
from ratchet.modelling.target_scaling import features_and_scaled_target
from ratchet.pipelines.preprocessing import build_windows, encode_features, select_series
from ratchet.preparation.contract import typed_rows
from ratchet.preparation.row_features import add_columns
from ratchet.preparation.steps import lay_out_steps
from ratchet.preparation.window_columns import make_views

COLUMNS = {
    "day": {"type": "date"},
    "shop": {"type": "string", "nullable": True},
    "sold": {"type": "number", "nullable": True},
    "price": {"type": "number", "nullable": True},
    "warm": {"type": "number", "nullable": True},
}
WINDOWS = {
    "lookback": 3,
    "horizon": 2,
    "past": {"sold": "value", "price": "log_change"},
    "known": ["warm", "dayofweek"],
    "seasons": [7],
    "lags": [1, 2, 9],
    "rolling": [4],
}
FEATURES = {
    "numeric": ["warm"],
    "cyclic": {"dayofweek": 7},
    "categorical": ["dayofweek", "shop"],
    "min_count": 1,
}


def data(**options: Any) -> Data:
    series = {"id": "shop", "frequency": "D", "season": 7, **options.pop("series", {})}
    plain = {"time": "day", "columns": COLUMNS, "calendar": ["dayofweek"], "series": series}
    return Data.model_validate({**plain, **options})


def features(**windows: Any) -> Features:
    return Features.model_validate({**FEATURES, "windows": {**WINDOWS, **windows}})


def targets(**options: Any) -> dict[str, Any]:
    candidates = {name: {"estimator": name} for name in ("seasonal", "ridge")}
    target = {"column": "sold", "task": "forecasting", "candidates": candidates}
    return {"sold": {**target, "baseline": "seasonal", **options}}


def frame(days: int = 100, shops: str = "ab", seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product(
        [pd.date_range("2020-01-01", periods=days), list(shops)], names=["day", "shop"]
    )
    values = rng.uniform(1, 9, size=(len(index), 3))
    return pd.DataFrame(values, index, columns=["sold", "price", "warm"]).reset_index()


def select(
    rows: pd.DataFrame, settings: Data | None = None, seen: Features | None = None, **t: Any
):
    return select_series(rows, settings or data(), seen or features(), targets(**t))


def windows_of(
    rows: pd.DataFrame, settings: Data | None = None, seen: Features | None = None, **t: Any
) -> pd.DataFrame:
    primary, _ = select(rows, settings, seen, **t)
    return build_windows(primary, settings or data(), seen or features(), targets(**t))[0]


def test_parts_are_cut_by_time():
    primary, selection = select(frame())

    first = primary.groupby("split", observed=True)["day"].agg(["min", "max"])
    days = (first - pd.Timestamp("2020-01-01")).apply(lambda column: column.dt.days)
    # Lag 9, season 7 with look-back 3; two steps ahead, the last day of a part is not known yet
    # at the first origin of the next one.
    assert days.loc["train"].tolist() == [9, 78]
    assert days.loc["validation"].tolist() == [80, 88]
    assert days.loc["test"].tolist() == [90, 99]
    sizes = {part: about["rows"] for part, about in selection["parts"].items()}
    assert sizes == {"train": 140, "validation": 18, "test": 20}
    assert selection["kept"] == 178
    assert {k: n for k, n in selection["series"]["left_out"].items() if n} == {
        "beginning": 18,
        "between": 4,
    }


def test_training_rows_are_drawn_where_there_are_more_than_wanted():
    settings = data(train_rows=50)
    primary, selection = select(frame(), settings)
    whole, _ = select(frame())
    split = primary["split"]
    drawn = split == "train"

    assert drawn.sum() == 50
    assert (whole["split"][drawn] == "train").all()
    pd.testing.assert_series_equal(
        split[whole["split"] != "train"], whole["split"][whole["split"] != "train"]
    )
    assert selection["series"]["left_out"]["not_drawn"] == 90
    assert selection["kept"] == 50 + 18 + 20
    again = select_series(frame(), settings, features(), targets(), 1)[0]["split"]
    assert not again.equals(split)
    built, statistics = build_windows(primary, settings, features(), targets())
    all_built, all_statistics = build_windows(whole, data(), features(), targets())
    pd.testing.assert_frame_equal(built, all_built.loc[built.index])
    pd.testing.assert_frame_equal(statistics, all_statistics)


def test_parts_that_are_shorter_than_the_horizon_are_told():
    told = (
        r"nothing is left for \['validation'\].* last 19 steps .* raise the shares of data\.split"
    )
    with pytest.raises(DataError, match=told):
        select(frame(), None, features(horizon={"last": 20}, lags=[]))


@pytest.mark.parametrize("frequency", ["D", None])
def test_rows_without_a_name_of_their_series_are_no_steps(frequency):
    settings = data(required=["shop"], series={"frequency": frequency})
    nameless = frame().assign(shop=pd.Series(None, range(200), dtype="str"))

    with pytest.raises(DataError, match=r"none of 200 rows has a value in each of \['day', 'shop'"):
        select(nameless, settings)


def test_functions_that_derive_columns_see_names_of_series_as_text():
    twice = {"function": "pandas.DataFrame.eval", "arguments": {"expr": "shop + shop"}}

    primary, _ = select(frame(), data(derive={"twice": twice}))

    assert primary["twice"].tolist() == (primary["shop"].astype(str) * 2).tolist()
    assert primary["shop"].dtype == "category"


def test_training_rows_of_paths_are_drawn_by_their_number():
    settings, seen = data(train_rows=50), features(horizon={"last": 3, "every": 1}, lags=[9])

    primary, _ = select(frame(), settings, seen)
    built, _ = build_windows(primary, settings, seen, targets())

    assert 48 <= (built["split"] == "train").sum() <= 50


def test_training_rows_are_drawn_of_series_only():
    with pytest.raises(ValueError, match="train_rows: for time series only"):
        Data.model_validate({"key": "shop", "columns": COLUMNS, "train_rows": 50})


def test_rows_are_named_by_series_and_time_in_the_order_of_time():
    primary, _ = select(frame().sample(frac=1, random_state=1))

    assert primary["row"].head(3).tolist() == ["a@2020-01-01", "b@2020-01-01", "a@2020-01-02"]
    assert primary["row"].is_unique
    assert primary["dayofweek"].head(3).tolist() == [2, 2, 3]


def test_a_single_series_is_called_by_its_target():
    settings = data(series={"id": None, "frequency": "30min"})
    rows = frame(shops="a").assign(day=pd.date_range("2020-01-01", periods=100, freq="30min"))

    primary, selection = select(rows, settings)
    built, _ = build_windows(primary, settings, features(), targets())

    assert primary["row"].iloc[1] == "sold@2020-01-01T00:30:00"
    assert set(built["series_id"]) == {"sold"}
    assert not any(name.startswith("static_") for name in built)
    assert selection["series"]["count"] == 1


@pytest.mark.parametrize(
    ("frequency", "start", "zone", "keys"),
    [
        *((f"W-{day}", "2020-01-01", None, []) for day in ("SUN", "WED", "FRI")),
        ("ME", "2020-01-31", "Europe/Berlin", ["2020-01-31", "2020-02-29", "2020-03-31"]),
        ("MS", "2020-01-01", None, ["2020-01-01", "2020-02-01", "2020-03-01"]),
        ("QE", "2020-03-31", None, ["2020-03-31", "2020-06-30", "2020-09-30"]),
        ("QS-NOV", "2020-02-01", None, ["2020-02-01", "2020-05-01", "2020-08-01"]),
        ("15min", "2020-01-01", None, [f"2020-01-01T00:{minute}:00" for minute in ("00", "15")]),
        ("h", "2020-03-29", "Europe/Berlin", [f"2020-03-29T0{hour}:00:00" for hour in (0, 1, 3)]),
        ("h", "2020-10-25 01:00", "Europe/Berlin", [f"2020-10-25T0{h}:00:00" for h in (1, 2, 2)]),
        ("B", "2020-01-03", None, ["2020-01-03", "2020-01-06", "2020-01-07"]),
    ],
)
def test_steps_of_every_calendar_follow_upon_each_other(frequency, start, zone, keys):
    """Weeks, months, quarters, quarters of an hour, and hours of a day that has 23 or 25."""
    times = pd.date_range(start, periods=100, freq=frequency, tz=zone)
    columns = {**COLUMNS, "day": {"type": "date", "timezone": zone}}
    settings = data(columns=columns, series={"id": None, "frequency": frequency})
    rows = frame(shops="a").assign(day=times)

    primary, selection = select(rows, settings)
    built, _ = build_windows(primary, settings, features(), targets())

    assert selection["series"]["holes"] == 0
    written = primary["row"].str.removeprefix("sold@").str.replace(r"[+-]\d{4}$", "", regex=True)
    assert written.tolist()[: len(keys)] == keys
    assert primary["row"].is_unique
    values = rows["sold"].to_numpy() / built["series_scale"].iloc[0]
    chosen = primary["split"].notna().to_numpy().nonzero()[0]
    np.testing.assert_allclose(built["naive_seasonal"], values[chosen - 7], rtol=1e-6)


def test_closed_days_are_no_holes_and_lags_count_open_ones():
    holidays = ["2020-01-15", "2020-02-07"]
    closed = {"closed": ["Sun", "01-15"], "holidays": holidays[1:], "season": 6}
    settings = data(series=closed)
    rows = frame(140)
    open_ = (rows["day"].dt.dayofweek < 6) & ~rows["day"].isin(pd.to_datetime(holidays))
    rows = rows[open_].reset_index(drop=True)

    primary, selection = select(rows, settings)
    built, _ = build_windows(primary, settings, features(seasons=[6]), targets())

    assert selection["series"]["holes"] == 0
    assert selection["series"]["steps"] == len(rows) / 2
    days = rows.loc[rows["shop"] == "a", ["day", "sold"]].set_index("day")["sold"]
    a = built[built["series_id"] == "a"]
    assert "a@2020-02-10" in a.index  # a Monday, behind a holiday and a Sunday
    at = days.index.get_indexer(pd.DatetimeIndex(a["series_time"]))
    scale = a["series_scale"].to_numpy()
    np.testing.assert_allclose(a["lag_9"], days.to_numpy()[at - 9] / scale, rtol=1e-6)
    np.testing.assert_allclose(a["naive_seasonal"], days.to_numpy()[at - 6] / scale, rtol=1e-6)
    late = rows.assign(day=rows["day"].mask(rows.index == 7, pd.Timestamp("2020-01-05")))
    told = (
        r"no rows on closed days .*Sun, 01-15, 2020-02-07\); 1 of \d+ rows are on one \(row 7: 2020"
    )
    with pytest.raises(DataError, match=told):
        select(late, settings)


def test_absent_rows_are_filled_and_holes_are_left():
    rows = frame()
    day = (rows["day"] - rows["day"].min()).dt.days
    rows = rows[(day != 50) & ~((day == 60) & (rows["shop"] == "a"))]
    settings = data(series={"absent": {"sold": 0, "price": "previous", "warm": "previous"}})

    primary, selection = select(rows, settings)

    assert selection["series"]["absent"] == 1
    assert selection["series"]["holes"] == 1
    by_row = primary.set_index("row")
    assert by_row.loc["a@2020-03-01", "sold"] == 0
    assert by_row.loc["a@2020-03-01", "price"] == by_row.loc["a@2020-02-29", "price"]
    hole = primary[primary["day"] == pd.Timestamp("2020-02-20")]
    assert hole[["sold", "price"]].isna().all(axis=None)
    assert hole["split"].isna().all()
    # The hole is seen from its own step, and from those whose views show it.
    assert selection["series"]["left_out"]["holes"] > 2
    assert selection["series"]["left_out"]["missing"] == 0


def test_what_fills_a_hole_is_seen_and_is_no_truth():
    rows = frame(shops="a")
    whole = rows["sold"].copy()
    rows.loc[50:52, "sold"] = np.nan
    settings = data(series={"fill": {"sold": "interpolate"}})

    primary, selection = select(rows, settings)
    built, _ = build_windows(primary, settings, features(), targets())

    line = np.linspace(whole[49], whole[53], 5)[1:4] / built["series_scale"].iloc[0]
    # Two steps ahead: 55 is the first one whose origin lies behind the hole.
    left_out = [day for day in range(48, 57) if f"a@{rows['day'][day].date()}" not in built.index]
    assert left_out == [50, 51, 52, 53, 54]
    assert selection["series"]["left_out"]["missing"] == 5
    at_55 = built.loc[f"a@{rows['day'][55].date()}"]
    np.testing.assert_allclose(at_55["window_sold_01"], line[2], rtol=1e-6)
    np.testing.assert_allclose(
        built.loc[f"a@{rows['day'][61].date()}", "lag_9"], line[2], rtol=1e-6
    )
    assert primary["sold"].isna().sum() == 3


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(40, 90),
    st.sampled_from(["previous", "interpolate", 3.0]),
)
def test_what_fills_a_hole_comes_from_before_the_origin(seed, step, rule):
    draw = np.random.default_rng(seed)
    rows = frame(shops="a", seed=seed)
    rows["sold"] = rows["sold"].mask(draw.uniform(size=100) < 0.15)
    own = data(series={"fill": {"sold": rule}})
    later = rows["sold"].where(rows.index <= step - 2, draw.uniform(1, 9, 100))

    def seen(values: pd.Series) -> pd.Series | None:
        laid = lay_out_steps(
            rows.assign(sold=values), own, read_targets(targets())["sold"], []
        ).rows
        primary = add_columns(laid, own, read_targets(targets()))
        views = make_views(primary, own, features(), read_targets(targets())["sold"])
        if not complete_rows(views)[step, 0]:
            return None
        return pd.Series({view.name: view.values[step - view.steps, 0] for view in views})

    before, after = seen(rows["sold"]), seen(later)

    assert (before is None) == (after is None)
    if before is not None and after is not None:
        pd.testing.assert_series_equal(before, after)


def test_without_a_fill_absent_rows_are_missing():
    rows = frame()
    rows = rows.drop(index=100)  # day 50 of the first shop

    _, selection = select(rows)

    assert selection["series"]["left_out"]["missing"] > 1
    assert selection["series"]["left_out"]["holes"] == 0


def test_a_missing_value_leaves_out_every_row_that_looks_at_it():
    rows = frame()
    rows.loc[100, "sold"] = np.nan  # day 50 of the first shop
    looked_at = {0, 2, 3, 4, 5, 7, 8, 9}  # target, window and rolling, season in three steps, lag

    primary, selection = select(rows)

    days = (primary["day"] - pd.Timestamp("2020-01-01")).dt.days - 50
    left = primary[primary["split"].isna() & days.between(-30, 28)]  # day 79 lies between parts
    assert set(days[left.index]) == looked_at
    assert set(left["shop"]) == {"a"}
    assert selection["series"]["left_out"]["missing"] == len(looked_at)


def test_a_row_that_lacks_a_required_value_is_no_sale_of_nothing():
    rows = frame()
    rows.loc[100, "price"] = np.nan
    settings = data(required=["price"], series={"absent": {"sold": 0}})

    primary, selection = select(rows, settings)

    assert np.isnan(primary.loc[100, "sold"])
    assert selection["missing"] == {"price": 1}


def test_rows_without_a_series():
    rows = frame()
    rows.loc[7, "shop"] = None

    with pytest.raises(DataError, match=r"column 'shop': .* 1 of 200 rows have none \(row 7\)"):
        select(rows)

    _, selection = select(rows, data(required=["shop"]))
    assert selection["missing"] == {"shop": 1}


def test_times_off_the_grid():
    rows = frame()
    rows.loc[[5, 8], "day"] += pd.Timedelta(hours=3)

    with pytest.raises(
        DataError,
        match=r"column 'day': expected a step of D .*; 2 of 200 rows are off it \(row 5.*correct",
    ):
        select(rows)


@pytest.mark.parametrize(
    ("asked", "rows", "fits"), [("W", "W-MON", "W-MON"), ("ME", "MS", "MS"), ("MS", "ME", "ME")]
)
def test_the_frequency_that_fits_is_named(asked, rows, fits):
    made = frame(100, shops="a").assign(day=pd.date_range("2018-01-01", periods=100, freq=rows))

    with pytest.raises(
        DataError, match=rf"all times fit {fits}: set data\.series\.frequency to it"
    ):
        select(made, data(series={"frequency": asked}))

    assert select(made, data(series={"frequency": fits}))[1]["series"]["holes"] == 0


def test_a_closed_day_is_named_with_a_way_out_that_works():
    rows = frame(249)
    rows = rows[rows["day"].dt.dayofweek < 6]
    daily = features(lookback=7, horizon=1, past={"sold": "value"}, lags=[], rolling=[])

    with pytest.raises(
        DataError,
        match=r"on Sundays: set data\.series\.closed: \[Sun\] and data\.series\.season to 6, or",
    ):
        select(rows, seen=daily)

    for way_out in ({"closed": ["Sun"]}, {"frequency": None}):
        settings = data(series={**way_out, "season": 6})
        assert select(rows, settings, daily)[1]["parts"]["test"]["rows"] > 30


@pytest.mark.parametrize(
    ("series", "windows", "told"),
    [
        ({"season": 365}, {}, "data.series.season makes it look back 365 steps"),
        ({}, {"lags": [90]}, "features.windows.lags makes it look back 90 steps"),
        ({}, {"rolling": [95]}, "features.windows.rolling makes it look back 96 steps"),
        ({}, {"lookback": 95}, "features.windows.seasons makes it look back 101 steps"),
    ],
)
def test_what_looks_back_too_far_is_named(series, windows, told):
    with pytest.raises(DataError, match=rf"{told}, which have to be fewer than the 80 training"):
        select(frame(), data(series=series), features(**windows))


def test_a_shop_that_opens_later_and_one_that_closes():
    rows = frame(shops="abc")
    number = (rows["day"] - rows["day"].min()).dt.days
    rows = rows[(rows["shop"] == "a") | ((rows["shop"] == "b") == (number >= 50))]
    absent = {"absent": {"sold": 0, "price": "previous", "warm": "previous"}}

    primary, selection = select(rows, data(series=absent))

    shops = primary.pivot(index="day", columns="shop", values="sold")
    assert shops["b"].notna().tolist() == [False] * 50 + [True] * 50
    assert shops["c"].notna().tolist() == [True] * 50 + [False] * 50
    assert not (shops == 0).any(axis=None)
    assert primary[primary["split"].notna()].groupby("shop")["day"].min()["b"] == shops.index[59]
    assert selection["series"]["ended"] == ["c"]
    assert selection["series"]["absent"] == 0
    left_out = selection["series"]["left_out"]
    assert (left_out["not_begun"], left_out["ended"]) == (50, 48)  # 2 lie between parts


def test_days_to_come_wait():
    rows = frame()
    rows.loc[rows["day"] >= rows["day"].max() - pd.Timedelta(days=9), "sold"] = np.nan

    _, selection = select(rows)

    assert selection["series"]["left_out"]["waiting"] == 20
    assert selection["series"]["left_out"]["missing"] == 0


def test_without_a_frequency_every_time_is_a_step():
    rows = frame()
    rows = rows[rows["day"].dt.dayofweek < 5]

    primary, selection = select(rows, data(series={"frequency": None}))

    assert selection["series"]["holes"] == 0
    assert len(primary) == len(rows)


def test_a_time_far_from_the_others_is_named_before_memory_ends():
    rows = frame()
    rows.loc[7, "day"] = pd.Timestamp("1970-01-01")
    told = r"'day': .* steps of min from 1970-01-01 00:00:00 \(row 7\) to .* for 200 rows; correct"
    with pytest.raises(DataError, match=told):
        select(rows, data(series={"frequency": "min"}))


@pytest.mark.parametrize("frequency", ["0h", "0D", "-1D", "-1h"])
def test_a_step_goes_forward(frequency):
    with pytest.raises(ConfigError, match=r"data\.series\.frequency: expected a step above 0"):
        select(frame(), data(series={"frequency": frequency}))


def test_a_frequency_that_there_is_not():
    with pytest.raises(ConfigError, match=r"data\.series\.frequency: .*often"):
        select(frame(), data(series={"frequency": "often"}))


@pytest.mark.parametrize(("days", "empty"), [(9, "train"), (10, "train"), (12, "train")])
def test_too_short_a_series(days, empty):
    with pytest.raises(
        DataError,
        match=rf"'sold': nothing is left for \['{empty}'.*up to 9 steps.*have {days} steps",
    ):
        select(frame(days))


def test_a_part_in_which_everything_is_missing():
    rows = frame()
    rows.loc[rows["day"] > rows["day"].max() - pd.Timedelta(days=13), "price"] = np.nan

    with pytest.raises(DataError, match=r"nothing is left for \['test'\]"):
        select(rows)


def test_parts_are_counted_over_steps_with_truth():
    """Days to come, of which the weather is known, are in no part; nor is what was not measured."""
    rows = frame(120)
    day = (rows["day"] - rows["day"].min()).dt.days
    rows.loc[(day < 10) | (day >= 110), "sold"] = np.nan

    primary, selection = select(rows)

    first = primary.groupby("split", observed=True)["day"].agg(["min", "max"])
    days = (first - pd.Timestamp("2020-01-01")).apply(lambda column: column.dt.days)
    assert days.to_numpy().tolist() == [[19, 88], [90, 98], [100, 109]]
    assert selection["parts"]["test"]["rows"] == 20


def test_spring_forward_is_a_hole():
    """The hour that daylight-saving time skips; windows that look at it are left out."""
    times = pd.date_range("2021-03-20", periods=400, freq="h")
    times = times[(times < "2021-03-28 02:00") | (times >= "2021-03-28 03:00")]
    rows = frame(len(times), shops="a").assign(day=times)

    primary, selection = select(rows, data(series={"id": None, "frequency": "h"}))

    assert selection["series"]["holes"] == 1
    assert selection["series"]["left_out"]["holes"] == 9  # target, window, season, lag
    assert primary["row"].is_unique


def zoned(frequency: str, zone: str = "Europe/Berlin") -> Data:
    columns = {**COLUMNS, "day": {"type": "date", "timezone": zone}}
    return data(columns=columns, series={"frequency": frequency})


@pytest.mark.parametrize("written", ["local", "offset"])
def test_the_hour_that_comes_twice_is_two_steps(written):
    """In local time, or with offsets: the steps are the same, an hour apart, with keys apart."""
    times = pd.date_range("2020-10-20", periods=240, freq="h", tz="Europe/Berlin")
    local = times.strftime("%Y-%m-%d %H:%M") if written == "local" else times.map(str)
    rows = frame(240).assign(day=np.repeat(local, 2))

    primary, selection = select(typed_rows(rows, zoned("h"), {}), zoned("h"))

    assert selection["series"]["holes"] == 0
    assert primary["row"].is_unique
    twice = primary.loc[primary["row"].str.startswith("a@2020-10-25T02"), "row"].tolist()
    assert twice == ["a@2020-10-25T02:00:00+0200", "a@2020-10-25T02:00:00+0100"]
    assert primary["sold"].tolist() == rows["sold"].tolist()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Sao_Paulo", "Asia/Tokyo"])
def test_days_are_those_of_the_local_clock(zone):
    """Over the ends of daylight-saving time, also where it begins at midnight: no such moment."""
    days = pd.date_range("2018-10-01", periods=150, freq="D")
    rows = frame(150).assign(day=np.repeat(days.strftime("%Y-%m-%d"), 2))
    settings = zoned("D", zone)
    typed = typed_rows(rows, settings, {})

    primary, selection = select(typed, settings)

    assert primary["row"].tolist() == [f"{s}@{d:%Y-%m-%d}" for d in days for s in "ab"]
    assert primary["dayofweek"].tolist() == np.repeat(days.dayofweek, 2).tolist()
    assert selection["series"]["holes"] == 0
    assert selection["parts"]["test"]["span"][1] == "2019-02-27"
    assert len(typed_rows(rows, settings, {}, "2018-10-31")) == 62
    moments = build_windows(primary, settings, features(), targets())[0]["series_time"]
    assert moments.dt.tz is None
    assert moments.iloc[-1].tz_localize("UTC").tz_convert(zone) == primary["day"].iloc[-1]


@pytest.mark.parametrize(
    ("frequency", "last"),
    [("100ms", "00:00:09.900"), ("250us", "00:00:00.024750"), ("s", "00:01:39")],
)
def test_keys_are_as_fine_as_the_times(frequency, last):
    rows = frame().assign(
        day=np.repeat(pd.date_range("2020-01-01", periods=100, freq=frequency), 2)
    )

    primary, _ = select(rows, data(series={"frequency": frequency}))

    assert primary["row"].is_unique
    assert primary["row"].iloc[0] == "a@2020-01-01T00:00:00"
    assert primary["row"].iloc[-1] == f"b@2020-01-01T{last}"


def test_constant_series_take_the_scale_of_the_others():
    rows = frame(shops="abc")
    rows.loc[rows["shop"] == "a", "sold"] = 0.0

    primary, selection = select(rows)
    built, _ = build_windows(primary, data(), features(), targets())

    assert selection["series"]["unscaled"] == ["a"]
    scale = built.groupby("series_id")["series_scale"].first()
    assert scale["a"] == pytest.approx((scale["b"] + scale["c"]) / 2)
    assert (built.loc[built["series_id"] == "a", "static_zeros"] == 1).all()


def test_where_all_series_are_constant_the_scale_is_one():
    rows = frame().assign(sold=0.0)

    primary, selection = select(rows)
    built, _ = build_windows(primary, data(), features(), targets())

    assert selection["series"]["unscaled"] == ["a", "b"]
    assert (built["series_scale"] == 1).all()
    assert np.isfinite(built.filter(regex="window_|lag_|rolling_|naive_|static_")).all(axis=None)


def test_returns_need_values_above_0():
    rows = frame()
    rows.loc[3, "sold"] = 0

    with pytest.raises(DataError, match=r"'sold': returns .* values above 0; 1 of 200 are not"):
        windows_of(rows, learn="return")


def test_columns_of_the_model_input():
    built = windows_of(frame())

    steps = ["02", "01", "00"]
    channels = ["window_sold", "window_price", "ahead_warm", "ahead_dayofweek_sin"]
    channels += ["ahead_dayofweek_cos", "ahead_sold_season7"]
    assert list(built) == [
        *("warm", "dayofweek", "shop", "split"),
        *(f"{channel}_{step}" for step in steps for channel in channels),
        *("lag_2", "lag_9", "rolling_mean_4", "rolling_std_4"),  # lag 1 is not known yet
        *("naive_persistence", "naive_seasonal"),
        *("static_level", "static_change", "static_zeros"),
        *("series_id", "series_time", "series_level", "series_scale", "series_rms"),
        "target_sold",
    ]
    assert built.index.name == "row"


@pytest.mark.parametrize("learn", ["value", "change", "return"])
def test_values_by_hand(learn):
    rows = frame()
    built = windows_of(rows, learn=learn)
    sold = rows.pivot(index="day", columns="shop", values="sold")
    warm = rows.pivot(index="day", columns="shop", values="warm")
    train = sold.head(80)
    over_season = train.pct_change(7) if learn == "return" else train.diff(7)

    for row in ("a@2020-02-10", "b@2020-04-05"):
        shop, time = row.split("@")
        y, at = sold[shop], pd.Timestamp(time)
        back = {n: y[at - pd.Timedelta(days=n)] for n in range(1, 12)}
        level = 0 if learn == "value" else back[2]
        scale = over_season[shop].abs().mean() * (back[2] if learn == "return" else 1)
        found = built.loc[row]
        assert found["series_time"] == at
        assert found["series_level"] == pytest.approx(level)
        assert found["series_scale"] == pytest.approx(scale)
        assert found["target_sold"] == y[at]
        for name, n in {
            **{"window_sold_00": 2, "window_sold_02": 4, "lag_9": 9},
            **{"naive_persistence": 2, "naive_seasonal": 7},
            **{"ahead_sold_season7_00": 7, "ahead_sold_season7_02": 9},
        }.items():
            assert found[name] == pytest.approx((back[n] - level) / scale, abs=1e-5)
        mean = np.mean([back[n] for n in (2, 3, 4, 5)])
        assert found["rolling_mean_4"] == pytest.approx((mean - level) / scale, abs=1e-5)
        assert found["warm"] == warm.loc[at, shop]
        assert found["ahead_warm_00"] == pytest.approx(warm.loc[at, shop])
        assert found["ahead_warm_01"] == pytest.approx(warm[shop][at - pd.Timedelta(days=1)])


def parts_of(rows: pd.DataFrame, **options: Any) -> pd.DataFrame:
    _, *parts = encode_features(windows_of(rows, **options), features(), 0)
    return pd.concat(parts)


def test_parts_hold_numbers_and_what_evaluation_needs():
    encoder, train, validation, test = encode_features(windows_of(frame()), features(), 0)

    assert [len(part) for part in (train, validation, test)] == [140, 18, 20]
    assert list(train) == list(validation) == list(test)
    kept = ["series_id", "series_time", "series_level", "series_scale", "series_rms", "target_sold"]
    assert list(train)[-6:] == kept
    assert (train.dtypes.iloc[:-6] == np.float32).all()
    assert {"shop_a", "shop_b", "dayofweek_0", "dayofweek_sin"} <= set(train)
    window = [name for name in train if name.startswith(("window_", "ahead_"))]
    assert window == [n for n in windows_of(frame()) if n.startswith(("window_", "ahead_"))]
    assert not any(name.startswith("series_") for name in encoder.get_feature_names_out())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 8), st.integers(0, 1), st.sampled_from(["value", "change", "return"]))
def test_nothing_after_the_origin_changes_a_row(later, shop, learn):
    """Two steps ahead: of the steps after the origin, only what is known ahead is seen."""
    rows = frame()
    row, origin = f"{'ab'[shop]}@2020-04-05", pd.Timestamp("2020-04-03")
    changed = rows.copy()
    after = changed["day"] > origin + pd.Timedelta(days=later)
    changed.loc[after, ["sold", "price"]] *= 3
    after_target = changed["day"] > pd.Timestamp("2020-04-05")
    changed.loc[after_target, "warm"] *= 3

    first, other = (parts_of(r, learn=learn).loc[row].drop("target_sold") for r in (rows, changed))

    pd.testing.assert_series_equal(first, other)


@pytest.mark.parametrize(
    ("column", "day"), [("sold", "2020-04-03"), ("price", "2020-04-03"), ("warm", "2020-04-05")]
)
def test_what_is_known_is_seen(column, day):
    rows = frame()
    changed = rows.copy()
    changed.loc[changed["day"] == day, column] *= 3

    first, other = (parts_of(r).loc["a@2020-04-05"] for r in (rows, changed))

    assert (first != other).any()


def test_what_is_fitted_knows_the_training_part_alone():
    rows = frame()
    changed = rows.copy()
    changed.loc[changed["day"] >= changed["day"].min() + pd.Timedelta(days=80), "sold"] *= 9

    first, other = (parts_of(r) for r in (rows, changed))

    fitted = ["series_scale", "series_rms", "static_level", "static_change", "static_zeros"]
    pd.testing.assert_frame_equal(first[fitted], other[fitted])


def test_selection_is_json():
    json.dumps(select(frame())[1], allow_nan=False)


def test_rows_are_left_as_they_are():
    rows = frame()
    before = rows.copy()
    primary, _ = select(rows)
    kept = primary.copy()

    build_windows(primary, data(), features(), targets())

    pd.testing.assert_frame_equal(rows, before)
    pd.testing.assert_frame_equal(primary, kept)


def test_a_known_column_must_be_a_number_or_a_place_on_a_circle():
    with pytest.raises(ConfigError, match=r"windows\.known: 'shop' must be among the numeric"):
        select(frame(), seen=features(known=["shop"]))


def test_a_past_column_must_hold_numbers():
    with pytest.raises(ConfigError, match=r"features\.windows: column 'shop' must hold numbers"):
        select(frame(), seen=features(past={"sold": "value", "shop": "value"}))


def test_as_of_cuts_all_series_at_one_day():
    from ratchet.pipelines.understanding import read_rows

    typed = read_rows(frame(), data(), targets(), "2020-03-10")

    primary, _ = select(typed)

    assert primary["day"].max() == pd.Timestamp("2020-03-10")
    assert primary.loc[primary["split"] == "test", "day"].max() == pd.Timestamp("2020-03-10")


@pytest.mark.parametrize("column", ["sold", "warm"])
def test_values_that_windows_cannot_tell_apart_are_told(column):
    rows = frame()
    rows[column] += 1e9  # a meter that has run for long
    told = f"column '{column}' holds numbers so large that windows.*past: {{{column}: change}}"
    with pytest.raises(ConfigError, match=told):
        windows_of(rows)
    if column == "sold":
        windows_of(rows, learn="change")


def test_values_that_never_change_are_told_apart_from_nothing():
    windows_of(frame().assign(warm=[0.1 + 0.2, 0.3] * 100))


@pytest.mark.parametrize(
    "called",
    [
        {
            "shop": "series_id",
            "sold": "static_level",
            "price": "window_sold",
            "warm": "split_ratio",
        },
        {"shop": "series", "sold": "dayofweek_sin", "price": "naive_[x]<", "warm": "target_sold"},
        {"shop": "window", "sold": "time", "price": "lag_1", "warm": "dayofweek_sin"},
        {"shop": "truth", "sold": "self", "price": "ahead_x", "warm": "self_season7"},
    ],
)
def test_what_columns_are_called_changes_nothing_of_what_a_model_sees(called):
    def encoded(names: dict[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
        def name(column: str) -> str:
            return names.get(column, column)

        settings = data(
            columns={name(column): contract for column, contract in COLUMNS.items()},
            series={"id": name("shop")},
        )
        windows = {"past": {name(c): how for c, how in WINDOWS["past"].items()}}
        seen = Features.model_validate(
            {
                **FEATURES,
                "numeric": [name("warm")],
                "categorical": ["dayofweek", name("shop")],
                "windows": {**WINDOWS, **windows, "known": [name("warm"), "dayofweek"]},
            }
        )
        rows = frame().rename(columns=names)
        features_frame = windows_of(rows, settings, seen, column=name("sold"))
        train = encode_features(features_frame, seen, 0)[1]
        target = Target.model_validate(targets(column=name("sold"))["sold"])
        return features_and_scaled_target(train, target)[0], features_and_scaled_target(
            train, target, "recurrent"
        )[0]

    for odd, plain in zip(encoded(called), encoded({}), strict=True):
        assert odd.columns.is_unique
        np.testing.assert_array_equal(odd.to_numpy(), plain.to_numpy())
