"""Features of any rows, with or without known targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import SERIES_ID, UseCase
from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame
from ratchet.preparation.required_columns import RequiredColumns
from ratchet.preparation.row_features import derive_columns, row_features
from ratchet.preparation.steps import lay_out_steps, only_target
from ratchet.preparation.window_columns import forecast_rows, make_views, window_features


def features_of(
    typed: DataFrame,
    use_case: UseCase,
    statistics: DataFrame | None = None,
    requested: Any = None,
) -> DataFrame:
    """Make features of every row that can be answered.

    No outcome of a row is used: neither its target nor anything that is known only after
    the origin of its forecast. Rows that can be learned from get the features that they have in
    training.

    Args:
        typed: all rows that are known, see ``typed_rows`` and ``typed_fields``; history and windows
            look back at them. Of series there may be rows for steps to come, with what is known
            ahead of them.
        use_case: the parameters.
        statistics: units of the series, see ``series_statistics``; needed for series.
        requested: which rows of ``typed`` are to be answered, as booleans; all by default. Of
            series that includes steps at which other series have a row and one has none. Rows of a
            path are then seen from one origin, the last step before them whose target is known, and
            are called by their key alone; all rows are seen from several, see
            ``config.ForecastPath``.

    Returns:
        Frame indexed by the row key, with the columns of ``{use_case}.features`` but ``split``;
        targets (``target_*``) are missing where they are not known. Rows without a required input,
        and steps of series without a complete view, are left out.

    Raises:
        ConfigError: a function that derives a column fails, or statistics are missing.
        DataError: rows cannot be laid out on steps, or are known before they are looked up.
    """
    rows = typed.reset_index(drop=True)
    chosen = None if requested is None else np.asarray(requested, dtype=bool)
    if use_case.features.windows:
        if statistics is None:
            raise ConfigError("series are answered by their statistics, and there are none")
        return _of_steps(rows, use_case, statistics, chosen)
    return _of_rows(rows, use_case, chosen)


def _of_rows(typed: DataFrame, use_case: UseCase, requested: Any) -> DataFrame:
    data, required = use_case.data, RequiredColumns(use_case)
    rows = typed if requested is None else typed[requested]
    rows = derive_columns(rows.dropna(subset=required.required), data, required.derived_for_targets)
    # As in training: only complete rows count in history and in the statistics of their class.
    whole = typed.dropna(subset=data.required)
    if not whole.empty:
        whole = derive_columns(whole, data)
    for name in required.derived_for_targets:
        rows[name] = whole[name].reindex(rows.index) if name in whole else None
    order = [*([data.time] if data.time else []), data.key]
    rows, events = rows.sort_values(order), whole.sort_values(order)
    return row_features(rows, data, use_case.features, use_case.targets, events)


def _of_steps(
    typed: DataFrame, use_case: UseCase, statistics: DataFrame, requested: Any
) -> DataFrame:
    data, features, targets = use_case.data, use_case.features, use_case.targets
    target = only_target(targets)
    layout = lay_out_steps(typed, data, target, RequiredColumns(use_case).required)
    primary = derive_columns(layout.rows, data)
    views = make_views(primary, data, features, target)
    chosen = None
    if requested is not None:
        chosen = _places(primary, typed[requested], use_case).reshape(layout.under_way.shape)
    rows = forecast_rows(primary, views, data, features, target, chosen)
    rows = {step: complete & layout.under_way for step, complete in rows.items()}
    return window_features(
        *(primary, data, features, targets, statistics, rows, views),
        one_origin=requested is not None,
    )


def _places(primary: DataFrame, requested: DataFrame, use_case: UseCase) -> Any:
    """Which rows of the laid-out steps were asked for."""
    data = use_case.data
    if data.time is None or data.series is None:
        raise DataError("data.series: expected the parameters of a time series")
    if data.series.id is None:
        return primary[data.time].isin(requested[data.time]).to_numpy()
    laid = pd.MultiIndex.from_frame(primary[[data.time, SERIES_ID]])
    return laid.isin(pd.MultiIndex.from_frame(requested[[data.time, data.series.id]]))
