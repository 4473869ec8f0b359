"""The catalog of a run: what it saves on this machine is there whole, or as it was before."""

from __future__ import annotations

import shutil
from copy import copy
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset, DataCatalog, DatasetError

from ratchet.learning.files import atomic_write

_LOCAL = ("file", "local")


class AtomicCatalog(DataCatalog):
    """Saves every dataset that is a local file or folder beside its place, then moves it there.

    That is whatever extends ``AbstractVersionedDataset``, as nearly all of kedro-datasets do. Other
    datasets look after themselves, as those of ``ratchet.datasets`` do.
    """

    def save(self, ds_name: str, data: Any) -> None:
        """Save a dataset; after an error or ``kill -9`` its file is as it was.

        Raises:
            DatasetError: it cannot be saved; starts with the name of the dataset.
        """
        dataset: Any = self[ds_name]
        if not _is_local(dataset):
            super().save(ds_name, data)
            return
        dataset.release()  # a versioned one would go on with the version it saved or loaded last
        place = Path(dataset._get_save_path())
        try:
            with atomic_write(place) as partial:
                if _adds_to_its_place(dataset, place):
                    (shutil.copytree if place.is_dir() else shutil.copyfile)(place, partial)
                self._datasets[ds_name] = _at(partial, dataset)
                super().save(ds_name, data)
        except OSError as error:
            raise DatasetError(f"{ds_name}: cannot be saved: {error.strerror or error}") from error
        finally:
            self._datasets[ds_name] = dataset


def _is_local(dataset: Any) -> bool:
    return (
        isinstance(dataset, AbstractVersionedDataset)
        and getattr(dataset, "_protocol", "file") in _LOCAL
    )


def _adds_to_its_place(dataset: Any, place: Path) -> bool:
    """Whether what is there stays: in a folder, or in a file that is opened to append to it."""
    if not place.exists():
        return False
    if place.is_dir():
        return not getattr(dataset, "_overwrite", False)
    arguments = ("_fs_open_args_save", "_writer_args")
    modes = [str((getattr(dataset, name, None) or {}).get("mode", "")) for name in arguments]
    return any("a" in mode or "+" in mode for mode in modes)


def _at(path: Path, dataset: Any) -> Any:
    """The same dataset in another place, without versions."""
    moved = copy(dataset)
    moved._filepath, moved._version = PurePosixPath(path), None
    return moved
