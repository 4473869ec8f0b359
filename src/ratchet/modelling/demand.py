"""Training of the demand of a market, the book that prices its segments, and the replay."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import Market as MarketParams
from ratchet.errors import ConfigError, DataError
from ratchet.learning.demand.backtest import PriceComparison, Sales, compare_prices
from ratchet.learning.demand.book import DemandBook, Elasticities, ExpectedDemand, SegmentKey
from ratchet.learning.demand.hierarchy import HierarchySettings, Market
from ratchet.learning.demand.iterations import HistoryEntry, IterationSettings
from ratchet.learning.demand.panel import PRICE, Array, Codes, Flags, Rows
from ratchet.learning.demand.pricing import (
    Form,
    Offer,
    PricingSettings,
    Responses,
    fit_responses,
    price_history,
)
from ratchet.learning.demand.regressor import DemandRegressor, ForecastSettings, fit_model
from ratchet.learning.demand.training import TrainedDemand, train_demand
from ratchet.learning.search.engine import address
from ratchet.modelling.market_rows import MarketRows
from ratchet.progress import iteration_progress

PARTITION = 1000
"""Segments of a task."""

RECENT = 8
"""Rows whose median is the current price, and whose mean covariates are expected to go on."""


@dataclass(frozen=True)
class Forecaster:
    """How demand is forecast.

    Attributes:
        settings: of the forecast.
        width: half the width of its 80 % intervals, in standard deviations of the noise of a
            segment; NaN where it is not known.
    """

    settings: ForecastSettings = field(default_factory=ForecastSettings)
    width: float = math.nan

    @classmethod
    def of(cls, model: DemandRegressor) -> Forecaster:
        """Take over what a fitted candidate has chosen."""
        try:
            return cls(model.settings_, model.interval_factor())
        except ValueError:  # too few steps for rolling origins
            return cls(model.settings_)

    @classmethod
    def default(cls, rows: Rows, period: float) -> Forecaster:
        """Without a candidate: default settings, with their errors at rolling origins."""
        frame = pd.DataFrame(
            {
                "segment": rows.segment,
                "product": rows.product,
                "step": rows.step,
                "log_price": rows.log_price,
                **{f"covariate {n}": values for n, values in enumerate(rows.covariates.T)},
            }
        )
        model = DemandRegressor(period=period, search=False)
        return cls.of(model.fit(frame, rows.log_quantity))


def train(
    rows: Rows,
    market: MarketParams,
    seed: int,
    iterations: Path,
    later: Rows | None = None,
) -> TrainedDemand:
    """Train demand by the iterations of a market, with a bar.

    Args:
        rows: to learn from.
        market: the parameters.
        seed: of all random numbers.
        iterations: folder of the checkpoints.
        later: rows that the errors of the history are measured on; by default ``rows``.

    Raises:
        DataError: the rows cannot be learned from.
        ConfigError: there is no address of a cluster.
    """
    settings = _iteration_settings(market, seed)
    _check_engine(market)
    with iteration_progress("demand: all rows" if later is None else "demand: replay") as report:
        try:
            return train_demand(
                rows,
                settings,
                period=market.steps_of_season,
                market=_market_effects(market),
                later=later,
                checkpoint=iterations,
                on_progress=report,
                engine=market.iterations.engine,
                # One partition is done sooner than processes have started.
                n_jobs=-1 if len(np.unique(rows.segment)) > PARTITION else 1,
                partition_size=PARTITION,
            )
        except ValueError as error:
            raise DataError(f"the demand of the market cannot be learned: {error}") from error


def _check_engine(market: MarketParams) -> None:
    if market.iterations.engine == "dask":
        try:
            address()
        except ValueError as error:
            raise ConfigError(f"parameter market.iterations.{error}") from error


def _market_effects(market: MarketParams) -> Market:
    """Which effects are common to segments."""
    return "auto" if market.iterations.market_trend else "none"


def _iteration_settings(market: MarketParams, seed: int) -> IterationSettings:
    """Settings of the iterations of a market."""
    given = market.iterations.model_dump(exclude={"market_trend", "engine"})
    return IterationSettings(**given, seed=seed)


def pricing_settings(market: MarketParams) -> PricingSettings:
    """How prices are looked for in a market."""
    return PricingSettings(price_endings=tuple(market.price_steps))


def expected_demand(
    rows: Rows, forecaster: Forecaster, period: float, price: Array
) -> ExpectedDemand:
    """Forecast the step after the last one, for each segment at a price.

    Covariates are expected to stay at the mean of their latest rows.

    Args:
        rows: those of S segments.
        forecaster: how to.
        period: steps of a season; 0 for none.
        price: shape (S,), in the order of the segments' codes.
    """
    model = fit_model(rows, forecaster.settings, period)
    ahead = _next_rows(rows, np.log(price))
    noise = model.noise(ahead)
    log_demand = model.predict(ahead, forecaster.settings)
    width = forecaster.width * noise
    return ExpectedDemand(
        mean=np.exp(log_demand + noise**2 / 2),  # of a log-normal one
        low=np.exp(log_demand - width),
        high=np.exp(log_demand + width),
    )


def _next_rows(rows: Rows, log_price: Array) -> Rows:
    """A row for each segment, one step after the last of all."""
    order = np.lexsort((rows.step, rows.segment))
    codes, first = np.unique(rows.segment[order], return_index=True)
    ends = [*first[1:], len(order)]
    latest = [order[max(begin, end - RECENT) : end] for begin, end in zip(first, ends, strict=True)]
    return Rows(
        segment=codes,
        product=rows.product[order][first],
        step=np.full(len(codes), rows.step.max() + 1),
        log_price=log_price,
        covariates=np.array([rows.covariates[at].mean(axis=0) for at in latest]),
        log_quantity=np.zeros(len(codes)),
    )


def make_book(
    market_rows: MarketRows,
    among: Flags,
    demand: TrainedDemand,
    forecaster: Forecaster,
    market: MarketParams,
    relative_error: Array,
    seed: int,
) -> DemandBook:
    """Put together what it takes to price the segments.

    Args:
        market_rows: rows of S segments.
        among: those of all rows that demand was trained on, and costs and capacities are taken
            from; shape (n,).
        demand: trained on the usable ones of them.
        forecaster: of the demand that is expected.
        market: the parameters.
        relative_error: of forecasts over naive ones, shape (S,); NaN where it is not known.
        seed: of draws.
    """
    fit, codes = demand.fit, demand.fit.panel.segments.codes
    history = price_history(fit.panel, RECENT)
    rows = market_rows.rows.where(among[market_rows.usable])
    expected = expected_demand(rows, forecaster, market.steps_of_season, history.current)
    trained = set(codes.tolist())
    return DemandBook(
        keys=tuple(market_rows.keys[code] for code in codes),
        without_rows=tuple(key for n, key in enumerate(market_rows.keys) if n not in trained),
        responses=_responses(demand, market, seed),
        history=history,
        offer=_offer(market_rows, among, codes, market, expected, relative_error),
        settings=pricing_settings(market),
        elasticities=Elasticities(
            demand.trained.mean[:, PRICE],
            demand.trained.lower[:, PRICE],
            demand.trained.upper[:, PRICE],
        ),
        expected=expected,
    )


def _responses(demand: TrainedDemand, market: MarketParams, seed: int) -> Responses:
    fit = demand.fit
    elasticities = np.asarray(demand.trained.draws[:, :, PRICE], dtype=np.float64)
    responses = fit_responses(
        fit.panel,
        fit.layout,
        HierarchySettings(market=_market_effects(market)),
        log_log=elasticities,
        seed=seed,
    )
    # Half the size in files and memory; a price takes them in double precision again.
    draws: dict[Form, Any] = {
        form: values.astype(np.float32) for form, values in responses.draws.items()
    }
    return replace(responses, draws=draws)


def _offer(
    market_rows: MarketRows,
    among: Flags,
    codes: Codes,
    market: MarketParams,
    expected: ExpectedDemand,
    relative_error: Array,
) -> Offer:
    capacity = market_rows.latest(market_rows.capacity, among)[codes]
    lowest, highest = market.bounds or (0.0, np.inf)
    return Offer.of(
        len(codes),
        unit_cost=market_rows.latest(market_rows.unit_cost, among)[codes],
        demand=expected.mean,
        capacity=np.where(np.isnan(capacity), np.inf, capacity),
        lowest=lowest,
        highest=highest,
        least_margin=-np.inf if market.min_margin is None else market.min_margin,
        zero_share=market_rows.zero_share(among)[codes],
        relative_error=relative_error[codes],
    )


def replay(
    market_rows: MarketRows, market: MarketParams, seed: int, iterations: Path, share: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Recommend prices from the first share of the steps, and look at the later ones.

    Returns:
        The comparisons, with ``merchant`` and ``product``; and the history of the training.
    """
    steps = np.unique(market_rows.step)
    before = market_rows.step < steps[min(int(share * len(steps)), len(steps) - 1)]
    rows = market_rows.rows
    early = before[market_rows.usable]
    if not early.any():
        return _comparison_frame([], ()), history_frame(())
    demand = train(rows.where(early), market, seed, iterations, later=rows.where(~early))
    unknown = np.full(len(market_rows.keys), np.nan)
    book = make_book(market_rows, before, demand, Forecaster(), market, unknown, seed)
    codes = demand.fit.panel.segments.codes
    comparisons = compare_prices(
        book.price_all()[: len(codes)], book.offer.unit_cost, _sales(market_rows, ~before, codes)
    )
    return _comparison_frame(comparisons, book.keys), history_frame(demand.trained.history)


def _sales(market_rows: MarketRows, among: Flags, codes: Codes) -> Sales:
    """Rows of the segments with these codes, in terms of their positions."""
    among = among & np.isin(market_rows.segment, codes) & (market_rows.price > 0)
    return Sales(
        segment=np.searchsorted(codes, market_rows.segment[among]),
        price=market_rows.price[among],
        quantity=market_rows.quantity[among],
    )


def _comparison_frame(
    comparisons: list[PriceComparison], keys: tuple[SegmentKey, ...]
) -> pd.DataFrame:
    names = [each.name for each in fields(PriceComparison) if each.name != "segment"]
    rows = [
        {**asdict(keys[each.segment]), **asdict(each), "outcome": each.outcome.value}
        for each in comparisons
    ]
    return pd.DataFrame(rows, columns=["merchant", "product", *names])


def history_frame(history: tuple[HistoryEntry, ...]) -> pd.DataFrame:
    """The history of a training as a table, see ``HistoryEntry``."""
    names = [each.name for each in fields(HistoryEntry)]
    frame = pd.DataFrame([asdict(entry) for entry in history], columns=names)
    return frame.astype(dict.fromkeys(names[2:], "float64"))
