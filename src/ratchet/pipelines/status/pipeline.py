"""Registry, prediction log and monitoring -> status page."""

import warnings

from kedro.pipeline import Pipeline, node

from ratchet.config import UseCase
from ratchet.pipelines.status.nodes import write_status


def create_pipeline(use_cases: dict[str, UseCase]) -> Pipeline:
    """Build the phase for all use cases: they share one page, written after all decisions."""
    by_use_case = {
        f"{name}_{noun}": f"{name}.{noun}" for name in use_cases for noun in ("watch", "decision")
    }
    inputs = {part: part for part in ("registry", "prediction_log", *by_use_case)}
    parameters = {f"{name}_parameters": f"params:{name}" for name in use_cases}
    with warnings.catch_warnings():
        # Of datasets from another namespace, which a page about all of them cannot do without.
        warnings.filterwarnings("ignore", message="One or more dataset names contain")
        return Pipeline(
            [
                node(
                    write_status,
                    inputs={**inputs, **parameters},
                    outputs="status",
                    name="write_status",
                )
            ],
            inputs={"registry": "registry", "prediction_log": "prediction_log", **by_use_case},
            parameters={name: name for name in parameters.values()},
            tags="status",
        )
