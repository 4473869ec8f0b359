"""The measurements of a use case, as a run reads them."""

from __future__ import annotations

from datetime import datetime

import pytest
from kedro.io import DatasetError

from ratchet.database import connect
from ratchet.datasets import MeasurementsDataset
from ratchet.monitoring.measurements import Measurement, Measurements

NOW = datetime(2024, 5, 6)


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    monkeypatch.delenv("RATCHET_DATABASE_URL", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


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
