"""Rows of a market as one grid of segments by time steps.

A segment is one product at one merchant. All segments share a grid of time steps, so that whatever
is done for one is done for all by one array operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

LEVEL, PRICE = 0, 1
"""Columns of every design: the constant and the centred log price."""


class Unusable(StrEnum):
    """Why a row cannot enter a model in logs."""

    MISSING_QUANTITY = "quantity is missing or infinite"
    NEGATIVE_QUANTITY = "quantity is negative"
    ZERO_QUANTITY = "quantity is zero"
    MISSING_PRICE = "price is missing or infinite"
    PRICE_NOT_POSITIVE = "price is zero or negative"


@dataclass(frozen=True)
class RowCheck:
    """Which rows can enter a model in logs.

    Attributes:
        usable: shape (n,).
        rows: reason -> rows that it excludes, shape (n,); the first reason counts.
    """

    usable: Flags
    rows: dict[Unusable, Flags]

    @property
    def counts(self) -> dict[Unusable, int]:
        """Reason -> number of rows, reasons without rows left out."""
        return {reason: int(rows.sum()) for reason, rows in self.rows.items() if rows.any()}


def check_rows(quantity: npt.ArrayLike, price: npt.ArrayLike) -> RowCheck:
    """Find the rows whose quantity and price have logarithms.

    Args:
        quantity: units sold, shape (n,).
        price: price per unit, shape (n,).
    """
    sold = np.asarray(quantity, dtype=np.float64)
    paid = np.asarray(price, dtype=np.float64)
    tests = {
        Unusable.MISSING_QUANTITY: ~np.isfinite(sold),
        Unusable.NEGATIVE_QUANTITY: sold < 0,
        Unusable.ZERO_QUANTITY: sold == 0,
        Unusable.MISSING_PRICE: ~np.isfinite(paid),
        Unusable.PRICE_NOT_POSITIVE: paid <= 0,
    }
    usable = np.ones(sold.shape, dtype=np.bool_)
    rows = {}
    for reason, fails in tests.items():
        rows[reason] = usable & fails
        usable &= ~fails
    return RowCheck(usable, rows)


@dataclass(frozen=True)
class Rows:
    """Rows of a market in long form.

    Attributes:
        segment: code of the segment, shape (n,).
        product: code of its product, shape (n,).
        step: number of the time step, shape (n,).
        log_price: shape (n,).
        covariates: shape (n, C).
        log_quantity: shape (n,).
    """

    segment: Codes
    product: Codes
    step: Array
    log_price: Array
    covariates: Array
    log_quantity: Array

    def where(self, chosen: Flags) -> Rows:
        """Take the chosen rows, shape (n,) of flags."""
        return Rows(
            self.segment[chosen],
            self.product[chosen],
            self.step[chosen],
            self.log_price[chosen],
            self.covariates[chosen],
            self.log_quantity[chosen],
        )


@dataclass(frozen=True)
class Layout:
    """Which columns of time a design has.

    Attributes:
        harmonics: pairs of sine and cosine of the season; 0 for no season.
        trend: whether there is a linear trend.
        period: steps of a season.
        centre: step at which the trend is 0.
        span: steps over which the trend grows by 1.
    """

    harmonics: int
    trend: bool
    period: float
    centre: float
    span: float

    def columns(self, step: Array) -> Array:
        """Season and trend at the given steps, shape (n, 2 * harmonics + trend)."""
        angle = 2 * np.pi * step / self.period if self.harmonics else step
        season = [
            wave(order * angle)
            for order in range(1, self.harmonics + 1)
            for wave in (np.sin, np.cos)
        ]
        trend = [(step - self.centre) / self.span] if self.trend else []
        return np.column_stack([*season, *trend]) if season or trend else np.empty((len(step), 0))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        waves = [
            f"{wave}_{order}" for order in range(1, self.harmonics + 1) for wave in ("sin", "cos")
        ]
        return (*waves, *(["trend"] if self.trend else []))


@dataclass(frozen=True)
class Segments:
    """Segments of a panel and where their columns are centred.

    Attributes:
        codes: codes of the S segments, ascending.
        products: codes of the P products, ascending.
        product_of: for each segment the position of its product in ``products``, shape (S,).
        price_centre: mean log price of each segment, shape (S,).
        covariate_centre: shape (S, C).
        covariate_scale: standard deviation within segments, infinite where there is none, shape
            (C,).
    """

    codes: Codes
    products: Codes
    product_of: Codes
    price_centre: Array
    covariate_centre: Array
    covariate_scale: Array


@dataclass(frozen=True)
class Panel:
    """Rows of all segments on one grid; cells without a row hold zeros.

    Log prices and covariates are deviations from the mean of their segment, covariates in units of
    their standard deviation within segments (those without any stay 0).

    Attributes:
        segments: the S segments.
        steps: the T distinct time steps, ascending.
        mask: 1.0 where there is a row, shape (S, T).
        log_quantity: shape (S, T).
        log_price: centred, shape (S, T).
        covariates: centred and scaled, shape (S, T, C).
    """

    segments: Segments
    steps: Array
    mask: Array
    log_quantity: Array
    log_price: Array
    covariates: Array

    @property
    def product_of(self) -> Codes:
        """Position of the product of each segment, shape (S,)."""
        return self.segments.product_of

    @property
    def n_products(self) -> int:
        """Number of products, P."""
        return len(self.segments.products)

    def layout(self, *, harmonics: int, trend: bool, period: float) -> Layout:
        """Columns of time for this panel: without a season where there is no period."""
        span = float(self.steps[-1] - self.steps[0]) or 1.0
        centre = float(self.steps[-1] + self.steps[0]) / 2
        return Layout(harmonics if period > 0 else 0, trend, period, centre, span)

    def design(self, layout: Layout) -> Array:
        """Columns constant, log price, covariates, season, trend: shape (S, T, K), masked."""
        time = layout.columns(self.steps)
        S, T = self.mask.shape
        parts = [
            np.ones((S, T, 1)),
            self.log_price[..., None],
            self.covariates,
            np.broadcast_to(time, (S, T, time.shape[1])),
        ]
        design: Array = np.concatenate(parts, axis=2) * self.mask[..., None]
        return design


def build_panel(rows: Rows) -> Panel:
    """Lay rows out as a grid of segments by time steps.

    Raises:
        ValueError: no rows, two rows of one segment in one step, or a segment with two products.
    """
    if not len(rows.segment):
        raise ValueError("there are no rows to learn a demand from")
    segments, position = np.unique(rows.segment, return_inverse=True)
    steps, time = np.unique(rows.step, return_inverse=True)
    products, product = np.unique(rows.product, return_inverse=True)
    _check_unique(rows, position, time, len(steps))
    shape = len(segments), len(steps)
    mask = np.zeros(shape)
    mask[position, time] = 1.0
    count = mask.sum(axis=1)

    def grid(values: Array) -> Array:
        cells = np.zeros((*shape, *values.shape[1:]))
        cells[position, time] = values
        return cells

    price_centre = grid(rows.log_price).sum(axis=1) / count
    centre = grid(rows.covariates).sum(axis=1) / count[:, None]
    centred = rows.covariates - centre[position]
    scale = np.sqrt((centred**2).mean(axis=0))
    varies = scale > 1e-9 * (1 + np.abs(rows.covariates).max(axis=0, initial=0.0))
    return Panel(
        segments=Segments(
            codes=segments,
            products=products,
            product_of=_products_of_segments(rows, segments, position, product),
            price_centre=price_centre,
            covariate_centre=centre,
            covariate_scale=np.where(varies, scale, np.inf),
        ),
        steps=steps,
        mask=mask,
        log_quantity=grid(rows.log_quantity),
        log_price=grid(rows.log_price - price_centre[position]),
        covariates=grid(np.where(varies, centred / np.where(varies, scale, 1.0), 0.0)),
    )


def _check_unique(rows: Rows, position: Codes, time: Codes, n_steps: int) -> None:
    cell, count = np.unique(position * n_steps + time, return_counts=True)
    if (count > 1).any():
        first = np.flatnonzero(position * n_steps + time == cell[np.argmax(count > 1)])[0]
        raise ValueError(
            f"{int((count > 1).sum())} cells have several rows: each segment has one row per time "
            f"step; the first one is segment {rows.segment[first]} at step {rows.step[first]:g}"
        )


def _products_of_segments(rows: Rows, segments: Codes, position: Codes, product: Codes) -> Codes:
    product_of = np.empty(len(segments), dtype=np.int64)
    product_of[position] = product
    other = product_of[position] != product
    if other.any():
        raise ValueError(
            f"segment {rows.segment[np.argmax(other)]} has rows of several products: a segment is "
            f"one product at one merchant"
        )
    return product_of


def residual_price_variation(panel: Panel, groups: Sequence[int] | Codes) -> float:
    """Share of the variance of log prices that effects of group and step would leave.

    Args:
        panel: the rows.
        groups: group of each segment, shape (S,).
    """
    group = np.asarray(groups, dtype=np.int64)
    total = float((panel.log_price**2).sum())
    if total <= 0:
        return 0.0
    shape = int(group.max()) + 1, panel.mask.shape[1]
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, group, panel.log_price)
    np.add.at(counts, group, panel.mask)
    common = (sums / np.maximum(counts, 1.0))[group] * panel.mask
    left = panel.log_price - common
    left -= (left.sum(axis=1) / panel.mask.sum(axis=1))[:, None] * panel.mask
    return float((left**2).sum()) / total
