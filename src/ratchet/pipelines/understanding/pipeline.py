"""Raw file -> typed rows and their profile."""

from kedro.pipeline import Pipeline, node

from ratchet.config import UseCase
from ratchet.pipelines.understanding.nodes import profile_rows, read_rows


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    return Pipeline(
        [
            node(
                read_rows,
                inputs=["raw", "params:data", "params:targets", "params:as_of", "measured"],
                outputs="typed",
                name="read_rows",
            ),
            node(
                profile_rows,
                inputs=["typed", "params:data"],
                outputs="profile",
                name="profile_rows",
            ),
        ],
        namespace=name,
        parameters={"params:as_of"},
        tags="understanding",
    )
