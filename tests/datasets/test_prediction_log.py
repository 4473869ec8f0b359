"""The prediction log of a project, from the catalog."""

from datetime import datetime

import pandas as pd
import pytest
from kedro.io import DatasetError

from ratchet.datasets import PredictionLogDataset


def test_it_is_in_the_database_of_the_project(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RATCHET_DATABASE_URL", raising=False)
    dataset = PredictionLogDataset(path=str(tmp_path), tracking_uri="sqlite:///runs.db")
    rows = {"rating": pd.DataFrame({"prediction": [1.0]}, index=["a"])}

    log = dataset.load()
    log.write("films", "1", rows, arm="champion", source="batch", at=datetime(2024, 1, 1))

    assert (tmp_path / "runs.db").is_file()
    assert list(dataset.load().rows("films").index) == ["a"]


def test_a_database_of_the_environment_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("RATCHET_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")

    PredictionLogDataset(path=str(tmp_path)).load().rows("films")

    assert [path.name for path in tmp_path.iterdir()] == ["other.db"]


def test_it_is_not_saved_to():
    with pytest.raises(DatasetError, match="written by its own methods"):
        PredictionLogDataset().save("rows")


def test_no_password_is_shown():
    dataset = PredictionLogDataset(tracking_uri="postgresql://me:secret@host/ratchet")

    assert "secret" not in str(dataset)
