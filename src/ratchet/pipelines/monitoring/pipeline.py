"""Rows as delivered -> answers of the champion, what came true, drift, and what is done."""

from kedro.pipeline import Pipeline, node

from ratchet.config import UseCase
from ratchet.pipelines.monitoring.nodes import (
    act_on_assessment,
    assess_champion,
    check_drift,
    join_truth,
    score_period,
)


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    del use_case  # every use case is watched alike
    rows = ["registry", "name", "raw", "measured", "params:as_of"]
    return Pipeline(
        [
            node(
                score_period,
                inputs=_named(*rows, "prediction_log"),
                outputs="scored",
                name="score_period",
            ),
            node(
                join_truth,
                inputs=_named(*rows, "prediction_log", "scored"),
                outputs="joined",
                name="join_truth",
            ),
            node(
                check_drift,
                inputs=_named(*rows, "params:parameters", "params:seed", "scored"),
                outputs="drift",
                name="check_drift",
            ),
            node(
                assess_champion,
                inputs=_named(
                    *(*rows, "prediction_log", "params:parameters", "params:seed"),
                    *("scored", "joined", "drift"),
                ),
                outputs="assessment",
                name="assess_champion",
            ),
            node(
                act_on_assessment,
                inputs=_named(
                    *("registry", "prediction_log", "run", "name", "params:parameters"),
                    *("scored", "joined", "drift", "assessment"),
                ),
                outputs="watch",
                name="act_on_assessment",
            ),
        ],
        namespace=name,
        inputs={
            **{shared: shared for shared in ("registry", "prediction_log", "run")},
            **{part: f"{name}.{part}" for part in ("raw", "measured", "name")},
        },
        parameters={
            "params:parameters": f"params:{name}",
            "params:seed": "params:seed",
            "params:as_of": "params:as_of",
        },
        tags="monitoring",
    )


def _named(*datasets: str) -> dict[str, str]:
    """Argument of a node -> its dataset."""
    return {dataset.removeprefix("params:"): dataset for dataset in datasets}
