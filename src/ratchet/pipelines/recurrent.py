"""Recurrent modelling: networks searched, calibrated and averaged."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline, node

from ratchet.config import (
    ONE_WINDOW,
    Evaluation,
    Network,
    Target,
    UseCase,
    Windows,
    ensemble_of,
)
from ratchet.frames import DataFrame
from ratchet.pipelines.dataset_names import CANDIDATE_NOUNS


def search_networks(
    train: DataFrame, target: Target, network: Any, windows: Any, seed: int, trials: Any
) -> tuple[list[Any], DataFrame, DataFrame]:
    """Search networks on the training rows, see ``modelling.networks.search_networks``.

    ``network`` and ``windows`` lie inside of parameters that Kedro builds: it cannot build a model
    in a model, so the hints must not say what they are, and mappings may arrive.
    """
    from ratchet.modelling import networks

    network_params = Network.model_validate(network), Windows.model_validate(windows)
    return networks.search_networks(train, target, *network_params, seed, trials)


def fit_networks(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    network: Any,
    seed: int,
    top: list[Any],
    search: DataFrame,
    windows: Any = None,
    evaluation: Evaluation = ONE_WINDOW,
) -> tuple[Any, ...]:
    """Refit and calibrate the best networks, see ``modelling.networks.fit_networks``."""
    from ratchet.modelling import networks

    horizon = 1 if windows is None else Windows.model_validate(windows).last
    return networks.fit_networks(
        train,
        validation,
        target,
        Network.model_validate(network),
        seed,
        top,
        search,
        horizon=horizon,
        evaluation=evaluation,
    )


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    return Pipeline(
        [
            _network_pipeline(name, target_name, *item, rolling=use_case.evaluation.refits)
            for target_name, target in use_case.targets.items()
            for item in target.networks.items()
        ]
    )


def _network_pipeline(
    use_case: str, target: str, name: str, network: Network, *, rolling: bool
) -> Pipeline:
    evaluation = {"params:evaluation": f"params:{use_case}.evaluation"} if rolling else {}
    ensemble = f"{use_case}.{target}.{ensemble_of(name)}"
    averaged = {f"ensemble_{noun}": f"{ensemble}.{noun}" for noun in CANDIDATE_NOUNS}
    averaged = averaged if network.ensemble else {}
    shared = ["params:target", "params:network"]
    parameters = f"params:{use_case}.targets.{target}"
    return Pipeline(
        [
            node(
                search_networks,
                inputs=["train", *shared, "params:windows", "params:seed", "trials"],
                outputs=["top", "search", "curves"],
                name="search_networks",
            ),
            node(
                fit_networks,
                inputs=[
                    *("train", "validation", *shared, "params:seed", "top", "search"),
                    *(["params:windows", *evaluation] if rolling else []),
                ],
                outputs=["model", "held_out", *averaged],
                name="fit_networks",
            ),
        ],
        namespace=f"{use_case}.{target}.{name}",
        inputs={
            "train": f"{use_case}.train",
            "validation": f"{use_case}.validation",
            "trials": "trials",
        },
        outputs=averaged,
        parameters={
            "params:seed": "params:seed",
            "params:target": parameters,
            "params:network": f"{parameters}.networks.{name}",
            "params:windows": f"params:{use_case}.features.windows",
            **evaluation,
        },
        tags="recurrent",
    )
