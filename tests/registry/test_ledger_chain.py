"""The chain of hashes: whatever is done to the rows is seen."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.registry.ledger_chain import (
    START,
    State,
    canonical_json,
    digest_of,
    find_faults,
    moment_text,
    state_of,
)

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def make_rows(n: int, use_case: str = "films") -> list[dict[str, Any]]:
    """A chain as the ledger writes it."""
    rows: list[dict[str, Any]] = []
    for seq in range(1, n + 1):
        row: dict[str, Any] = {"use_case": use_case, "seq": seq, "event": "promote"}
        row |= {"at": moment_text(NOON + timedelta(days=seq)), "version": str(seq)}
        row |= {"champion": str(seq), "previous": None, "quarantined": "[]", "actor": "ada@host"}
        row |= {"reason": "better", "details": canonical_json({"gain": seq / 7})}
        row["parent"] = rows[-1]["digest"] if rows else START
        rows.append({**row, "digest": digest_of(row)})
    return rows


def anchor(rows: list[dict[str, Any]]) -> dict[str, tuple[int, str]]:
    return {"films": (rows[-1]["seq"], rows[-1]["digest"])}


def test_a_whole_chain_has_no_faults():
    rows = make_rows(5)

    assert find_faults([*make_rows(3, "power"), *rows], anchor(rows)) == []
    assert find_faults([], {}) == []


@given(place=st.integers(0, 4), name=st.sampled_from(sorted(make_rows(1)[0])), data=st.data())
def test_any_change_of_any_field_is_seen(place, name, data):
    rows = make_rows(5)
    old = rows[place][name]
    change = st.integers(6, 99) if name == "seq" else st.text(max_size=70)
    rows[place][name] = data.draw(change.filter(lambda value: value != old))

    assert find_faults(rows, anchor(make_rows(5))) != []


@given(place=st.integers(0, 4))
def test_a_row_changed_with_its_own_digest_is_seen_by_the_next_or_the_anchor(place):
    rows = make_rows(5)
    rows[place]["reason"] = "because"
    rows[place]["digest"] = digest_of(rows[place])

    told = find_faults(rows, anchor(make_rows(5)))

    last = place == 4
    assert told == [
        "films: decision 5 is not the one that the registry knows"
        if last
        else f"films: decision {place + 2} does not follow decision {place + 1} as it is here"
    ]


@given(first=st.integers(0, 3), n=st.integers(1, 3))
def test_deleted_rows_are_named(first, n):
    rows = make_rows(8)
    left = rows[:first] + rows[first + n :]

    span = f"{first + 1}" if n == 1 else f"{first + 1} to {first + n}"
    assert find_faults(left, {}) == [f"films: decision {span} is missing"]


@given(n=st.integers(1, 5))
def test_a_cut_off_end_is_seen_by_the_anchor(n):
    rows = make_rows(5)

    told = find_faults(rows[: 5 - n], anchor(rows))

    assert told == [
        f"films: the end is missing: the registry knows decision 5, the ledger ends with {5 - n}"
    ]
    assert find_faults(rows[: 5 - n], {}) == []  # why there is an anchor


def test_two_rows_that_changed_places_are_seen():
    rows = make_rows(4)
    rows[1]["seq"], rows[2]["seq"] = 3, 2

    assert find_faults(rows, {}) != []


def test_an_inserted_row_is_seen():
    rows = make_rows(4)
    forged = {**rows[1], "reason": "forged", "parent": rows[1]["digest"]}
    forged["digest"] = digest_of(forged)

    assert find_faults([*rows, forged], {}) != []


def test_a_chain_written_anew_is_seen_by_the_anchor():
    rows = make_rows(3)
    anchored = anchor(rows)
    rows[0]["reason"] = "because"
    for before, row in zip([None, *rows], rows, strict=False):
        row["parent"] = before["digest"] if before else START
        row["digest"] = digest_of(row)

    assert find_faults(rows, {}) == []
    assert find_faults(rows, anchored) == [
        "films: decision 3 is not the one that the registry knows"
    ]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(value=VALUES)
def test_canonical_text_survives_being_read(value):
    text = canonical_json(value)

    assert text.isascii()
    assert canonical_json(json.loads(text)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1.5, None, True]}, '{"a":[1.5,null,true],"b":1}'),
        ([float("nan"), float("inf"), -float("inf")], '["nan","inf","-inf"]'),
        ([np.float64(2.5), np.int64(3), np.bool_(True), np.arange(2)], "[2.5,3,true,[0,1]]"),
        ([np.float32("nan")], '["nan"]'),
        ({"b", "a"}, '["a","b"]'),
        ({1: (2,)}, '{"1":[2]}'),
        (NOON, '"2026-11-25T12:00:00+00:00"'),
        (1 + 2j, '"(1+2j)"'),
    ],
)
def test_what_json_does_not_know(value, text):
    assert canonical_json(value) == text


def test_moments_sort_as_their_texts_do():
    east = timezone(timedelta(hours=5))
    moments = [NOON, NOON + timedelta(microseconds=1), (NOON + timedelta(hours=1)).astimezone(east)]

    texts = [moment_text(moment) for moment in moments]

    assert texts == sorted(texts)
    assert moment_text(datetime(2026, 11, 25, 12)) == texts[0] == "2026-11-25T12:00:00.000000+00:00"


def step(seq: int, event: str, version: str, champion: str | None, **more: Any) -> dict[str, Any]:
    row = {"seq": seq, "event": event, "version": version, "champion": champion, "previous": None}
    return {**row, "at": moment_text(NOON + timedelta(days=seq)), "quarantined": "[]", **more}


def test_where_decisions_lead():
    rows = [
        step(1, "reject", "1", None),
        step(2, "promote", "2", "2"),
        step(3, "reject", "3", "2", previous=None),
        step(4, "promote", "4", "4", previous="2"),
        step(5, "rollback", "2", "2", quarantined='["4"]'),
        step(6, "hold", "1", "2", quarantined='["4"]'),
        step(7, "retrain", "3", "2", quarantined='["4"]'),
    ]

    assert state_of(rows) == State(
        seq=7,
        champion="2",
        previous=None,
        quarantined=("4",),
        since=NOON + timedelta(days=5),
        served=("2", "4", "2"),
        rejected=frozenset({"3"}),
    )
    assert state_of([]) == State()
