"""Rows are answered by what they were trained on, and by nothing that is known only later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.config import UseCase
from ratchet.errors import ConfigError
from ratchet.preparation.answering import features_of

ALL = ["films", "power", "stock", "prices", "market"]
SERIES = ALL[1:4]


def known(frame: pd.DataFrame) -> pd.DataFrame:
    """Features without what became of the rows."""
    return frame.filter(regex="^(?!target_|split)")


def answered(part: Any, typed: pd.DataFrame, asked: Any = None) -> pd.DataFrame:
    return features_of(typed, part.use_case, part.built[1], asked)


@pytest.mark.parametrize("name", ALL)
def test_known_rows_have_the_features_of_the_training(slice_of, name):
    part = slice_of(name)
    built = part.built[0]

    found = answered(part, part.typed)

    assert set(found) == set(built) - {"split"}
    assert set(built.index) <= set(found.index)
    expected = built.drop(columns="split")[list(found)]
    pd.testing.assert_frame_equal(found.loc[built.index], expected, check_exact=True)


@pytest.mark.parametrize("name", ALL)
def test_statistics_are_the_same_from_a_file(slice_of, name, tmp_path):
    part = slice_of(name)
    if not part.is_series:
        assert part.built[1] is None
        return
    part.built[1].to_parquet(tmp_path / "statistics.parquet")

    found = features_of(part.typed, part.use_case, pd.read_parquet(tmp_path / "statistics.parquet"))

    pd.testing.assert_frame_equal(found, answered(part, part.typed), check_exact=True)


def test_a_film_is_answered_before_anybody_has_seen_it(slice_of):
    part = slice_of("films")
    before = answered(part, part.typed)
    last = part.typed["date"] == part.typed["date"].max()
    films = part.typed.loc[last, "film"]
    assert len(films) > 1
    unknown = {name: part.typed[name].mask(last) for name in ("rating", "reviews", "box_office")}

    found = answered(part, part.typed.assign(**unknown))

    asked = before.index.isin(films)
    assert asked.sum() > 1
    pd.testing.assert_frame_equal(known(found[asked]), known(before[asked]), check_exact=True)
    assert found.loc[asked, ["target_rating", "target_success"]].isna().all(axis=None)
    # The others' classes are ranked without those films, but no feature of theirs changes.
    pd.testing.assert_frame_equal(known(found), known(before), check_exact=True)


def test_films_without_a_rating_are_answered_too(slice_of):
    part = slice_of("films")

    found = answered(part, part.typed)

    whole = part.typed.dropna(subset=part.use_case.data.required)["film"]
    more = found[~found.index.isin(whole)]
    assert len(more) > 5
    assert more["target_rating"].isna().all()
    assert more[["runtime", "genres", "countries"]].notna().all(axis=None)


def test_some_films_are_answered_as_all_are(slice_of):
    part = slice_of("films")
    everything = answered(part, part.typed)
    asked = np.arange(len(part.typed)) % 50 == 7

    found = answered(part, part.typed, asked)

    assert set(found.index) <= set(part.typed.loc[asked, "film"])
    expected = everything[everything.index.isin(part.typed.loc[asked, "film"])]
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_a_film_alone_is_answered(slice_of):
    """Nobody has a history yet, and no class can be told."""
    part = slice_of("films")
    alone = part.typed.dropna(subset=["runtime", "countries"]).iloc[[5]].assign(rating=np.nan)

    found = answered(part, alone)

    assert len(found) == 1
    assert (found.filter(like="history_") == 0).all(axis=None)
    assert found.filter(like="target_").isna().all(axis=None)


def test_no_row_can_be_answered(slice_of):
    part = slice_of("films")

    found = answered(part, part.typed.head(3).assign(runtime=np.nan))

    assert found.empty
    assert set(found) == set(answered(part, part.typed))


PAST = {
    "power": ["demand"],
    "stock": ["units", "tickets", "price"],
    "prices": ["open", "high", "low", "adjusted", "volume"],
}
"""Columns that are known up to the origin."""


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("fate", ["changed", "unknown"])
def test_what_comes_after_the_origin_changes_no_features(slice_of, name, fate):
    """In none of the three use cases is there a step between origin and target."""
    part = slice_of(name)
    time = part.use_case.data.time
    before = answered(part, part.typed)
    at = np.sort(before["series_time"].unique())[-30]
    later = part.typed[time] >= at
    values = part.typed[PAST[name]]
    other = values * 3 if fate == "changed" else np.nan
    typed = part.typed.assign(**values.astype(float).mask(later, other))

    found = answered(part, typed)

    rows = before[before["series_time"] == at]
    again = found.loc[found["series_time"] == at]
    # A product without a sale counts as present, and has no price: it is there with units only.
    again = again.loc[again.index.intersection(rows.index)]
    assert len(again) == len(rows)
    pd.testing.assert_frame_equal(known(again), known(rows), check_exact=True)
    targets = again.filter(like="target_")
    there = rows.index.isin(rows.index[rows.filter(like="target_").iloc[:, 0] > 0])
    assert targets[there].isna().all(axis=None) == (fate == "unknown")


def test_a_step_to_come_is_answered_by_what_is_known_ahead(slice_of):
    part = slice_of("power")
    next_time = part.typed["time"].max() + pd.Timedelta("30min")
    ahead = pd.DataFrame({"time": [next_time], "temperature": [30.0], "workday": [1]})

    found = answered(part, pd.concat([part.typed, ahead], ignore_index=True))

    row = found.loc[f"demand@{next_time:%Y-%m-%dT%H:%M:%S}"]
    assert row["temperature"] == 30.0
    assert row["ahead_temperature_00"] == 30.0
    assert np.isnan(row["target_demand"])
    last, scale = part.typed["demand"].iloc[-1], row["series_scale"]
    assert row["window_demand_00"] == pytest.approx(last / scale, rel=1e-6)


def test_without_its_temperature_a_step_is_left_out(slice_of):
    part = slice_of("power")
    typed = part.typed.copy()
    typed.loc[len(typed) - 1, "temperature"] = np.nan

    found = answered(part, typed)

    whole = answered(part, part.typed)
    assert list(whole.index[:-1]) == list(found.index)


def test_returns_are_told_from_the_origin(slice_of):
    part = slice_of("prices")
    found = answered(part, part.typed)

    price = part.typed.set_index("date")["adjusted"]
    before = price.shift(1)[found["series_time"]].to_numpy()
    np.testing.assert_array_equal(found["series_level"], before)
    mean = part.built[1].loc["adjusted", "mean"]
    np.testing.assert_array_equal(found["series_scale"], before * mean)


def test_products_without_a_sale_are_answered_where_others_have_one(slice_of):
    part = slice_of("stock")
    found = answered(part, part.typed)

    sold = part.typed.groupby("date")["product"].nunique()
    day = sold.index[(sold < sold.max()) & (sold.index >= found["series_time"].min())][-1]
    there = part.typed.loc[part.typed["date"] == day, "product"]
    rows = found[found["series_time"] == day]
    absent = rows[~rows["series_id"].isin(there)]
    assert set(there) <= set(rows["series_id"])
    assert not absent.empty
    assert (absent["target_units"] == 0).all()
    asked = (part.typed["date"] == day) & (part.typed["product"] == there.iloc[0])
    alone = answered(part, part.typed, asked)
    pd.testing.assert_frame_equal(alone, rows[rows["series_id"] == there.iloc[0]])


def test_a_model_keeps_its_units_when_the_data_grow(slice_of):
    part = slice_of("stock")
    days = part.typed["date"]
    first = part.typed[days < days.min() + pd.Timedelta(days=50)]
    earlier = type(part)(part.use_case, first)

    found = features_of(part.typed, part.use_case, earlier.built[1])

    both = earlier.built[0].index
    assert set(both) <= set(found.index)
    expected = earlier.built[0].drop(columns="split")[list(found)]
    pd.testing.assert_frame_equal(found.loc[both], expected, check_exact=True)
    assert not known(found).equals(known(answered(part, part.typed)))


def test_a_series_that_is_not_known_takes_the_mean_of_the_others(slice_of):
    part = slice_of("stock")
    statistics = part.built[1]
    new = statistics.index[3]

    found = features_of(part.typed, part.use_case, statistics.drop(index=new))

    of_others = statistics.drop(index=new).mean()
    rows = found[found["series_id"] == new]
    assert len(rows) > 5
    assert rows["series_scale"].to_numpy() == pytest.approx(of_others["mean"])
    assert rows["static_zeros"].to_numpy() == pytest.approx(of_others["static_zeros"])
    others = found[found["series_id"] != new]
    pd.testing.assert_frame_equal(others, answered(part, part.typed).loc[others.index])


def test_series_need_statistics(slice_of):
    part = slice_of("power")

    with pytest.raises(ConfigError, match="series are answered by their statistics"):
        features_of(part.typed, part.use_case)


def test_rows_are_left_as_they_are(slice_of):
    for name in ALL:
        part = slice_of(name)
        before = part.typed.copy()

        answered(part, part.typed)

        pd.testing.assert_frame_equal(part.typed, before)


PLAIN = {
    "about": {"title": "t", "question": "q", "source": "s"},
    "data": {
        "key": "id",
        "columns": {
            "id": {"type": "integer"},
            "size": {"type": "number", "nullable": True},
            "sold": {"type": "number", "nullable": True},
        },
        "required": ["size", "sold"],
    },
    "features": {"numeric": ["size"]},
    "targets": {
        "sold": {
            "column": "sold",
            "task": "regression",
            "candidates": {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}},
        }
    },
}


def test_rows_without_time_and_history():
    use_case = UseCase.model_validate(PLAIN)
    typed = pd.DataFrame({"id": [3, 1, 2], "size": [1.0, 2.0, np.nan], "sold": [9, np.nan, 8]})

    found = features_of(typed, use_case)

    expected = pd.DataFrame(
        {"size": [2.0, 1.0], "target_sold": [np.nan, 9]}, index=pd.Index([1, 3], name="id")
    )
    pd.testing.assert_frame_equal(found, expected)
