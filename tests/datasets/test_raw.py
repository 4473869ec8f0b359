"""Raw rows are read as their contract says; an SQLite file is read and never touched."""

from __future__ import annotations

import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DatasetError
from pandas._libs.parsers import STR_NA_VALUES  # type: ignore[import-not-found]

from ratchet.config import Data
from ratchet.datasets import SQLiteQueryDataset
from ratchet.datasets.raw import DEFAULT_MISSING, RawDataset, guesses_types
from ratchet.errors import DataError
from ratchet.preparation.raw_schema import read_contract

CODES = ["NA", "01", "1", "1E5", "9007199254740993", "null", ""]

DATA: dict[str, Any] = {
    "key": "id",
    "columns": {
        "id": {"type": "integer"},
        "code": {"type": "string", "nullable": True},
        "tags": {"type": "list", "nullable": True, "separator": ";"},
        "units": {"type": "integer", "nullable": True},
        "size": {"type": "number", "nullable": True},
    },
}
COLUMNS = Data.model_validate(DATA).columns
N = len(CODES)
FRAME = pd.DataFrame(
    {
        "id": range(N),
        "code": CODES,
        "tags": ["NA;1"] * N,
        "units": [None, 2**53 + 1, *range(N - 2)],
        "size": ["NA", "", "n/a", *("1.5",) * (N - 3)],
        "extra": ["NA", *range(N - 1)],
    },
    dtype=object,
)


def read(path: Path, form: str, data: dict[str, Any] = DATA, **entry: Any) -> pd.DataFrame:
    kind = {
        **{"csv": "pandas.CSVDataset", "xlsx": "pandas.ExcelDataset", "json": "pandas.JSONDataset"},
        "db": "ratchet.datasets.SQLiteQueryDataset",
    }
    config = {"type": kind[form], "filepath": str(path), **entry}
    assert guesses_types(config)
    return RawDataset(name="bug.raw", config=config, data=data).load()


def test_what_is_missing_by_default_is_what_pandas_takes_for_it():
    """Which has no public name: if it changes, ours has to."""
    assert {*DEFAULT_MISSING} == STR_NA_VALUES


def written(folder: Path, form: str) -> Path:
    path = folder / f"raw.{form}"
    if form == "csv":
        FRAME.to_csv(path, index=False)
    elif form == "xlsx":  # where numbers have 53 bits, but for those that are text
        FRAME.assign(units=FRAME["units"].astype("str")).to_excel(path, index=False)
    else:
        long = FRAME["units"].map(str, na_action="ignore")
        rows = FRAME.assign(size=[None] * 3 + [1.5] * (N - 3), units=long).to_dict("records")
        path.write_text(json.dumps(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["csv", "xlsx", "json"])
def test_values_come_as_they_stand(tmp_path, form):
    typed = read_contract(read(written(tmp_path, form), form), COLUMNS, "id")

    present = [code for code in CODES if code or form == "json"]
    assert typed["code"].dropna().tolist() == present
    assert typed["units"].isna().tolist() == [True, *[False] * (N - 1)]
    assert typed["units"].dropna().tolist() == [2**53 + 1, *range(N - 2)]
    assert typed["size"].isna().tolist() == [True] * 3 + [False] * (N - 3)
    assert typed["tags"].tolist() == [["NA", "1"]] * N


def test_long_numbers_of_a_database_are_exact(tmp_path):
    path = tmp_path / "raw.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (id INTEGER, code TEXT, tags, units INTEGER, size REAL)")
        rows = [(1, "01", "a;b", 2**53 + 1, 0.5), (2, "", None, None, None)]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
    connection.close()

    raw = read(path, "db", sql="SELECT * FROM t")
    typed = read_contract(raw, COLUMNS, "id")
    assert typed["units"].tolist() == [2**53 + 1, pd.NA]
    assert typed["code"].tolist() == ["01", ""]

    data = DATA | {"prepare": {"function": "pandas.DataFrame.copy"}}
    guessed = read(path, "db", data, sql="SELECT * FROM t")
    assert guessed["units"].dtype == "float64"
    with pytest.raises(DataError, match="may have been another whole number, rounded"):
        read_contract(guessed, COLUMNS, "id")


def test_a_function_that_prepares_the_rows_gets_numbers_and_gaps_as_ever(tmp_path):
    prepared = DATA | {"prepare": {"function": "pandas.DataFrame.copy"}}
    raw = read(written(tmp_path, "csv"), "csv", prepared)
    guessed = pd.read_csv(written(tmp_path, "csv"))
    others = ["id", "units", "size", "extra"]
    pd.testing.assert_frame_equal(raw[others], guessed[others])
    assert raw["code"].tolist()[:-1] == CODES[:-1]


def test_arguments_of_the_entry_win(tmp_path):
    path = tmp_path / "raw.csv"
    path.write_text("id;code;units\n1;01;1.000\n2;-;2\n3;NA;\n", encoding="utf-8")
    given = {"sep": ";", "thousands": ".", "na_values": ["-"]}

    raw = read(path, "csv", load_args=given)
    assert raw["code"].tolist()[::2] == ["01", "NA"]
    assert pd.isna(raw["code"][1])
    assert raw["units"].tolist()[:2] == [1000, 2]

    assert read(path, "csv", load_args=given | {"dtype": {"code": "category"}})[
        "code"
    ].cat.categories.tolist() == ["01", "NA"]
    assert read(path, "csv", load_args=given | {"keep_default_na": True})["code"][2:].isna().all()


