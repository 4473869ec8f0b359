"""An SQLite file is read and never touched."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError

from ratchet.datasets import SQLiteQueryDataset


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "films #1?.db"  # characters that mean something in a URI
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE films (id, title); INSERT INTO films VALUES (1, 'M')")
    connection.close()
    return path


def dataset(path: Path, sql: str = "SELECT * FROM films") -> SQLiteQueryDataset:
    return SQLiteQueryDataset(filepath=str(path), sql=sql)


def test_rows(file):
    pd.testing.assert_frame_equal(
        dataset(file).load(), pd.DataFrame({"id": [1], "title": ["M"]}), check_dtype=False
    )


def test_a_relative_path_belongs_to_the_current_project(file, monkeypatch):
    monkeypatch.chdir(file.parent)

    assert len(dataset(Path(file.name)).load()) == 1


def test_a_missing_file_is_told_and_not_made(tmp_path):
    path = tmp_path / "none.db"

    assert not dataset(path).exists()
    with pytest.raises(DatasetError, match=r"none\.db: no such file"):
        dataset(path).load()
    assert not path.exists()


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT * FROM actors", "no such table: actors"),
        ("SELECT year FROM films", "no such column: year"),
        ("SELEKT", "syntax error"),
    ],
)
def test_a_query_that_does_not_fit_is_told(file, sql, told):
    with pytest.raises(DatasetError, match=told):
        dataset(file, sql).load()


def test_a_file_that_is_no_database_is_told(tmp_path):
    path = tmp_path / "films.db"
    path.write_bytes(b"id,title\n1,M\n" * 100)

    with pytest.raises(DatasetError, match="file is not a database"):
        dataset(path).load()


@pytest.mark.parametrize("sql", ["DELETE FROM films", "CREATE TABLE more (id)"])
def test_a_query_cannot_write(file, sql):
    before = file.read_bytes()

    with pytest.raises(DatasetError):
        dataset(file, sql).load()

    assert file.read_bytes() == before


def test_it_is_not_saved(file):
    with pytest.raises(DatasetError, match="read only"):
        dataset(file).save(pd.DataFrame())
