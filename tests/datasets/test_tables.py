"""Tables of rows that are named by text."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from ratchet.datasets import TableDataset


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "units": [1.5, None, 2.0],
            "series": pd.Categorical(["a", "b", "a"]),
            "genres": [["x", "y"], [], ["x"]],
            "day": pd.to_datetime(["2020-01-01", None, "2020-01-02"]).tz_localize("Europe/Berlin"),
            "count": pd.array([1, None, 2], dtype="Int64"),
            "name": pd.array(["x", None, "y"], dtype="str"),
        },
        index=pd.Index(["a@1", "b@1", "a@2"], name="row"),
    )


@pytest.mark.parametrize("rows", [table(), table().reset_index(), table().iloc[:0]])
def test_a_table_is_the_file_that_pandas_writes(tmp_path, rows):
    TableDataset(filepath=str(tmp_path / "ours.parquet")).save(rows)
    rows.to_parquet(tmp_path / "pandas.parquet")
    ours, theirs = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("ours", "pandas"))
    pd.testing.assert_frame_equal(ours, theirs)
    schemas = [pq.read_schema(tmp_path / f"{name}.parquet") for name in ("ours", "pandas")]
    assert schemas[0].equals(schemas[1])
    pd.testing.assert_frame_equal(
        TableDataset(filepath=str(tmp_path / "ours.parquet")).load(), theirs
    )


def test_a_table_is_read_where_the_c_library_has_no_name(tmp_path, monkeypatch):
    def refuse(name: None) -> None:  # as Windows does
        raise TypeError

    monkeypatch.setattr("ctypes.CDLL", refuse)
    TableDataset(filepath=str(tmp_path / "rows.parquet")).save(table())

    assert len(TableDataset(filepath=str(tmp_path / "rows.parquet")).load()) == len(table())


def test_the_names_of_rows_are_not_hashed(tmp_path):
    rows = table()
    TableDataset(filepath=str(tmp_path / "rows.parquet")).save(rows)
    assert not rows.index._engine.is_mapping_populated


def test_numbers_and_names_have_no_dictionary(tmp_path):
    path = tmp_path / "rows.parquet"
    TableDataset(filepath=str(path)).save(table())
    group = pq.read_metadata(path).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    has = {name: "RLE_DICTIONARY" in column.encodings for name, column in columns.items()}
    assert has["series"]
    assert not has["units"]
    assert not has["row"]
