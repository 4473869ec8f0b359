"""Classical modelling: every candidate searched, calibrated and stacked."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline, node

from ratchet.config import ONE_WINDOW, Evaluation, Features, Target, UseCase
from ratchet.frames import DataFrame
from ratchet.pipelines.dataset_names import candidate_datasets


def search_candidate(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    features: Features,
    candidate: Any,
    seed: int,
    search_cache: Any,
    evaluation: Evaluation = ONE_WINDOW,
) -> tuple[Any, DataFrame, DataFrame]:
    """Search and calibrate one candidate, see ``modelling.candidate_search.search_candidate``.

    ``candidate`` is inside of the target, which Kedro builds: it cannot build a model in a model,
    so the hint must not say that it is a ``config.Candidate``.
    """
    from ratchet.modelling import candidate_search

    return candidate_search.search_candidate(
        train, validation, target, features, candidate, seed, search_cache, evaluation
    )


def stack_candidates(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    seed: int,
    search_cache: Any,
    *fitted: Any,
) -> tuple[Any, DataFrame, DataFrame]:
    """Stack the best candidates, see ``modelling.candidate_search.stack_candidates``."""
    from ratchet.modelling import candidate_search

    return candidate_search.stack_candidates(train, validation, target, seed, search_cache, *fitted)


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    pipelines = []
    for target_name, target in use_case.targets.items():
        pipelines += [
            _search_pipeline(name, target_name, candidate, rolling=use_case.evaluation.refits)
            for candidate in target.candidates
        ]
        if target.stacked:
            pipelines.append(_stack_pipeline(name, target_name, target))
    return Pipeline(pipelines)


def _search_pipeline(use_case: str, target: str, candidate: str, *, rolling: bool) -> Pipeline:
    evaluation = {"params:evaluation": f"params:{use_case}.evaluation"} if rolling else {}
    search = node(
        search_candidate,
        inputs=[
            "train",
            "validation",
            "params:target",
            "params:features",
            "params:candidate",
            "params:seed",
            "search_cache",
            *evaluation,
        ],
        outputs=["model", "search", "held_out"],
        name="search",
    )
    parameters = f"params:{use_case}.targets.{target}"
    return Pipeline(
        [search],
        namespace=f"{use_case}.{target}.{candidate}",
        inputs=_shared_inputs(use_case),
        parameters={
            "params:seed": "params:seed",
            "params:target": parameters,
            "params:features": f"params:{use_case}.features",
            "params:candidate": f"{parameters}.candidates.{candidate}",
            **evaluation,
        },
        tags="classical",
    )


def _stack_pipeline(use_case: str, name: str, target: Target) -> Pipeline:
    stackable = [candidate for candidate in target.candidates if candidate != target.baseline]
    fitted = candidate_datasets(use_case, name, stackable)
    stack = node(
        stack_candidates,
        inputs=["train", "validation", "params:target", "params:seed", "search_cache", *fitted],
        outputs=["model", "search", "held_out"],
        name="stack",
    )
    return Pipeline(
        [stack],
        namespace=f"{use_case}.{name}.stack",
        inputs=_shared_inputs(use_case) | fitted,
        parameters={
            "params:seed": "params:seed",
            "params:target": f"params:{use_case}.targets.{name}",
        },
        tags="classical",
    )


def _shared_inputs(use_case: str) -> dict[str, str]:
    return {
        "train": f"{use_case}.train",
        "validation": f"{use_case}.validation",
        "search_cache": "search_cache",
    }
