"""Hashes of requested rows, equal to those of delivered rows: the same row has the same.

They are made as ``preparation.fingerprints`` makes them, of typed values and without pandas. By
them the log tells whether what came true under a key came true of the row that was asked about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ratchet.compiled.dates import as_microseconds
from ratchet.preparation.fingerprints import MISSING, fingerprints, list_text, number_text

_NO_TIME = str(-(2**63))  # what pandas has for a time that is missing


def row_hash(values: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """Hash of a row.

    Args:
        values: its typed values, see ``compiled.field_values.Values``.
        columns: columns that name a row -> their types, in the order of the contract.
    """
    cells = [_as_text(values.get(name), kind) for name, kind in columns.items()]
    return fingerprints(columns, [cells])[0]


def _as_text(value: Any, kind: str) -> str:
    if kind == "number":
        return number_text(math.nan if value is None else float(value))
    if kind == "date":
        return _NO_TIME if value is None else str(as_microseconds(value))
    if kind == "list":
        return list_text(value)
    return MISSING if value is None else str(value)
