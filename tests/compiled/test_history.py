"""History in arrays says what ``history_features`` says of the same events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.compiled.history import compile_history, microseconds
from ratchet.config import History
from ratchet.learning.features.history import history_features

PARAMETERS = History(
    entities=["actor", "studio"],
    values={"rating": None, "reviews": "log1p"},
    looked_up="asked",
    available="known",
    shrinkage=2.0,
)
DAYS = [*pd.date_range("2000-01-01", periods=6)]

names = st.one_of(st.none(), st.lists(st.sampled_from(["Ann", "Bob", "Cho", "Dé"]), max_size=4))
numbers = st.one_of(st.none(), st.floats(0, 1e6))
event = st.fixed_dictionaries(
    {
        "actor": names,
        "studio": names,
        "rating": numbers,
        "reviews": numbers,
        "asked": st.sampled_from(DAYS),
        "known": st.sampled_from([*DAYS, pd.NaT]),
    }
)
row = st.fixed_dictionaries(
    {
        "actor": names,
        "studio": names,
        "asked": st.sampled_from([*DAYS, DAYS[0] - pd.Timedelta("1D")]),
    }
)


def frame(rows: list[dict[str, Any]], like: list[str]) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=like)
    for name in {"asked", "known"} & {*like}:
        made[name] = made[name].astype("datetime64[us]")
    for name in {"rating", "reviews"} & {*like}:
        made[name] = made[name].astype(float)
    return made


@settings(max_examples=60, deadline=None)
@given(st.lists(event, max_size=8), st.lists(row, min_size=1, max_size=3), st.data())
def test_arrays_say_the_same(events, rows, data):
    known = frame(events, ["actor", "studio", "rating", "reviews", "asked", "known"])
    known.insert(0, "key", np.arange(len(known)))
    asked = frame(rows, ["actor", "studio", "asked"])
    # The first row may be one of the events, which then is none for it.
    own = data.draw(st.sampled_from([*range(len(known)), 99]))
    keys = [own, *(f"new {n}" for n in range(1, len(asked)))]

    history = compile_history(known, PARAMETERS, "key")
    lists = [asked[entity].tolist() for entity in PARAMETERS.entities]
    found = history(lists, microseconds(asked["asked"]), keys)

    settings_ = PARAMETERS.model_dump()
    expected = history_features(asked, known, **settings_)
    without = history_features(asked.iloc[:1], known[known["key"] != own], **settings_)
    assert history.columns == list(expected)
    np.testing.assert_allclose(found[1:], expected.to_numpy()[1:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[:1], without.to_numpy(), rtol=1e-9, atol=1e-9)
