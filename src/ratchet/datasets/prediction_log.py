"""The prediction log of the project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ratchet.database import connect, database_url, shown, tracking_uri

if TYPE_CHECKING:
    from ratchet.monitoring.prediction_log import PredictionLog


class PredictionLogDataset(AbstractDataset[NoReturn, "PredictionLog"]):
    """The log of predictions in the database of the project, see ``ratchet.database``.

    Args:
        path: the project folder; Kedro makes ``.`` absolute, because of the name of this key.
        tracking_uri: where MLflow tracks, as in ``mlflow.yml``; environment variables win.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(
        self,
        *,
        path: str = ".",
        tracking_uri: str = "sqlite:///mlflow.db",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._path = Path(path)
        self._tracking_uri = tracking_uri
        self.metadata = metadata

    def load(self) -> PredictionLog:
        """Give the log; the database is opened when something is asked or written."""
        from ratchet.monitoring.prediction_log import PredictionLog

        return PredictionLog(connect(self._url()))

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: nodes write answers one by one, none replaces the log."""
        raise DatasetError("the prediction log is written by its own methods")

    def _url(self) -> str:
        return database_url(tracking_uri(self._tracking_uri, self._path), self._path)

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"database": shown(self._tracking_uri)}
