"""What a new file says otherwise of rows that were known before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ratchet.frames import DataFrame, Index, Series

if TYPE_CHECKING:
    from ratchet.config import Column, Data

_SHOWN = 5

_RTOL = 1e-9
"""What two writers of the same number may differ by."""


@dataclass(frozen=True, eq=False)
class Revisions:
    """Known rows that a new file lacks or has otherwise.

    Attributes:
        known: how many rows were known.
        new: how many rows the new file has.
        gone: names of known rows that it lacks.
        values: name of the row, and of each value that is another one now ``column``, ``before``
            and ``after``; the column is missing where it is only known that the row has changed.
            Where the time of a key is another one, no other value is looked at.
        time: column of the time, whose change makes the key name another row.
    """

    known: int
    new: int
    gone: Index
    values: DataFrame
    time: str | None

    @property
    def findings(self) -> dict[str, str]:
        """Finding by the word of ``landing.allow``: how many rows, and the first of them."""
        moved = self.values["column"] == self.time
        texts = {
            "fewer_rows": self._gone(),
            "reused_keys": self._changed(self.values[moved], "keys name rows of another time"),
            "changed_rows": self._changed(self.values[~moved], "rows have other values"),
        }
        return {word: text for word, text in texts.items() if text}

    def _gone(self) -> str:
        if self.gone.empty:
            return ""
        first = ", ".join(map(_text, self.gone[:_SHOWN]))
        return (
            f"{len(self.gone)} of {self.known} known rows are gone, and there are {self.new} rows "
            f"now (gone: {first})"
        )

    def _changed(self, values: DataFrame, what: str) -> str:
        if values.empty:
            return ""
        first = ", ".join(
            f"{_text(name)}: {column} {_text(before)} -> {_text(after)}" if column else _text(name)
            for name, column, before, after in values.head(_SHOWN).itertuples()
        )
        columns = ", ".join(name for name in values["column"].unique() if name)
        where = f", in {columns}" if columns else ""
        return f"{values.index.nunique()} of {self.known} known {what}{where} ({first})"


def find_revisions(known: DataFrame, new: DataFrame, data: Data) -> Revisions:
    """Compare the rows of a new file with those that were known before.

    A value that was missing and is known now is no change: truth comes late. Nor is one of a column
    whose values may be ``revised``. Rows that came are none either, whatever their time.

    Args:
        known: typed rows.
        new: typed rows under the same contract.
        data: what names a row, and which columns may be revised.
    """
    before, after = _by_name(known, data), _by_name(new, data)
    both = before.index.intersection(after.index, sort=False)
    one, other = before.loc[both], after.loc[both]
    moves = None if data.series or data.time is None else data.time
    compared = [n for n, c in data.columns.items() if n in one and not c.revised]
    changes = []
    for name in sorted(compared, key=lambda name: name != moves):  # the time is the first
        differs = _differs(one[name], other[name], data.columns[name])
        pair = {"column": name, "before": one[name], "after": other[name]}
        changes.append(pd.DataFrame(pair)[differs])
        if name == moves:
            one, other = one[~differs], other[~differs]
    return Revisions(
        known=len(before),
        new=len(after),
        gone=before.index.difference(after.index, sort=False),
        values=concat_changes(*changes),
        time=moves,
    )


def concat_changes(*parts: DataFrame) -> DataFrame:
    """Tables of changes, ``column``, ``before`` and ``after`` by the name of the row, as one."""
    nothing = pd.DataFrame({"column": [], "before": [], "after": []}, dtype=object)
    return pd.concat([nothing, *(part.astype(object) for part in parts if len(part))])


def _by_name(rows: DataFrame, data: Data) -> DataFrame:
    """Rows by what names them: their key, or of series their series and time."""
    if data.series is None:
        return rows.set_index(data.key)
    assert data.time is not None
    named = [*([data.series.id] if data.series.id else []), data.time]
    return rows.dropna(subset=named).set_index(named)


def _differs(before: Series, after: Series, column: Column) -> Series:
    """Where a value that was known is another one, or missing now."""
    if column.type == "integer":  # exact, where floats would not tell long ones apart
        same = (before.astype("Int64") == after.astype("Int64")).fillna(False).to_numpy(dtype=bool)
    elif column.type == "number":
        one, other = (v.to_numpy(dtype=float, na_value=np.nan) for v in (before, after))
        same = np.isclose(one, other, rtol=_RTOL, atol=0, equal_nan=True)
    elif column.type == "list":
        same = before.map(_text).to_numpy() == after.map(_text).to_numpy()
    else:
        same = (before.astype(object) == after.astype(object)).to_numpy()
    return before.notna() & ~same


def _text(value: Any) -> str:
    """A value, or the name of a row, as a message shows it: of a step its series and its time."""
    if isinstance(value, tuple):
        return " at ".join(map(_text, value))
    if isinstance(value, pd.Timestamp):
        clock = value.tz_localize(None)
        return str(clock.date() if clock == clock.normalize() else value)
    return str(value)