def test_a_header_that_stands_twice_is_told(tmp_path, caplog):
    path = tmp_path / "raw.csv"
    path.write_text("id,code,size,other,other,size\n1,a,1,2,3,4\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"columns \['size'\] stand more than once"):
        read(path, "csv")

    path.write_text("id,code,size,other,other,size.1\n1,a,1,2,3,4\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert read(path, "csv")["size"].tolist() == [1]
    assert "'other' occurs more than once" in caplog.text
    assert "size" not in caplog.text


def test_a_missing_file_is_told_as_ever(tmp_path):
    with pytest.raises(DatasetError) as error:
        read(tmp_path / "none.csv", "csv")
    assert isinstance(error.value.__cause__, FileNotFoundError)


def test_formats_with_types_are_left_alone():
    assert not guesses_types({"type": "pandas.ParquetDataset", "filepath": "x"})
    assert not guesses_types({"type": "pandas.GenericDataset", "file_format": "pickle"})
    assert not guesses_types({"type": "polars.CSVDataset", "filepath": "x"})
    assert guesses_types({"type": "pandas.GenericDataset", "file_format": "csv"})
    assert guesses_types({"type": "kedro_datasets.pandas.CSVDataset", "filepath": "x"})


MONTHS = ["2020.01", "2020.10", "", "2021.02"]


@pytest.mark.parametrize("form", ["csv", "xlsx", "json"])
def test_dates_come_as_they_are_written(tmp_path, form):
    """Of 2020.10 a number would be 2020.1; and pandas reads numbers of JSON called date as such."""
    path, rows = tmp_path / f"raw.{form}", pd.DataFrame({"date": MONTHS, "id": range(4)})
    if form == "csv":
        rows.to_csv(path, index=False)
    elif form == "xlsx":
        rows.to_excel(path, index=False)
    else:
        path.write_text(rows.to_json(orient="records"), encoding="utf-8")
    column = {"type": "date", "format": "%Y.%m", "nullable": True}
    data = {"key": "id", "columns": {"id": {"type": "integer"}, "date": column}}

    typed = read_contract(read(path, form, data), Data.model_validate(data).columns, "id")

    assert typed["date"].dt.month.tolist()[:2] == [1, 10]
    assert typed["date"].isna().tolist() == [False, False, True, False]


def test_numbers_of_json_are_no_dates(tmp_path):
    path = tmp_path / "raw.json"
    path.write_text('[{"date": 1577836800, "id": 1}]', encoding="utf-8")
    data = {"key": "id", "columns": {"id": {"type": "integer"}, "date": {"type": "date"}}}

    with pytest.raises(DataError, match=r"row 0: 1577836800\); write data.columns.date.unit: s"):
        read_contract(read(path, "json", data), Data.model_validate(data).columns, "id")


def test_dates_that_the_entry_has_read_stay_dates(tmp_path):
    path = tmp_path / "raw.csv"
    path.write_text("day,id\n01/02/2020,1\n", encoding="utf-8")
    data = {"key": "id", "columns": {"id": {"type": "integer"}, "day": {"type": "date"}}}

    raw = read(path, "csv", data, load_args={"parse_dates": ["day"], "dayfirst": True})

    typed = read_contract(raw, Data.model_validate(data).columns, "id")
    assert typed["day"].tolist() == [pd.Timestamp("2020-02-01")]


def test_points_of_dates_are_no_thousands(tmp_path):
    path = tmp_path / "raw.csv"
    path.write_text("day;id;size\n01.02.2020;1.000;1.234,5\n", encoding="utf-8")
    columns = {"day": {"type": "date", "format": "%d.%m.%Y"}, "id": {"type": "integer"}}
    data = {"key": "id", "columns": {**columns, "size": {"type": "number"}}}

    raw = read(path, "csv", data, load_args={"sep": ";", "decimal": ",", "thousands": "."})

    typed = read_contract(raw, Data.model_validate(data).columns, "id")
    assert typed.loc[0].tolist() == [pd.Timestamp("2020-02-01"), 1000, 1234.5]


@pytest.mark.parametrize("first", [0, 1])
def test_rows_that_are_longer_than_the_header_shift_no_columns(tmp_path, first):
    """pandas would take the first value of each row for its name, and the second for `id`."""
    path = tmp_path / "raw.csv"
    path.write_text(f"id,code,size\n{first},a,2,\n{first + 1},b,4,\n", encoding="utf-8")

    with pytest.raises(DatasetError, match="1 value more than the header has names"):
        read(path, "csv")
    plain = read(path, "csv", load_args={"index_col": False})
    assert plain["id"].astype(int).tolist() == [first, first + 1]
    assert read(path, "csv", load_args={"index_col": 0})["id"].tolist() == ["a", "b"]
    path.write_text("id,code,size\n", encoding="utf-8")
    assert read(path, "csv").empty


def test_an_engine_that_guesses_by_itself_is_not_used(tmp_path):
    path = written(tmp_path, "csv")
    expected = read(path, "csv")
    pd.testing.assert_frame_equal(read(path, "csv", load_args={"engine": "pyarrow"}), expected)


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
