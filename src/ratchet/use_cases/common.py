"""Functions that raw files of any use case may need before their contract."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import pandas as pd


def join_hour(frame: pd.DataFrame, *, date: str, hour: str) -> pd.DataFrame:
    """Join a day and the hour of the day, where they stand in columns of their own.

    Args:
        frame: rows as delivered.
        date: column of the day, which becomes the time.
        hour: column of the hour, 0 to 23.

    Returns:
        The rows; text stays text, which the contract of the column reads.

    Raises:
        KeyError: there is no such column.
        ValueError: an hour is no whole number from 0 to 23: names the first rows.
    """
    hours = pd.to_numeric(frame[hour], errors="coerce")
    if not (right := hours.isin(range(24))).all():
        first = frame[hour][~right].head().items()
        wrong = ", ".join(f"row {row}: {value!r}" for row, value in first)
        raise ValueError(f"column '{hour}': expected hours from 0 to 23 ({wrong})")
    if pd.api.types.is_datetime64_any_dtype(frame[date]):
        return frame.assign(**{date: frame[date] + pd.to_timedelta(hours, unit="h")})
    time = hours.astype(int).astype(str).str.zfill(2) + ":00"
    return frame.assign(**{date: frame[date].astype("str").str.strip() + " " + time})


def plain_numbers(
    frame: pd.DataFrame, *, columns: Sequence[str], decimal: Literal[".", ","] = "."
) -> pd.DataFrame:
    """Take currencies, blanks and marks of thousands away from numbers that are written as text.

    Args:
        frame: rows as delivered.
        columns: columns of such numbers.
        decimal: the decimal separator; other points and commas mark thousands.

    Returns:
        The rows, with texts that the contract of the columns reads as numbers; other values, and
        texts that hold no number, stay as they are.

    Raises:
        KeyError: there is no such column.
    """

    def plain(value: object) -> object:
        match = re.search(r"[+-]?\d[\d.,'\s]*", value) if isinstance(value, str) else None
        if match is None:
            return value
        return re.sub(rf"[^\d+\-{decimal}]", "", match.group()).replace(decimal, ".")

    return frame.assign(**{name: frame[name].map(plain) for name in columns})
