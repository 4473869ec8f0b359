"""Nodes of data preparation for time series."""

from __future__ import annotations

from typing import Any

from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame, Series
from ratchet.params import (
    SERIES_KEY,
    SERIES_PREFIX,
    TARGET_PREFIX,
    Data,
    Features,
    Target,
    read_targets,
)
from ratchet.pipelines.preprocessing.nodes import (
    SPLITS,
    STATIC_PREFIX,
    add_columns,
    describe,
    part_of,
)
from ratchet.pipelines.preprocessing.views import SERIES, make_views, panel


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
        DataError: a time is off the grid, a series has no name, or a part of the split is empty.
    """
    import numpy as np

    from ratchet.learning.features.series import seasonal_change
    from ratchet.learning.features.windows import complete, reach

    if data.series is None or data.time is None:
        raise ConfigError("data.series: expected the parameters of a time series")
    target = _only(targets)
    laid, there = _lay_out(typed, data, target)
    primary = add_columns(laid, data, targets)
    views = make_views(primary, data, features, target)
    known = panel(primary, target.column)
    part = part_of(len(known), data.split)
    between = _between(part, features.horizon)
    usable = complete(views) & np.isfinite(known) & ~between[:, None]
    primary["split"] = _splits(part.repeat(known.shape[1]), usable)
    own_scale = seasonal_change(known[: _n_train(len(known), data)], data.series.season)[2]
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
    return primary, selection


def _only(targets: dict[str, Any]) -> Target:
    (target,) = read_targets(targets).values()  # parameters see to it that a series has one
    return target


def _lay_out(typed: DataFrame, data: Data, target: Target) -> tuple[DataFrame, Any]:
    """Rows of every step, with the key; and which were in the file."""
    from ratchet.learning.features.series import lay_out

    if data.series is None or data.time is None:
        raise ConfigError("data.series: expected the parameters of a time series")
    named = [data.time, *([data.series.id] if data.series.id else [])]
    # A row that lacks a required value is a gap in its series, and not absent: something happened.
    blank = typed[[name for name in data.required if name not in named]].isna().any(axis=1)
    rows = typed.assign(**{n: typed[n].mask(blank) for n in data.columns if n not in named})
    rows = rows.dropna(subset=[name for name in data.required if name in named])
    ids = rows[data.series.id] if data.series.id else target.column
    rows = rows.assign(**{SERIES: ids})
    if (nameless := rows[SERIES].isna()).any():
        raise DataError(
            f"column '{data.series.id}': expected the name of a series in every row; "
            f"{int(nameless.sum())} of {len(rows)} rows have none (row {nameless.idxmax()}); "
            f"where they may be left out, name the column in data.required"
        )
    laid, there = lay_out(
        rows.drop(columns=[data.series.id] if data.series.id else []),
        time=data.time,
        series=SERIES,
        grid=_grid(rows[data.time], data.time, data.series.frequency),
        absent=data.series.absent,
    )
    if data.series.id:
        laid[data.series.id] = laid[SERIES]
    laid.insert(0, SERIES_KEY, _keys(laid, data.time))
    return laid, there


def _grid(times: Series, column: str, frequency: str | None) -> Any:
    """The steps; every time has to be one."""
    from ratchet.learning.features.series import grid_of

    try:
        grid = grid_of(times, frequency)
    except ValueError as error:
        raise ConfigError(f"parameter data.series.frequency: {error}") from error
    off = times[~times.isin(grid)]
    if not off.empty:
        first = ", ".join(f"row {row}: {time}" for row, time in off.head().items())
        raise DataError(
            f"column '{column}': expected a step of {frequency} from one time to the next, "
            f"counted from {times.min()}; {len(off)} of {len(times)} rows are off it ({first}); "
            f"leave out data.series.frequency where every row is a step"
        )
    return grid


def _keys(laid: DataFrame, time: str) -> Series:
    """``<series>@<time>``: the day, or with the time of day where steps are shorter."""
    whole_days = (laid[time] == laid[time].dt.normalize()).all()
    text = laid[time].dt.strftime("%Y-%m-%d" if whole_days else "%Y-%m-%dT%H:%M:%S")
    return laid[SERIES].astype(str) + "@" + text


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
) -> DataFrame:
    """Gather what a forecast may see, for every step that is forecast.

    Returns:
        Frame indexed by the row key, ordered by time and series: source columns of the features at
        the target time; windows, lags, rolling and naive columns; ``static_*`` where there are
        several series; ``split``; the terms of the row (``series_*``) and ``target_*``.

    Raises:
        DataError: returns are to be learned of values that are not above 0.
    """
    import pandas as pd

    from ratchet.learning.features.windows import take, terms

    target = _only(targets)
    if data.series is None or data.time is None or features.windows is None:
        raise ConfigError("data.series and features.windows: expected parameters of a series")
    values = panel(primary, target.column)
    _check_returns(values, target)
    n_train = _n_train(len(values), data)
    row_terms = terms(values, data.series.season, features.windows.horizon, target.learn, n_train)
    forecast = primary["split"].notna().to_numpy()
    rows = forecast.reshape(values.shape)
    views = make_views(primary, data, features, target)
    chosen = primary[forecast].set_index(SERIES_KEY)
    seen = take(views, rows, row_terms["level"], row_terms["scale"]).set_index(chosen.index)
    about: dict[str, Any] = {SERIES: chosen[SERIES], f"{SERIES_PREFIX}time": chosen[data.time]}
    about |= {f"{SERIES_PREFIX}{name}": term[rows] for name, term in row_terms.items()}
    about[f"{TARGET_PREFIX}{target.column}"] = chosen[target.column].astype(float)
    parts = [chosen[[*features.columns, "split"]], seen]
    if data.series.id:
        static = _static(values[:n_train], data.series.season)
        parts.append(static.iloc[rows.nonzero()[1]].set_index(chosen.index))
    return pd.concat([*parts, pd.DataFrame(about)], axis=1)


def _n_train(steps: int, data: Data) -> int:
    return int((part_of(steps, data.split) == 0).sum())


def _check_returns(values: Any, target: Target) -> None:
    if target.learn == "return" and (low := values <= 0).any():
        raise DataError(
            f"column '{target.column}': returns (learn: return) need values above 0; "
            f"{int(low.sum())} of {values.size} are not"
        )


def _static(values: Any, season: int) -> DataFrame:
    """What the training part of a panel says of every series, a row each."""
    import numpy as np
    import pandas as pd

    from ratchet.learning.features.series import seasonal_change

    change = seasonal_change(values, season)[0]
    count = np.maximum(np.isfinite(values).sum(axis=0), 1)
    static = {
        "level": np.nansum(values, axis=0) / count / change,
        "change": np.log(change),
        "zeros": (values == 0).sum(axis=0) / count,
    }
    return pd.DataFrame(static).add_prefix(STATIC_PREFIX)
