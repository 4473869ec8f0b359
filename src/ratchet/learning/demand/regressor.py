"""Demand of many segments as a scikit-learn regressor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from itertools import product as combinations
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from ratchet.learning.demand.hierarchy import (
    Hierarchy,
    HierarchySettings,
    Market,
    fit_hierarchy,
)
from ratchet.learning.demand.panel import Array, Codes, Flags, Layout, Rows, Segments, build_panel

COLUMNS = ("segment", "product", "step", "log_price")
"""Columns that every ``X`` has; all others are covariates."""

MARKETS: tuple[Market, ...] = ("none", "auto")
HALF_LIVES = (1 / 2, 1 / 4, 1 / 8)
"""Shares of all steps."""
CARRIES = (0.0, 0.25, 0.5, 0.75, 1.0)
CARRY_HALF_LIVES = (4.0, 13.0)
"""What the search tries, beside seasons and trends."""


@dataclass(frozen=True)
class ForecastSettings:
    """What the rolling origins choose.

    Attributes:
        harmonics: pairs of sine and cosine of the season.
        trend: whether each segment has a linear trend.
        half_life: steps after which a row counts half; ``None``: all rows count alike.
        market: see ``HierarchySettings``.
        market_season: share of the market effects of earlier seasons that forecasts expect again.
        carry: share of the recent residuals of a segment that forecasts carry forward.
        carry_half_life: steps after which a residual counts half among the recent ones.
    """

    harmonics: int = 2
    trend: bool = True
    half_life: float | None = None
    market: Market = "auto"
    market_season: float = 0.5
    carry: float = 0.5
    carry_half_life: float = 8.0


@dataclass(frozen=True)
class DemandModel:
    """A fitted hierarchy with all that turns rows into forecasts.

    Attributes:
        segments: those of training.
        steps: time steps of training, shape (T,).
        layout: columns of time.
        hierarchy: the coefficients.
        carry_half_lives: steps after which a residual counts half, H values.
        recent: weighted means of the latest residuals (market effects left in), shape (H, S). One
            row of zero is added to them: few residuals say little.
    """

    segments: Segments
    steps: Array
    layout: Layout
    hierarchy: Hierarchy
    carry_half_lives: tuple[float, ...]
    recent: Array

    def positions(self, segment: Codes) -> Codes:
        """Position of each code among the segments of training; -1 for one that is not there."""
        return _positions(self.segments.codes, segment)

    def predict(self, rows: Rows, settings: ForecastSettings) -> Array:
        """Forecast log quantities, shape (n,): a new segment has the means of its product."""
        forecast = self.level(rows)
        if settings.carry:
            forecast = forecast + settings.carry * self.carried(rows, settings.carry_half_life)
        if settings.market_season:
            forecast = forecast + settings.market_season * self.seasonal_market(rows)
        return forecast

    def level(self, rows: Rows) -> Array:
        """What the coefficients give, shape (n,), in logs."""
        where = self.positions(rows.segment)
        product = _positions(self.segments.products, rows.product)
        hierarchy = self.hierarchy
        means = _own_or_mean(hierarchy.product_mean, hierarchy.overall_mean, product)
        coefficients = _own_or_mean(hierarchy.coefficients, means, where)
        price_centre = self._centre(self.segments.price_centre[:, None], where, product)
        covariate_centre = self._centre(self.segments.covariate_centre, where, product)
        columns = [
            np.ones((len(where), 1)),
            rows.log_price[:, None] - price_centre,
            (rows.covariates - covariate_centre) / self.segments.covariate_scale,
            self.layout.columns(rows.step),
        ]
        level: Array = (np.concatenate(columns, axis=1) * coefficients).sum(axis=1)
        return level

    def carried(self, rows: Rows, half_life: float) -> Array:
        """Mean of the latest residuals of each row's segment, shape (n,), in logs."""
        recent = self.recent[self.carry_half_lives.index(half_life)]
        return _own_or_mean(recent[:, None], np.zeros(1), self.positions(rows.segment))[:, 0]

    def seasonal_market(self, rows: Rows) -> Array:
        """Mean market effect at the same time of earlier seasons, shape (n,), in logs.

        The steps before and after count half; without earlier seasons it is 0.
        """
        period = self.layout.period
        if period <= 0:
            return np.zeros(len(rows.step))
        steps, at = np.unique(rows.step, return_inverse=True)
        apart = steps[:, None] - self.steps
        weight = np.maximum(1 - np.abs((apart + period / 2) % period - period / 2) / 2, 0.0)
        weight = np.where(apart > period / 2, weight, 0.0)
        total = weight.sum(axis=1, keepdims=True)
        means = weight @ self.hierarchy.market.T / np.maximum(total, 1.0)
        product = _positions(self.segments.products, rows.product)
        markets = self.hierarchy.market_of[product]
        effects: Array = np.where(product >= 0, means[at, markets], means[at].mean(axis=1))
        return effects

    def noise(self, rows: Rows) -> Array:
        """Standard deviation of the noise of each row's segment, shape (n,), in logs."""
        noise = np.sqrt(self.hierarchy.noise)
        where = self.positions(rows.segment)
        return _own_or_mean(noise[:, None], np.median(noise, keepdims=True), where)[:, 0]

    def _centre(self, centre: Array, where: Codes, product: Codes) -> Array:
        """Centres of the rows' segments, else means over those of their products."""
        product_of = self.segments.product_of
        sums = np.zeros((len(self.segments.products), centre.shape[1]))
        np.add.at(sums, product_of, centre)
        means = sums / np.bincount(product_of)[:, None]
        return _own_or_mean(centre, _own_or_mean(means, centre.mean(axis=0), product), where)


