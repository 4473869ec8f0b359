"""Chosen models -> bundles, registered; their verdicts; the model that serves."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline, node

from ratchet.config import UseCase
from ratchet.pipelines.release.nodes import (
    judge_challengers,
    refit_promoted,
    register_challengers,
    release_challengers,
)
from ratchet.production.release_candidates import artefact_datasets


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    shared = {"registry": "registry", "name": "name", "parameters": "params:use_case"}
    rows = ["typed", "primary", "features", "encoder"]
    rows += ["statistics"] if use_case.features.windows else []
    rows += ["demand_book"] if use_case.market else []
    artefacts, judged = artefact_datasets(name, use_case), _judged(name, use_case)
    made = {**shared, "run": "run", "as_of": "params:as_of", **_same(*rows, *artefacts)}
    parts = ["train", "validation", "test"] if use_case.release.refit == "all" else []
    return Pipeline(
        [
            node(
                register_challengers,
                inputs=made,
                outputs="challengers",
                name="register_challengers",
            ),
            node(
                judge_challengers,
                inputs={
                    **shared,
                    "seed": "params:seed",
                    "as_of": "params:as_of",
                    **_same("raw", "measured", "primary", "challengers", *judged),
                },
                outputs="verdicts",
                name="judge_challengers",
            ),
            node(
                release_challengers,
                inputs={**shared, "run": "run", "verdicts": "refitted" if parts else "verdicts"},
                outputs="decision",
                name="release_challengers",
            ),
            *([_refit({**made, **_same(*parts, "verdicts")})] if parts else []),
        ],
        namespace=name,
        inputs={
            "registry": "registry",
            "run": "run",
            "raw": f"{name}.raw",
            "measured": f"{name}.measured",
            "name": f"{name}.name",
            **{part: f"{name}.{part}" for part in [*rows, *parts]},
            **artefacts,
            **judged,
        },
        parameters={
            "params:use_case": f"params:{name}",
            "params:seed": "params:seed",
            "params:as_of": "params:as_of",
        },
        tags="release",
    )


def _same(*names: str) -> dict[str, str]:
    """Arguments that are called like their datasets."""
    return {name: name for name in names}


def _refit(inputs: dict[str, str]) -> Node:
    return node(refit_promoted, inputs=inputs, outputs="refitted", name="refit_promoted")


def _judged(name: str, use_case: UseCase) -> dict[str, str]:
    return {
        f"{target}/{noun}": f"{name}.{target}.{noun}"
        for noun in ("predictions", "choice")
        for target in use_case.targets
    }
