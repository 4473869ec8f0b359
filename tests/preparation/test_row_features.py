"""Data preparation: which rows are kept, how they are split, what the encoder may learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ratchet.config import Data, Evaluation, Features, Split
from ratchet.errors import ConfigError, DataError
from ratchet.pipelines.preprocessing import build_features, encode_features, select_rows
from ratchet.preparation.splits import assign_splits

COLUMNS = {
    "id": {"type": "integer"},
    "day": {"type": "date"},
    "size": {"type": "number", "nullable": True},
    "tags": {"type": "list", "nullable": True},
    "price": {"type": "number", "nullable": True},
}
TARGETS = {
    "price": {
        "column": "price",
        "task": "regression",
        "candidates": {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}},
        "confidence": 0.5,
    }
}


def data(**options: Any) -> Data:
    return Data.model_validate({"key": "id", "time": "day", "columns": COLUMNS, **options})


def frame(n: int = 100) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": rng.permutation(n),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, n // 2, n), "D"),
            "size": rng.normal(size=n),
            "tags": [["red"] if i % 2 else ["green"] for i in range(n)],
            "price": rng.normal(size=n),
        }
    )


GRADE = {
    "column": "grade",
    "task": "classification",
    "classes": ["good", "bad"],
    "cv": 2,
    "candidates": {"dummy": {"estimator": "dummy"}, "logistic": {"estimator": "logistic"}},
}


def select(rows: pd.DataFrame, settings: Data, seed: int = 0, **targets: Any):
    return select_rows(rows, settings, targets or TARGETS, seed)


def graded(n: int = 100, **options: Any) -> tuple[pd.DataFrame, Data]:
    """Rows with a class, a row a day, and their contract."""
    rows = frame(n).assign(id=range(n), day=pd.date_range("2020-01-01", periods=n))
    rows["grade"] = ["good" if i % 3 else "bad" for i in range(n)]
    columns = {**COLUMNS, "grade": {"type": "string", "nullable": True}}
    return rows, data(columns=columns, **options)


@pytest.mark.parametrize(("n", "sizes"), [(100, [80, 10, 10]), (37, [29, 4, 4]), (10, [8, 1, 1])])
@pytest.mark.parametrize("time", ["day", None])
def test_sizes(n, sizes, time):
    primary, selection = select(frame(n), data(time=time))

    assert primary["split"].value_counts(sort=False).tolist() == pytest.approx(sizes, abs=1)
    assert {part: about["rows"] for part, about in selection["parts"].items()} == (
        primary["split"].value_counts().to_dict()
    )


def test_shares_are_a_parameter():
    primary, _ = select(frame(), data(split={"validation": 0.3, "test": 0.2}))

    assert primary["split"].value_counts().to_dict() == {"train": 50, "validation": 30, "test": 20}


def test_parts_follow_each_other_in_time_and_ties_go_by_key():
    primary, selection = select(frame(), data())

    order = list(zip(primary["day"], primary["id"], strict=True))
    assert order == sorted(order)
    assert primary["split"].cat.codes.is_monotonic_increasing
    spans = [selection["parts"][part]["span"] for part in ("train", "validation", "test")]
    assert spans == sorted(spans)
    assert spans[0][0] == str(primary["day"].min().date())


def test_rows_whose_truth_comes_after_the_next_part_began_are_in_neither():
    whole, _ = select(frame(300), data())
    delay = pd.Timedelta("3D")
    rows, selection = select_rows(frame(300), data(), TARGETS, 0, Evaluation(delay="3D"))

    before, after = (one.set_index("id")["split"].astype(object) for one in (whole, rows))
    starts = {part: whole["day"][whole["split"] == part].min() for part in ("validation", "test")}
    parts = rows.set_index("id")
    for part, later in (("train", "validation"), ("validation", "test")):
        assert (parts["day"][after == part] + delay < starts[later]).all()
        left_out = (before == part) & after.isna()
        assert left_out.any()
        assert (parts["day"][left_out] + delay >= starts[later]).all()
    assert after.dropna().eq(before[after.notna()]).all()
    assert (after == "test").sum() == (before == "test").sum() == selection["parts"]["test"]["rows"]


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(st.permutations(range(40)), st.sampled_from(["day", None]))
def test_order_of_the_file_changes_nothing(order, time):
    rows = frame(40)

    expected, _ = select(rows, data(time=time))
    found, _ = select(rows.iloc[order], data(time=time))

    pd.testing.assert_frame_equal(found, expected)


def test_a_random_split_depends_on_the_seed_alone():
    first, again, other = (select(frame(), data(time=None), seed)[0] for seed in (1, 1, 2))

    pd.testing.assert_frame_equal(first, again)
    assert first["id"].tolist() != other["id"].tolist()


def test_rows_without_required_values_are_left_out_and_counted():
    rows = frame()
    rows.loc[:9, "size"] = np.nan
    rows.loc[5:14, "price"] = np.nan

    primary, selection = select(rows, data(required=["size", "price"]))

    assert len(primary) == selection["kept"] == 85
    assert selection["rows"] == 100
    assert selection["missing"] == {"size": 10, "price": 10}
    assert primary[["size", "price"]].notna().all(axis=None)


def test_rows_are_left_as_they_are():
    rows = frame()
    before = rows.copy()

    select(rows, data(required=["size"]))

    pd.testing.assert_frame_equal(rows, before)


def test_no_complete_row():
    rows = frame().assign(size=np.nan)

    with pytest.raises(DataError, match=r"no row has values in all of \['size'\]; missing: .*100"):
        select(rows, data(required=["size"]))


@pytest.mark.parametrize("n", [1, 3])
def test_too_few_rows_for_three_parts(n):
    with pytest.raises(DataError, match=rf"'price'.*: {n} of {n} rows have truth, and nothing is"):
        select(frame(20).head(n), data())


def test_derived_columns():
    arguments = {"column": "price", "within": "day", "shares": {"top": 0.5}, "rest": "low"}
    derive = {"class": {"function": "ratchet.use_cases.films.rank_classes", "arguments": arguments}}

    primary, _ = select(frame(), data(derive=derive))

    assert set(primary["class"]) == {"top", "low"}


def test_a_derived_column_may_build_on_those_above_it():
    step = "ratchet.use_cases.power.earlier"
    derive = {
        "first": {"function": step, "arguments": {"column": "price", "steps": 1}},
        "second": {"function": step, "arguments": {"column": "first", "steps": 1}},
    }
    rows = frame().sort_values(["day", "id"], ignore_index=True)

    primary, _ = select(rows, data(derive=derive))

    assert primary["second"].tolist()[2:] == rows["price"].tolist()[:-2]


def test_calendar_columns():
    primary, _ = select(frame(), data(calendar=["dayofweek", "month"]))

    assert (primary["dayofweek"] == primary["day"].dt.dayofweek).all()
    assert (primary["month"] == primary["day"].dt.month).all()


@pytest.mark.parametrize(
    "arguments", [{"column": "cost", "within": "day", "shares": {}, "rest": "low"}, {"oops": 1}]
)
def test_a_derived_column_that_fails_is_told(arguments):
    derive = {"class": {"function": "ratchet.use_cases.films.rank_classes", "arguments": arguments}}

    with pytest.raises(ConfigError, match=r"data\.derive\.class: ratchet\.use_cases\.films\.rank"):
        select(frame(), data(derive=derive))


def test_targets_are_checked():
    rows = frame().assign(price=np.inf)

    with pytest.raises(DataError, match="column 'price'"):
        select(rows, data())


@pytest.mark.parametrize("time", ["day", None])
def test_parts_are_counted_over_rows_with_truth(time):
    rows, contract = graded(time=time)
    rows.loc[70:, "price"] = np.nan

    primary, selection = select(rows, contract)

    waiting = primary["price"].isna()
    assert primary["split"].isna().tolist() == waiting.tolist()
    assert primary["split"].value_counts().to_dict() == {"train": 56, "validation": 7, "test": 7}
    assert selection["truth"] == {"price": {"train": 56, "validation": 7, "test": 7, "unknown": 30}}
    if time:
        assert selection["parts"]["test"]["span"] == ["2020-03-04", "2020-03-10"]


def test_gaps_in_the_truth_are_in_no_part():
    rows, contract = graded()
    rows.loc[::2, "price"] = np.nan

    primary, _ = select(rows, contract)

    assert primary.loc[primary["split"].isna(), "id"].tolist() == list(range(0, 100, 2))
    assert primary["split"].value_counts().to_dict() == {"train": 40, "validation": 5, "test": 5}


def test_targets_whose_truth_comes_at_different_times_share_the_parts():
    """Counted by the one that comes last: 60 grades are 48, 6 and 6; prices are known longer."""
    rows, contract = graded()
    rows.loc[60:, "grade"] = None
    rows.loc[90:, "price"] = np.nan

    primary, selection = select(rows, contract, **TARGETS, grade=GRADE)

    parts = primary.groupby("split", observed=True)["id"].agg(["min", "max"])
    assert parts.to_numpy().tolist() == [[0, 47], [48, 53], [54, 89]]
    assert primary.loc[primary["split"].isna(), "id"].tolist() == list(range(90, 100))
    assert selection["truth"] == {
        "price": {"train": 48, "validation": 6, "test": 36, "unknown": 10},
        "grade": {"train": 48, "validation": 6, "test": 6, "unknown": 40},
    }


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=40, max_size=120))
def test_every_target_has_at_least_its_share_in_the_test_part(truth):
    known = np.array(truth)
    if (known.sum(axis=0) < 10).any():
        return

    part = assign_splits(known, Split(validation=0.2, test=0.2))

    assert (np.diff(part) >= 0).all()
    for column in known.T:
        assert (part[column] == 2).sum() >= int(0.2 * column.sum())
    alone = assign_splits(known[:, :1], Split(validation=0.2, test=0.2))[known[:, 0]]
    n = known[:, 0].sum()
    np.testing.assert_array_equal(
        alone, assign_splits(np.ones((n, 1)), Split(validation=0.2, test=0.2))
    )


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        (
            lambda rows: rows.assign(grade=rows["grade"].mask(rows["id"] < 90, "good")),
            {},
            r"found 0 of 'bad' \(4 in all parts\): leave the class out .*targets\.grade\.cv",
        ),
        (
            lambda rows: rows.assign(grade=rows["grade"].where(rows["id"] >= 85)),
            {"cv": 3},
            r"calibration in 3 folds needs at least 3 validation rows with truth, found 1: raise",
        ),
        (
            lambda rows: rows.assign(grade=rows["grade"].where(rows["id"] >= 98)),
            {},
            r"2 of 100 rows have truth, and nothing is left for \['validation'\]",
        ),
    ],
)
def test_what_the_search_would_lack_is_told_before_it(change, options, told):
    rows, contract = graded()

    with pytest.raises(DataError, match=rf"column 'grade' \(target 'grade'\): .*{told}"):
        select(change(rows), contract, grade={**GRADE, **options})


def test_intervals_need_rows_that_calibrate():
    rows, contract = graded(80)
    target = {**TARGETS["price"], "confidence": 0.9}

    with pytest.raises(
        DataError,
        match=r"hold 0\.9 of the truth need at least 9 validation rows with truth, found 8: raise "
        r"data\.split\.validation, or lower targets\.cost\.confidence",
    ):
        select(rows, contract, cost=target)


FEATURES = Features(numeric=["size"], lists=["tags"], min_count=1)


def test_features_are_the_named_columns_and_the_targets():
    primary, _ = select(frame(), data())

    built = build_features(primary, data(), FEATURES, TARGETS)

    assert list(built) == ["size", "tags", "split", "target_price"]
    assert built.index.name == "id"
    assert built["target_price"].tolist() == primary["price"].tolist()


def test_history_is_told_by_its_prefix():
    history = {
        "entities": ["tags"],
        "values": {"price": None},
        "looked_up": "day",
        "available": "day",
    }
    features = FEATURES.model_copy(
        update={"history": Features.model_validate({"history": history}).history}
    )
    primary, _ = select(frame(), data())

    built = build_features(primary, data(), features, TARGETS)

    assert {name for name in built if name.startswith("history_tags")}
    first_day = primary["day"] == primary["day"].min()
    ids = primary.loc[first_day, "id"]
    assert (built.loc[ids].filter(like="history_") == 0).all(axis=None)


def test_a_row_known_before_it_is_looked_up_is_told():
    """Its own target would be among its features."""
    history = {"entities": ["tags"], "values": {}, "looked_up": "day", "available": "known"}
    features = Features.model_validate({"numeric": ["size"], "history": history})
    primary, _ = select(frame(), data())
    known = primary["day"].mask(primary["id"].isin([3, 7]), primary["day"] - pd.Timedelta("1D"))
    known[primary["id"] == 5] = pd.NaT  # never known

    with pytest.raises(DataError, match=r"'known' .* before 'day' .*; 2 of 100 rows differ .row"):
        build_features(primary.assign(known=known), data(), features, TARGETS)


def test_the_encoder_learns_from_training_rows_alone():
    primary, _ = select(frame(), data())
    later = primary["split"] != "train"
    primary["tags"] = [["new"] if late else ["old"] for late in later]
    built = build_features(primary, data(), FEATURES, TARGETS)

    encoder, train, validation, test = encode_features(built, FEATURES, 0)

    assert list(train) == ["size", "tags_old", "tags_other", "tags_unknown", "target_price"]
    assert (train["tags_old"] == 1).all()
    for part in (validation, test):
        assert (part["tags_other"] == 1).all()
    encoded = pd.concat([train, validation, test]).drop(columns="target_price")
    pd.testing.assert_frame_equal(encoder.transform(built), encoded)


def test_parts_hold_features_and_targets_by_key():
    primary, _ = select(frame(), data())
    built = build_features(primary, data(), FEATURES, TARGETS)

    _, *parts = encode_features(built, FEATURES, 0)

    assert [len(part) for part in parts] == [80, 10, 10]
    for name, part in zip(("train", "validation", "test"), parts, strict=True):
        assert part.index.tolist() == primary.loc[primary["split"] == name, "id"].tolist()
        assert list(part) == [
            "size",
            "tags_green",
            "tags_red",
            "tags_other",
            "tags_unknown",
            "target_price",
        ]
