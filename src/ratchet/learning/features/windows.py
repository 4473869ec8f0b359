"""What a forecast may see of its series, as columns aligned with the target time.

Every column is a *view*: one panel, looked at so many steps before the target. The origin of a
forecast is ``horizon`` steps before its target; views of what is not known ahead look at the
origin or before it, and so no column can hold what comes after. The rows of a path have several
horizons: ``View.at`` gives the view of another one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.learning.features.series import Panel

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_PLACES = 2**16
"""Places of a panel of which rolling moments are computed at a time."""


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
        anchor: what its steps follow where the horizon is another one: nothing (``target``), the
            ``origin``, or the ``season`` before the target that reaches the origin; a ``step``
            shows the horizon itself.
        season: steps of that season.
    """

    name: str
    values: Panel
    steps: int
    rescaled: Literal["level", "scale"] | None = None
    depth: int = 0
    anchor: Literal["target", "origin", "season", "step"] = "target"
    season: int = 1

    def at(self, horizon: int, made_for: int) -> View:
        """The view of a forecast over another horizon than the one that it was made for."""
        if self.anchor == "step":
            return replace(self, values=np.broadcast_to(float(horizon), self.values.shape))
        by = 0
        if self.anchor == "origin":
            by = horizon - made_for
        elif self.anchor == "season":
            now, then = (seasons_back(n, self.season) for n in (horizon, made_for))
            by = self.season * (now - then)
        return replace(self, steps=self.steps + by) if by else self


