"""Measurements and the prediction log of a project, from the catalog."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pytest
from kedro.io import DatasetError

from ratchet.database import connect
from ratchet.datasets import MeasurementsDataset, PredictionLogDataset
from ratchet.monitoring.measurements import Measurement, Measurements

NOW = datetime(2024, 5, 6)


def test_those_of_the_use_case_are_read(tmp_path):
    store = Measurements(connect(f"sqlite:///{tmp_path / 'mlflow.db'}"))
    store.write("power", [Measurement(NOW, "", {"load": 1})], at=NOW, source="x")
    store.write("stock", [Measurement(NOW, "a", {"units": 1})], at=NOW, source="x")

    power = MeasurementsDataset(use_case="power", path=str(tmp_path)).load()

    assert [dict(one.fields) for one in power] == [{"load": 1}]
    assert MeasurementsDataset(use_case="power", path=str(tmp_path), read=False).load() == []


def test_without_a_store_there_are_none_and_none_is_made(tmp_path):
    dataset = MeasurementsDataset(use_case="power", path=str(tmp_path))

    assert dataset.load() == []
    assert list(tmp_path.iterdir()) == []

    connect(f"sqlite:///{tmp_path / 'mlflow.db'}").connect().close()
    assert dataset.load() == []


def test_behind_a_server_there_are_none(tmp_path):
    dataset = MeasurementsDataset(
        use_case="power", path=str(tmp_path), tracking_uri="http://127.0.0.1:1"
    )

    assert dataset.load() == []


def test_no_node_writes_any(tmp_path):
    with pytest.raises(DatasetError, match="handed to the service"):
        MeasurementsDataset(use_case="power", path=str(tmp_path)).save([])  # type: ignore[arg-type]


def test_it_is_in_the_database_of_the_project(tmp_path):
    dataset = PredictionLogDataset(path=str(tmp_path), tracking_uri="sqlite:///runs.db")
    rows = {"rating": pd.DataFrame({"prediction": [1.0]}, index=["a"])}

    log = dataset.load()
    log.write("films", "1", rows, arm="champion", source="batch", at=datetime(2024, 1, 1))

    assert (tmp_path / "runs.db").is_file()
    assert list(dataset.load().rows("films").index) == ["a"]


def test_a_database_beside_that_of_mlflow_is_taken(tmp_path):
    places = {"path": str(tmp_path), "tracking_uri": "http://127.0.0.1:1"}
    places |= {"database_url": "sqlite:///other.db"}
    PredictionLogDataset(**places).load().rows("films")

    assert [path.name for path in tmp_path.iterdir()] == ["other.db"]

    store = Measurements(connect(f"sqlite:///{tmp_path / 'other.db'}"))
    store.write("power", [Measurement(NOW, "", {"load": 1})], at=NOW, source="x")
    assert len(MeasurementsDataset(use_case="power", **places).load()) == 1


def test_it_is_not_saved_to():
    with pytest.raises(DatasetError, match="written by its own methods"):
        PredictionLogDataset().save("rows")


def test_no_password_is_shown():
    url = "postgresql://me:secret@host/ratchet"

    for dataset in (
        PredictionLogDataset(tracking_uri=url),
        PredictionLogDataset(database_url=url),
        MeasurementsDataset(use_case="power", database_url=url),
    ):
        assert "secret" not in str(dataset)
        assert "postgresql://host/ratchet" in str(dataset)
