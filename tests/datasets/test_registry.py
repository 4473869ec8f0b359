"""The registry as a dataset."""

from __future__ import annotations

import pytest
from kedro.io import DataCatalog, DatasetError

from ratchet.datasets import RegistryDataset
from ratchet.registry.registry import Registry


def make(tmp_path, uri="sqlite:///mlflow.db", **options):
    entry = {"type": "ratchet.datasets.RegistryDataset", "path": str(tmp_path)}
    entry |= {"tracking_uri": uri, "filepath": str(tmp_path / "bundles"), **options}
    return DataCatalog.from_config({"registry": entry})


def test_a_relative_path_belongs_to_the_project(tmp_path):
    registry = make(tmp_path).load("registry")

    assert isinstance(registry, Registry)
    assert registry.uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert registry.bundles == tmp_path / "bundles"
    assert list(tmp_path.iterdir()) == []  # nothing is made before it is used


def test_decisions_may_have_a_database_of_their_own(tmp_path):
    registry = make(tmp_path, "http://host", database_url="sqlite:///own.db").load("registry")

    assert registry.uri == "http://host"
    assert registry.ledger.engine.url.database == str(tmp_path / "own.db")


def test_it_cannot_be_saved(tmp_path):
    with pytest.raises(DatasetError, match="filled through the registry"):
        make(tmp_path).save("registry", 1)


def test_it_shows_no_password(tmp_path):
    assert "secret" not in str(make(tmp_path, "postgresql://ada:secret@host/x").get("registry"))


def test_it_exists(tmp_path):
    assert isinstance(make(tmp_path).get("registry"), RegistryDataset)
    assert make(tmp_path).exists("registry")