def seasons_back(horizon: int, season: int) -> int:
    """How many seasons before its target a value is known at the origin."""
    return -(-horizon // season)


def spread_origins(count: int, season: int) -> int:
    """Steps between the origins of the paths of a series, by default.

    About one row for each time, as a forecast of one step has, however many times there are.

    Args:
        count: steps of a path.
        season: steps of a season. The result has no divisor in common with it: a step of the path
            would else always meet the same part of the season.
    """
    return next((n for n in range(count, 1, -1) if math.gcd(n, season) == 1), 1)


def rates_near_origin(count: int, total: float) -> Array:
    """How often each step of a path is drawn, where near ones count more: of 1, 2-3, 4-7 ... alike.

    Args:
        count: steps of the path.
        total: steps that are drawn in all, at most ``count``.

    Returns:
        Shape (count,), at most 1 each, with the sum ``total``.
    """
    weights = 0.5 ** np.floor(np.log2(np.arange(1, count + 1)))
    rates = np.zeros(count)
    while (left := total - rates.sum()) > 1e-9 * total:  # what is above 1 goes to the others
        weights = np.where(rates < 1, weights, 0.0)
        rates = np.minimum(rates + left * weights / weights.sum(), 1.0)
    return rates


def systematic_sample(rates: Array, start: Panel) -> Iterator[Mask]:
    """Steps that are drawn at some places, by systematic sampling (Madow 1949).

    Args:
        rates: how often each step is drawn, at most 1, shape (steps,).
        start: an even draw from [0, 1) for each place.

    Yields:
        For each step where it is drawn: in the share of places that its rate says, and as many
        steps at a place as the rates sum up to, rounded up or down.
    """
    ends = np.cumsum(rates)
    before = np.floor(start)
    for end in np.where(np.abs(ends - np.round(ends)) < 1e-9, np.round(ends), ends):
        reached = np.floor(start + end)
        yield reached > before
        before = reached


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
        mean, spread = rolling_moments(target, length)
        views += [
            View(f"rolling_mean_{length}", mean, horizon, "level", length - 1, "origin"),
            View(f"rolling_std_{length}", spread, horizon, "scale", length - 1, "origin"),
        ]
    return views


def rolling_moments(values: Panel, length: int) -> tuple[Panel, Panel]:
    """Mean and standard deviation (ddof 0) of the last ``length`` steps; NaN where one is missing.

    Windows of 1, 2, 4, ... steps are each two of half the length, and any length is a sum of them:
    nothing is taken away from a sum, so that a window of equal values has no spread. The moments of
    two windows together are those of Chan, Golub and LeVeque (1979, "Updating formulae and a
    pairwise algorithm for computing sample variances").
    """
    mean, spread = np.empty_like(values), np.empty_like(values)
    some = max(1, _PLACES // max(len(values), 1))
    for first in range(0, values.shape[1], some):  # what they take in between fits a cache
        part = slice(first, first + some)
        moments = _moments(np.ascontiguousarray(values[:, part]), length)
        mean[:, part], spread[:, part] = moments.mean, np.sqrt(moments.squares / length)
    return mean, spread


def _moments(values: Panel, length: int) -> _Moments:
    moments: _Moments | None = None
    half = _Moments(values, np.where(np.isfinite(values), 0.0, np.nan), 1)
    while True:
        if length & half.length:
            moments = half if moments is None else half.after(moments)
        if 2 * half.length > length:
            break
        half = half.after(half)
    assert moments is not None
    return moments


class _Moments(NamedTuple):
    """Mean, and sum of squared deviations from it, of the steps of a window up to each step."""

    mean: Panel
    squares: Panel
    length: int

    def after(self, earlier: _Moments) -> _Moments:
        """The window of these steps and of as many as the earlier one has before them."""
        length = self.length + earlier.length
        mean, squares = shift(earlier.mean, self.length), shift(earlier.squares, self.length)
        gap = self.mean - mean
        mean += gap * (self.length / length)
        gap *= gap
        gap *= self.length * earlier.length / length
        squares += self.squares
        squares += gap
        return _Moments(mean, squares, length)


def naive_views(target: Panel, horizon: int, seasons: Sequence[int]) -> list[View]:
    """Naive forecasts: the last value, and the value one season (or as many as needed) before.

    The first season is *the* season; the others have their length in the name.
    """
    views = [View("naive_persistence", target, horizon, "level", anchor="origin")]
    for i, season in enumerate(dict.fromkeys(seasons)):
        name = "naive_seasonal" if i == 0 else f"naive_seasonal_{season}"
        views.append(season_view(name, target, season, horizon))
    return views


def season_view(name: str, target: Panel, season: int, horizon: int) -> View:
    """The value one season before the target, or as many as it takes to reach the origin."""
    steps = season * seasons_back(horizon, season)
    return View(name, target, steps, "level", anchor="season", season=season)


def lag_views(target: Panel, lags: Iterable[int], horizon: int, *, path: bool) -> list[View]:
    """Earlier values of the target.

    Args:
        target: the values to forecast.
        lags: steps before the target. Those below the horizon are left out; of a path they are
            counted from the step after the origin.
        horizon: steps from the origin to the target, of a path to its last one.
        path: whether there are rows of shorter horizons, too.
    """
    views = []
    for lag in lags:
        if lag >= horizon:
            views.append(View(f"lag_{lag}", target, lag, "level"))
        elif path:
            steps = horizon + lag - 1
            views.append(View(f"lag_{lag}", target, steps, "level", anchor="origin"))
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


def complete_by_horizon(
    views: Sequence[View], made_for: int, horizons: Iterable[int]
) -> Iterator[tuple[int, Mask]]:
    """Rows of which every view is known, for each of some horizons.

    Equal to ``complete_rows`` of the views at each horizon. What follows the origin is looked at
    once, and moved.

    Args:
        views: the columns.
        made_for: horizon that they are made for.
        horizons: the horizons.
    """
    shape = views[0].values.shape
    fixed = [view for view in views if view.anchor in ("target", "step")]
    moving = [
        replace(view, steps=view.steps - made_for) for view in views if view.anchor == "origin"
    ]
    seasonal = [view for view in views if view.anchor == "season"]
    at_target = complete_rows(fixed) if fixed else np.ones(shape, dtype=bool)
    at_origin = complete_rows(moving) if moving else np.ones(shape, dtype=bool)
    by_seasons: dict[tuple[int, ...], Mask] = {}
    for horizon in horizons:
        seasons = tuple(seasons_back(horizon, view.season) for view in seasonal)
        if seasonal and seasons not in by_seasons:
            by_seasons[seasons] = complete_rows([view.at(horizon, made_for) for view in seasonal])
        complete = at_target & by_seasons[seasons] if seasonal else at_target.copy()
        complete[:horizon] = False
        complete[horizon:] &= at_origin[: max(len(complete) - horizon, 0)]
        yield horizon, complete


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
    places, n_series = np.flatnonzero(rows), rows.shape[1]
    row_level, row_scale = level[rows], scale[rows]
    taken = np.empty((len(views), len(places)), dtype=np.float32)
    for column, view in zip(taken, views, strict=True):
        values = view.values.ravel()[places - view.steps * n_series]
        if view.rescaled == "level":
            values = values - row_level
        column[:] = values if view.rescaled is None else values / row_scale
    return pd.DataFrame(taken.T, columns=[view.name for view in views], copy=False)


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
    # What is the same at all steps is not written out for each of them.
    level = np.broadcast_to(0.0, target.shape) if learn == "value" else shift(target, horizon)
    unit = np.abs(level) if learn == "return" else 1.0
    scales = {"scale": unit * mean, "rms": unit * rms}
    return {"level": level} | {
        name: np.broadcast_to(values, target.shape) for name, values in scales.items()
    }
