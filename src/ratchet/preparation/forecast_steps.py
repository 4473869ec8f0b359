"""Which steps of time series are forecast, in which part, and why others are left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import ONE_WINDOW, SERIES_ID, WEEKDAYS, Data, Evaluation, Features, Target
from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame
from ratchet.learning.features.series import SeriesPanel, find_closed_times, seasonal_change
from ratchet.learning.features.windows import max_lookback
from ratchet.preparation.row_features import add_columns
from ratchet.preparation.splits import SPLITS, assign_splits, check_splits, describe
from ratchet.preparation.steps import lay_out_steps, only_target
from ratchet.preparation.window_columns import forecast_rows, make_views, panel


def select_series(
    typed: DataFrame,
    data: Data,
    features: Features,
    targets: Mapping[str, Target],
    evaluation: Evaluation = ONE_WINDOW,
    seed: int = 0,
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
        evaluation: the windows of the test part.
        seed: seed of the training steps that are drawn, see ``data.train_rows``.

    Returns:
        One row per step and series, ordered by time and series, with its key and a column
        ``split``, missing where a step is not forecast; and what was left out and why, with the
        size and span of every part.

    Raises:
        DataError: a time is off the grid, a series has no name, or a part has too few steps with
            all that a forecast needs.
    """
    if data.series is None or data.time is None:
        raise ConfigError("data.series: expected the parameters of a time series")
    target = only_target(targets)
    layout = lay_out_steps(typed, data, target, data.required)
    primary = add_columns(layout.rows, data, targets)
    views = make_views(primary, data, features, target)
    values = panel(primary, target.column)
    part = assign_splits(np.isfinite(values).any(axis=1, keepdims=True), data.split, evaluation)
    between = _between(part, features.horizon)
    drawn = (part == 0)[:, None], (part == 1)[:, None]
    rows = forecast_rows(primary, views, data, features, target, drawn=drawn)
    origins = np.sum([*rows.values()], axis=0, dtype=np.int32)
    usable = (origins > 0) & np.isfinite(values) & ~between[:, None]
    train = np.where(usable & (part == 0)[:, None], origins, 0)
    not_drawn = _not_drawn(train, data.train_rows, seed)
    usable &= ~not_drawn
    primary["split"] = _splits(part.repeat(values.shape[1]), usable)
    own_scale = seasonal_change(values[part == 0], data.series.season)[2]
    names = primary[SERIES_ID].iloc[: values.shape[1]].astype(str).to_numpy()
    times = {name: primary.loc[primary["split"] == name, [data.time]] for name in SPLITS}
    selection: dict[str, Any] = {
        "rows": len(typed),
        "kept": int(usable.sum()),
        "missing": {name: int(typed[name].isna().sum()) for name in data.required},
        "parts": {name: describe(part, data) for name, part in times.items() if len(part)},
        "series": {
            "count": values.shape[1],
            "steps": len(values),
            "absent": int((layout.under_way & ~layout.given).sum()),
            "holes": int((~layout.given.any(axis=1)).sum()),
            "unscaled": names[~own_scale].tolist(),
            "ended": names[layout.ended[-1]].tolist(),
            "left_out": _left_out(
                *(values, usable, between, not_drawn, layout, max_lookback(views))
            ),
        },
    }
    if empty := [name for name in SPLITS if name not in selection["parts"]]:
        closed = find_closed_times(layout.rows[data.time].unique(), layout.given.any(axis=1))
        way_out = _way_out(closed, data, features, selection["series"], int((part == 0).sum()))
        raise DataError(
            _too_short(empty, selection["series"], max_lookback(views), target) + way_out
        )
    check_splits(primary, targets)
    return primary, selection


def _splits(part: Any, usable: Any) -> Any:
    codes = np.where(usable.ravel(), part, -1)
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(list(SPLITS)))


def _between(part: Any, horizon: int) -> Any:
    """Steps whose value is not known yet at the first origin of the next part."""
    later = np.minimum(np.arange(len(part)) + horizon - 1, len(part) - 1)
    return part[later] > part


