"""Tables of many rows that are named by text."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import pandas as pd
from kedro_datasets.pandas import ParquetDataset


class TableDataset(ParquetDataset):
    """A Parquet file of numbers whose rows are named by an index of text, such as model input.

    It is the file that ``pandas.ParquetDataset`` writes, in a quarter of the time: numbers and row
    names, which hardly come again, have no dictionary, and Arrow is not shown the index. It asks
    each column of a frame for attributes, which pandas looks for among the names of the rows: for
    that it hashes all of them. A local file is read without a second copy of its columns in Arrow:
    that takes little more memory than the frame.
    """

    def load(self) -> pd.DataFrame:
        """Read the table."""
        _return_free_memory()
        if self._protocol != "file" or self._load_args:
            frame: pd.DataFrame = super().load()
            return frame
        import pyarrow.parquet as pq

        with pq.ParquetFile(str(self._get_load_path()), pre_buffer=False) as file:
            table = file.read(use_pandas_metadata=True)
        return table.to_pandas(self_destruct=True)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table."""
        super().save(_Table(data))


def _return_free_memory() -> None:
    """Give the memory of earlier tables back to the system, where the GNU C library keeps it.

    Otherwise the peak of a run is that of its largest node and what the nodes before it left.
    """
    try:
        library = ctypes.CDLL(None)
    except TypeError:  # Windows takes no such name for the libraries of the process
        return
    if trim := getattr(library, "malloc_trim", None):
        trim(0)


@dataclass(frozen=True)
class _Table:
    frame: pd.DataFrame

    def to_parquet(self, file: Any, **arguments: Any) -> None:
        """Write the frame, as the method of ``DataFrame`` does."""
        import json

        import pyarrow as pa
        import pyarrow.parquet as pq

        frame = self.frame
        if not isinstance(frame.index.dtype, pd.StringDtype) or frame.index.name is None:
            frame.to_parquet(file, **arguments)
            return
        plain = frame.set_axis(range(len(frame)))
        plain[frame.index.name] = frame.index.array
        table = pa.Table.from_pandas(plain, preserve_index=False)
        described = json.loads(table.schema.metadata[b"pandas"])
        of_frame = pa.Table.from_pandas(frame.iloc[:0]).schema.pandas_metadata
        described |= {name: of_frame[name] for name in ("index_columns", "column_indexes")}
        table = table.replace_schema_metadata({"pandas": json.dumps(described)})
        again = [
            field.name
            for field in table.schema
            if not pa.types.is_floating(field.type) and field.name != frame.index.name
        ]
        pq.write_table(
            table, file, **{"use_dictionary": again, "write_statistics": False, **arguments}
        )
