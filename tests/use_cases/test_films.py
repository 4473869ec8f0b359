"""Classes of success: by rank among the films of a year."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.use_cases.films import rank_classes

OPTIONS = {
    "column": "reviews",
    "within": "year",
    "shares": {"Alto": 0.10, "Medio": 0.25},
    "rest": "Bajo",
}


def films(reviews: list[float], year: int = 1950) -> pd.DataFrame:
    return pd.DataFrame({"reviews": reviews, "year": year})


def test_shares_of_a_year():
    classes = rank_classes(films(list(range(100))), **OPTIONS)

    assert classes.value_counts().to_dict() == {"Bajo": 65, "Medio": 25, "Alto": 10}
    assert list(classes[:65].unique()) == ["Bajo"]
    assert list(classes[90:].unique()) == ["Alto"]


def test_a_class_means_the_same_in_every_year():
    early, late = films(list(range(20)), 1940), films([100 * i for i in range(20)], 2010)
    both = pd.concat([early, late], ignore_index=True)

    classes = rank_classes(both, **OPTIONS)

    assert classes[:20].tolist() == classes[20:].tolist()


def test_missing_numbers_have_no_class_and_no_say():
    classes = rank_classes(films([1, np.nan, 2, 3, np.nan]), **OPTIONS)
    without = rank_classes(films([1, 2, 3]), **OPTIONS)

    assert classes.isna().tolist() == [False, True, False, False, True]
    assert classes.dropna().tolist() == without.tolist()


def test_ties_share_a_class():
    classes = rank_classes(films([5] * 10 + [1] * 90), **OPTIONS)

    assert set(classes[:10]) == {"Alto"}
    assert set(classes[10:]) == {"Bajo"}


def test_index_is_kept():
    frame = films([3, 1, 2]).set_index(pd.Index([7, 5, 9]))

    assert rank_classes(frame, **OPTIONS).index.tolist() == [7, 5, 9]


@pytest.mark.parametrize("shares", [{"a": 0.6, "b": 0.4}, {"a": 1.2}])
def test_shares_must_leave_a_rest(shares):
    with pytest.raises(ValueError, match="shares must add up to less than 1"):
        rank_classes(films([1, 2]), **{**OPTIONS, "shares": shares})


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1940, 1943), st.integers(0, 30)), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
)
def test_more_reviews_never_lower_the_class_and_order_of_rows_is_nothing(rows, random):
    frame = pd.DataFrame(rows, columns=["year", "reviews"])
    rank = {"Bajo": 0, "Medio": 1, "Alto": 2}

    classes = rank_classes(frame, **OPTIONS).map(rank)

    for _, year in frame.assign(rank=classes).groupby("year"):
        assert year.sort_values("reviews")["rank"].is_monotonic_increasing
    shuffled = list(frame.index)
    random.shuffle(shuffled)
    again = rank_classes(frame.loc[shuffled], **OPTIONS).map(rank)
    assert again.sort_index().tolist() == classes.tolist()
