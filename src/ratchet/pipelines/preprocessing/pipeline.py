"""Typed rows -> primary rows -> features -> train, validation and test."""

from typing import Any

from kedro.pipeline import Pipeline, node

from ratchet.config import UseCase
from ratchet.pipelines.preprocessing.nodes import build_features, encode_features, select_rows
from ratchet.pipelines.preprocessing.series_nodes import build_windows, select_series


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case: rows as such, or the steps of time series."""
    return Pipeline(
        [
            *(_of_series() if use_case.features.windows else _of_rows()),
            node(
                encode_features,
                inputs=["features", "params:features", "params:seed", "params:targets"],
                outputs=["encoder", "train", "validation", "test"],
                name="encode_features",
            ),
        ],
        namespace=name,
        parameters={"params:seed"},
        tags="preprocessing",
    )


def _of_rows() -> list[Any]:
    return [
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
    ]


def _of_series() -> list[Any]:
    return [
        node(
            select_series,
            inputs=["typed", "params:data", "params:features", "params:targets"],
            outputs=["primary", "selection"],
            name="select_series",
        ),
        node(
            build_windows,
            inputs=["primary", "params:data", "params:features", "params:targets"],
            outputs=["features", "statistics"],
            name="build_windows",
        ),
    ]
