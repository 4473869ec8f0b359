"""From parameters to what a forecast may see: the columns of its windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ratchet.config import (
    AHEAD_PREFIX,
    SERIES_ID,
    WINDOW_PREFIX,
    Data,
    Features,
    Target,
    Windows,
)
from ratchet.errors import ConfigError
from ratchet.frames import DataFrame

SERIES = SERIES_ID
"""Column that names the series of a row."""


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
    return values.reshape(-1, primary[SERIES].nunique())


def make_views(primary: DataFrame, data: Data, features: Features, target: Target) -> list[Any]:
    """Views of all columns that are computed for a forecast.

    Args:
        primary: one row per step and series, ordered by time and series.
        data: the season of the series.
        features: the windows, and how columns that are known ahead are encoded.
        target: what is forecast.
    """
    from ratchet.learning.features.base import numbered
    from ratchet.learning.features.windows import (
        View,
        naive_views,
        rolling_views,
        window_views,
    )

    windows = features.windows
    if windows is None or data.series is None:
        raise ConfigError("data.series and features.windows: expected parameters of a series")
    values = panel(primary, target.column)
    channels = [
        *_past(primary, windows, target),
        *_known(primary, features, windows),
        *(
            View(f"{AHEAD_PREFIX}{target.column}_season{season}", values, season, "level")
            for season in windows.seasons
        ),
    ]
    names = numbered(channel.name for channel in channels)  # `hour_sin` may be a column, too
    channels = [replace(one, name=name) for one, name in zip(channels, names, strict=True)]
    lags = [View(f"lag_{n}", values, n, "level") for n in windows.lags if n >= windows.horizon]
    return [
        *window_views(channels, windows.lookback),
        *lags,
        *rolling_views(values, windows.rolling, windows.horizon),
        *naive_views(values, windows.horizon, [data.series.season, *windows.seasons]),
    ]


def _past(primary: DataFrame, windows: Windows, target: Target) -> list[Any]:
    """What is known up to the origin; the target itself in the terms of the row."""
    from ratchet.learning.features.windows import View, transform

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


def _known(primary: DataFrame, features: Features, windows: Windows) -> list[Any]:
    """What is known of the step that lies ``horizon`` ahead of each step of the window."""
    from ratchet.learning.features.encoders import CyclicEncoder
    from ratchet.learning.features.windows import View

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
        encoded = encoder.fit_transform(primary[[column]]).assign(**{SERIES: primary[SERIES]})
        views += [
            View(f"{AHEAD_PREFIX}{name}", panel(encoded, name), 0)
            for name in encoder.get_feature_names_out()
        ]
    return views
