"""Airflow on this machine: its settings, and processes that are stopped with all they started."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ratchet.airflow import database, standalone
from ratchet.airflow.standalone import ProcessGroup
from ratchet.errors import UserError

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


SLEEP = "import time; time.sleep(60)"
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', '{SLEEP}'], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""
"""Prints the process id of a child that its session and process group do not reach."""

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
time.sleep(60)
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], ProcessGroup]]:
    """Make a family of the same home, as a second start would."""
    families = []

    def family() -> ProcessGroup:
        log = (tmp_path / f"{len(families)}.log").open("w")
        families.append((ProcessGroup(tmp_path / "home", os.environ, log), log))
        return families[-1][0]

    yield family
    family().stop()
    for _, log in families:
        log.close()


def printed(family: ProcessGroup) -> str:
    """First line of a log."""
    for _ in range(200):
        if "\n" in (text := Path(family.log).read_text()):
            return text.splitlines()[0]
        time.sleep(0.05)
    raise AssertionError("nothing was printed")


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_grandchild_in_a_session_of_its_own_is_stopped(make):
    family = make()
    family.start("parent", [sys.executable, "-c", PARENT])
    child = int(printed(family))
    assert runs(child)

    family.stop()

    assert not runs(child)


def test_a_second_start_stops_what_the_first_has_left_behind(make):
    first = make()
    first.start("parent", [sys.executable, "-c", PARENT])
    child = int(printed(first))
    parent = psutil.Process(child).ppid()
    os.kill(parent, signal.SIGKILL)
    assert runs(child)

    make().stop()

    assert not runs(child)


def test_only_its_own_processes_are_stopped(make, tmp_path):
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP])
    other = ProcessGroup(tmp_path / "another home", os.environ, (tmp_path / "other.log").open("w"))
    other.start("parent", [sys.executable, "-c", PARENT])
    child = int(printed(other))
    try:
        make().stop()

        assert stranger.poll() is None
        assert runs(child)
    finally:
        stranger.kill()
        stranger.wait()
        other.stop()


def test_what_does_not_end_is_killed(make, monkeypatch):
    monkeypatch.setattr("ratchet.airflow.standalone.TERM_SECONDS", 0.2)
    family = make()
    family.start("stubborn", [sys.executable, "-c", STUBBORN])
    printed(family)

    family.stop()

    with pytest.raises(UserError, match="stubborn has ended"):
        family.check()


def test_the_last_one_ends_after_the_others(make):
    family = make()
    order = """
import os, signal, sys, time

def end(*_):
    time.sleep(0.3)
    os.write(1, sys.argv[1].encode() + b"\\n")  # print may be at work already
    os._exit(0)

signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
    for name in ("server", "client"):
        family.start(name, [sys.executable, "-c", order, name])
    while Path(family.log).read_text().count("ready") < 2:
        time.sleep(0.05)

    family.stop(last="server")

    lines = Path(family.log).read_text().splitlines()
    assert lines == ["ready", "ready", "client", "server"]


def test_a_part_that_has_ended_is_named_with_the_end_of_the_log(make):
    family = make()
    family.start("API server", [sys.executable, "-c", SLEEP])
    family.start("scheduler", [sys.executable, "-c", "print('no such table'); raise SystemExit(3)"])
    printed(family)

    assert re.search("(?s)^scheduler has ended with code 3.*no such table$", failure(family))


def failure(family: ProcessGroup) -> str:
    """What is said when a part has ended."""
    for _ in range(200):
        try:
            family.check()
        except UserError as error:
            return str(error)
        time.sleep(0.05)
    raise AssertionError("nothing has ended")


def test_a_command_that_fails_stops_the_start(make):
    family = make()
    family.run("database", [sys.executable, "-c", ""])
    family.check()

    with pytest.raises(UserError, match=r"(?s)database has ended with code 1.*locked"):
        family.run("database", [sys.executable, "-c", "raise SystemExit('locked')"])
