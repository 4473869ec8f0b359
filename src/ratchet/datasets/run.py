"""The run that is going on, as decisions name it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ratchet.provenance import MLFLOW_RUN, actor, code_commit, orchestrator_run


class RunDataset(AbstractDataset[NoReturn, dict[str, str | None]]):
    """Who and what runs: ``actor``, ``code_commit``, ``mlflow_run``, ``orchestrator_run``.

    What is not known is ``None``.

    Args:
        path: the project folder.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path)
        self.metadata = metadata

    def load(self) -> dict[str, str | None]:
        """Look at the environment and the checkout."""
        return {
            "actor": actor(),
            "code_commit": code_commit(self._path),
            "mlflow_run": os.environ.get(MLFLOW_RUN),
            "orchestrator_run": orchestrator_run(),
        }

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: a run is not made here."""
        raise DatasetError("the run that is going on cannot be saved")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}
