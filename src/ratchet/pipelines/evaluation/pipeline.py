"""Fitted candidates -> predictions, scores, the choice, and what the winner lives on."""

from kedro.pipeline import Pipeline, node

from ratchet.config import Target, UseCase
from ratchet.modelling.choice import choose_best
from ratchet.modelling.model_input import candidate_datasets
from ratchet.pipelines.evaluation.nodes import (
    collect_best_scores,
    collect_evaluation,
    collect_metrics,
    collect_predictions,
    explain_best,
    judge_best,
    score_candidates,
)


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    by_target = [_target_pipeline(name, *item) for item in use_case.targets.items()]
    collect = Pipeline(
        [
            node(
                collect_predictions,
                inputs=["params:targets", *_per_target(use_case, "predictions")],
                outputs="predictions",
                name="collect_predictions",
            ),
            node(
                collect_metrics,
                inputs=["params:targets", *_per_target(use_case, "scores")],
                outputs="metrics",
                name="collect_metrics",
            ),
            node(
                collect_evaluation,
                inputs=[
                    "params:targets",
                    *_per_target(use_case, "choice"),
                    *_per_target(use_case, "judgement"),
                ],
                outputs="evaluation",
                name="collect_evaluation",
            ),
            node(
                collect_best_scores,
                inputs=["metrics", "evaluation"],
                outputs="best_scores",
                name="collect_best_scores",
            ),
        ],
        namespace=name,
        inputs={
            inside: f"{name}.{target}.{noun}"
            for noun in ("predictions", "scores", "choice", "judgement")
            for inside, target in zip(_per_target(use_case, noun), use_case.targets, strict=True)
        },
        tags="evaluation",
    )
    return Pipeline([*by_target, collect])


def _per_target(use_case: UseCase, noun: str) -> list[str]:
    return [f"{target}/{noun}" for target in use_case.targets]


def _target_pipeline(use_case: str, name: str, target: Target) -> Pipeline:
    fitted = candidate_datasets(use_case, name, target.all_candidates)
    parameters = ["params:target", "params:features", "params:seed"]
    return Pipeline(
        [
            node(
                choose_best,
                inputs=["validation", *parameters, *fitted],
                outputs=["best_model", "choice", "validation_predictions"],
                name="choose_best",
            ),
            node(
                score_candidates,
                inputs=["test", "validation_predictions", *parameters, *fitted],
                outputs=["predictions", "scores"],
                name="score_candidates",
            ),
            node(
                judge_best,
                inputs=["choice", "scores", "predictions", "params:target"],
                outputs="judgement",
                name="judge_best",
            ),
            node(
                explain_best,
                inputs=["best_model", "test", "encoder", *parameters],
                outputs="importance",
                name="explain_best",
            ),
        ],
        namespace=f"{use_case}.{name}",
        inputs=fitted | {part: f"{use_case}.{part}" for part in ("validation", "test", "encoder")},
        parameters={
            "params:seed": "params:seed",
            "params:target": f"params:{use_case}.targets.{name}",
            "params:features": f"params:{use_case}.features",
        },
        tags="evaluation",
    )
