"""Train and validation -> trials of every search, its best network, the mean of the best few."""

from kedro.pipeline import Pipeline, node

from ratchet.config import Network, UseCase, ensemble_of
from ratchet.modelling.model_input import CANDIDATE_NOUNS
from ratchet.pipelines.recurrent.nodes import fit_networks, search_networks


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    return Pipeline(
        [
            _network_pipeline(name, target_name, *item)
            for target_name, target in use_case.targets.items()
            for item in target.networks.items()
        ]
    )


def _network_pipeline(use_case: str, target: str, name: str, network: Network) -> Pipeline:
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
                inputs=["train", "validation", *shared, "params:seed", "top", "search"],
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
        },
        tags="recurrent",
    )
