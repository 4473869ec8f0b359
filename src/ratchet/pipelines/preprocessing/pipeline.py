"""Typed rows -> primary rows -> features -> train, validation and test."""

from kedro.pipeline import Pipeline, node

from ratchet.params import UseCase
from ratchet.pipelines.preprocessing.nodes import build_features, encode_features, select_rows


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    return Pipeline(
        [
            node(
                select_rows,
                inputs=["typed", "params:data", "params:targets", "params:seed"],
                outputs=["primary", "selection"],
                name="select_rows",
            ),
            node(
                build_features,
                inputs=["primary", "params:data", "params:features", "params:targets"],
                outputs="features",
                name="build_features",
            ),
            node(
                encode_features,
                inputs=["features", "params:features", "params:seed"],
                outputs=["encoder", "train", "validation", "test"],
                name="encode_features",
            ),
        ],
        namespace=name,
        parameters={"params:seed"},
        tags="preprocessing",
    )
