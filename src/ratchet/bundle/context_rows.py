"""The earlier rows that a row to be answered looks back at, and which of them have to be kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import TARGET_PREFIX, Data, UseCase
from ratchet.dates import local, utc
from ratchet.errors import DataError
from ratchet.learning.features.series import count_steps
from ratchet.preparation.answering import features_of
from ratchet.preparation.contract import read_day, typed_fields
from ratchet.preparation.steps import only_target
from ratchet.preparation.window_columns import make_views

_EMPTY_STEPS = 20_000
"""Steps without a row that are laid out for a single row: a second of CPU time."""


def features_in_context(
    fields: pd.DataFrame,
    use_case: UseCase,
    statistics: pd.DataFrame | None,
    context: pd.DataFrame | None,
    as_of: Any = None,
) -> pd.DataFrame:
    """Make features of raw fields, with the rows before them at hand.

    Args:
        fields: the rows to answer, see ``preparation.typed_fields``. A row that is in the context
            too stands for the one there.
        use_case: the parameters.
        statistics: units of the series.
        context: typed rows that are known.
        as_of: last day whose rows of the context are seen; all by default.

    Returns:
        Features as ``preparation.features_of`` gives them, of the given rows that can be answered.

    Raises:
        DataError: values break the contract, or a time lies far from all that are known.
    """
    rows = typed_fields(fields, use_case)
    if context is None:
        return features_of(rows, use_case, statistics)
    known, data = context, use_case.data
    _check_times(rows, known, data)
    if as_of is not None and data.time:
        known = known[local(known[data.time]).dt.normalize() <= read_day(as_of)]
    names = [data.time, data.series.id] if data.series else [data.key]
    named = [name for name in names if name]
    again = pd.MultiIndex.from_frame(known[named]).isin(pd.MultiIndex.from_frame(rows[named]))
    together = pd.concat([known[~again], rows], ignore_index=True)
    asked = np.arange(len(together)) >= len(together) - len(rows)
    return features_of(together, use_case, statistics, asked)


def _check_times(rows: pd.DataFrame, known: pd.DataFrame, data: Data) -> None:
    """Refuse a time far from all others: every step in between would be laid out, for nothing.

    Raises:
        DataError: which row, and what is known.
    """
    if data.series is None or data.time is None or data.series.frequency is None:
        return
    asked, there = utc(rows[data.time]), utc(known[data.time])
    times = pd.concat([there, asked], ignore_index=True)
    steps = count_steps(times, data.series.frequency)
    if steps <= _EMPTY_STEPS + 10 * len(rows) + 2 * len(known):
        return
    apart = np.maximum(asked - there.max(), there.min() - asked)
    row, far = apart.idxmax(), rows[data.time][apart.idxmax()]
    raise DataError(
        f"column '{data.time}': expected times that follow upon those that are known, "
        f"{there.min()} to {there.max()}; row {row}: {far} lies some {steps} steps of "
        f"{data.series.frequency} from them, and nothing is known of what is in between"
    )


def candidate_contexts(
    typed: pd.DataFrame, primary: pd.DataFrame, use_case: UseCase, since: Any
) -> Iterator[pd.DataFrame | None]:
    """Give what could be kept as context, the shortest first, all rows at last.

    Rows with history look back at all others; other rows at none, unless a derived column does. Of
    series there are as many steps as windows look back from ``since``, then twice as many, as a
    derived column may look back further.

    Args:
        typed: all typed rows.
        primary: the same rows as they were prepared.
        use_case: the parameters.
        since: time of the first step that has to be answered, of series, in UTC.
    """
    if use_case.data.series is None or use_case.data.time is None:
        if use_case.features.history is None:
            yield None
        yield typed
        return
    seen = utc(typed[use_case.data.time])
    times = np.sort(utc(primary[use_case.data.time]).unique())
    steps = _reach(primary, use_case) + int((times >= np.datetime64(since)).sum()) + 1
    while steps < len(times):
        yield _since(typed, use_case.data, seen, times[-steps])
        steps *= 2
    yield typed


def _since(typed: pd.DataFrame, data: Data, times: pd.Series, first: Any) -> pd.DataFrame:
    """Rows from a step on, and before it the last row of every series: it had begun by then."""
    kept = times >= first
    if data.series and data.series.id:
        before = typed.loc[times[~kept].sort_values(kind="stable").index]
        kept |= typed.index.isin(before.drop_duplicates(data.series.id, keep="last").index)
    return typed[kept]


def _reach(primary: pd.DataFrame, use_case: UseCase) -> int:
    from ratchet.learning.features.windows import max_lookback

    target = only_target(use_case.targets)
    return max_lookback(make_views(primary, use_case.data, use_case.features, target))


def differing_columns(found: pd.DataFrame, expected: pd.DataFrame) -> list[str]:
    """Columns in which features differ by more than rounding; all where rows are missing.

    Args:
        found: features by row key.
        expected: features of the same rows, with what else was known in training.
    """
    names = [str(name) for name in expected]
    columns = [name for name in names if name != "split" and not name.startswith(TARGET_PREFIX)]
    if missing := [name for name in columns if name not in found]:
        return missing
    if set(expected.index) - set(found.index):
        return columns
    again = found.loc[expected.index]
    pairs = {name: (again[name], expected[name]) for name in columns}
    return [name for name, (one, other) in pairs.items() if not _alike(one, other)]


def _alike(one: pd.Series, other: pd.Series) -> bool:
    if all(values.dtype.kind in "biuf" for values in (one, other)):
        pair = one.to_numpy(dtype=float), other.to_numpy(dtype=float)
        return np.allclose(*pair, rtol=1e-5, atol=1e-6, equal_nan=True)
    return [_plain(value) for value in one] == [_plain(value) for value in other]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return [str(part) for part in value]
    return None if pd.isna(value) else str(value)
