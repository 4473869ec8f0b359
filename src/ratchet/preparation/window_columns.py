"""Features of the steps of time series: windows, lags and naive columns, scaled per series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import (
    AHEAD_PREFIX,
    ONE_WINDOW,
    SERIES_ID,
    SERIES_KEY,
    SERIES_PREFIX,
    STATIC_PREFIX,
    TARGET_PREFIX,
    WINDOW_PREFIX,
    Data,
    Evaluation,
    Features,
    Target,
    Windows,
    apart,
)
from ratchet.dates import utc
from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame
from ratchet.learning.features.base import number_duplicates
from ratchet.learning.features.encoders import CyclicEncoder
from ratchet.learning.features.series import seasonal_change
from ratchet.learning.features.windows import (
    View,
    naive_views,
    rolling_views,
    select_rows,
    target_scaling,
    transform,
    window_views,
)
from ratchet.preparation.checks import check_numbers, check_windows
from ratchet.preparation.splits import count_train_steps
from ratchet.preparation.steps import only_target


def panel(primary: DataFrame, column: str) -> Any:
    """A column as an array of shape (steps, series).

    Raises:
        ConfigError: the column holds no numbers.
    """
    try:
        values = primary[column].to_numpy(dtype=float)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"parameter features.windows: column '{column}' must hold numbers: {error}"
        ) from None
    return values.reshape(-1, primary[SERIES_ID].nunique())


def make_views(primary: DataFrame, data: Data, features: Features, target: Target) -> list[Any]:
    """Views of all columns that are computed for a forecast.

    Args:
        primary: one row per step and series, ordered by time and series.
        data: the season of the series.
        features: the windows, and how columns that are known ahead are encoded.
        target: what is forecast.
    """
    windows = features.windows
    if windows is None or data.series is None:
        raise ConfigError("data.series and features.windows: expected parameters of a series")
    values = panel(primary, target.column)
    channels = [
        *_past(primary, windows, target),
        *_known_ahead(primary, features, windows),
        *(
            View(f"{AHEAD_PREFIX}{target.column}_season{season}", values, season, "level")
            for season in windows.seasons
        ),
    ]
    names = number_duplicates(
        channel.name for channel in channels
    )  # `hour_sin` may be a column, too
    channels = [replace(one, name=name) for one, name in zip(channels, names, strict=True)]
    lags = [View(f"lag_{n}", values, n, "level") for n in windows.lags if n >= windows.horizon]
    return [
        *window_views(channels, windows.lookback),
        *lags,
        *rolling_views(values, windows.rolling, windows.horizon),
        *naive_views(values, windows.horizon, [data.series.season, *windows.seasons]),
    ]


def _past(primary: DataFrame, windows: Windows, target: Target) -> list[Any]:
    """Values up to the origin; those of the target by the level and scale of the row."""
    return [
        View(
            f"{WINDOW_PREFIX}{column}",
            transform(panel(primary, column), transformation),
            windows.horizon,
            "level" if column == target.column and transformation == "value" else None,
            int(transformation.endswith("change")),
        )
        for column, transformation in windows.past.items()
    ]


def _known_ahead(primary: DataFrame, features: Features, windows: Windows) -> list[Any]:
    """Values known ahead, of the step ``horizon`` after each step of the window."""
    views = []
    for column in windows.known:
        if column in features.cyclic:
            encoder = CyclicEncoder(period=features.cyclic[column])
        elif column in features.numeric:
            views.append(View(f"{AHEAD_PREFIX}{column}", panel(primary, column), 0))
            continue
        else:
            raise ConfigError(
                f"parameter features.windows.known: '{column}' must be among the numeric or cyclic "
                f"features; categories are seen at the target time alone"
            )
        encoded = encoder.fit_transform(primary[[column]]).assign(**{SERIES_ID: primary[SERIES_ID]})
        views += [
            View(f"{AHEAD_PREFIX}{name}", panel(encoded, name), 0)
            for name in encoder.get_feature_names_out()
        ]
    return views


def series_statistics(
    primary: DataFrame,
    data: Data,
    targets: Mapping[str, Target],
    evaluation: Evaluation = ONE_WINDOW,
) -> DataFrame:
    """What the training steps say of every series.

    They are learned once and kept with the model: were they computed again from data that have
    grown, a model would be asked in other units than it was fitted in.

    Args:
        primary: one row per step and series, ordered by time and series.
        data: the season of the series, and the share of steps for training.
        targets: the column to predict.
        evaluation: the windows of the test part.

    Returns:
        A row per series, indexed by its name: ``mean`` and ``rms``, its change over a season (in
        units of the target, or as a share of the value before where returns are learned); where
        there are several series also ``static_*``, columns that a model sees.

    Raises:
        ConfigError: the use case has no series.
        DataError: returns are to be learned of values that are not above 0.
    """
    if data.series is None:
        raise ConfigError("data.series: expected the parameters of a time series")
    target = only_target(targets)
    values = panel(primary, target.column)
    _check_returns(values, target)
    train, season = values[: count_train_steps(values, data.split, evaluation)], data.series.season
    mean, rms, _ = seasonal_change(train, season, relative=target.learn == "return")
    columns = {"mean": mean, "rms": rms} | (_static(train, season) if data.series.id else {})
    names = pd.Index(primary[SERIES_ID].iloc[: values.shape[1]], name=SERIES_ID)
    return pd.DataFrame(columns, index=names)


def _check_returns(values: Any, target: Target) -> None:
    if target.learn == "return" and (low := values <= 0).any():
        raise DataError(
            f"column '{target.column}': returns (learn: return) need values above 0; "
            f"{int(low.sum())} of {values.size} are not"
        )


def _static(values: Any, season: int) -> dict[str, Any]:
    """What the training part of a panel says of every series, a value each."""
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
    targets: Mapping[str, Target],
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
    if data.series is None or data.time is None or features.windows is None:
        raise ConfigError("data.series and features.windows: expected parameters of a series")
    target = only_target(targets)
    values = panel(primary, target.column)
    _check_returns(values, target)
    if rows is None:
        rows = primary["split"].notna().to_numpy().reshape(values.shape)
    units = _units(statistics, primary[SERIES_ID].iloc[: values.shape[1]])
    row_terms = target_scaling(
        values, features.windows.horizon, target.learn, *units[["mean", "rms"]].to_numpy().T
    )
    chosen = primary[rows.ravel()].set_index(SERIES_KEY)
    views = views or make_views(primary, data, features, target)
    columns = select_rows(views, rows, row_terms["level"], row_terms["scale"]).set_index(
        chosen.index
    )
    about: dict[str, Any] = {
        SERIES_ID: chosen[SERIES_ID],
        f"{SERIES_PREFIX}time": utc(chosen[data.time]),
    }
    about |= {f"{SERIES_PREFIX}{name}": term[rows] for name, term in row_terms.items()}
    about[f"{TARGET_PREFIX}{target.column}"] = chosen[target.column].astype(float)
    named = [*features.columns, *(["split"] if "split" in chosen else [])]
    sources = chosen[named].rename(columns=apart)
    static = units.loc[:, units.columns.str.startswith(STATIC_PREFIX)]
    described = static.iloc[rows.nonzero()[1]].set_index(chosen.index)
    frame = pd.concat([sources, columns, described, pd.DataFrame(about)], axis=1)
    check_numbers(frame, features)
    return frame


def _units(statistics: DataFrame, names: Any) -> DataFrame:
    """Statistics in the order of the panel's series."""
    return statistics.reindex(names).fillna(statistics.mean())


def build_windows(
    primary: DataFrame,
    data: Data,
    features: Features,
    targets: Mapping[str, Target],
    evaluation: Evaluation = ONE_WINDOW,
) -> tuple[DataFrame, DataFrame]:
    """Features of every step that is forecast, and the statistics of every series.

    Returns:
        As ``window_features`` and ``series_statistics``, of the training steps.

    Raises:
        ConfigError: windows cannot hold what they are to show.
    """
    check_windows(primary, features, only_target(targets))
    statistics = series_statistics(primary, data, targets, evaluation)
    return window_features(primary, data, features, targets, statistics), statistics
