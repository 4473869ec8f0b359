"""Data preparation: typed rows -> primary rows -> features -> train, validation and test."""

from collections.abc import Mapping
from typing import Any

from kedro.pipeline import Node, Pipeline, node

from ratchet.config import ONE_WINDOW, Data, Evaluation, Features, UseCase, read_targets
from ratchet.frames import DataFrame


def select_rows(
    typed: DataFrame,
    data: Data,
    targets: Mapping[str, Any],
    seed: int,
    evaluation: Evaluation = ONE_WINDOW,
) -> tuple[DataFrame, dict[str, object]]:
    """Leave out incomplete rows, derive columns and split, see ``row_features.select_rows``."""
    from ratchet.preparation import row_features

    return row_features.select_rows(typed, data, read_targets(targets), seed, evaluation)


def select_series(
    typed: DataFrame,
    data: Data,
    features: Features,
    targets: Mapping[str, Any],
    seed: int = 0,
    evaluation: Evaluation = ONE_WINDOW,
) -> tuple[DataFrame, dict[str, object]]:
    """Lay series out on their steps and split these, see ``forecast_steps.select_series``."""
    from ratchet.preparation import forecast_steps

    return forecast_steps.select_series(
        typed, data, features, read_targets(targets), evaluation, seed
    )


def build_features(
    primary: DataFrame, data: Data, features: Features, targets: Mapping[str, Any]
) -> DataFrame:
    """Gather what a model may see of each row, see ``row_features.row_features``."""
    from ratchet.preparation import checks, row_features

    if features.market is not None:
        checks.check_market(primary, features.market)
    return row_features.row_features(primary, data, features, read_targets(targets))


def build_windows(
    primary: DataFrame,
    data: Data,
    features: Features,
    targets: Mapping[str, Any],
    evaluation: Evaluation = ONE_WINDOW,
) -> tuple[DataFrame, DataFrame]:
    """Gather what a forecast may see of each step, see ``window_columns.build_windows``."""
    from ratchet.preparation import window_columns

    return window_columns.build_windows(primary, data, features, read_targets(targets), evaluation)


def encode_features(
    features_frame: DataFrame,
    features: Features,
    seed: int,
    targets: Mapping[str, Any] | None = None,
) -> tuple[Any, DataFrame, DataFrame, DataFrame]:
    """Turn features into numbers, as training rows show, see ``row_features.encode_features``."""
    from ratchet.preparation import row_features

    checked = None if targets is None else read_targets(targets)
    return row_features.encode_features(features_frame, features, seed, checked)


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case: rows as such, or the steps of time series."""
    windows = [] if use_case.evaluation == ONE_WINDOW else ["params:evaluation"]
    return Pipeline(
        [
            *(_of_series(windows) if use_case.features.windows else _of_rows(windows)),
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


def _of_rows(windows: list[str]) -> list[Node]:
    return [
        node(
            select_rows,
            inputs=["typed", "params:data", "params:targets", "params:seed", *windows],
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


def _of_series(windows: list[str]) -> list[Node]:
    parameters = ["params:data", "params:features", "params:targets"]
    return [
        node(
            select_series,
            inputs=["typed", *parameters, "params:seed", *windows],
            outputs=["primary", "selection"],
            name="select_series",
        ),
        node(
            build_windows,
            inputs=["primary", *parameters, *windows],
            outputs=["features", "statistics"],
            name="build_windows",
        ),
    ]
