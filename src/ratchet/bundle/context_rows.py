"""Context rows: the earlier rows that features look back at, and which of them a bundle keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import TARGET_PREFIX, Data, UseCase
from ratchet.dates import local, utc
from ratchet.errors import DataError
from ratchet.learning.features.series import count_steps
from ratchet.learning.features.windows import max_lookback
from ratchet.preparation.answering import features_of
from ratchet.preparation.contract import read_day, typed_fields
from ratchet.preparation.steps import only_target
from ratchet.preparation.window_columns import make_views

_MAX_EMPTY_STEPS = 20_000
"""Steps without a row that are filled for a single row: a second of CPU time."""


def features_in_context(
    fields: pd.DataFrame,
    use_case: UseCase,
    statistics: pd.DataFrame | None,
    context: pd.DataFrame | None,
    as_of: Any = None,
) -> pd.DataFrame:
    """Make features of raw fields, with the context rows before them.

    Args:
        fields: the rows to answer, see ``contract.typed_fields``. A row that is in the context
            too replaces the one there.
        use_case: the parameters.
        statistics: units of the series.
        context: typed rows before them.
        as_of: last day whose rows of the context are seen; all by default.

    Returns:
        Features as ``preparation.features_of`` gives them, of the given rows that can be answered.

    Raises:
        DataError: values break the contract, or a time is far from those of the context.
    """
    rows = typed_fields(fields, use_case)
    if context is None:
        return features_of(rows, use_case, statistics)
    data = use_case.data
    _check_times(rows, context, data)
    if as_of is not None and data.time:
        context = context[local(context[data.time]).dt.normalize() <= read_day(as_of)]
    names = [data.time, data.series.id] if data.series else [data.key]
    identity = [name for name in names if name]
    replaced = pd.MultiIndex.from_frame(context[identity]).isin(
        pd.MultiIndex.from_frame(rows[identity])
    )
    together = pd.concat([context[~replaced], rows], ignore_index=True)
    requested = np.arange(len(together)) >= len(together) - len(rows)
    return features_of(together, use_case, statistics, requested)


def _check_times(rows: pd.DataFrame, context: pd.DataFrame, data: Data) -> None:
    """Refuse a time far from all others: every step in between would be filled, for nothing.

    Raises:
        DataError: names the row and the times of the context.
    """
    if data.series is None or data.time is None or data.series.frequency is None:
        return
    requested, existing = utc(rows[data.time]), utc(context[data.time])
    times = pd.concat([existing, requested], ignore_index=True)
    steps = count_steps(times, data.series.frequency)
    if steps <= _MAX_EMPTY_STEPS + 10 * len(rows) + 2 * len(context):
        return
    distance = np.maximum(requested - existing.max(), existing.min() - requested)
    row, far = distance.idxmax(), rows[data.time][distance.idxmax()]
    raise DataError(
        f"column '{data.time}': expected times that follow upon those that are known, "
        f"{existing.min()} to {existing.max()}; row {row}: {far} is some {steps} steps of "
        f"{data.series.frequency} from them, and nothing is known of what is in between"
    )


def candidate_contexts(
    typed: pd.DataFrame, primary: pd.DataFrame, use_case: UseCase, since: Any
) -> Iterator[pd.DataFrame | None]:
    """Possible contexts, the shortest first, all rows last.

    Rows with history look back at all others; other rows at none, unless a derived column does. Of
    series the first context has as many steps as windows look back from ``since``, each further one
    twice as many, as a derived column may look back further.

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
    row_times = utc(typed[use_case.data.time])
    times = np.sort(utc(primary[use_case.data.time]).unique())
    steps = _reach(primary, use_case) + int((times >= np.datetime64(since)).sum()) + 1
    while steps < len(times):
        yield _since(typed, use_case.data, row_times, times[-steps])
        steps *= 2
    yield typed


def _since(typed: pd.DataFrame, data: Data, times: pd.Series, first: Any) -> pd.DataFrame:
    """Rows from a step on, and the last row before it of every series, to show that it began."""
    selected = times >= first
    if data.series and data.series.id:
        before = typed.loc[times[~selected].sort_values(kind="stable").index]
        selected |= typed.index.isin(before.drop_duplicates(data.series.id, keep="last").index)
    return typed[selected]


def _reach(primary: pd.DataFrame, use_case: UseCase) -> int:
    target = only_target(use_case.targets)
    return max_lookback(make_views(primary, use_case.data, use_case.features, target))


def differing_columns(features: pd.DataFrame, expected: pd.DataFrame) -> list[str]:
    """Columns in which features differ by more than rounding; all where rows are missing.

    Args:
        features: features by row key.
        expected: features of the same rows in training, with ``split`` and targets.
    """
    names = [str(name) for name in expected]
    columns = [name for name in names if name != "split" and not name.startswith(TARGET_PREFIX)]
    if missing := [name for name in columns if name not in features]:
        return missing
    if set(expected.index) - set(features.index):
        return columns
    same_rows = features.loc[expected.index]
    return [name for name in columns if not _same(same_rows[name], expected[name])]


def _same(one: pd.Series, other: pd.Series) -> bool:
    if all(values.dtype.kind in "biuf" for values in (one, other)):
        pair = one.to_numpy(dtype=float), other.to_numpy(dtype=float)
        return np.allclose(*pair, rtol=1e-5, atol=1e-6, equal_nan=True)
    return [_as_text(value) for value in one] == [_as_text(value) for value in other]


def _as_text(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return [str(part) for part in value]
    return None if pd.isna(value) else str(value)
