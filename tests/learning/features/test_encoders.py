"""Encoders: what they make of odd cells, readable names, and a round trip through skops."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from ratchet.learning.features import (
    CyclicEncoder,
    MultiHotEncoder,
    NumericEncoder,
    TextEncoder,
    feature_encoder,
)
from ratchet.learning.features.encoders import sources_of

TRUSTED = [
    f"ratchet.learning.features.encoders.{name}"
    for name in ("CyclicEncoder", "MultiHotEncoder", "NumericEncoder", "TextEncoder")
]


@parametrize_with_checks([NumericEncoder(), CyclicEncoder(period=12)])
def test_number_encoders_are_scikit_learn_transformers(estimator, check):
    check(estimator)


@pytest.fixture
def films() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "runtime": [90, 120, None, 100],
            "month": [3.0, 12.0, np.nan, 6.0],
            "certificate": ["R", "PG", None, "R"],
            "genres": [["Drama"], ["Drama", "War"], [], np.array(["War", "Drama"])],
            "title": ["A long way", "The long way home", None, "Home"],
        },
        index=[7, 3, 9, 1],
    )


@pytest.fixture
def encoder():
    return feature_encoder(
        numeric=["runtime"],
        cyclic={"month": 12},
        categorical=["certificate"],
        lists=["genres"],
        text=["title"],
        min_count=2,
        text_components=2,
    )


def test_a_month_lies_on_a_circle_and_no_month_at_its_centre():
    months = pd.DataFrame({"month": [3.0, 12.0, np.nan, 0.0]})
    encoded = CyclicEncoder(period=12).fit_transform(months)
    assert list(encoded) == ["month_sin", "month_cos"]
    np.testing.assert_allclose(encoded, [[1, 0], [0, 1], [0, 0], [0, 1]], atol=1e-6)


def test_a_period_must_be_positive():
    with pytest.raises(ValueError, match="period must be above 0"):
        CyclicEncoder(period=0).fit(pd.DataFrame({"month": [1.0]}))


def test_numbers_pass_with_gaps_and_nullable_types():
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [True, False]})
    encoded = NumericEncoder().fit_transform(frame)
    assert (encoded.dtypes == np.float32).all()
    np.testing.assert_array_equal(encoded, [[1, 1], [np.nan, 0]])


def test_infinite_numbers_are_refused():
    with pytest.raises(ValueError, match="infinity"):
        NumericEncoder().fit(pd.DataFrame({"a": [1.0, np.inf]}))


def test_rare_and_new_categories_are_other_and_none_is_unknown():
    fitted = MultiHotEncoder(min_count=2).fit(
        pd.DataFrame({"genres": [["Drama"], ["Drama", "Western"], ["Comedy"], ["Comedy"]]})
    )
    new = pd.DataFrame({"genres": [["Comedy", "Drama"], ["Western", "Anime"], [], None, "Drama"]})
    encoded = fitted.transform(new)
    assert list(encoded) == ["genres_Comedy", "genres_Drama", "genres_other", "genres_unknown"]
    expected = [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 1, 0, 0]]
    np.testing.assert_array_equal(encoded, expected)


def test_whole_numbers_are_one_category_with_and_without_a_gap():
    """A derived month is 3.0 where another row has none, and 3 where one row is answered."""
    fitted = MultiHotEncoder(min_count=1).fit(pd.DataFrame({"month": [3.0, 4.5, None]}))
    answered = fitted.transform(pd.DataFrame({"month": [3]}))
    assert answered.columns[answered.iloc[0] == 1].tolist() == ["month_3"]
    assert "month_4.5" in answered

    del fitted.whole_  # as encoders were stored before
    fitted.categories_, fitted.names_ = {"month": ["3.0"]}, None
    assert fitted.transform(pd.DataFrame({"month": [3.0]}))["month_3.0"].tolist() == [1]


def test_a_category_counts_once_per_row_and_its_order_does_not_matter():
    frame = pd.DataFrame({"genres": [["a", "a", "b"], ["b", "a"]]})
    encoded = MultiHotEncoder(min_count=2).fit_transform(frame)
    np.testing.assert_array_equal(encoded.iloc[0], encoded.iloc[1])
    assert MultiHotEncoder(min_count=3).fit(frame).categories_ == {"genres": []}


def test_categories_named_like_the_special_ones_share_their_columns():
    frame = pd.DataFrame({"genres": [["unknown"], ["other"], []] * 3})
    encoded = MultiHotEncoder(min_count=1).fit_transform(frame)
    assert list(encoded) == ["genres_other", "genres_unknown"]
    np.testing.assert_array_equal(encoded[:3], [[0, 1], [1, 0], [0, 1]])


def test_names_hold_nothing_that_xgboost_refuses():
    frame = pd.DataFrame({"age": ["<18", "[18, 30]"]})
    names = MultiHotEncoder(min_count=1).fit(frame).get_feature_names_out()
    assert list(names[:2]) == ["age_lt 18", "age_(18, 30)"]


@pytest.mark.parametrize("titles", [["one", "two", None], ["one", "one", None]])
def test_texts_with_less_than_two_frequent_words_have_no_direction(titles):
    frame = pd.DataFrame({"title": titles})
    assert TextEncoder(min_count=2).fit_transform(frame).shape == (3, 0)


def test_fewer_words_than_directions_are_no_error():
    frame = pd.DataFrame({"title": ["red house", "red river", "blue house", None, ""]})
    encoded = TextEncoder(min_count=2, n_components=5).fit_transform(frame)
    assert list(encoded) == ["title_0", "title_1"]
    np.testing.assert_array_equal(encoded[3:], 0)


def test_the_same_seed_gives_the_same_directions():
    frame = pd.DataFrame({"title": ["red sea", "red sun", "dead sea", "sun sea", "sun"] * 4})
    first, second = (TextEncoder(min_count=1, n_components=3).fit_transform(frame) for _ in "12")
    pd.testing.assert_frame_equal(first, second)


def test_everything_together_keeps_index_names_and_float32(encoder, films):
    encoded = encoder.fit_transform(films)
    assert list(encoded.index) == list(films.index)
    assert (encoded.dtypes == np.float32).all()
    assert list(encoded) == [
        *("runtime", "month_sin", "month_cos"),
        *("certificate_R", "certificate_other", "certificate_unknown"),
        *("genres_Drama", "genres_War", "genres_other", "genres_unknown"),
    ]
    assert list(encoded) == list(encoder.get_feature_names_out())
    assert encoded["runtime"].isna().tolist() == [False, False, True, False]
    assert not encoded.drop(columns="runtime").isna().any(axis=None)


def test_rows_are_encoded_alike_alone_and_together(encoder, films):
    together = encoder.fit(films).transform(films)
    alone = pd.concat([encoder.transform(films.iloc[[i]]) for i in range(len(films))])
    pd.testing.assert_frame_equal(alone, together)


def test_no_row_is_no_error(encoder, films):
    assert MultiHotEncoder().fit(films[["genres"]]).transform(films[["genres"]][:0]).shape[0] == 0


def test_columns_not_named_are_dropped_and_input_is_unchanged(encoder, films):
    before = films.copy(deep=True)
    assert "secret" not in "".join(encoder.fit_transform(films.assign(secret=1)))
    pd.testing.assert_frame_equal(films, before)


def test_a_missing_column_is_named(encoder, films):
    encoder.fit(films)
    with pytest.raises(ValueError, match="genres"):
        encoder.transform(films.drop(columns="genres"))


def test_nothing_to_encode_is_refused():
    with pytest.raises(ValueError, match="at least one feature"):
        feature_encoder()


def test_skops_round_trip_needs_our_own_types_only(films):
    encoder = feature_encoder(
        numeric=["runtime"], cyclic={"month": 12}, lists=["genres"], text=["title"], min_count=1
    )
    films = pd.concat([films] * 8)
    encoded = encoder.fit_transform(films)
    assert "title_0" in encoded
    stored = skops.io.dumps(encoder)
    assert sorted(skops.io.get_untrusted_types(data=stored)) == TRUSTED
    pd.testing.assert_frame_equal(skops.io.loads(stored, trusted=TRUSTED).transform(films), encoded)


def test_pickle_and_clone(encoder, films):
    encoded = encoder.fit_transform(films)
    again = pickle.loads(pickle.dumps(encoder))
    pd.testing.assert_frame_equal(again.transform(films), encoded)
    pd.testing.assert_frame_equal(clone(encoder).fit_transform(films), encoded)


def test_numbers_that_float32_would_merge_are_told_apart():
    seconds = pd.DataFrame({"at": 1577836800.0 + np.arange(192), "year": 2000.0 + np.arange(192)})

    encoder = NumericEncoder().fit(seconds)
    result = encoder.transform(seconds)

    assert result["at"].nunique() == 192
    assert result["at"].diff().dropna().eq(1).all()
    assert result["year"].tolist() == seconds["year"].tolist()
    later = encoder.transform(seconds + 1000)
    assert (later["at"] - result["at"]).eq(1000).all()
    del encoder.offset_  # as one that was saved before there were offsets
    assert encoder.transform(seconds)["year"].tolist() == seconds["year"].tolist()


NAMES = st.one_of(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=6),
    st.sampled_from(
        ["a", "a_b", "b", "b_c", "c", "a[", "a(", "target", "target_a", "a_sin", "a_0"]
    ),
)


@pytest.mark.slow
@given(
    st.lists(NAMES, min_size=5, max_size=7, unique=True),
    st.lists(NAMES.filter(bool), min_size=3, max_size=3, unique=True),
)
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_no_two_features_are_called_the_same_whatever_columns_and_categories_are(names, categories):
    first, second, cyclic, text, *numeric = names
    rows = pd.DataFrame({name: np.arange(9.0) for name in names})
    rows[first], rows[second] = categories * 3, categories[::-1] * 3
    rows[text] = ["way home", "long way", "home"] * 3
    encoder = feature_encoder(
        numeric=numeric,
        cyclic={cyclic: 12},
        categorical=[first, second],
        text=[text],
        min_count=1,
        text_components=3,
        reserved=["target_"],
    )

    encoded = encoder.fit_transform(rows)

    assert encoded.columns.is_unique
    assert not [name for name in encoded if set(name) & set("[]<")]
    made = sources_of(encoder)
    assert list(made) == list(encoded)
    assert not [n for n in encoded if n.startswith("target_") and made[n] not in numeric]
    assert [made[name] for name in encoded][: len(numeric)] == numeric
    for column in (first, second):
        own = encoded[[name for name in encoded if made[name] == column]]
        assert (own.sum(axis=1) == 1).all()  # one category a row, in columns of its own


def test_names_of_features_stay_where_nothing_is_in_their_way(encoder, films):
    made = sources_of(encoder.fit(films))

    assert made["runtime"] == "runtime"
    assert made["month_sin"] == "month"
    assert made["genres_Drama"] == "genres"


def test_an_encoder_that_was_stored_without_its_names_has_the_plain_ones(encoder, films):
    expected = encoder.fit_transform(films)
    for _, part, _ in encoder.transformers_:
        if part != "drop":
            for name in ("names_", "taken", "reserved"):
                part.__dict__.pop(name, None)

    pd.testing.assert_frame_equal(encoder.transform(films), expected)
