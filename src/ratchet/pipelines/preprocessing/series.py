"""Nodes of data preparation for time series."""

from __future__ import annotations

from typing import Any

from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame, Series
from ratchet.params import Data, Features, Target, read_targets
from ratchet.pipelines.preprocessing.nodes import describe
from ratchet.preparation import (
    SERIES,
    SPLITS,
    add_columns,
    check_parts,
    check_windows,
    lay_out_steps,
    make_views,
    only_target,
    panel,
    part_of,
    series_statistics,
    window_features,
)


def select_series(
    typed: DataFrame, data: Data, features: Features, targets: dict[str, Any]
) -> tuple[DataFrame, dict[str, Any]]:
    """Lay the series out on their steps, and say which steps are forecast in which part.

    The parts are split by time: all series together are in training up to one step, in validation
    up to another, and in test after it.

    Args:
        typed: rows that keep their contract, at most one for a step of a series.
        data: time, series, derived columns and shares of the split.
        features: what a forecast looks at; steps from which it would look at something that is
            missing are not forecast.
        targets: the column to predict.

    Returns:
        One row per step and series, ordered by time and series, with its key and a column
        ``split``, missing where a step is not forecast; and what was left out and why, with the
        size and span of every part.

    Raises:
        DataError: a time is off the grid, a series has no name, or a part has too few steps with
            all that a forecast needs.
    """
    import numpy as np

    from ratchet.learning.features.series import seasonal_change
    from ratchet.learning.features.windows import complete, reach

    if data.series is None or data.time is None:
        raise ConfigError("data.series: expected the parameters of a time series")
    target = only_target(targets)
    laid, there = lay_out_steps(typed, data, target, data.required)
    primary = add_columns(laid, data, targets)
    views = make_views(primary, data, features, target)
    known = panel(primary, target.column)
    part = part_of(np.isfinite(known).any(axis=1, keepdims=True), data.split)
    between = _between(part, features.horizon)
    usable = complete(views) & np.isfinite(known) & ~between[:, None]
    primary["split"] = _splits(part.repeat(known.shape[1]), usable)
    own_scale = seasonal_change(known[part == 0], data.series.season)[2]
    selection: dict[str, Any] = {
        "rows": len(typed),
        "kept": int(usable.sum()),
        "missing": {name: int(typed[name].isna().sum()) for name in data.required},
        "parts": {name: describe(rows, data) for name, rows in primary.groupby("split")},
        "series": {
            "count": known.shape[1],
            "steps": len(known),
            "absent": int((~there & there.any(axis=1, keepdims=True)).sum()),
            "holes": int((~there.any(axis=1)).sum()),
            "unscaled": [str(name) for name in primary[SERIES].iloc[: known.shape[1]][~own_scale]],
            "left_out": _left_out(known, usable, between, ~there.any(axis=1), reach(views)),
        },
    }
    if empty := [name for name in SPLITS if name not in set(primary["split"].dropna())]:
        raise DataError(_too_short(empty, selection["series"], reach(views), target))
    check_parts(primary, read_targets(targets))
    _check_steps(primary.loc[primary["split"] == "train", data.time], target, features.horizon)
    return primary, selection


def _check_steps(times: Series, target: Target, horizon: int) -> None:
    """Make sure that there are steps for the folds, half of which is only ever learned from."""
    steps, least = times.nunique(), 2 * max(target.cv, horizon)
    if steps < least:
        raise DataError(
            f"column '{target.column}': {target.cv} folds of forecasts {horizon} ahead need at "
            f"least {least} training steps with all that a forecast looks at, found {steps}: lower "
            f"targets.*.cv or features.windows.horizon, or let forecasts look back less far"
        )


def _splits(part: Any, usable: Any) -> Any:
    import numpy as np
    import pandas as pd

    codes = np.where(usable.ravel(), part, -1)
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(list(SPLITS)))


def _between(part: Any, horizon: int) -> Any:
    """Steps whose value is not known yet at the first origin of the next part."""
    import numpy as np

    later = np.minimum(np.arange(len(part)) + horizon - 1, len(part) - 1)
    return part[later] > part


def _left_out(known: Any, usable: Any, between: Any, holes: Any, reach: int) -> dict[str, int]:
    """Steps of series that are not forecast, by the first reason that holds.

    They lie too near the beginning of their series, a hole is among the steps they look at, a value
    is missing there, or they lie between two parts.
    """
    import numpy as np

    steps = np.arange(len(known))[:, None]
    finite = np.isfinite(known)
    first = np.where(finite.any(axis=0), finite.argmax(axis=0), len(known))
    seen_before = np.concatenate([np.zeros(reach + 1, dtype=int), holes.cumsum()])
    near_hole = seen_before[reach + 1 :] > seen_before[: -(reach + 1)]
    usable = usable | between[:, None]
    beginning = ~usable & (steps < first + reach)
    hole = ~usable & ~beginning & near_hole[:, None]
    return {
        "beginning": int(beginning.sum()),
        "holes": int(hole.sum()),
        "missing": int((~usable & ~beginning & ~hole).sum()),
        "between": int(between.sum()) * known.shape[1],
    }


def _too_short(empty: list[str], series: dict[str, Any], reach: int, target: Target) -> str:
    return (
        f"column '{target.column}': nothing is left for {empty}: a forecast looks at up to {reach} "
        f"steps before its target (features.windows), and the series have {series['steps']} steps "
        f"in all; left out: {series['left_out']}"
    )


def build_windows(
    primary: DataFrame, data: Data, features: Features, targets: dict[str, Any]
) -> tuple[DataFrame, DataFrame]:
    """Gather what a forecast may see, for every step that is forecast.

    Returns:
        Frame indexed by the row key, ordered by time and series: source columns of the features at
        the target time; windows, lags, rolling and naive columns; ``static_*`` where there are
        several series; ``split``; the terms of the row (``series_*``) and ``target_*``. And the
        units of every series, as its training steps show them.

    Raises:
        ConfigError: windows cannot hold what they are to show.
    """
    check_windows(primary, features, only_target(targets))
    statistics = series_statistics(primary, data, targets)
    return window_features(primary, data, features, targets, statistics), statistics
