"""Measurements: nothing twice, no first value lost, and everybody catches up in order."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.database import connect
from ratchet.errors import ConfigError, DatabaseError
from ratchet.monitoring.measurements import Measurement, Measurements, Written

NOW = datetime(2024, 5, 6, 12)
DAY = datetime(2024, 5, 1)


def of(hour, series="", **fields):
    return Measurement(time=DAY + timedelta(hours=hour), series=series, fields=fields)


def told(found):
    return [(one.series, one.time.hour, dict(one.fields)) for one in found]


def test_what_is_handed_in_again_is_nothing(engine):
    store = Measurements(engine)

    first = store.write("power", [of(0, load=1.5), of(1, load=2)], at=NOW, source="key a")
    again = store.write("power", [of(1, load=2.0), of(0, load=1.5)], at=NOW, source="key b")

    assert (first, again) == (Written(new=2), Written(same=2))
    found = store.rows("power")
    assert told(found) == [("", 0, {"load": 1.5}), ("", 1, {"load": 2})]
    assert [(one.observed_at, one.changed_at, one.source) for one in found] == [
        (NOW, None, "key a")
    ] * 2
    assert store.rows("stock") == []


def test_a_correction_replaces_and_the_first_value_is_kept(engine):
    store = Measurements(engine)
    store.write("power", [of(0, load=1, warmth=None)], at=NOW, source="a")

    later = NOW + timedelta(hours=1)
    first = store.write("power", [of(0, load=3)], at=later, source="b")
    second = store.write("power", [of(0, load=4, warmth=20), of(1, load=0)], at=later, source="b")

    assert (first, second) == (Written(changed=1), Written(new=1, changed=1))
    row, _ = store.rows("power")
    assert row.fields == {"load": 4, "warmth": 20}
    assert row.first == {"load": 1}  # that a value was missing is no correction
    assert (row.observed_at, row.changed_at, row.source) == (NOW, later, "a")


def test_series_and_use_cases_are_told_apart(engine):
    store = Measurements(engine)

    store.write("stock", [of(0, "b", units=1), of(0, "a", units=2)], at=NOW, source="x")
    store.write("other", [of(0, "a", units=3)], at=NOW, source="x")

    assert told(store.rows("stock")) == [("a", 0, {"units": 2}), ("b", 0, {"units": 1})]
    assert told(store.rows("other")) == [("a", 0, {"units": 3})]
    assert told(store.rows("stock", until=DAY)) == []


def test_of_two_of_one_time_the_later_one_stands(engine):
    store = Measurements(engine)

    rows = [of(0, load=1), of(0, load=2)]

    assert store.write("power", rows, at=NOW, source="x") == Written(new=1, same=1)
    (row,) = store.rows("power")
    assert row.fields == {"load": 2}


def test_times_of_any_zone_are_kept_in_utc(engine):
    store = Measurements(engine)
    east = datetime(2024, 5, 1, 2, tzinfo=timezone(timedelta(hours=2)))

    store.write(
        "power", [Measurement(east, "", {"load": 1})], at=NOW.replace(tzinfo=UTC), source=""
    )

    assert store.write("power", [of(0, load=1)], at=NOW, source="") == Written(same=1)


def test_everybody_catches_up_in_the_order_of_changes(engine):
    store = Measurements(engine)
    store.write("power", [of(hour, load=hour) for hour in range(5)], at=NOW, source="")
    seen = store.since("power")
    store.write("power", [of(9, load=9)], at=NOW, source="")
    store.write("power", [of(2, load=-2)], at=NOW, source="")

    more = store.since("power", seen[-1].change)

    assert [one.time.hour for one in seen] == [0, 1, 2, 3, 4]
    assert told(more) == [("", 9, {"load": 9}), ("", 2, {"load": -2})]
    assert store.since("power", more[-1].change) == []
    assert store.last_change("power") == more[-1].change
    assert store.last_change("stock") == 0
    store.write("power", [of(2, load=-2)], at=NOW, source="")
    assert store.last_change("power") > more[-1].change  # which was nothing new
    assert store.since("power", more[-1].change) == []
    assert told(store.since("power", limit=2)) == told(seen[:2])


def test_who_reads_while_others_write_misses_nothing(engine):
    """Numbers of changes can be seen in their order only, whoever was quicker."""
    Measurements(engine).rows("power")

    def write(writer: int) -> None:
        store = Measurements(engine)
        for hour in range(10):
            row = Measurement(DAY + timedelta(days=writer, hours=hour), "", {"load": hour})
            store.write("power", [row], at=NOW, source=str(writer))

    found: list[Measurement] = []
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, number) for number in range(3)]
        while not all(writer.done() for writer in writers):
            found += Measurements(engine).since("power", found[-1].change if found else 0)
        [writer.result() for writer in writers]
    found += Measurements(engine).since("power", found[-1].change if found else 0)

    assert len({one.time for one in found}) == 30


def in_memory() -> Measurements:
    return Measurements(sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool))


WRITTEN = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["", "a"]),
        st.dictionaries(st.sampled_from("xy"), st.one_of(st.none(), st.integers(0, 2)), min_size=1),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(WRITTEN, st.integers(1, 4))
def test_any_order_of_calls_ends_with_the_last_values(written, size):
    one, two = in_memory(), in_memory()
    rows = [of(hour, series, **fields) for hour, series, fields in written]
    expected: dict[tuple[str, int], dict[str, int | None]] = {}
    for hour, series, fields in written:
        expected[series, hour] = {**expected.get((series, hour), {}), **fields}

    one.write("u", rows, at=NOW, source="")
    seen: dict[tuple[str, int], dict[str, int | None]] = {}
    last = 0
    for start in range(0, len(rows), size):
        two.write("u", rows[start : start + size], at=NOW, source="")
        for row in two.since("u", last):
            seen[row.series, row.time.hour] = dict(row.fields)
            last = row.change

    for store in (one, two):
        found = {(row.series, row.time.hour): dict(row.fields) for row in store.rows("u")}
        assert found == expected
    assert seen == expected
    again = two.rows("u")
    assert two.write("u", again, at=NOW, source="") == Written(same=len(again))


def test_other_databases_are_refused():
    engine = sa.create_mock_engine("mysql://", lambda *_: None)

    with pytest.raises(ConfigError, match="SQLite or PostgreSQL, not in mysql"):
        Measurements(engine)  # type: ignore[arg-type]


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "log.db").write_bytes(b"no database" * 100)
    store = Measurements(connect(f"sqlite:///{tmp_path / 'log.db'}"))

    with pytest.raises(DatabaseError, match="is damaged"):
        store.rows("power")


def test_no_pandas_is_loaded():
    code = "import ratchet.monitoring.measurements, sys; print('pandas' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
