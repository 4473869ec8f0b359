"""Fitted models in files that run no code when they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from ratchet.learning import trusted
from ratchet.learning.atomic_files import atomic_write
from ratchet.learning.demand.book import DemandBook


class SkopsDataset(AbstractDataset[Any, Any]):
    """A fitted estimator as a skops file, written whole or not at all.

    Args:
        filepath: the file, by convention ``*.skops``.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, object] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Any:
        """Read the estimator.

        Raises:
            DatasetError: the file is missing, damaged or holds a type that is not trusted.
        """
        try:
            return trusted.load(self._filepath)
        except ValueError as error:
            raise DatasetError(str(error)) from error

    def save(self, data: Any) -> None:
        """Write the estimator next to its place, then move it there."""
        trusted.dump(data, self._filepath)

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._filepath)}


class DemandBookDataset(AbstractDataset[DemandBook, DemandBook]):
    """A demand book as an ``npz`` file without pickles, written whole or not at all.

    Args:
        filepath: the file, by convention ``*.npz``.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, object] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> DemandBook:
        """Read the book.

        Raises:
            DatasetError: the file is missing, damaged or no book.
        """
        try:
            return DemandBook.from_bytes(self._filepath.read_bytes(), str(self._filepath))
        except (OSError, ValueError) as error:
            raise DatasetError(str(error)) from error

    def save(self, data: DemandBook) -> None:
        """Write the book next to its place, then move it there."""
        with atomic_write(self._filepath) as partial:
            partial.write_bytes(data.to_bytes())

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._filepath)}
