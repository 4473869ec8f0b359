"""Processes that end together, whatever became of those that have started them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ratchet.airflow.standalone import ProcessGroup
from ratchet.errors import UserError

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
