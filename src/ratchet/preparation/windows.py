"""Features of the steps of time series: what a forecast may see, in the terms of its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ratchet.config import (
    SERIES_KEY,
    SERIES_PREFIX,
    STATIC_PREFIX,
    TARGET_PREFIX,
    Data,
    Features,
    Target,
    apart,
)
from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame
from ratchet.preparation.checks import check_numbers
from ratchet.preparation.splits import count_train_steps
from ratchet.preparation.steps import only_target
from ratchet.preparation.window_columns import SERIES, make_views, panel


def series_statistics(primary: DataFrame, data: Data, targets: dict[str, Any]) -> DataFrame:
    """What the training steps say of every series.

    They are learned once and kept with the model: were they computed again from data that have
    grown, a model would be asked in other units than it was fitted in.

    Args:
        primary: one row per step and series, ordered by time and series.
        data: the season of the series, and the share of steps for training.
        targets: the column to predict.

    Returns:
        A row per series, indexed by its name: ``mean`` and ``rms``, its change over a season (in
        units of the target, or as a share of the value before where returns are learned); where
        there are several series also ``static_*``, columns that a model sees.

    Raises:
        ConfigError: the use case has no series.
        DataError: returns are to be learned of values that are not above 0.
    """
    import pandas as pd

    from ratchet.learning.features.series import seasonal_change

    if data.series is None:
        raise ConfigError("data.series: expected the parameters of a time series")
    target = only_target(targets)
    values = panel(primary, target.column)
    _check_returns(values, target)
    known, season = values[: count_train_steps(values, data.split)], data.series.season
    mean, rms, _ = seasonal_change(known, season, relative=target.learn == "return")
    columns = {"mean": mean, "rms": rms} | (_static(known, season) if data.series.id else {})
    names = pd.Index(primary[SERIES].iloc[: values.shape[1]], name=SERIES)
    return pd.DataFrame(columns, index=names)


def _check_returns(values: Any, target: Target) -> None:
    if target.learn == "return" and (low := values <= 0).any():
        raise DataError(
            f"column '{target.column}': returns (learn: return) need values above 0; "
            f"{int(low.sum())} of {values.size} are not"
        )


def _static(values: Any, season: int) -> dict[str, Any]:
    """What the training part of a panel says of every series, a value each."""
    import numpy as np

    from ratchet.learning.features.series import seasonal_change

    change = seasonal_change(values, season)[0]
    count = np.maximum(np.isfinite(values).sum(axis=0), 1)
    return {
        f"{STATIC_PREFIX}level": np.nansum(values, axis=0) / count / change,
        f"{STATIC_PREFIX}change": np.log(change),
        f"{STATIC_PREFIX}zeros": (values == 0).sum(axis=0) / count,
    }


def window_features(
    primary: DataFrame,
    data: Data,
    features: Features,
    targets: dict[str, Any],
    statistics: DataFrame,
    rows: Any = None,
    views: Sequence[Any] | None = None,
) -> DataFrame:
    """Gather what a forecast may see, for every step that is forecast.

    Args:
        primary: one row per step and series, ordered by time and series.
        data: time and season of the series.
        features: the windows, and what is known at the target time.
        targets: the column to predict.
        statistics: units of the series, see ``series_statistics``; a series that they do not know
            takes the mean of the others.
        rows: steps that are forecast, shape (steps, series); by default those with a ``split``.
        views: what ``make_views`` gives for these rows, where they were made before.

    Returns:
        Frame indexed by the row key, ordered by time and series: source columns of the features at
        the target time; ``split`` where the rows have it; windows, lags, rolling and naive columns;
        ``static_*`` where there are several series; the terms of the row (``series_*``) and
        ``target_*``, missing where it is not known.

    Raises:
        ConfigError: the use case has no series.
        DataError: returns are to be learned of values that are not above 0.
    """
    import pandas as pd

    from ratchet.dates import utc
    from ratchet.learning.features.windows import take, terms

    if data.series is None or data.time is None or features.windows is None:
        raise ConfigError("data.series and features.windows: expected parameters of a series")
    target = only_target(targets)
    values = panel(primary, target.column)
    _check_returns(values, target)
    if rows is None:
        rows = primary["split"].notna().to_numpy().reshape(values.shape)
    units = _units(statistics, primary[SERIES].iloc[: values.shape[1]])
    row_terms = terms(
        values, features.windows.horizon, target.learn, *units[["mean", "rms"]].to_numpy().T
    )
    chosen = primary[rows.ravel()].set_index(SERIES_KEY)
    views = views or make_views(primary, data, features, target)
    seen = take(views, rows, row_terms["level"], row_terms["scale"]).set_index(chosen.index)
    about: dict[str, Any] = {SERIES: chosen[SERIES], f"{SERIES_PREFIX}time": utc(chosen[data.time])}
    about |= {f"{SERIES_PREFIX}{name}": term[rows] for name, term in row_terms.items()}
    about[f"{TARGET_PREFIX}{target.column}"] = chosen[target.column].astype(float)
    named = [*features.columns, *(["split"] if "split" in chosen else [])]
    sources = chosen[named].rename(columns=apart)
    static = units.loc[:, units.columns.str.startswith(STATIC_PREFIX)]
    described = static.iloc[rows.nonzero()[1]].set_index(chosen.index)
    frame = pd.concat([sources, seen, described, pd.DataFrame(about)], axis=1)
    check_numbers(frame, features)
    return frame


def _units(statistics: DataFrame, names: Any) -> DataFrame:
    """Statistics in the order of the panel's series."""
    return statistics.reindex(names).fillna(statistics.mean())
