"""Folders that nodes fill themselves: trials and finished searches."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import joblib
from kedro.io import AbstractDataset, DatasetError

from ratchet.provenance import code_version


class FolderDataset(AbstractDataset[NoReturn, Path]):
    """The path of a folder, for work that has to be on disk before its node ends.

    Args:
        filepath: the folder; it is made when it is asked for.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, object] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Make the folder and give its path."""
        self._filepath.mkdir(parents=True, exist_ok=True)
        return self._filepath

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: the nodes fill the folder themselves."""
        raise DatasetError(f"{self._filepath} is filled by the nodes that use it")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._filepath)}


_CODE = ("learning", "modelling")
_LIBRARIES = (
    *("scikit-learn", "xgboost", "xgboost-cpu", "numpy"),
    *("keras", "tensorflow", "tensorflow-cpu"),
)


class SearchCacheDataset(AbstractDataset[NoReturn, joblib.Memory]):
    """A folder in which ``joblib.Memory`` keeps the results of finished searches.

    A search whose rows, estimator and grid have not changed is read back instead of run again,
    as long as our code and the libraries that fit have not changed either.
    The folder holds pickles: it is scratch space of one machine and is never shared or served.

    Args:
        filepath: the folder.
        limit: size in bytes to which the folder is cut back, oldest results first.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(
        self, *, filepath: str, limit: int = 2**31, metadata: Mapping[str, object] | None = None
    ) -> None:
        self._filepath = Path(filepath)
        self._limit = limit
        self.metadata = metadata

    def load(self) -> joblib.Memory:
        """Open the folder and drop what other code left there.

        It is made when the first result is kept.
        """
        ours, code = self._filepath / "joblib", code_version(_CODE, _LIBRARIES)
        for folder in ours.glob("*"):
            if folder.name != code:
                shutil.rmtree(folder, ignore_errors=True)
        memory = joblib.Memory(ours / code, verbose=0, compress=1)
        memory.reduce_size(bytes_limit=self._limit)
        return memory

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: the searches fill the folder themselves."""
        raise DatasetError(f"{self._filepath} is filled by the searches")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._filepath)}
