"""What a forecast may see of its series, as columns aligned with the target time.

Every column is a *view*: one panel, looked at so many steps before the target. The origin of a
forecast is ``horizon`` steps before its target; views of what is not known ahead look at the
origin or before it, and so no column can hold what comes after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.learning.features.series import Panel

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class View:
    """One column of the model input.

    Attributes:
        name: name of the column.
        values: panel that it shows.
        steps: how many steps before the target it looks.
        rescaled: ``level`` for values of the target, which become ``(value - level) / scale`` as
            the target of the row does; ``scale`` for a spread of them, which becomes ``value /
            scale``; ``None`` for anything else, which stays as it is.
        depth: how many steps more its values themselves look back, as a mean does.
    """

    name: str
    values: Panel
    steps: int
    rescaled: Literal["level", "scale"] | None = None
    depth: int = 0


def shift(values: Panel, steps: int) -> Panel:
    """The panel so many steps before; NaN before its beginning."""
    earlier = np.full_like(values, np.nan)
    earlier[steps:] = values[: max(len(values) - steps, 0)]
    return earlier


def transform(values: Panel, transformation: str) -> Panel:
    """A panel as its ``value``, ``log1p``, ``change`` or ``log_change`` from the step before.

    Where a logarithm does not exist, the value is missing.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if transformation == "log1p":
            changed = np.log1p(values)
        elif transformation == "change":
            changed = values - shift(values, 1)
        elif transformation == "log_change":
            changed = np.log(values) - np.log(shift(values, 1))
        else:
            changed = values
    return np.where(np.isfinite(changed), changed, np.nan)


def window_views(channels: Sequence[View], lookback: int) -> list[View]:
    """Views of a window: every channel at ``lookback`` steps, oldest step first.

    Args:
        channels: how each channel looks at the last step of the window, which is called ``00``.
        lookback: steps of the window.
    """
    return [
        replace(channel, name=f"{channel.name}_{step:02d}", steps=channel.steps + step)
        for step in reversed(range(lookback))
        for channel in channels
    ]


def rolling_views(target: Panel, lengths: Iterable[int], horizon: int) -> list[View]:
    """Mean and spread of the target over so many steps up to the origin."""
    views = []
    for length in lengths:
        rolling = pd.DataFrame(target).rolling(length)
        mean, spread = rolling.mean().to_numpy(), rolling.std(ddof=0).to_numpy()
        views += [
            View(f"rolling_mean_{length}", mean, horizon, "level", length - 1),
            View(f"rolling_std_{length}", spread, horizon, "scale", length - 1),
        ]
    return views


def naive_views(target: Panel, horizon: int, seasons: Sequence[int]) -> list[View]:
    """Naive forecasts: the last value, and the value one season (or as many as needed) before.

    The first season is *the* season; the others have their length in the name.
    """
    views = [View("naive_persistence", target, horizon, "level")]
    for i, season in enumerate(dict.fromkeys(seasons)):
        name = "naive_seasonal" if i == 0 else f"naive_seasonal_{season}"
        views.append(View(name, target, season * -(-horizon // season), "level"))
    return views


def max_lookback(views: Iterable[View]) -> int:
    """How many steps before the target the views look at most."""
    return max(view.steps + view.depth for view in views)


def complete_rows(views: Sequence[View]) -> Mask:
    """Rows of which every view is known, shape (steps, series)."""
    complete = np.ones_like(views[0].values, dtype=bool)
    finite: dict[int, Mask] = {}  # many views show one panel, at different steps
    for view in views:
        if id(view.values) not in finite:
            finite[id(view.values)] = np.isfinite(view.values)
        complete[: view.steps] = False
        complete[view.steps :] &= finite[id(view.values)][: max(len(complete) - view.steps, 0)]
    return complete


def select_rows(views: Sequence[View], rows: Mask, level: Panel, scale: Panel) -> pd.DataFrame:
    """Views of the chosen rows.

    Args:
        views: the columns.
        rows: the rows, shape (steps, series).
        level: level of every row, shape (steps, series).
        scale: scale of every row, shape (steps, series).

    Returns:
        float32 frame of shape (rows, views), ordered by time and series.
    """
    where, columns = np.nonzero(rows)
    row_level, row_scale = level[rows], scale[rows]
    taken = np.empty((len(views), len(where)), dtype=np.float32)
    for column, view in zip(taken, views, strict=True):
        values = view.values[where - view.steps, columns]
        if view.rescaled == "level":
            values = values - row_level
        column[:] = values if view.rescaled is None else values / row_scale
    return pd.DataFrame(taken.T, columns=[view.name for view in views])


def target_scaling(
    target: Panel, horizon: int, learn: str, mean: Panel, rms: Panel
) -> Mapping[str, Panel]:
    """How the target of each row is scaled to be learned: ``z = (y - level) / scale``.

    Args:
        target: the values to forecast.
        horizon: steps from the origin to the target.
        learn: ``value``: level 0 and the series' mean change over a season as scale, so that the
            mean error of ``z`` is MASE; ``change``: the same scale, with the value at the origin as
            level; ``return``: the value at the origin is the level, and the scale is the series'
            mean relative change over a season, times that value.
        mean: mean change over a season of each series, shape (series,), see ``seasonal_change``;
            relative for ``return``.
        rms: root mean square of the same change, shape (series,).

    Returns:
        ``level``, ``scale`` and ``rms`` (scale by the root mean square), shape (steps, series).
    """
    origin = shift(target, horizon)
    unit = np.abs(origin) if learn == "return" else np.ones_like(target)
    level = np.zeros_like(target) if learn == "value" else origin
    return {"level": level, "scale": unit * mean, "rms": unit * rms}
