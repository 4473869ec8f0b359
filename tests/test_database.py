"""Where runs, decisions and predictions are recorded."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from ratchet.database import database_url, mlflow_client, tracking_uri
from ratchet.errors import ConfigError
from ratchet.locks import LockedError, locked

PROJECT = Path("/srv/project")
URLS = [
    ("sqlite:///own.db", "sqlite:////srv/project/own.db"),
    ("sqlite:///data/own.db", "sqlite:////srv/project/data/own.db"),
    ("sqlite:////var/own.db", "sqlite:////var/own.db"),
    ("sqlite://", "sqlite://"),  # in memory
    ("postgresql://ada@host/ratchet", "postgresql://ada@host/ratchet"),
]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RATCHET_DATABASE_URL", raising=False)


@pytest.mark.parametrize(("url", "expected"), URLS)
def test_a_relative_file_belongs_to_the_project(monkeypatch, url, expected):
    assert tracking_uri(url, PROJECT) == expected
    assert database_url(url, PROJECT) == expected

    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    monkeypatch.setenv("RATCHET_DATABASE_URL", url)

    assert tracking_uri("sqlite:///other.db", PROJECT) == expected
    assert database_url("http://host", PROJECT) == expected


def test_a_server_is_no_database():
    with pytest.raises(ConfigError, match="set RATCHET_DATABASE_URL") as error:
        database_url("http://ada:secret@host", PROJECT)

    assert "secret" not in str(error.value)


def test_registry_and_log_find_the_file_of_the_project_from_anywhere(monkeypatch, tmp_path):
    from ratchet.datasets import PredictionLogDataset, RegistryDataset

    monkeypatch.setenv("RATCHET_DATABASE_URL", "sqlite:///own.db")
    common = {"path": str(tmp_path / "project"), "tracking_uri": "http://host"}
    registry = RegistryDataset(filepath=str(tmp_path / "bundles"), **common).load()
    log = PredictionLogDataset(**common).load()
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")

    for engine in (registry.ledger.engine, log._engine):
        assert engine.url.database == str(tmp_path / "project" / "own.db")


def test_two_clients_do_not_make_the_tables_at_once(monkeypatch, tmp_path):
    started, ended = [], []

    def client(*_):
        started.append(len(ended))
        time.sleep(0.1)
        ended.append(1)

    monkeypatch.setattr("mlflow.MlflowClient", client)
    uri = f"sqlite:///{tmp_path / 'own.db'}"
    threads = [threading.Thread(target=mlflow_client, args=[uri]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert started == [0, 1]


def test_once_tables_are_there_nobody_waits_for_a_lock(monkeypatch, tmp_path):
    path = tmp_path / "own.db"

    def client(*_):
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE IF NOT EXISTS alembic_version AS SELECT 'a' AS version")

    monkeypatch.setattr("mlflow.MlflowClient", client)
    monkeypatch.setattr("ratchet.locks.SECONDS", 0.1)
    mlflow_client(f"sqlite:///{path}")

    with locked(tmp_path / "own.db.lock", "a test"):
        mlflow_client(f"sqlite:///{path}")
        path.write_bytes(b"")  # lost: tables are made anew, one process after the other
        with pytest.raises(LockedError, match=r"making the tables of .*own\.db: process \d+ \("):
            mlflow_client(f"sqlite:///{path}")
