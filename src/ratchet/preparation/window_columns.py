"""Features of the steps of time series: windows, lags and naive columns, scaled per series."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import (
    AHEAD_PREFIX,
    ONE_WINDOW,
    SERIES_ID,
    SERIES_KEY,
    SERIES_PREFIX,
    SERIES_STEP,
    STATIC_PREFIX,
    STEP,
    TARGET_PREFIX,
    WINDOW_PREFIX,
    Data,
    Evaluation,
    Features,
    Series,
    Target,
    Windows,
    apart,
    path_keys,
)
from ratchet.dates import utc
from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame
from ratchet.learning.features.base import number_duplicates
from ratchet.learning.features.encoders import CyclicEncoder
from ratchet.learning.features.series import seasonal_change
from ratchet.learning.features.windows import (
    View,
    complete_by_horizon,
    complete_rows,
    lag_views,
    naive_views,
    rates_near_origin,
    rolling_views,
    season_view,
    select_rows,
    spread_origins,
    systematic_sample,
    target_scaling,
    transform,
    window_views,
)
from ratchet.learning.holes import fill_holes
from ratchet.preparation.checks import check_numbers, check_windows
from ratchet.preparation.splits import SPLITS, count_train_steps
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

    Returns:
        The views of the horizon; of a path those of its last step.
    """
    windows = features.windows
    if windows is None or data.series is None:
        raise ConfigError("data.series and features.windows: expected parameters of a series")
    values, horizon = _filled(primary, target.column, data.series), windows.last
    step = np.broadcast_to(float(horizon), values.shape)
    channels = [
        *_past(primary, windows, target, data.series),
        *_known_ahead(primary, features, windows),
        *(
            season_view(f"{AHEAD_PREFIX}{target.column}_season{season}", values, season, horizon)
            for season in windows.seasons
        ),
        *([View(f"{AHEAD_PREFIX}{STEP}", step, 0, anchor="step")] if windows.path else []),
    ]
    names = number_duplicates(
        channel.name for channel in channels
    )  # `hour_sin` may be a column, too
    channels = [replace(one, name=name) for one, name in zip(channels, names, strict=True)]
    seen = window_views(channels, windows.lookback)
    newest = len(seen) - len(channels)
    for place, column in enumerate(windows.past, start=newest):
        if column in data.series.fill:  # a hole is over where the origin has a value of its own
            own = np.isfinite(panel(primary, column))
            seen[place] = replace(seen[place], values=np.where(own, seen[place].values, np.nan))
    return [
        *seen,
        *lag_views(values, windows.lags, horizon, path=windows.path is not None),
        *rolling_views(values, windows.rolling, horizon),
        *naive_views(values, horizon, [data.series.season, *windows.seasons]),
        *([View(STEP, step, 0, anchor="step")] if windows.path else []),
    ]


def _filled(primary: DataFrame, column: str, series: Series) -> Any:
    """A column as forecasts see it, with what its holes hold."""
    values = panel(primary, column)
    if column not in series.fill:
        return values
    return fill_holes(values, series.fill[column], series.season)


