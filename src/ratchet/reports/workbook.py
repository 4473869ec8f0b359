"""The tables of a report as sheets of an Excel workbook."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from ratchet.reports.blocks import Chapter

_LONGEST = 31  # characters, Excel's limit for the name of a sheet
_FORMULA = "="
_UNPRINTABLE = r"[\x00-\x08\x0b\x0c\x0e-\x1f]"


def workbook(chapters: Mapping[str, Chapter]) -> dict[str, pd.DataFrame]:
    """Gather the tables of all chapters: name of the sheet -> table.

    ``chapters`` are by heading, which is empty for what concerns all targets.
    """
    sheets: dict[str, pd.DataFrame] = {}
    for heading, chapter in chapters.items():
        for table in chapter.tables:
            name = _sheet_name(f"{heading} {table.name}".strip(), sheets)
            sheets[name] = table.frame.map(_safe).rename(columns=_safe)
    return sheets


def _sheet_name(title: str, taken: Mapping[str, object]) -> str:
    plain = re.sub(r"[\[\]:*?/\\']", "_", title)
    name, n = plain[:_LONGEST], 1
    # Excel takes names that differ in case only for the same.
    while name.lower() in {other.lower() for other in taken}:
        n += 1
        name = f"{plain[: _LONGEST - len(str(n)) - 1]} {n}"
    return name


def _safe(value: object) -> object:
    """Escape text that a spreadsheet would run as a formula."""
    if not isinstance(value, str):
        return value
    text = re.sub(_UNPRINTABLE, "", value)
    return f"'{text}" if text.startswith(_FORMULA) else text
