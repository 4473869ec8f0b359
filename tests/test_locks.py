"""Locks between processes: who waits knows for whom, and not for ever."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ratchet import locks
from ratchet.locks import LockedError, locked


def take(path: Path, what: str, seconds: float = 0) -> None:
    with locked(path, what, seconds=seconds):
        pass


def test_one_after_the_other_and_any_number_that_share(tmp_path):
    path = tmp_path / "lock"
    told = rf"^c: process {os.getpid()} \(.+\) has held"

    with locked(path, "a", shared=True), locked(path, "b", shared=True, seconds=0):  # noqa: SIM117
        with pytest.raises(LockedError, match=told):
            take(path, "c")
    with locked(path, "c"), pytest.raises(LockedError, match="d: process"):
        take(path, "d")
    take(path, "d")


@pytest.mark.parametrize(
    ("folder", "file"), [(0o755, 0o600), (0o775, 0o660), (0o777, 0o666), (0o1777, 0o660)]
)
def test_whoever_can_write_into_the_folder_can_take_the_lock(tmp_path, folder, file):
    tmp_path.chmod(folder)
    (tmp_path / "lock").touch(0o600)  # of an earlier release

    take(tmp_path / "lock", "a")

    assert (tmp_path / "lock").stat().st_mode & 0o777 == file
    assert (tmp_path / "lock").stat().st_gid == tmp_path.stat().st_gid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")
def test_two_users_of_a_group_take_turns_and_a_stranger_is_told(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, 1001, 2000)
    shared.chmod(0o770)
    for parent in (tmp_path, *tmp_path.parents[:-1]):
        if parent.stat().st_mode & 0o055 != 0o055 and parent.is_relative_to("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)

    assert as_user(1001, 2000, lambda: take(shared / "lock", "a")) == 0
    assert as_user(1002, 2000, lambda: take(shared / "lock", "a")) == 0
    shared.chmod(0o777)
    assert as_user(1003, 3000, lambda: refused(shared / "lock")) == 0


def refused(path: Path) -> None:
    with pytest.raises(LockedError, match=r"cannot be opened .* takes the permission to write"):
        take(path, "a")


def as_user(user: int, group: int, act: Callable[[], None]) -> int:
    """Do something in a child as a user; its exit code."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_waiting_is_said_and_ends(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "_QUIET", 0.05)
    caplog.set_level(logging.WARNING)

    with locked(tmp_path / "lock", "a"), pytest.raises(LockedError, match="b: process"):
        take(tmp_path / "lock", "b", 0.2)

    (record,) = caplog.records
    assert f"b: waiting for process {os.getpid()} " in record.getMessage()


@pytest.mark.parametrize("kind", ["folder", "link", "pipe", "nowhere"])
def test_what_is_no_file_is_one_line(tmp_path, kind):
    path = tmp_path / "lock"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "other").write_text("precious")
        path.symlink_to(tmp_path / "other")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = tmp_path / "none" / "lock"

    with pytest.raises(LockedError, match=r"lock .*; expected a file for a lock: remove it$"):
        take(path, "a")
