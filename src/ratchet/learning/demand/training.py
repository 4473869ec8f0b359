"""Training of demand from rows to draws: the hierarchy, the iterations, and the search in between.

The hierarchy gives each iteration its prior and its market effects (``hierarchy``). Which columns
of time it has is looked at again every so many iterations: each search adds structures to those
that were tried and compares all by rolling origins. Whether there is a market trend is not
searched, as the settings that forecast best are not those that tell best what the price does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ratchet.learning.demand.bootstrap import TILE
from ratchet.learning.demand.hierarchy import (
    Hierarchy,
    HierarchySettings,
    Market,
    build_problem,
    fit_hierarchy,
)
from ratchet.learning.demand.iterations import (
    IterationResult,
    IterationSettings,
    Problem,
    Progress,
    iterate,
)
from ratchet.learning.demand.panel import Array, Layout, Panel, Rows, build_panel
from ratchet.learning.demand.regressor import (
    ForecastSettings,
    Origin,
    fit_model,
    rolling_origins,
)

STRUCTURES_PER_SEARCH = 2
"""Structures that each search adds to those that were tried before."""

N_ORIGINS = 3
"""Rolling origins that structures are compared by."""


@dataclass(frozen=True)
class Structure:
    """Columns of time of a hierarchy.

    Attributes:
        harmonics: pairs of sine and cosine of the season.
        trend: whether each segment has a linear trend.
    """

    harmonics: int = 2
    trend: bool = True


def structures(period: float) -> tuple[Structure, ...]:
    """Give what the searches try, in their order; the first one is taken without a search.

    Args:
        period: steps of a season; 0 for none.
    """
    harmonics = (2, 1, 3, 0) if period > 0 else (0,)
    return tuple(Structure(n, trend) for n in harmonics for trend in (True, False))


@dataclass(frozen=True)
class DemandFit:
    """A hierarchy, and what it was estimated from.

    Attributes:
        panel: the rows.
        layout: columns of time.
        hierarchy: the coefficients.
    """

    panel: Panel
    layout: Layout
    hierarchy: Hierarchy

    def problem(self) -> Problem:
        """What the iterations solve."""
        return build_problem(self.hierarchy, self.panel, self.panel.design(self.layout))

    def design_of(self, rows: Rows) -> Array:
        """Columns of the design for other rows of the same segments, shape (n, K)."""
        segments = self.panel.segments
        at = np.searchsorted(segments.codes, rows.segment)
        columns = [
            np.ones((len(at), 1)),
            (rows.log_price - segments.price_centre[at])[:, None],
            (rows.covariates - segments.covariate_centre[at]) / segments.covariate_scale,
            self.layout.columns(rows.step),
        ]
        design: Array = np.concatenate(columns, axis=1)
        return design


def fit_demand(rows: Rows, structure: Structure, market: Market, period: float) -> DemandFit:
    """Estimate a hierarchy for elasticities.

    Args:
        rows: in long form.
        structure: columns of time.
        market: effects common to all segments of a step.
        period: steps of a season; 0 for none.

    Raises:
        ValueError: see ``build_panel``.
    """
    panel = build_panel(rows)
    layout = panel.layout(harmonics=structure.harmonics, trend=structure.trend, period=period)
    hierarchy = fit_hierarchy(panel, panel.design(layout), HierarchySettings(market=market))
    return DemandFit(panel, layout, hierarchy)


@dataclass(frozen=True)
class TrainedDemand:
    """What training has led to.

    Attributes:
        structure: columns of time in the end.
        fit: hierarchy that the last iterations started from.
        trained: coefficients and draws.
    """

    structure: Structure
    fit: DemandFit
    trained: IterationResult


def train_demand(
    rows: Rows,
    settings: IterationSettings,
    *,
    period: float = 0.0,
    market: Market = "auto",
    later: Rows | None = None,
    checkpoint: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    engine: str = "local",
    n_jobs: int | None = 1,
    partition_size: int = 1000,
) -> TrainedDemand:
    """Estimate the hierarchy and iterate.

    The history has the mean absolute error, in logs, on ``later`` rows, or without them on the
    rows of the training.

    Args:
        rows: in long form.
        settings: of the iterations.
        period: steps of a season; 0 for none.
        market: effects common to all segments of a step.
        later: rows that training does not see; those of other segments are left out.
        checkpoint: as ``iterate`` takes it, as the following.
        on_progress: called after each partition of each round.
        engine: ``local`` or ``dask``.
        n_jobs: local processes.
        partition_size: segments of a task.

    Raises:
        ValueError: see ``build_panel`` and ``iterate``.
    """
    search = _StructureSearch(rows, period, market, settings.search_every)
    compared = rows if later is None else _of_segments(later, search.fit.panel)
    trained = iterate(
        search.fit.problem(),
        settings,
        checkpoint=checkpoint,
        validation=lambda mean: _mean_error(search.fit, compared, mean),
        search=search if settings.search_every else None,
        on_progress=on_progress,
        engine=engine,
        n_jobs=n_jobs,
        partition_size=partition_size,
    )
    return TrainedDemand(search.structure, search.fit, trained)


class _StructureSearch:
    """Looks for columns of time that forecast better; gives the same at the same iteration.

    Attributes:
        structure: the one in use.
        fit: its hierarchy.
    """

    def __init__(self, rows: Rows, period: float, market: Market, every: int) -> None:
        self._rows, self._period, self._market = rows, period, market
        self._every = -(-every // TILE) * TILE
        self._structures = structures(period)
        self._origins = rolling_origins(rows.step, N_ORIGINS)
        self._scores: dict[Structure, float] = {}
        self._use(self._structures[0])

    def __call__(self, iteration: int) -> Problem | None:
        number = iteration // self._every
        best = self._best(1 + STRUCTURES_PER_SEARCH * number)
        if best == self._best(1 + STRUCTURES_PER_SEARCH * (number - 1)):
            return None
        self._use(best)
        return self.fit.problem()

    def _use(self, structure: Structure) -> None:
        self.structure = structure
        self.fit = fit_demand(self._rows, structure, self._market, self._period)

    def _best(self, n: int) -> Structure:
        """The best of the first structures: without rolling origins the very first."""
        tried = self._structures[:n] if self._origins else self._structures[:1]
        if len(tried) == 1:
            return tried[0]
        return min(tried, key=self._score)

    def _score(self, structure: Structure) -> float:
        if structure not in self._scores:
            settings = ForecastSettings(structure.harmonics, structure.trend, market=self._market)
            self._scores[structure] = _error_ahead(
                self._rows, self._origins, settings, self._period
            )
        return self._scores[structure]


def _error_ahead(
    rows: Rows, origins: list[Origin], settings: ForecastSettings, period: float
) -> float:
    """WAPE of forecasts from rolling origins, in units."""
    error = total = 0.0
    for origin in origins:
        model = fit_model(rows.where(origin.training), settings, period)
        ahead = rows.where(origin.validation)
        truth = np.exp(ahead.log_quantity)
        error += float(np.abs(truth - np.exp(model.predict(ahead, settings))).sum())
        total += float(truth.sum())
    return error / total


def _of_segments(rows: Rows, panel: Panel) -> Rows:
    return rows.where(np.isin(rows.segment, panel.segments.codes))


def _mean_error(fit: DemandFit, rows: Rows, coefficients: Array) -> float:
    """Mean absolute error of coefficients, shape (S, K), on rows; NaN without rows."""
    if not len(rows.segment):
        return float("nan")
    at = np.searchsorted(fit.panel.segments.codes, rows.segment)
    predicted = np.einsum("nk,nk->n", fit.design_of(rows), coefficients[at])
    return float(np.abs(rows.log_quantity - predicted).mean())
