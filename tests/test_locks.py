"""Locks between processes: who waits knows for whom, and not for ever."""

from __future__ import annotations

import logging
import os
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
    assert path.stat().st_mode & 0o777 == 0o600


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
