"""The registry of model versions, for nodes that register, judge or replace them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ratchet.database import tracking_uri


class RegistryDataset(AbstractDataset[NoReturn, Any]):
    """Where versions, bundles and decisions are: a ``ratchet.registry.registry.Registry``.

    Args:
        path: the project folder, to which a relative SQLite path belongs. Kedro makes the keys
            ``path`` and ``filepath`` absolute, so that ``.`` is enough.
        tracking_uri: where MLflow tracks; ``MLFLOW_TRACKING_URI`` goes before it.
        filepath: folder of the bundles.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(
        self,
        *,
        path: str,
        tracking_uri: str,
        filepath: str,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        self._path = Path(path)
        self._tracking_uri = tracking_uri
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Any:
        """The registry; nothing is opened before it is used."""
        from ratchet.registry.registry import Registry

        uri = tracking_uri(self._tracking_uri, self._path)
        return Registry(uri, self._filepath, project=self._path)

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: versions are registered by the nodes that use the registry."""
        raise DatasetError(f"{self._filepath} is filled through the registry")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._filepath)}
