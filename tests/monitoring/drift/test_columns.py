"""Columns as counts of levels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ratchet.monitoring.drift.columns import encode, kind_of, numbers


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5, 2.5], "number"),
        ([1, 2], "number"),
        (pd.array([1, None], dtype="Int64"), "number"),
        ([True, False], "category"),
        (pd.array([True, None], dtype="boolean"), "category"),
        ([None, True], "category"),
        (["a", None], "category"),
        (pd.Categorical(["a", "b"]), "category"),
        ([["a"], []], "list"),
        ([None, np.array(["a"])], "list"),
        (pd.to_datetime(["2020-01-01", None]), "date"),
        ([pd.Timestamp("2020-01-01").date()], "date"),
        (pd.Series([3, None], dtype=object), "number"),
    ],
)
def test_kind_of_a_column(values, kind):
    assert kind_of(pd.Series(values)) == kind


def test_a_column_without_values_is_what_it_is_now():
    empty = pd.Series([None, None], dtype=object)

    assert kind_of(empty, pd.Series([1.0])) == "number"
    assert kind_of(empty, empty) == "category"
    assert kind_of(pd.Series([np.nan])) == "number"


def test_what_is_no_finite_number_is_missing():
    values = pd.Series([1.0, np.inf, -np.inf, np.nan, None], dtype=object)

    assert np.isnan(numbers(values)).tolist() == [False, True, True, True, True]
    assert np.isnan(numbers(pd.Series(["3", "three"]))).tolist() == [False, True]


def test_numbers_have_a_level_each_while_they_are_few():
    levels = encode(pd.Series([3.0, 1.0, np.nan]), pd.Series([1.0, 2.0]))

    assert levels.points.tolist() == [1, 2, 3]
    assert levels.counts.toarray().tolist() == [
        [0, 0, 1],
        [1, 0, 0],
        [0, 0, 0],
        [1, 0, 0],
        [0, 1, 0],
    ]
    assert levels.missing.tolist() == [False, False, True, False, False]


def test_many_numbers_share_levels_but_for_the_ends():
    values = pd.Series(np.random.default_rng(0).standard_cauchy(10_000))

    levels = encode(values, values.head(10))

    assert len(levels.points) < 400
    assert set(values.nlargest(30)) <= set(levels.points)
    assert levels.counts.sum() == 10_010
    assert levels.counts.toarray().sum(axis=0).max() < 10_010 / 200


@pytest.mark.parametrize(
    ("values", "spread"), [([0.0, 0, 0, 0, 8], 3.2), ([5.0] * 4, 1.0), ([np.nan] * 3, 1.0)]
)
def test_spread_where_the_quartiles_coincide(values, spread):
    assert encode(pd.Series(values), pd.Series([1.0])).spread == pytest.approx(spread)


def test_spread_of_a_normal_sample():
    values = pd.Series(np.random.default_rng(0).normal(3, 2, 20_000))

    assert encode(values, values.head()).spread == pytest.approx(2, rel=0.03)


def test_huge_numbers_do_not_overflow():
    levels = encode(pd.Series([-1.7e308, 1.7e308, 0.0]), pd.Series([1e308]))

    assert np.isfinite(np.diff(levels.points)).all()
    assert np.isfinite(levels.spread)


def test_a_row_counts_for_every_name_of_its_list():
    before = pd.Series([["a", "b"], [], None, np.array(["a"])], dtype=object)

    levels = encode(before, pd.Series([["c", "a"]]))

    assert levels.names == ["a", "b", "c"]
    assert levels.counts.toarray().tolist() == [
        [1, 1, 0],
        [0, 0, 0],
        [0, 0, 0],
        [1, 0, 0],
        [1, 0, 1],
    ]
    assert levels.missing.tolist() == [False, True, True, False, False]


def test_categories_of_any_type():
    levels = encode(pd.Series(pd.Categorical(["x", None, "y"])), pd.Series(["y", "z"]))

    assert levels.names == ["x", "y", "z"]
    assert levels.missing.tolist() == [False, True, False, False, False]


def test_truth_values_missing_or_not():
    levels = encode(pd.Series([True, False]), pd.Series([None, True], dtype=object))

    assert levels.names == ["True", "False"]
    assert levels.missing.tolist() == [False, False, True, False]
