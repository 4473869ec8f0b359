"""Where runs, decisions and predictions are recorded."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from ratchet.database import connect, database_url, mlflow_client, tracking_uri
from ratchet.errors import ConfigError, DatabaseError
from ratchet.locks import LockedError, locked

PROJECT = Path("/srv/project")
URLS = [
    ("sqlite:///own.db", "sqlite:////srv/project/own.db"),
    ("sqlite:///data/own.db", "sqlite:////srv/project/data/own.db"),
    ("sqlite:////var/own.db", "sqlite:////var/own.db"),
    ("sqlite://", "sqlite://"),  # in memory
    ("postgresql://ada@host/ratchet", "postgresql://ada@host/ratchet"),
]


@pytest.mark.parametrize(("url", "expected"), URLS)
def test_a_relative_file_belongs_to_the_project(url, expected):
    assert tracking_uri(url, PROJECT) == expected
    assert database_url(url, PROJECT) == expected
    assert database_url("http://host", PROJECT, url) == expected


def test_environment_variables_are_left_to_the_configuration(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    monkeypatch.setenv("RATCHET_DATABASE_URL", "sqlite:////elsewhere.db")

    assert tracking_uri("sqlite://", PROJECT) == database_url("sqlite://", PROJECT) == "sqlite://"


def test_a_server_is_no_database():
    with pytest.raises(ConfigError, match="set RATCHET_DATABASE_URL") as error:
        database_url("http://ada:secret@host", PROJECT)

    assert "secret" not in str(error.value)


def test_registry_and_log_find_the_file_of_the_project_from_anywhere(monkeypatch, tmp_path):
    from ratchet.datasets import PredictionLogDataset, RegistryDataset

    common = {"path": str(tmp_path / "project"), "tracking_uri": "http://host"}
    common |= {"database_url": "sqlite:///own.db"}
    registry = RegistryDataset(filepath=str(tmp_path / "bundles"), **common).load()
    log = PredictionLogDataset(**common).load()
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")

    for engine in (registry.ledger.engine, log._table.engine):
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


def damaged(path: Path, how: str) -> sa.Engine:
    """An SQLite file with a table that something has happened to, and what opens it."""
    url = f"sqlite:///{path}"
    engine = connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x TEXT UNIQUE)")
        rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n WHERE i < 2000)"
        connection.exec_driver_sql(f"INSERT INTO t {rows} SELECT hex(i * 1e9) FROM n")
    engine.dispose()
    whole = path.read_bytes()
    if how == "garbage":
        path.write_bytes(b"garbage" * 1000)
    elif how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "emptied":
        path.write_bytes(b"")
    setting = {"full": "max_page_count = 1", "read-only": "query_only = 1"}.get(how)
    if setting:
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute(f"PRAGMA {setting}"))
    return engine


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("garbage", "is damaged (file is not a database): put a copy of it back, or move it away"),
        ("truncated", "is damaged (database disk image is malformed): put a copy of it back, or"),
        ("emptied", "is damaged (no such table): put a copy of it back, or move it away"),
        ("full", "cannot be written (database or disk is full): make room on its disk"),
        ("read-only", "cannot be written (attempt to write a readonly database): look at the perm"),
    ],
)
def test_a_database_in_trouble_is_named_with_a_way_out(tmp_path, how, told):
    engine = damaged(tmp_path / "a.db", how)

    with pytest.raises(DatabaseError) as error, engine.begin() as connection:  # noqa: PT012
        connection.exec_driver_sql("INSERT INTO t SELECT 'a' || hex(zeroblob(9000))")
        connection.exec_driver_sql("SELECT count(*), max(x) FROM t WHERE x > ''").all()
        connection.exec_driver_sql("SELECT * FROM t NOT INDEXED").all()

    assert str(error.value).startswith(f"the database sqlite:///{tmp_path}/a.db {told}")


def test_an_ordinary_error_of_the_database_stays(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/a.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x UNIQUE)")
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        with pytest.raises(sa.exc.IntegrityError):
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")


def test_a_store_of_mlflow_that_is_damaged_is_named(tmp_path):
    (tmp_path / "a.db").write_bytes(b"garbage" * 1000)

    with pytest.raises(DatabaseError, match=r"a\.db is damaged \(file is not a database\)"):
        mlflow_client(f"sqlite:///{tmp_path}/a.db")


@pytest.mark.slow
def test_two_processes_make_the_tables_of_a_postgresql_once(postgresql):
    """MLflow's own client would let both make them, and one of them fail."""
    url = postgresql()
    look = f"print(mlflow_client({url!r}).search_registered_models())"
    command = [sys.executable, "-c", f"from ratchet.database import mlflow_client; {look}"]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)
        for _ in range(2)
    ]

    said = [one.communicate() for one in started]

    assert [(one.returncode, out) for one, (out, _) in zip(started, said, strict=True)] == [
        (0, b"[]\n")
    ] * 2, said
    assert sum(b"Creating initial MLflow database tables" in trace for _, trace in said) == 1


def test_a_file_that_takes_the_place_of_the_database_is_seen_and_none_is_made_anew(tmp_path):
    path, other = tmp_path / "own.db", tmp_path / "other.db"
    engines = [connect(f"sqlite:///{path}"), connect(f"sqlite:///{other}")]
    for engine, name in zip(engines, ("own", "other"), strict=True):
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE TABLE {name} (number INTEGER)")
    path.rename(tmp_path / "moved.db")
    for _ in range(2):  # by a connection of the pool, and by a new one
        with pytest.raises(DatabaseError, match="is gone: put it back"):
            engines[0].connect()
        engines[0].dispose()
    assert not path.exists()
    other.rename(path)
    assert sa.inspect(engines[0]).get_table_names() == ["other"]