def _own_or_mean(own: Array, mean: Array, where: Codes) -> Array:
    """Rows of ``own`` at the positions, ``mean`` where the position is -1."""
    chosen: Array = np.where((where >= 0)[:, None], own[where], mean)
    return chosen


def _positions(codes: Codes, chosen: Codes) -> Codes:
    at = np.minimum(np.searchsorted(codes, chosen), len(codes) - 1)
    positions: Codes = np.where(codes[at] == chosen, at, -1)
    return positions


def fit_model(
    rows: Rows,
    settings: ForecastSettings,
    period: float,
    carry_half_lives: tuple[float, ...] | None = None,
) -> DemandModel:
    """Fit one hierarchy to rows.

    Args:
        rows: in long form.
        settings: of the forecast.
        period: steps of a season; 0 for none.
        carry_half_lives: those to average residuals by, if not only the one of the settings.

    Raises:
        ValueError: see ``build_panel``.
    """
    panel = build_panel(rows)
    layout = panel.layout(harmonics=settings.harmonics, trend=settings.trend, period=period)
    design = panel.design(layout)
    hierarchy = fit_hierarchy(
        panel, design, HierarchySettings(market=settings.market, half_life=settings.half_life)
    )
    fitted = np.einsum("stk,sk->st", design, hierarchy.coefficients)
    residual = (panel.log_quantity - fitted) * panel.mask
    half_lives = carry_half_lives or (settings.carry_half_life,)
    recent = np.empty((len(half_lives), len(fitted)))
    for number, half_life in enumerate(half_lives):
        weight = panel.mask * 0.5 ** ((panel.steps[-1] - panel.steps) / half_life)
        recent[number] = (weight * residual).sum(axis=1) / (weight.sum(axis=1) + 1.0)
    return DemandModel(panel.segments, panel.steps, layout, hierarchy, half_lives, recent)


@dataclass(frozen=True)
class Origin:
    """One rolling origin: rows known at it, and those of the steps after it.

    Attributes:
        training: which rows are known, shape (n,).
        validation: which rows are to be forecast, shape (n,).
    """

    training: Flags
    validation: Flags


def rolling_origins(step: Array, n_origins: int) -> list[Origin]:
    """Cut the steps into a first half and stretches of equal length that follow it.

    No origins at all where a stretch would be shorter than two steps.

    Args:
        step: time step of each row, shape (n,).
        n_origins: number of stretches.
    """
    steps = np.unique(step)
    length = len(steps) // (2 * n_origins)
    if length < 2:
        return []
    ends = [*steps[-n_origins * length :: length], np.inf]
    return [Origin(step < first, (step >= first) & (step < end)) for first, end in pairwise(ends)]