def _past(primary: DataFrame, windows: Windows, target: Target, series: Series) -> list[Any]:
    """Values up to the origin; those of the target by the level and scale of the row."""
    return [
        View(
            f"{WINDOW_PREFIX}{column}",
            transform(_filled(primary, column, series), transformation),
            windows.last,
            "level" if column == target.column and transformation == "value" else None,
            int(transformation.endswith("change")),
            "origin",
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
    return pd.DataFrame(columns, index=_series_names(primary, values.shape[1]))


def _series_names(primary: DataFrame, n_series: int) -> Any:
    return pd.Index(primary[SERIES_ID].iloc[:n_series].tolist(), name=SERIES_ID)


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
    rows: Mapping[int, Any] | None = None,
    views: Sequence[Any] | None = None,
    *,
    one_origin: bool = False,
) -> DataFrame:
    """Gather what a forecast may see, for every step that is forecast.

    Args:
        primary: one row per step and series, ordered by time and series.
        data: time and season of the series.
        features: the windows, and what is known at the target time.
        targets: the column to predict.
        statistics: units of the series, see ``series_statistics``; a series that they do not know
            takes the mean of the others.
        rows: horizon -> steps that are forecast over it, see ``forecast_rows``; by default those
            with a ``split``.
        views: what ``make_views`` gives for these rows, where they were made before.
        one_origin: whether each step is forecast from one origin, so that its key names the row of
            a path, too.

    Returns:
        Frame indexed by the row key, of paths with the step, see ``config.names.path_keys``;
        ordered by time and series. Source columns of the features at the target time; ``split``
        where the rows have it; windows, lags, rolling and naive columns; ``static_*`` where there
        are several series; the terms of the row (``series_*``) and ``target_*``, missing where it
        is not known.

    Raises:
        ConfigError: the use case has no series.
        DataError: returns are to be learned of values that are not above 0.
    """
    if data.series is None or data.time is None or features.windows is None:
        raise ConfigError("data.series and features.windows: expected parameters of a series")
    target = only_target(targets)
    values = panel(primary, target.column)
    _check_returns(values, target)
    units = _units(statistics, _series_names(primary, values.shape[1]))
    views = views or make_views(primary, data, features, target)
    if rows is None:
        in_part = primary["split"].notna().to_numpy().reshape(values.shape)
        rows = {features.windows.last: in_part}
        if features.path:
            train, validation = (
                (primary["split"] == part).to_numpy().reshape(values.shape) for part in SPLITS[:2]
            )
            drawn = train, validation
            paths = forecast_rows(primary, views, data, features, target, drawn=drawn)
            rows = {step: chosen & in_part for step, chosen in paths.items()}
    gather = partial(_gather, primary, data, features, target, units, views)
    if not features.path:
        (frame,) = (gather(chosen, step) for step, chosen in rows.items())
    else:
        frame = _in_order([gather(chosen, step) for step, chosen in rows.items()], rows)
        if not one_origin:
            frame.index = path_keys(frame.index, frame[SERIES_STEP]).rename(SERIES_KEY)
    check_numbers(frame, features)
    return frame


def _in_order(frames: Sequence[DataFrame], rows: Mapping[int, Any]) -> DataFrame:
    """Rows of all steps of a path by time, series and step."""
    places = np.concatenate([np.flatnonzero(chosen) for chosen in rows.values()])
    return pd.concat(frames).iloc[np.argsort(places, kind="stable")]


def _gather(
    primary: DataFrame,
    data: Data,
    features: Features,
    target: Target,
    units: DataFrame,
    views: Sequence[Any],
    rows: Any,
    step: int,
) -> DataFrame:
    """What forecasts of some rows see, so many steps before their time."""
    assert data.time is not None
    assert features.windows is not None
    values = panel(primary, target.column)
    row_terms = target_scaling(values, step, target.learn, *units[["mean", "rms"]].to_numpy().T)
    named = [*features.columns, *(["split"] if "split" in primary else [])]
    used = dict.fromkeys([SERIES_KEY, SERIES_ID, data.time, target.column, *named])
    chosen = primary[[*used]][rows.ravel()].set_index(SERIES_KEY)
    views = [view.at(step, features.windows.last) for view in views]
    columns = select_rows(views, rows, row_terms["level"], row_terms["scale"]).set_index(
        chosen.index
    )
    about: dict[str, Any] = {
        SERIES_ID: chosen[SERIES_ID],
        f"{SERIES_PREFIX}time": utc(chosen[data.time]),
    }
    about |= {f"{SERIES_PREFIX}{name}": term[rows] for name, term in row_terms.items()}
    if features.path:
        about[SERIES_STEP] = step
    about[f"{TARGET_PREFIX}{target.column}"] = chosen[target.column].astype(float)
    sources = chosen[named].rename(columns=apart)
    static = units.loc[:, units.columns.str.startswith(STATIC_PREFIX)]
    described = static.iloc[rows.nonzero()[1]].set_index(chosen.index)
    terms = pd.DataFrame(about, index=chosen.index, copy=False)
    return pd.concat([sources, columns, described, terms], axis=1)


def forecast_rows(
    primary: DataFrame,
    views: Sequence[Any],
    data: Data,
    features: Features,
    target: Target,
    requested: Any = None,
    drawn: tuple[Any, Any] | None = None,
) -> dict[int, Any]:
    """Steps of which a forecast knows everything that it looks at.

    Args:
        primary: one row per step and series, ordered by time and series.
        views: what ``make_views`` gives for it.
        data: the season of the series.
        features: which steps are forecast.
        target: what is forecast.
        requested: steps that are to be answered, shape (steps, series): those of a path are seen
            from the last step before them whose target is known. By default the steps of a path
            are seen from regular origins, see ``config.ForecastPath.every``.
        drawn: of paths where each time is seen from steps that are drawn instead, for training and
            for validation, see ``_drawn_steps``; both of a shape that fits (steps, series).

    Returns:
        Horizon -> which steps are forecast over it, shape (steps, series).
    """
    assert data.series is not None
    assert features.windows is not None
    windows, path = features.windows, features.windows.path
    if path is None:
        complete = complete_rows(views)
        return {windows.last: complete if requested is None else complete & requested}
    values = panel(primary, target.column)
    horizons = range(path.first, path.last + 1)
    if requested is None:
        every = path.every or spread_origins(len(horizons), data.series.season)
        names = primary[SERIES_ID].iloc[: values.shape[1]].astype(str)
        seeds = np.array([zlib.crc32(name.encode()) for name in names])
        phase = (np.arange(len(values))[:, None] + seeds % every) % every
        wanted = {step: phase == step % every for step in horizons}
        if drawn is not None:
            of_step = _drawn_steps(len(horizons), every, len(values), seeds, *drawn)
            elsewhere = ~(drawn[0] | drawn[1])
            wanted = {
                step: (wanted[step] & elsewhere) | chosen
                for step, chosen in zip(horizons, of_step, strict=True)
            }
    else:
        steps = np.maximum(_steps_since_known(values), path.first)
        wanted = {step: requested & (steps == step) for step in horizons}
    known = complete_by_horizon(views, path.last, horizons)
    return {step: wanted[step] & complete for step, complete in known}


def _drawn_steps(
    count: int, every: int, size: int, seeds: Any, train: Any, validation: Any
) -> Iterator[Any]:
    """Steps of a path from which each time is seen, as many as regular origins would give.

    Rows of one origin share all that is known there, and those of a few origins say little of it.
    Here each time is seen from other origins: by steps that are drawn, of a series the same ones
    however many times follow. In training near steps are drawn more often, as they have more to
    learn; in validation all alike, as they are scored.
    """
    start = np.empty((size, len(seeds)))
    for column, seed in zip(start.T, seeds, strict=True):
        column[:] = np.random.default_rng(seed).random(size)
    total = count / every
    learned = systematic_sample(rates_near_origin(count, total), start)
    scored = systematic_sample(np.full(count, total / count), start)
    for to_learn, to_score in zip(learned, scored, strict=True):
        yield (to_learn & train) | (to_score & validation)


def _steps_since_known(values: Any) -> Any:
    """Steps from the last known value before each step, shape (steps, series)."""
    at = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(np.isfinite(values), at, -len(values)), axis=0)
    before = np.concatenate([np.full_like(last[:1], -len(values)), last[:-1]])
    return at - before


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
