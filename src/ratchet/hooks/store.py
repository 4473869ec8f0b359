"""Where MLflow tracks the runs of the project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.database import SQLITE, mlflow_client, shown, tracking_uri
from ratchet.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient


def open_store(settings: dict[str, Any], project: Path) -> tuple[MlflowClient, str]:
    """Connect to the tracking store and make the experiment if it is new.

    Args:
        settings: ``conf/*/mlflow.yml``.
        project: folder that relative paths belong to.

    Returns:
        Client and id of the experiment.

    Raises:
        ConfigError: the experiment was deleted; says how it comes back.
    """
    uri = tracking_uri(settings["tracking_uri"], project)
    client = mlflow_client(uri)
    experiment = client.get_experiment_by_name(settings["experiment"])
    if experiment is not None and experiment.lifecycle_stage != "active":
        raise ConfigError(_deleted(experiment, uri))
    if experiment is not None:
        return client, experiment.experiment_id
    local = uri.startswith(SQLITE)
    location = (project / settings["artifact_location"]).as_uri() if local else None
    return client, client.create_experiment(settings["experiment"], artifact_location=location)


def _deleted(experiment: Any, uri: str) -> str:
    restore = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
    return (
        f"the experiment '{experiment.name}' was deleted, and its name stays taken; restore it "
        f"(MLFLOW_TRACKING_URI='{shown(uri)}' {restore}), or write another name to `experiment` in "
        f"mlflow.yml"
    )


@contextmanager
def tracking_to(uri: str) -> Iterator[None]:
    """Let MLflow's own functions track to ``uri``.

    They read a global that MLflow also puts into the environment, where it would look like the
    user's choice to the next run of this process.
    """
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it