def _not_drawn(train: Any, most: int | None, seed: int) -> Any:
    """Training steps that are left out at random where there are more rows than ``most``.

    Args:
        train: how many training rows each step makes: of a path one for each of its origins.
        most: rows that are learned from.
        seed: seed of the draw.
    """
    left_out = np.zeros(train.size, dtype=bool)
    if most is not None and train.sum() > most:
        places = np.random.default_rng(seed).permutation(np.flatnonzero(train))
        left_out[places[train.ravel()[places].cumsum() > most]] = True
    return left_out.reshape(train.shape)


def _left_out(
    values: Any, usable: Any, between: Any, not_drawn: Any, layout: SeriesPanel, reach: int
) -> dict[str, int]:
    """Steps of series that are not forecast, by the first reason that holds.

    Others were drawn for training, their series has not begun or has ended, they lie too near its
    beginning, a hole is among the steps they look at, their truth is still to come, or a value is
    missing; or they lie between two parts.
    """
    steps = np.arange(len(values))[:, None]
    finite, holes = np.isfinite(values), ~layout.given.any(axis=1)
    first = np.where(finite.any(axis=0), finite.argmax(axis=0), len(values))
    last = len(values) - 1 - finite[::-1].argmax(axis=0)
    seen_before = np.concatenate([np.zeros(reach + 1, dtype=int), holes.cumsum()])
    near_hole = seen_before[reach + 1 :] > seen_before[: -(reach + 1)]
    reasons = {
        "not_begun": ~layout.begun,
        "ended": layout.ended,
        "beginning": steps < first + reach,
        "waiting": ~finite & (steps > last),
        "holes": near_hole[:, None],
        "missing": np.ones_like(usable),
    }
    counts = {"not_drawn": int(not_drawn.sum())} if not_drawn.any() else {}
    left = ~(usable | not_drawn | between[:, None])
    for reason, holds in reasons.items():
        counts[reason] = int((left & holds).sum())
        left = left & ~holds
    return {**counts, "between": int(between.sum()) * values.shape[1]}


def _too_short(empty: list[str], series: Mapping[str, Any], reach: int, target: Target) -> str:
    left_out = {reason: count for reason, count in series["left_out"].items() if count}
    return (
        f"column '{target.column}': nothing is left for {empty}: a forecast looks at up to {reach} "
        f"steps before its target (features.windows), and the series have {series['steps']} steps "
        f"in all; left out: {left_out}"
    )


def _way_out(
    closed: Any, data: Data, features: Features, series: Mapping[str, Any], train: int
) -> str:
    """What to change, where steps are empty at regular times, or a forecast looks back too far."""
    season = data.series.season if data.series else 1
    if closed is not None:
        shorter = season - season // closed.period * len(closed.names)
        fits = f" and data.series.season to {shorter}" if 0 < shorter < season else ""
        days = [name[:3] for name in closed.names] if closed.period == len(WEEKDAYS) else []
        way_out = f"set data.series.closed: [{', '.join(days)}]{fits}, or " if days else ""
        return (
            f"; there are no rows on {', '.join(closed.names)}: {way_out}leave out "
            f"data.series.frequency, so that every row is a step{'' if days else fits}"
        )
    if series["left_out"]["holes"] > series["left_out"]["beginning"]:
        return "; most of them look into a hole: see data.series.frequency, or look back less far"
    name, steps = max(_looks_back(season, features).items(), key=lambda item: item[1])
    if steps < train and features.horizon > 1:
        return (
            f"; the last {features.horizon - 1} steps before the next part are in no part, for "
            f"forecasts reach {features.horizon} steps ahead: raise the shares of data.split, or "
            f"lower features.windows.horizon"
        )
    return (
        f"; {name} makes it look back {steps} steps, which have to be fewer than the {train} "
        f"training steps: lower it, or bring more rows"
    )


def _looks_back(season: int, features: Features) -> dict[str, int]:
    """Steps that a forecast looks back, by the parameter that says so."""
    windows = features.windows
    assert windows is not None
    horizon, window = windows.last, windows.lookback - 1
    return {
        "features.windows.lookback": horizon + window,
        "data.series.season": season * math.ceil(horizon / season),
        "features.windows.seasons": max(windows.seasons, default=-window) + window,
        "features.windows.lags": max(windows.lags, default=0),
        "features.windows.rolling": max(windows.rolling, default=0) + horizon - 1,
    }
