"""What is on disk is whole, or counts as not there."""

from __future__ import annotations

import fcntl
import math
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ratchet.learning.search.store import Store, digest, pack, unpack

RECORDS = [{"folds": [{"score": -0.1, "history": {"loss": [1.0, math.inf]}}]}]


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path, "rows") as opened:
        yield opened


def test_records_and_arrays_come_back(store):
    weights = [np.arange(6, dtype=np.float32).reshape(2, 3), np.float64(2.5)]
    store.write_group("a", RECORDS)
    store.write_arrays("weights", "a", [weights, {"epoch": 3, "m": [np.ones(2)], "none": None}])

    assert store.read_group("a") == RECORDS
    (kernel, number), state = store.read_arrays("weights", "a")
    np.testing.assert_array_equal(kernel, weights[0])
    assert kernel.dtype == np.float32
    assert number == 2.5
    np.testing.assert_array_equal(state["m"][0], np.ones(2))
    assert state["epoch"] == 3
    assert state["none"] is None
    assert store.read_group("b") is None
    assert store.read_arrays("states", "a") is None


def read_whole(path, content, read):
    path.write_bytes(content)
    return read("a")


def test_a_cut_or_damaged_file_is_not_there(store):
    store.write_group("a", RECORDS * 20)
    store.write_arrays("weights", "a", [np.arange(50.0)])
    group = store.folder / "groups" / "a.json.gz"
    weights = store.folder / "weights" / "a.npz"

    for path, read in (
        (group, store.read_group),
        (weights, lambda k: store.read_arrays("weights", k)),
    ):
        whole = path.read_bytes()
        assert read("a") is not None
        for length in range(0, len(whole) - 1, 7):
            path.write_bytes(whole[:length])
            assert read("a") is None
        right = read_whole(path, whole, read)
        for at in range(0, len(whole), 5):
            wrong = whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]
            result = read_whole(path, wrong, read)
            assert result is None or same(result, right)  # some bytes mean nothing


def test_nothing_is_pickled(store):
    store.write_arrays("weights", "a", [np.ones(3)])

    with np.load(store.folder / "weights" / "a.npz", allow_pickle=False) as file:
        assert set(file.files) == {"content", "a0"}
    with pytest.raises(ValueError, match="Object arrays"):
        store.write_arrays("weights", "b", [np.array([object()])])


def test_what_a_killed_process_was_writing_is_swept_up(tmp_path):
    with Store(tmp_path, "rows") as store:
        store.write_group("a", RECORDS)
        partial = store.folder / "groups" / ".b.json.gz.0123456789ab"
        partial.mkdir()
        (partial / "b.json.gz").write_bytes(b"half")

    with Store(tmp_path, "rows") as store:
        assert [path.name for path in (store.folder / "groups").iterdir()] == ["a.json.gz"]


def test_states_are_dropped_but_for_some(store):
    for key in ("a-3", "b-3", "b-9", "c-3"):
        store.write_arrays("states", key, [np.ones(1)])

    store.drop_states(keep={"b"})

    assert {path.stem for path in (store.folder / "states").iterdir()} == {"b-3", "b-9"}


def test_folders_that_lie_unused_longest_make_room(tmp_path):
    for number in range(4):
        with Store(tmp_path, f"rows{number}") as store:
            store.write_arrays("weights", "a", [np.zeros(1000)])
            os.utime(store.folder, (number, number))

    with Store(tmp_path, "rows0", limit=20_000):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["rows0", "rows3"]


def test_an_open_folder_is_not_removed(tmp_path):
    with Store(tmp_path, "open") as store:
        store.write_arrays("weights", "a", [np.zeros(1000)])
        with Store(tmp_path, "other", limit=0):
            assert store.read_arrays("weights", "a") is not None


@pytest.mark.parametrize("gone", ["old", "old/lock", "old/weights/a.npz"])
def test_making_room_bears_what_another_process_removes_meanwhile(tmp_path, monkeypatch, gone):
    with Store(tmp_path, "old") as store:
        store.write_arrays("weights", "a", [np.zeros(1000)])
    stat = Path.stat

    def vanishing(path, **options):
        if path == tmp_path / gone:
            raise FileNotFoundError(path)
        return stat(path, **options)

    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name == "lock" or exists(path))
    monkeypatch.setattr(Path, "stat", vanishing)
    with Store(tmp_path, "other", limit=-1):
        pass
    monkeypatch.undo()

    assert not (tmp_path / "old").exists()


def test_making_room_bears_a_folder_that_another_process_has_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([path / "gone", path / "rows"]))
    monkeypatch.setattr(Path, "exists", lambda path: True)

    with Store(tmp_path, "rows", limit=0) as store:
        assert store.folder.is_dir()
    assert not (tmp_path / "gone").is_dir()


def _hold(root, name, seconds):
    with Store(root, name) as store:
        store.write_group("held", RECORDS)
        time.sleep(seconds)
        store.write_group("late", RECORDS)


def test_a_second_process_waits_for_the_first(tmp_path):
    first = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path, "rows", 0.5))
    first.start()
    while not (tmp_path / "rows" / "groups" / "held.json.gz").exists():
        time.sleep(0.01)

    with Store(tmp_path, "rows") as store:
        assert store.read_group("late") == RECORDS
    first.join()


def test_a_killed_process_leaves_no_lock(tmp_path):
    first = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path, "rows", 60))
    first.start()
    while not (tmp_path / "rows" / "groups" / "held.json.gz").exists():
        time.sleep(0.01)
    first.kill()
    first.join()

    with (tmp_path / "rows" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises when somebody holds it


LEAVES = (
    st.none()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | arrays(np.float32, st.integers(0, 3))
)
TREES = st.recursive(
    LEAVES, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=3)
)


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and np.array_equal(a, b, equal_nan=True)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


@given(TREES)
def test_packing_loses_nothing(tree):
    assert same(tree, unpack(pack(tree)))


def test_names_do_not_depend_on_order_or_on_kinds_of_numbers():
    assert digest({"a": 0.1, "b": 1}) == digest({"b": np.int64(1), "a": np.float64(0.1)})
    assert digest({"a": 0.1}) != digest({"a": 0.2})
