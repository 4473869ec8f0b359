"""History features: equal to a slow obvious loop, and blind to the present and the future."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ratchet.learning.features import history_features

ENTITIES = ("director", "cast")
ONE = ("director",)  # each entity is described by itself, and so one tells all
VALUES = {"rating": None, "reviews": "log1p"}
FIRST_DAY = pd.Timestamp("2000-01-01")
# The tables are small enough to read unshrunk; shrinking them would take minutes.
FEW = settings(max_examples=60, deadline=None, phases=[Phase.reuse, Phase.generate])
NAMES = st.lists(st.sampled_from("abcdef"), max_size=4)


@st.composite
def film_tables(draw: st.DrawFn, min_size: int = 0) -> pd.DataFrame:
    """Few people and few days, so that ties and repeated names are frequent."""
    film = st.fixed_dictionaries(
        {
            "director": st.one_of(st.none(), NAMES),
            "cast": NAMES.map(np.array),
            "rating": st.one_of(st.just(math.nan), st.floats(0, 5)),
            "reviews": st.one_of(st.just(math.nan), st.integers(0, 400)),
            "looked_up": st.integers(0, 8),
            "delay": st.integers(0, 3),
        }
    )
    films = pd.DataFrame(draw(st.lists(film, min_size=min_size, max_size=12)), columns=_COLUMNS)
    films["released"] = FIRST_DAY + pd.to_timedelta(films["looked_up"].astype(int), unit="D")
    films["date"] = films["released"] + pd.to_timedelta(films["delay"].astype(int), unit="D")
    return films


_COLUMNS = ["director", "cast", "rating", "reviews", "looked_up", "delay"]


def describe(
    rows: pd.DataFrame,
    events: pd.DataFrame | None = None,
    shrinkage: float = 3.0,
    entities: Sequence[str] = ENTITIES,
) -> pd.DataFrame:
    return history_features(
        rows,
        rows if events is None else events,
        entities=entities,
        values=VALUES,
        looked_up="released",
        available="date",
        shrinkage=shrinkage,
    )


def slow(rows: pd.DataFrame, events: pd.DataFrame, k: float) -> pd.DataFrame:
    """The definition, one row, name and event at a time."""
    features = [
        _tell(row, events[events["date"] < row["released"]], k) for _, row in rows.iterrows()
    ]
    return pd.DataFrame(features, index=rows.index)


def _tell(row: pd.Series, events: pd.DataFrame, k: float) -> dict[str, float]:
    out = {}
    for entity in ENTITIES:
        names = sorted(set(row[entity])) if row[entity] is not None else []
        films = {
            n: events[events[entity].map(lambda cell, n=n: _lists(cell, n)).astype(bool)]
            for n in names
        }
        out[f"{entity}_events"] = _mean([len(film) for film in films.values()])
        for value, how in VALUES.items():
            scale = np.log1p if how else np.asarray
            prior = _mean(scale(events[value].dropna()))
            means, known, lasts = [], [], []
            for film in films.values():
                seen = film[film[value].notna()]
                numbers = scale(seen[value])
                means.append((sum(numbers) + k * prior) / (len(numbers) + k) - prior)
                if len(seen):
                    known.append(means[-1])
                    last = seen[seen["date"] == seen["date"].max()]
                    lasts.append(_mean(scale(last[value])) - prior)
            out[f"{entity}_{value}_mean"] = _mean(means)
            out[f"{entity}_{value}_known"] = _mean(known)
            out[f"{entity}_{value}_last"] = _mean(lasts)
    return out


def _lists(cell: list[str] | None, name: str) -> bool:
    return cell is not None and name in cell


def _mean(numbers: object) -> float:
    return float(np.mean(numbers)) if len(numbers) else 0.0


@FEW
@given(film_tables(min_size=1), film_tables(), st.floats(0.5, 10))
def test_equals_the_slow_obvious_loop(rows, events, k):
    expected = slow(rows, events, k)
    pd.testing.assert_frame_equal(describe(rows, events, k), expected, atol=1e-9)


@FEW
@given(film_tables(min_size=1), st.data())
def test_own_and_later_values_change_nothing(films, data):
    """Change everything a film or any not yet available one says: not one bit moves."""
    row = data.draw(st.integers(0, len(films) - 1))
    unseen = films["date"] >= films.loc[row, "released"]
    assert unseen[row]
    changed = films.assign(
        rating=films["rating"].mask(unseen, data.draw(st.floats(-100, 100))),
        reviews=films["reviews"].mask(unseen, data.draw(st.floats(0, 1e6))),
    )
    before, after = (describe(films, events, entities=ONE) for events in (films, changed))
    pd.testing.assert_series_equal(after.loc[row], before.loc[row], check_exact=True)


@FEW
@given(film_tables(min_size=1), st.data())
def test_events_not_yet_available_need_not_be_known(films, data):
    """At serving time there is no later film: a row gets the features it had in training."""
    row = data.draw(st.integers(0, len(films) - 1))
    past = films[films["date"] < films.loc[row, "released"]]
    served = describe(films.loc[[row]], past, entities=ONE)
    trained = describe(films, entities=ONE).loc[[row]]
    pd.testing.assert_frame_equal(served, trained, check_exact=True)


@FEW
@given(film_tables(), st.randoms())
def test_the_order_of_rows_does_not_matter(films, random):
    order = random.sample(list(films.index), len(films))
    shuffled = describe(films.loc[order], entities=ONE).loc[films.index]
    pd.testing.assert_frame_equal(shuffled, describe(films, entities=ONE), atol=1e-9)


@FEW
@given(film_tables(min_size=1), st.lists(st.sampled_from("xyz"), max_size=5))
def test_no_name_says_what_names_never_seen_say(films, strangers):
    """However long the list: how complete a record is leaves no trace."""
    rows = films.assign(
        director=pd.Series([strangers] * len(films)), cast=pd.Series([strangers] * len(films))
    )
    empty = films.assign(director=None, cast=pd.Series([[]] * len(films)))
    described = describe(rows, films)
    pd.testing.assert_frame_equal(described, describe(empty, films), check_exact=True)
    assert (described == 0).all(axis=None)


def film(released: str, rating: float = 4.0, date: str | None = None, **more: object) -> dict:
    people = {"director": ["a"], "cast": ["a"]}
    dates = {"released": pd.Timestamp(released), "date": pd.Timestamp(date or released)}
    return {**people, "rating": rating, "reviews": 10, **dates, **more}


def test_a_film_dated_by_its_year_is_unknown_before_the_year_is_over():
    films = pd.DataFrame(
        [
            film("2001-01-01", rating=5.0, date="2001-12-31"),  # 2001 is all that is known
            film("2001-01-01", rating=1.0, date="2001-12-31"),
            film("2001-06-01", rating=1.0),
            film("2001-12-31"),
            film("2002-01-01", date="2002-12-31"),
            film("2002-01-02"),
        ]
    )
    assert describe(films)["director_events"].tolist() == [0, 0, 0, 1, 4, 4]


def test_one_name_by_hand():
    films = pd.DataFrame(
        [
            film("2001-01-01", 5.0),
            film("2001-01-02", 3.0, director=["b"]),
            film("2001-01-03", 1.0),
            film("2001-01-04", director=["a", "nobody", "a"]),
        ]
    )
    features = describe(films, shrinkage=3.0).iloc[3]
    prior = (5 + 3 + 1) / 3
    shrunken = (5 + 1 + 3 * prior) / (2 + 3) - prior
    assert features["director_events"] == pytest.approx(2 / 2)
    assert features["director_rating_mean"] == pytest.approx(shrunken / 2)
    assert features["director_rating_known"] == pytest.approx(shrunken)
    assert features["director_rating_last"] == pytest.approx(1 - prior)


def test_index_is_kept_and_inputs_are_unchanged():
    films = pd.DataFrame([film("2001-01-01"), film("2001-01-02")], index=["x", "y"])
    before = films.copy(deep=True)
    assert describe(films).index.tolist() == ["x", "y"]
    pd.testing.assert_frame_equal(films, before)


def test_an_event_without_a_date_is_never_available():
    films = pd.DataFrame([film("2001-01-01"), film("2001-01-02")])
    films.loc[0, "date"] = pd.NaT
    assert describe(films).loc[1, "director_events"] == 0


def test_gaps_inside_a_list_are_no_names():
    films = pd.DataFrame([film("2001-01-01"), film("2001-01-02", director=["a", None])])
    assert describe(films).loc[1, "director_events"] == 1


def test_no_rows_and_no_events():
    films = pd.DataFrame([film("2001-01-01")])
    assert describe(films.iloc[:0], films).shape == (0, 2 * (1 + 3 * 2))
    assert (describe(films, films.iloc[:0]) == 0).all(axis=None)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"director": "a, b"}, TypeError, "'director' must hold lists"),
        ({"released": pd.NaT}, ValueError, "'released' has no date in row 0"),
        ({"rating": np.inf}, ValueError, "'rating' is infinite"),
        ({"reviews": -1}, ValueError, "log1p needs values above -1"),
    ],
)
def test_bad_cells_are_named(change, error, message):
    with pytest.raises(error, match=message):
        describe(pd.DataFrame([film("2001-01-01", date="2001-01-02") | change]))


def test_bad_arguments_are_named():
    films = pd.DataFrame([film("2001-01-01")])
    with pytest.raises(ValueError, match="shrinkage must be above 0"):
        describe(films, shrinkage=0)
    with pytest.raises(KeyError, match="events lack the columns"):
        describe(films, films.drop(columns="cast"))
    with pytest.raises(ValueError, match="unknown transformation 'sqrt'"):
        history_features(
            films,
            films,
            entities=["cast"],
            values={"rating": "sqrt"},
            looked_up="released",
            available="date",
        )


def test_thousands_of_films_take_seconds():
    n, rng = 16_000, np.random.default_rng(0)
    names = rng.integers(0, 30_000, n * 15).astype(str)
    films = pd.DataFrame(
        {
            "director": list(names[: 2 * n].reshape(n, 2)),
            "cast": list(names.reshape(n, 15)),
            "rating": rng.random(n),
            "reviews": rng.random(n),
            "released": FIRST_DAY + pd.to_timedelta(rng.integers(0, 9000, n), unit="D"),
        }
    ).assign(date=lambda frame: frame["released"])
    start = time.process_time()
    describe(films)
    assert time.process_time() - start < 4


def test_a_row_by_itself_is_described_as_among_others():
    rng = np.random.default_rng(5)
    names = [[f"n{i}" for i in rng.integers(0, 12, rng.integers(0, 4))] for _ in range(60)]
    rows = pd.DataFrame(
        {
            "cast": names,
            "rating": rng.normal(size=60),
            "day": pd.date_range("2020-01-01", periods=60),
        }
    )
    how = {"entities": ["cast"], "values": {"rating": None}, "looked_up": "day", "available": "day"}

    together = history_features(rows, rows, **how)

    for place in range(60):
        alone = history_features(rows.iloc[[place]], rows, **how)
        pd.testing.assert_frame_equal(alone, together.iloc[[place]])
