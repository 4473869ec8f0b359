"""Pricing: demand trained by iterations, prices recommended, and compared with later weeks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from kedro.pipeline import Pipeline, node

from ratchet.config import Data, Market, Target, UseCase, read_targets
from ratchet.errors import DataError
from ratchet.frames import DataFrame, Series

REPLAY_SHARE = 0.6
"""Share of the steps from which the prices are recommended that later steps are to confirm."""


def prepare_rows(
    primary: DataFrame, data: Data, market: Market, targets: Mapping[str, Any]
) -> DataFrame:
    """Code the rows of the market up to the present, as the candidate ``demand`` sees them.

    Args:
        primary: all rows, prepared.
        data: key and time.
        market: which column is what.
        targets: of which one is the quantity.

    Returns:
        See ``market_rows.table_of_rows``.

    Raises:
        DataError: two rows of a segment are of one step.
    """
    from ratchet.modelling.market_rows import table_of_rows

    return table_of_rows(primary, data, market, _quantity(targets).column)


def iterate_demand(
    market_rows: DataFrame,
    predictions: DataFrame,
    market: Market,
    targets: Mapping[str, Any],
    seed: int,
    iterations: Any,
    model: Any = None,
) -> tuple[Any, DataFrame]:
    """Train demand on all rows by iterations, and put together what prices take.

    Killed, it goes on from its last checkpoint; with more iterations it continues.

    Args:
        market_rows: as ``prepare_rows`` gives them.
        predictions: of every candidate on validation and test rows.
        market: the parameters.
        targets: of which one is the quantity.
        seed: the only source of randomness.
        iterations: folder of the checkpoints.
        model: the fitted candidate ``demand``, where there is one.

    Returns:
        A ``learning.demand.book.DemandBook``; and the history of the training.

    Raises:
        DataError: no row can be used.
    """
    import numpy as np

    from ratchet.modelling.demand import Forecaster, history_frame, make_book, train
    from ratchet.modelling.market_rows import read_rows, relative_errors

    rows, target = read_rows(market_rows), _quantity(targets)
    candidate = demand_candidate(target)
    demand = train(rows.rows, market, seed, iterations)
    forecaster = (
        Forecaster.default(rows.rows, market.steps_of_season)
        if model is None
        else Forecaster.of(_regressor(model, target))
    )
    errors = relative_errors(market_rows, predictions, target, candidate)
    everything = np.ones(len(rows.step), dtype=np.bool_)
    book = make_book(rows, everything, demand, forecaster, market, errors, seed)
    return book, history_frame(demand.trained.history)


def recommend_prices(demand_book: Any) -> DataFrame:
    """Recommend a price for each segment, or say why none.

    Args:
        demand_book: as ``iterate_demand`` gives it.

    Returns:
        One row per segment, see ``learning.demand.book.SegmentPrice``.
    """
    import pandas as pd

    priced = zip(demand_book.segments(), demand_book.price_all(), strict=True)
    return pd.DataFrame([asdict(demand_book.row(*each)) for each in priced])


def replay_prices(
    market_rows: DataFrame, market: Market, seed: int, iterations: Any
) -> tuple[DataFrame, DataFrame]:
    """Recommend prices from the first part of the steps, and look at the later ones.

    Args:
        market_rows: as ``prepare_rows`` gives them.
        market: the parameters.
        seed: the only source of randomness.
        iterations: folder of the checkpoints.

    Returns:
        One row per segment with later rows enough near both prices, see
        ``learning.demand.backtest.PriceComparison``; and the history of the training, with errors
        on the later rows.

    Raises:
        DataError: no row can be used.
    """
    from ratchet.modelling.demand import replay
    from ratchet.modelling.market_rows import read_rows

    return replay(read_rows(market_rows), market, seed, iterations, REPLAY_SHARE)


def collect_pricing(
    recommendations: DataFrame,
    training_history: DataFrame,
    price_replay: DataFrame,
    replay_history: DataFrame,
) -> dict[str, Any]:
    """Gather the figures of the phase.

    Returns:
        Values that JSON knows.
    """
    acting = recommendations[recommendations["outcome"] != "abstain"]
    return {
        "segments": len(recommendations),
        "outcomes": _counts(recommendations["outcome"]),
        "reasons": _counts(recommendations.loc[recommendations["reason"] != "", "reason"]),
        "elasticity_median": _plain(recommendations["elasticity"].median()),
        "positive_elasticities": int((recommendations["elasticity"] > 0).sum()),
        "sure_positive_elasticities": int((recommendations["elasticity_low"] > 0).sum()),
        "gain_share_median": _plain(acting["gain_share"].median()),
        "iterations": int(training_history["iteration"].max()),
        "interval_movement": _last(training_history, "movement"),
        "replay_error": _last(replay_history, "error"),
        "replay": {
            "segments": len(price_replay),
            "positive": _plain((price_replay["profit"] > price_replay["profit_before"]).mean()),
            "gain_share_mean": _plain(price_replay["gain_share"].mean()),
            "gain_share_median": _plain(price_replay["gain_share"].median()),
        },
    }


def _counts(values: Series) -> dict[str, int]:
    return {str(name): int(n) for name, n in values.value_counts().items()}


def _last(history: DataFrame, name: str) -> float | None:
    """The last value of a history; ``None`` where there is none."""
    return None if history.empty else _plain(history[name].iloc[-1])


def _plain(value: Any) -> float | None:
    """A number as JSON has it; ``None`` for NaN."""
    return None if math.isnan(value) else float(value)


def demand_candidate(target: Target) -> str | None:
    """Name of the candidate that forecasts by demand, where there is one."""
    named = (name for name, one in target.candidates.items() if one.estimator == "demand")
    return next(named, None)


def _quantity(targets: Mapping[str, Any]) -> Target:
    """The target that is the quantity: the one that is learned in logs."""
    return next(target for target in read_targets(targets).values() if target.in_logs)


def _regressor(model: Any, target: Target) -> Any:
    """The fitted ``DemandRegressor`` inside of a finished candidate."""
    from ratchet.modelling.calibrate_and_refit import uncalibrated

    inside = uncalibrated(model, target)
    if not hasattr(inside, "settings_") and hasattr(inside, "steps"):
        inside = inside[-1]
    if not hasattr(inside, "settings_"):
        raise DataError(f"candidate 'demand' holds a {type(inside).__name__}, which has no demand")
    return inside


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case: without nodes where it has no market."""
    if use_case.market is None:
        return Pipeline([])
    quantity, target = next(item for item in use_case.targets.items() if item[1].in_logs)
    candidate = demand_candidate(target)
    fitted = {"model": f"{name}.{quantity}.{candidate}.model"} if candidate else {}
    return Pipeline(
        [
            node(
                prepare_rows,
                inputs=["primary", "params:data", "params:market", "params:targets"],
                outputs="market_rows",
                name="prepare_rows",
            ),
            node(
                iterate_demand,
                inputs=[
                    *("market_rows", "predictions", "params:market", "params:targets"),
                    *("params:seed", "iterations", *fitted),
                ],
                outputs=["demand_book", "training_history"],
                name="iterate_demand",
            ),
            node(
                recommend_prices,
                inputs="demand_book",
                outputs="recommendations",
                name="recommend_prices",
            ),
            node(
                replay_prices,
                inputs=["market_rows", "params:market", "params:seed", "iterations"],
                outputs=["price_replay", "replay_history"],
                name="replay_prices",
            ),
            node(
                collect_pricing,
                inputs=["recommendations", "training_history", "price_replay", "replay_history"],
                outputs="pricing_metrics",
                name="collect_pricing",
            ),
        ],
        namespace=name,
        inputs={
            "primary": f"{name}.primary",
            "predictions": f"{name}.{quantity}.predictions",
            **fitted,
        },
        parameters={
            "params:seed": "params:seed",
            **{f"params:{part}": f"params:{name}.{part}" for part in ("data", "market", "targets")},
        },
        tags="pricing",
    )
