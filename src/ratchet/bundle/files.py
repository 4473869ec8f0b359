"""Files of a bundle, read one by one against the hashes in its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet.bundle.manifest import BundleError, hash_of


class Files:
    """The files of a bundle; each is held against its hash when it is read.

    Args:
        folder: the bundle.
        hashes: SHA-256 of every file, by its path in the folder.
    """

    def __init__(self, folder: Path, hashes: Mapping[str, str]) -> None:
        self.folder = folder
        self._hashes = hashes

    def __contains__(self, name: str) -> bool:
        return name in self._hashes

    def content(self, name: str) -> bytes:
        """Read a file.

        Raises:
            BundleError: it is missing, or is not as it was written.
        """
        path = self.folder / name
        if name not in self:
            raise BundleError(f"{name} is not in the manifest of bundle {self.folder}")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from error
        if hash_of(content) != self._hashes[name]:
            raise BundleError(f"{path} was changed after it was written")
        return content

    def json(self, name: str) -> Any:
        """Read a JSON file.

        Raises:
            BundleError: see ``content``, or it is no JSON.
        """
        try:
            return json.loads(self.content(name))
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{self.folder / name} is no JSON: {error}") from error

    def table(self, name: str) -> pd.DataFrame:
        """Read a Parquet file.

        Raises:
            BundleError: see ``content``, or it is no table.
        """
        try:
            return pd.read_parquet(BytesIO(self.content(name)))
        except (ValueError, OSError) as error:
            raise BundleError(f"{self.folder / name} is no table: {error}") from error

    def model(self, name: str) -> Any:
        """Read a fitted model, if all types in it are known.

        Raises:
            BundleError: see ``content``, or it is no model, or holds a type that is not trusted.
        """
        from ratchet.learning import trusted

        content = self.content(name)
        try:
            return trusted.loads(content, str(self.folder / name))
        except ValueError as error:
            raise BundleError(str(error)) from error
