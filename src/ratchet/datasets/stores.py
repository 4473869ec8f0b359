"""Datasets over the database: registry, predictions, measurements, and the run in progress."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ratchet.database import SQLITE, connect, database_url, tracking_uri
from ratchet.errors import ConfigError, hide_secrets
from ratchet.provenance import MLFLOW_RUN, actor, code_commit, orchestrator_run

if TYPE_CHECKING:
    from ratchet.monitoring.measurements import Measurement
    from ratchet.monitoring.prediction_log import PredictionLog


class PredictionLogDataset(AbstractDataset[NoReturn, "PredictionLog"]):
    """The log of predictions in the database of the project, see ``ratchet.database``.

    Args:
        path: the project folder; Kedro makes ``.`` absolute, because of the name of this key.
        tracking_uri: where MLflow tracks, as in ``mlflow.yml``.
        database_url: the database, where it is not that of MLflow.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(
        self,
        *,
        path: str = ".",
        tracking_uri: str = "sqlite:///mlflow.db",
        database_url: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        self._path = Path(path)
        self._tracking_uri = tracking_uri
        self._database_url = database_url
        self.metadata = metadata

    def load(self) -> PredictionLog:
        """Give the log; the database is opened when something is asked or written."""
        from ratchet.monitoring.prediction_log import PredictionLog

        return PredictionLog(connect(self._url()))

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: nodes write answers one by one, none replaces the log."""
        raise DatasetError("the prediction log is written by its own methods")

    def _url(self) -> str:
        return database_url(self._tracking_uri, self._path, self._database_url)

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {"database": hide_secrets(self._database_url or self._tracking_uri)}


class MeasurementsDataset(AbstractDataset[NoReturn, "list[Measurement]"]):
    """Measurements of a use case in the database of the project, see ``ratchet.database``.

    Args:
        use_case: name of the use case.
        path: the project folder; Kedro makes ``.`` absolute, because of the name of this key.
        tracking_uri: where MLflow tracks, as in ``mlflow.yml``.
        database_url: the database, where it is not that of MLflow.
        read: whether they are read at all; otherwise there are none.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(
        self,
        *,
        use_case: str,
        path: str = ".",
        tracking_uri: str = "sqlite:///mlflow.db",
        database_url: str | None = None,
        read: bool = True,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        self._use_case = use_case
        self._path = Path(path)
        self._tracking_uri = tracking_uri
        self._database_url = database_url
        self._read = read
        self.metadata = metadata

    def load(self) -> list[Measurement]:
        """Give the measurements, in the order of time; none where nothing was ever handed in.

        No database and no table is made.
        """
        from ratchet.monitoring.measurements import Measurements

        url = self._url() if self._read else None
        if url is None:
            return []
        engine = connect(url)
        try:
            store = Measurements(engine)
            return store.rows(self._use_case) if store.is_there() else []
        finally:
            engine.dispose()

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: the service writes measurements."""
        raise DatasetError("measurements are handed to the service, no node writes any")

    def _url(self) -> str | None:
        """The database; ``None`` where there is none."""
        try:
            url = database_url(self._tracking_uri, self._path, self._database_url)
        except ConfigError:  # MLflow is behind a server, and no database is configured
            return None
        if url.startswith(SQLITE):
            path = url.removeprefix(SQLITE).partition("?")[0]
            return url if path and Path(path).is_file() else None
        return url

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {
            "use_case": self._use_case,
            "database": hide_secrets(self._database_url or self._tracking_uri),
        }


class RunDataset(AbstractDataset[NoReturn, dict[str, str | None]]):
    """Who and what runs: ``actor``, ``code_commit``, ``mlflow_run``, ``orchestrator_run``.

    What is not known is ``None``.

    Args:
        path: the project folder.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(self, *, path: str, metadata: Mapping[str, object] | None = None) -> None:
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

    def _describe(self) -> dict[str, object]:
        return {"path": str(self._path)}


class RegistryDataset(AbstractDataset[NoReturn, Any]):
    """Where versions, bundles and decisions are: a ``ratchet.registry.registry.Registry``.

    Args:
        path: the project folder, to which a relative SQLite path belongs. Kedro makes the keys
            ``path`` and ``filepath`` absolute, so that ``.`` is enough.
        tracking_uri: where MLflow tracks.
        database_url: the database of decisions, where it is not that of MLflow.
        filepath: folder of the bundles.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(
        self,
        *,
        path: str,
        tracking_uri: str,
        database_url: str | None = None,
        filepath: str,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        self._path = Path(path)
        self._tracking_uri = tracking_uri
        self._database_url = database_url
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Any:
        """The registry; nothing is opened before it is used."""
        from ratchet.registry.registry import Registry

        uri = tracking_uri(self._tracking_uri, self._path)
        return Registry(uri, self._filepath, self._database_url, project=self._path)

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: versions are registered by the nodes that use the registry."""
        raise DatasetError(f"{self._filepath} is filled through the registry")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._filepath)}