class DemandRegressor(RegressorMixin, BaseEstimator):
    """Log quantity as a function of log price, per segment, by hierarchical empirical Bayes.

    A segment is one product at one merchant. Two hierarchies are fitted: the one that forecasts
    best at rolling origins inside of the training rows, and ``hierarchy_``, with market effects
    and discount for serial correlation, for elasticities: the settings that forecast best are not
    those that tell best what the price does.

    ``X`` is a DataFrame of numeric columns: ``segment`` and ``product`` (codes from 0; -1 for one
    that has none, whose rows ``fit`` leaves out and ``predict`` answers by the mean of the
    product), ``step`` (number of the time step), ``log_price``, and covariates under any other
    names. ``y`` is the log quantity.

    Args:
        period: steps of a season, such as 52 for weeks; 0 for no season.
        search: whether rolling origins choose the settings below; ``False`` takes them as they are.
        n_origins: rolling origins.
        harmonics: pairs of sine and cosine of the season.
        trend: whether each segment has a linear trend.
        half_life: steps after which a row counts half; ``None``: all rows count alike.
        market: effects common to all segments of a step: ``none``, ``shared``, ``product``, or
            ``auto``.
        market_season: share of the market effects of earlier seasons that forecasts expect again.
        carry: share of the recent residuals of a segment that forecasts carry forward.
        carry_half_life: steps after which a residual counts half among the recent ones.

    Attributes:
        settings_: ``ForecastSettings`` of the forecast.
        scores_: WAPE at the rolling origins with the settings tried, ascending; empty without
            search.
        forecast_: ``DemandModel`` that forecasts.
        demand_: ``DemandModel`` of the elasticities.
        hierarchy_: its ``Hierarchy``.
        errors_: absolute errors of the forecasts at the rolling origins, divided by the standard
            deviation of the noise of their segment, ascending; empty where there were no origins.
        error_weights_: weight of each among them.
        n_features_in_: number of columns of ``X``.
        feature_names_in_: their names.
    """

    def __init__(
        self,
        *,
        period: float = 0.0,
        search: bool = True,
        n_origins: int = 3,
        harmonics: int = 2,
        trend: bool = True,
        half_life: float | None = None,
        market: Market = "auto",
        market_season: float = 0.5,
        carry: float = 0.5,
        carry_half_life: float = 8.0,
    ) -> None:
        self.period = period
        self.search = search
        self.n_origins = n_origins
        self.harmonics = harmonics
        self.trend = trend
        self.half_life = half_life
        self.market = market
        self.market_season = market_season
        self.carry = carry
        self.carry_half_life = carry_half_life

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Choose the settings, and fit both hierarchies to all rows.

        Args:
            X: rows, length n.
            y: log quantities, shape (n,).

        Raises:
            ValueError: ``X`` is no frame, lacks a column or has values that are not finite; no
                segment has a code, or one has two products or two rows in a step.
        """
        target: Array = column_or_1d(y, dtype=np.float64, warn=True)
        check_consistent_length(X, target)
        assert_all_finite(target, input_name="y")
        rows = self._rows(X, target, reset=True)
        rows = rows.where(rows.segment >= 0)
        if not len(rows.segment):
            raise ValueError("column 'segment' must hold codes from 0 in training: all are below")
        origins = rolling_origins(rows.step, self.n_origins)
        own = ForecastSettings(
            harmonics=self.harmonics,
            trend=self.trend,
            half_life=self.half_life,
            market=self.market,
            market_season=self.market_season,
            carry=self.carry,
            carry_half_life=self.carry_half_life,
        )
        self.settings_ = own
        self.scores_: list[tuple[float, ForecastSettings]] = []
        if self.search and origins:
            self.scores_ = search_settings(rows, origins, self.period)
            self.settings_ = self.scores_[0][1]
        self.errors_, self.error_weights_ = self._origin_errors(rows, origins)
        self.forecast_ = fit_model(rows, self.settings_, self.period)
        self.demand_ = fit_model(rows, ForecastSettings(self.harmonics), self.period)
        return self

    @property
    def hierarchy_(self) -> Hierarchy:
        """Coefficients with the elasticities."""
        return self.demand_.hierarchy

    def predict(self, X: pd.DataFrame) -> Array:
        """Forecast log quantities: shape (n,).

        Raises:
            ValueError: as ``fit``.
        """
        check_is_fitted(self)
        rows = self._rows(X, np.zeros(len(X)), reset=False)
        return self.forecast_.predict(rows, self.settings_)

    def predict_interval(self, X: pd.DataFrame, confidence: float = 0.8) -> Array:
        """Give lower and upper end for each row: shape (n, 2), in logs.

        Split conformal (Lei et al. 2018, JASA 113) from the errors at the rolling origins, each
        in standard deviations of the noise of its segment.

        Raises:
            ValueError: too few steps in training for rolling origins, or ``confidence`` is not
                between 0 and 1.
        """
        factor = self.interval_factor(confidence)
        rows = self._rows(X, np.zeros(len(X)), reset=False)
        forecast = self.forecast_.predict(rows, self.settings_)
        width = factor * self.forecast_.noise(rows)
        return np.column_stack([forecast - width, forecast + width])

    def interval_factor(self, confidence: float = 0.8) -> float:
        """Half the width of the intervals, in standard deviations of a segment's noise.

        Raises:
            ValueError: see ``predict_interval``.
        """
        check_is_fitted(self)
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
        # The new row counts as one more, of the largest weight, with an infinite error.
        share = np.cumsum(self.error_weights_) / (self.error_weights_.sum() + 1.0)
        rank = int(np.searchsorted(share, confidence - 1e-12))
        if rank == len(share):
            raise ValueError(
                f"{len(self.errors_)} errors at rolling origins are too few for intervals of "
                f"confidence {confidence}"
            )
        return float(self.errors_[rank])

    def _origin_errors(self, rows: Rows, origins: list[Origin]) -> tuple[Array, Array]:
        """Errors at the origins and their weights, the smallest error first.

        Weights double from origin to origin (Barber, Candes, Ramdas and Tibshirani 2023, Annals of
        Statistics 51): at the first the model knew half as much as it does in the end.
        """
        errors, weights = [np.empty(0)], [np.empty(0)]
        for number, origin in enumerate(origins):
            model = fit_model(rows.where(origin.training), self.settings_, self.period)
            ahead = rows.where(origin.validation)
            error = ahead.log_quantity - model.predict(ahead, self.settings_)
            errors.append(np.abs(error) / model.noise(ahead))
            weights.append(np.full(len(error), 2.0 ** (number + 1 - len(origins))))
        every = np.concatenate(errors)
        order = np.argsort(every, kind="stable")
        return every[order], np.concatenate(weights)[order]

    def _rows(self, X: pd.DataFrame, target: Array, *, reset: bool) -> Rows:
        if not isinstance(X, pd.DataFrame):
            raise ValueError(f"X must be a DataFrame, whose columns have names, not {type(X)}")
        missing = [name for name in COLUMNS if name not in X.columns]
        if missing:
            raise ValueError(f"X lacks the columns {missing}")
        validate_data(self, X, skip_check_array=True, reset=reset)
        covariates = [name for name in X.columns if name not in COLUMNS]
        return Rows(
            segment=self._codes(X, "segment"),
            product=self._codes(X, "product"),
            step=self._values(X, "step"),
            log_price=self._values(X, "log_price"),
            covariates=np.column_stack(
                [np.empty((len(X), 0)), *(self._values(X, name) for name in covariates)]
            ),
            log_quantity=target,
        )

    def _codes(self, X: pd.DataFrame, name: str) -> Codes:
        values = self._values(X, name)
        codes = values.astype(np.int64)
        if (codes != values).any():
            raise ValueError(f"column '{name}' must hold whole numbers, the codes")
        return codes

    @staticmethod
    def _values(X: pd.DataFrame, name: str) -> Array:
        values: Array = X[name].to_numpy(dtype=np.float64)
        assert_all_finite(values, input_name=f"column '{name}'")
        return values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # X has named columns with meanings: arrays of any numbers, as the common checks make, are
        # no panel.
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        return tags


def search_settings(
    rows: Rows, origins: list[Origin], period: float
) -> list[tuple[float, ForecastSettings]]:
    """Score settings at rolling origins, the best first.

    First seasons, trends and markets with all rows alike; then half-lives for the best of them.

    Args:
        rows: training rows.
        origins: of them.
        period: steps of a season; 0 for none.

    Returns:
        WAPE of the quantities forecast, in units, with the settings: the best ones of each season,
        trend, market and half-life tried.
    """
    structures = [
        ForecastSettings(harmonics, trend, None, market)
        for harmonics in ((0, 2) if period > 0 else (0,))
        for trend in (False, True)
        for market in MARKETS
    ]
    scored = [_best_shares(rows, origins, one, period) for one in structures]
    n_steps = len(np.unique(rows.step))
    for _, settings in sorted(scored, key=_by_score)[:2]:
        for share in HALF_LIVES:
            faded = replace(settings, half_life=n_steps * share)
            scored.append(_best_shares(rows, origins, faded, period))
    return sorted(scored, key=_by_score)


def _by_score(scored: tuple[float, ForecastSettings]) -> float:
    return scored[0]


def _best_shares(
    rows: Rows, origins: list[Origin], structure: ForecastSettings, period: float
) -> tuple[float, ForecastSettings]:
    """The best shares of what may be added to the forecasts of one structure, and their score."""
    parts = []
    for origin in origins:
        model = fit_model(rows.where(origin.training), structure, period, CARRY_HALF_LIVES)
        ahead = rows.where(origin.validation)
        recents = [model.carried(ahead, half_life) for half_life in CARRY_HALF_LIVES]
        level, season = model.level(ahead), model.seasonal_market(ahead)
        parts.append(np.vstack([np.exp(ahead.log_quantity), level, season, *recents]))
    truth, level, season, *recents = np.concatenate(parts, axis=1)
    highest = np.log(truth.max()) + 5  # an error beyond compare is no overflow
    shares = (0.0, 0.5, 1.0) if season.any() else (0.0,)
    scored = []
    for market_season, (half_life, recent), carry in combinations(
        shares, zip(CARRY_HALF_LIVES, recents, strict=True), CARRIES
    ):
        forecast = np.exp(np.minimum(level + market_season * season + carry * recent, highest))
        settings = replace(
            structure, market_season=market_season, carry=carry, carry_half_life=half_life
        )
        scored.append((float(np.abs(truth - forecast).sum() / truth.sum()), settings))
    return min(scored, key=_by_score)
