"""A folder that nodes fill themselves: there when it is asked for."""

import pytest
from kedro.io import DatasetError

from ratchet.datasets import FolderDataset


def test_it_is_made_when_it_is_asked_for(tmp_path):
    dataset = FolderDataset(filepath=str(tmp_path / "deep" / "trials"))

    assert dataset.load().is_dir()
    assert dataset.exists()


def test_it_is_not_saved_to(tmp_path):
    dataset = FolderDataset(filepath=str(tmp_path))

    with pytest.raises(DatasetError, match="filled by the nodes"):
        dataset.save(tmp_path)
