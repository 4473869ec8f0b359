"""What `make airflow` sets, and what it says when it cannot start."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ratchet.airflow import database, standalone

PORT = "AIRFLOW__API__PORT"
ADDRESS = "AIRFLOW__API__BASE_URL"
TASKS = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


@pytest.fixture(autouse=True)
def in_an_empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of whoever runs the tests, and no handler of ours for them."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["standalone"])
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_port_moves_pages_links_and_where_tasks_report(tmp_path):
    found = standalone.settings(tmp_path, {"AIRFLOW_PORT": "9123"})

    assert found[PORT] == "9123"
    assert found[ADDRESS] == "http://127.0.0.1:9123"
    assert found[TASKS] == "http://127.0.0.1:9123/execution/"
    assert standalone.settings(tmp_path, {"AIRFLOW_PORT": "9123", PORT: "9124"})[ADDRESS].endswith(
        ":9124"
    )


def test_everything_is_on_this_machine_and_in_the_project_by_default(tmp_path):
    found = standalone.settings(tmp_path, {})

    assert found["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert found["AIRFLOW_HOME"] == str(tmp_path / ".airflow")
    assert found["AIRFLOW__CORE__DAGS_FOLDER"] == str(tmp_path / "dags")
    assert all("--skip-serve-logs" in standalone.PARTS[name] for name in ("scheduler", "triggerer"))


def test_what_is_set_already_stays(tmp_path):
    own = {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": "16",
        ADDRESS: "https://airflow.example.org",
        "HOME": "/home/ana",
    }

    assert own.items() <= standalone.settings(tmp_path, own).items()


def test_psycopg_serves_both_ways_of_asking_the_database(tmp_path):
    asked = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"
    ours = "postgresql+psycopg://ana@db/airflow"

    assert standalone.settings(tmp_path, {DATABASE: ours})[asked] == ours
    assert asked not in standalone.settings(tmp_path, {DATABASE: "postgresql://ana@db/airflow"})
    assert asked not in standalone.settings(tmp_path, {})


def test_a_busy_port_is_named_with_a_way_out(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        monkeypatch.setenv("AIRFLOW_PORT", str(port))

        with pytest.raises(SystemExit, match=rf"127.0.0.1:{port} .*AIRFLOW_PORT="):
            standalone.main()


def test_a_second_one_in_the_same_folder_is_refused(tmp_path):
    home = tmp_path / ".airflow"
    home.mkdir()
    (home / "airflow.log").write_text("of the first\n")
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        with pytest.raises(SystemExit, match="runs already"):
            standalone.main()

    assert (home / "airflow.log").read_text() == "of the first\n"


def test_nobody_else_may_look_into_its_folder(tmp_path, monkeypatch):
    def ends(family, environ):
        raise KeyboardInterrupt

    monkeypatch.setattr(standalone, "_serve", ends)

    standalone.main()  # a Ctrl-C is no error

    assert stat.S_IMODE((tmp_path / ".airflow").stat().st_mode) == 0o700


def test_without_airflow_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(standalone, "find_spec", lambda name: None)

    with pytest.raises(SystemExit, match="make setup-airflow"):
        standalone.main()


def test_the_login_is_shown_where_airflow_has_made_one(tmp_path):
    environ = {"AIRFLOW_HOME": str(tmp_path), ADDRESS: "http://127.0.0.1:8080"}
    address = "Airflow is ready: http://127.0.0.1:8080"

    assert standalone._greeting(environ) == address

    (tmp_path / "simple_auth_manager_passwords.json.generated").write_text('{"admin": "s3cret"}')
    assert standalone._greeting(environ) == f"{address}\n  user admin, password s3cret"


@pytest.mark.parametrize("there", [None, "a pool that somebody gave five slots"])
def test_a_pool_that_is_there_keeps_its_slots(monkeypatch, there):
    made = []
    pools = SimpleNamespace(
        get_pool=lambda name: there,
        create_or_update_pool=lambda name, slots, *_, **__: made.append((name, slots)),
    )
    monkeypatch.setitem(sys.modules, "airflow.models.pool", SimpleNamespace(Pool=pools))

    database.make_pool_if_absent()

    assert made == ([] if there else [("cores", 2)])


def test_a_command_of_airflow_is_given_the_same_settings(tmp_path, monkeypatch):
    called = {}

    def execve(program, words, environ):
        called.update(words=words, home=environ["AIRFLOW_HOME"])
        raise KeyboardInterrupt  # it does not come back

    monkeypatch.setattr("os.execve", execve)
    monkeypatch.setattr("sys.argv", ["standalone", "dags", "list"])

    standalone.main()

    assert called["words"][1:] == ["-m", "airflow", "dags", "list"]
    assert called["home"] == str(tmp_path / ".airflow")
