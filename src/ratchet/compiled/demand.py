"""Demand models of segments as programs, see ``learning.baselines`` and ``learning.demand``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.compiled.models import Array, Program
from ratchet.compiled.serialization import program

Codes = NDArray[np.int64]


@program
@dataclass(frozen=True)
class OfSegment:
    """A value by segment, or by segment and step of the season.

    Attributes:
        segment: place of the code of the segment.
        step: place of the number of the step.
        table: by code and step of the season, that of new segments last, shape (S + 1, season).
    """

    segment: int
    step: int
    table: Array

    def __call__(self, X: Array) -> Array:
        """Values of shape (n,)."""
        last, season = self.table.shape[0] - 1, self.table.shape[1]
        phase = np.mod(X[:, self.step].astype(np.float64), season).astype(np.int64)
        result: Array = self.table[_codes(X[:, self.segment], last), phase]
        return result


@program
@dataclass(frozen=True)
class SegmentColumns:
    """Columns and what is unusual for the segment in them, see ``learning.baselines``.

    Attributes:
        places: of the columns that stay.
        segment: place of the code of the segment.
        step: place of the number of the step.
        price: place of the log price.
        period: steps of a season.
        centre: mean log price by code, that of new segments last, shape (S + 1,).
        covariates: places of the covariates, C.
        covariate_centre: their means by code, shape (S + 1, C).
    """

    places: tuple[int, ...]
    segment: int
    step: int
    price: int
    period: int
    centre: Array
    covariates: tuple[int, ...]
    covariate_centre: Array

    def __call__(self, X: Array) -> Array:
        """Columns of shape (n, those that stay + C + 3)."""
        rows = X.astype(np.float64, copy=False)
        phase = np.mod(rows[:, self.step], self.period).astype(np.int64)
        at = _codes(rows[:, self.segment], len(self.centre) - 1)
        unusual = rows[:, list(self.covariates)] - self.covariate_centre[at]
        price, usual = rows[:, self.price], self.centre[at]
        return np.column_stack([rows[:, list(self.places)], unusual, phase, usual, price - usual])


def _codes(code: Array, new: int) -> Codes:
    return np.where((code >= 0) & (code < new), code, new).astype(np.int64)


@program
@dataclass(frozen=True)
class Demand:
    """Forecasts of ``DemandRegressor``.

    What belongs to a segment is in S rows, followed by one for new segments of each of the P
    products, and a last one for those of new products.

    Attributes:
        places: of segment, product, step and log price.
        covariates: places of the covariates, C.
        segments: codes of the segments, ascending.
        products: codes of the products, ascending.
        coefficients: shape (S + P + 1, K).
        price_centre: shape (S + P + 1,).
        covariate_centre: shape (S + P + 1, C).
        covariate_scale: shape (C,).
        carried: what goes on of the latest residuals, shape (S,).
        harmonics: pairs of sine and cosine of the season.
        trend: whether there is a linear trend, 0 at ``centre`` and growing by 1 over ``span``.
        period: steps of a season; 0 for none.
        centre: step.
        span: steps.
        steps: those of training, shape (T,).
        season: market effects of training times the share that forecasts expect again, by market
            and step, shape (M, T); one of shape (0, 0) for none.
        markets: market of each product, shape (P,).
    """

    places: tuple[int, ...]
    covariates: tuple[int, ...]
    segments: Codes
    products: Codes
    coefficients: Array
    price_centre: Array
    covariate_centre: Array
    covariate_scale: Array
    carried: Array
    harmonics: int
    trend: bool
    period: float
    centre: float
    span: float
    steps: Array
    season: Array
    markets: Codes

    def __call__(self, X: Array) -> Array:
        """Log quantities of shape (n,)."""
        rows = X.astype(np.float64, copy=False)
        segment, product, step, price = (rows[:, position] for position in self.places)
        own, kind = _positions(self.segments, segment), _positions(self.products, product)
        n = len(self.segments)
        at = np.where(own >= 0, own, np.where(kind >= 0, n + kind, n + len(self.products)))
        moved = rows[:, list(self.covariates)] - self.covariate_centre[at]
        columns = [
            np.ones((len(rows), 1)),
            (price - self.price_centre[at])[:, None],
            moved / self.covariate_scale,
            *self._time(step),
        ]
        level = (np.concatenate(columns, axis=1) * self.coefficients[at]).sum(axis=1)
        carried = np.where(own >= 0, self.carried[own], 0.0)
        result: Array = level + carried
        return result + self._seasonal(step, kind) if self.season.size else result

    def _time(self, step: Array) -> list[Array]:
        columns = []
        for order in range(1, self.harmonics + 1):
            angle = order * (2 * np.pi * step / self.period)
            columns += [np.sin(angle)[:, None], np.cos(angle)[:, None]]
        if self.trend:
            columns.append(((step - self.centre) / self.span)[:, None])
        return columns

    def _seasonal(self, step: Array, product: Codes) -> Array:
        """Market effects at the same time of earlier seasons."""
        apart, half = step[:, None] - self.steps, self.period / 2
        weight = np.maximum(1 - np.abs((apart + half) % self.period - half) / 2, 0.0)
        weight = np.where(apart > half, weight, 0.0)
        means = weight @ self.season.T / np.maximum(weight.sum(axis=1, keepdims=True), 1.0)
        own = means[np.arange(len(step)), self.markets[product]]
        return np.where(product >= 0, own, means.mean(axis=1))


def _positions(codes: Codes, chosen: Array) -> Codes:
    whole = chosen.astype(np.int64)
    at = np.minimum(np.searchsorted(codes, whole), len(codes) - 1)
    return np.where(codes[at] == whole, at, -1)


def compile_demand(model: Any, positions: tuple[int, ...], covariates: tuple[int, ...]) -> Program:
    """Turn a fitted ``DemandRegressor`` into a program.

    Args:
        model: the regressor.
        positions: columns of segment, product, step and log price.
        covariates: positions of all other columns.
    """
    fitted, settings = model.forecast_, model.settings_
    segments, hierarchy, layout = fitted.segments, fitted.hierarchy, fitted.layout
    n_products = len(segments.products)
    sums = np.zeros((n_products, 1 + segments.covariate_centre.shape[1]))
    own = np.column_stack([segments.price_centre, segments.covariate_centre])
    np.add.at(sums, segments.product_of, own)
    of_product = sums / np.bincount(segments.product_of, minlength=n_products)[:, None]
    centres = np.vstack([own, of_product, own.mean(axis=0)])
    means = [hierarchy.product_mean, np.reshape(hierarchy.overall_mean, (1, -1))]
    carried = np.zeros(len(segments.codes))
    if settings.carry:
        at = fitted.carry_half_lives.index(settings.carry_half_life)
        carried = settings.carry * fitted.recent[at]
    share = settings.market_season if layout.period > 0 else 0.0
    season = share * hierarchy.market if share else np.zeros((0, 0))
    return Demand(
        places=positions,
        covariates=covariates,
        segments=segments.codes,
        products=segments.products,
        coefficients=np.vstack([hierarchy.coefficients, *means]),
        price_centre=centres[:, 0],
        covariate_centre=centres[:, 1:],
        covariate_scale=segments.covariate_scale,
        carried=carried,
        harmonics=int(layout.harmonics),
        trend=bool(layout.trend),
        period=float(layout.period),
        centre=float(layout.centre),
        span=float(layout.span),
        steps=fitted.steps,
        season=season,
        markets=hierarchy.market_of,
    )
