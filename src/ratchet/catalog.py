"""The catalog of a run: what it saves on this machine is there whole, or as it was before."""

from __future__ import annotations

import shutil
from typing import Any

from kedro.io import DataCatalog, DatasetError

from ratchet.kedro_private import at_path, exchange, is_local_file, keeps_content, save_path
from ratchet.learning.atomic_files import atomic_write


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
        dataset = self[ds_name]
        if not is_local_file(dataset):
            super().save(ds_name, data)
            return
        dataset.release()  # a versioned one would go on with the version it saved or loaded last
        path = save_path(dataset)
        try:
            with atomic_write(path) as partial:
                if keeps_content(dataset, path):
                    (shutil.copytree if path.is_dir() else shutil.copyfile)(path, partial)
                exchange(self, ds_name, at_path(dataset, partial))
                super().save(ds_name, data)
        except OSError as error:
            raise DatasetError(f"{ds_name}: cannot be saved: {error.strerror or error}") from error
        finally:
            exchange(self, ds_name, dataset)
