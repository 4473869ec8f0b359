"""Folders that nodes fill: made when asked for; finished work is read back until one is full."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DatasetError

from ratchet import provenance
from ratchet.datasets import FolderDataset, SearchCacheDataset


def test_it_is_made_when_it_is_asked_for(tmp_path):
    dataset = FolderDataset(filepath=str(tmp_path / "deep" / "trials"))

    assert dataset.load().is_dir()
    assert dataset.exists()


def test_it_is_not_saved_to(tmp_path):
    dataset = FolderDataset(filepath=str(tmp_path))

    with pytest.raises(DatasetError, match="filled by the nodes"):
        dataset.save(tmp_path)


def make(size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 255, size, dtype=np.uint8)


def test_work_is_done_once(tmp_path):
    folder = tmp_path / "cache"

    first = SearchCacheDataset(filepath=str(folder)).load().cache(make)
    again = SearchCacheDataset(filepath=str(folder)).load().cache(make)

    assert not first.check_call_in_cache(10)
    np.testing.assert_array_equal(first(10), make(10))
    assert again.check_call_in_cache(10)
    assert not again.check_call_in_cache(11)


def test_the_oldest_results_make_room(tmp_path):
    folder = tmp_path / "cache"
    memory = SearchCacheDataset(filepath=str(folder)).load()
    for size in (30_000, 30_001):
        memory.cache(make)(size)
        time.sleep(0.01)

    cached = SearchCacheDataset(filepath=str(folder), limit=40_000).load().cache(make)

    assert [cached.check_call_in_cache(size) for size in (30_000, 30_001)] == [False, True]


@pytest.mark.parametrize(
    "changed",
    [
        *("learning/search/search.py", "modelling/calibrate_and_refit.py"),
        *("numpy", "xgboost-cpu", "keras"),
    ],
)
def test_other_code_or_libraries_start_anew(tmp_path, monkeypatch, changed):
    folder = tmp_path / "cache"
    SearchCacheDataset(filepath=str(folder)).load().cache(make)(10)
    read, version = Path.read_bytes, provenance.version
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: read(path) + b"#" * str(path).endswith(changed)
    )
    monkeypatch.setattr(provenance, "version", lambda name: version(name) + "1" * (name == changed))

    found = SearchCacheDataset(filepath=str(folder)).load().cache(make)

    assert not found.check_call_in_cache(10)
    assert not list(folder.rglob("output.pkl"))  # nothing piles up


def test_a_damaged_result_is_made_again(tmp_path):
    folder = tmp_path / "cache"
    memory = SearchCacheDataset(filepath=str(folder)).load()
    memory.cache(make)(10)
    for path in Path(folder).rglob("output.pkl"):
        path.write_bytes(b"half")

    found = SearchCacheDataset(filepath=str(folder)).load().cache(make)(10)

    np.testing.assert_array_equal(found, make(10))


def test_it_is_not_saved(tmp_path):
    with pytest.raises(DatasetError, match="filled by the searches"):
        SearchCacheDataset(filepath=str(tmp_path)).save("something")
