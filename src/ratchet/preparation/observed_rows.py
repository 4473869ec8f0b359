"""Rows that the service was handed in, beside those of the raw file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from ratchet.errors import DataError
from ratchet.frames import DataFrame
from ratchet.preparation.raw_schema import join_series, read_contract

if TYPE_CHECKING:
    from ratchet.config import Data

LOGGER = logging.getLogger(__name__)

_SEARCHED = 10
"""Rows that break the contract up to which the sound ones are looked for, some seconds in all."""


class MeasuredRow(Protocol):
    """What was observed of a series at a time, see ``monitoring.measurements.Measurement``."""

    @property
    def time(self) -> datetime:
        """The time, in UTC and without zone."""
        ...

    @property
    def series(self) -> str:
        """Name of the series; empty where the use case has one."""
        ...

    @property
    def fields(self) -> Mapping[str, Any]:
        """Column of the contract -> value, but for the time and what alone names the series."""
        ...

    @property
    def first(self) -> Mapping[str, Any]:
        """Column -> the value that was handed in first, where it was corrected."""
        ...


def add_measured_rows(typed: DataFrame, measured: Sequence[MeasuredRow], data: Data) -> DataFrame:
    """Add what was measured to the rows of the raw file.

    Of a row that is in both, the file is right, but for values that it lacks, and for those that
    were corrected after they had been handed in as the file has them.

    Args:
        typed: typed rows of the file.
        measured: measurements.
        data: the contract of the columns.

    Returns:
        The typed rows of the file, and after them those that it does not have.
    """
    if data.series is None or data.time is None or not measured:
        return typed
    rows, first = _read(measured, data)
    if rows.empty:
        return typed
    names = [data.time, *data.series.columns]
    rows, first = rows.set_index(names), first.set_index(names)
    filed = pd.MultiIndex.from_frame(typed[names]) if len(names) > 1 else pd.Index(typed[data.time])
    both = rows.index.isin(filed)
    mended = _mend(typed.set_index(names), rows[both], first[both]).reset_index()[list(typed)]
    more = _whole(rows[~both].reset_index()[list(typed)], data)
    LOGGER.info(
        "%d rows of the raw file, and %d more that the service was handed in", len(typed), len(more)
    )
    if more.empty:
        return mended
    return pd.concat([mended, more.astype(typed.dtypes.to_dict())], ignore_index=True)


def _read(measured: Sequence[MeasuredRow], data: Data) -> tuple[DataFrame, DataFrame]:
    """Typed rows of what was measured, and of what was handed in first of it.

    Those that break the contract are looked for by halves and left out; all, if they are many.
    """
    sound: list[tuple[DataFrame, DataFrame]] = []
    left, wrong, last = [measured], 0, ""
    while left and wrong <= _SEARCHED:
        some = left.pop()
        try:
            rows = _typed([_row(one, one.fields, data) for one in some], data)
            sound.append((rows, _typed([_row(one, one.first, data) for one in some], data)))
        except DataError as error:
            half, last = len(some) // 2, str(error)
            wrong += not half
            left += [some[half:], some[:half]] if half else []
    if left:
        sound, wrong = [], len(measured)
    if wrong:
        LOGGER.warning(
            "%d rows that the service was handed in are left out, for they break the contract of "
            "today, such as: %s",
            *(wrong, last),
        )
    if not sound:
        return pd.DataFrame(), pd.DataFrame()
    rows, first = (pd.concat(parts, ignore_index=True) for parts in zip(*sound, strict=True))
    return rows, first


def _whole(rows: DataFrame, data: Data) -> DataFrame:
    """Rows that have a value in every column that must have one."""
    demanded = [name for name, column in data.columns.items() if not column.nullable]
    lacking = rows[demanded].isna().any(axis=1)
    if lacking.any():
        LOGGER.warning(
            "%d rows that the service was handed in are left out, for they lack one of %s",
            *(int(lacking.sum()), demanded),
        )
    return rows[~lacking]


def _row(one: MeasuredRow, fields: Mapping[str, Any], data: Data) -> dict[str, Any]:
    assert data.series is not None
    assert data.time is not None
    zone = "" if data.timezone is None else "+00:00"
    named: dict[str, Any] = {data.time: f"{one.time.isoformat()}{zone}"}
    named |= {name: one.fields.get(name) for name in data.series.id_columns}
    if data.series.id is not None and not data.series.id_columns:
        named[data.series.id] = one.series
    return {**{name: value for name, value in fields.items() if name in data.columns}, **named}


def _typed(rows: list[dict[str, Any]], data: Data) -> DataFrame:
    return typed_partial_rows(pd.DataFrame(rows), data)


def typed_partial_rows(rows: DataFrame, data: Data) -> DataFrame:
    """Rows under the contract, in which any value may be missing but time and series.

    Raises:
        DataError: a row breaks it.
    """
    frame = rows.reindex(columns=list(data.columns))
    named = [data.time, *(data.series.columns if data.series else [])]
    columns = {
        name: column if name in named else column.model_copy(update={"nullable": True})
        for name, column in data.columns.items()
    }
    blank = [name for name in columns if name not in named and frame[name].isna().all()]
    return join_series(read_contract(frame, columns, data.key, blank=blank), data)


def _mend(filed: DataFrame, rows: DataFrame, first: DataFrame) -> DataFrame:
    """Rows of the file with the values that they lack, and with corrections."""
    if rows.empty:
        return filed
    mended = filed.copy(deep=False)
    now, before = rows.reindex(filed.index), first.reindex(filed.index)
    for name in filed:
        measured = now[name].notna()
        same = (before[name] == filed[name]).fillna(False).astype(bool) & before[name].notna()
        replaced = measured & (filed[name].isna() | same)
        if replaced.any():
            mended[name] = filed[name].where(~replaced, now[name]).astype(filed[name].dtype)
    return mended
