"""Rows of a market -> trained demand, recommended prices, and what later weeks say of them."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from ratchet.config import UseCase
from ratchet.pipelines.pricing.nodes import (
    collect_pricing,
    demand_candidate,
    iterate_demand,
    prepare_rows,
    recommend_prices,
    replay_prices,
)


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
