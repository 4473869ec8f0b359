"""Whether a key still names the row that it named: a short hash of what each row says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from ratchet.config import Column, UseCase
from ratchet.frames import DataFrame, Series
from ratchet.preparation.required_columns import RequiredColumns


def row_hashes(typed: DataFrame, use_case: UseCase) -> Series:
    """Hash every row by what an answer is asked with: its time and the columns of its features.

    Neither truth nor a column whose values may be ``revised`` counts: they come or change later,
    and the row is the same. Rows of series are named by what they are, and need no hash.

    Args:
        typed: typed rows.
        use_case: the parameters.

    Returns:
        Row key, as text -> the hash; empty for series.
    """
    import pandas as pd

    data, columns = use_case.data, hashed_columns(use_case)
    if data.series is not None:
        return pd.Series(dtype="str")
    cells = [_as_text(typed[name], column) for name, column in columns.items()]
    rows = zip(*cells, strict=True) if cells else [()] * len(typed)
    hashes = fingerprints(columns, rows)
    return pd.Series(hashes, index=typed[data.key].astype(str).to_numpy(), dtype="str")


MISSING = "\x00"
"""Marks a missing value, except of numbers and times."""


def fingerprints(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Hash rows: of four digits for the names of the columns, and of sixteen for the values.

    Args:
        columns: names of the columns.
        rows: their values as text, see ``number_text`` and ``list_text``.
    """
    head = _digest("\x1e".join(columns), 2)
    return [f"{head}:{_digest(chr(0x1E).join(row), 8)}" for row in rows]


def number_text(value: float) -> str:
    """A number: two writers of it may differ in its last digits, and in the sign of a zero."""
    return format(value + 0.0, ".10g")


def list_text(parts: Iterable[object] | None) -> str:
    """A list."""
    return MISSING if parts is None else "\x1f".join(map(str, parts))


def hashed_columns(use_case: UseCase) -> dict[str, Column]:
    """Columns by which a row is identified; none of series."""
    data = use_case.data
    if data.series is not None:
        return {}
    return {
        name: data.columns[name]
        for name in RequiredColumns(use_case).columns
        if name not in data.identity and not data.columns[name].revised
    }


def _as_text(values: Series, column: Column) -> Iterable[str]:
    """Values as text, the same whatever type and whichever other rows a file gives them."""
    from ratchet.dates import utc
    from ratchet.values import as_text

    if column.type == "number":
        return map(number_text, values.astype("float64").tolist())
    if column.type == "date":
        return [str(moment) for moment in utc(values).astype("datetime64[us]").astype("int64")]
    if column.type == "list":
        return map(list_text, values)
    return as_text(values).fillna(MISSING).tolist()


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
