"""Files are there whole, or as they were before."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ratchet.learning import atomic_files
from ratchet.learning.atomic_files import atomic_write, beside, sweep, write_text


def killed_child(act: Callable[[], None]) -> None:
    """Let a child do something and die of SIGKILL."""
    if (child := os.fork()) == 0:
        try:
            act()
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def begin_and_die(path: Path) -> None:
    with atomic_write(path) as partial:
        partial.write_text("ha")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "new/a.json"

    write_text(path, "één")
    write_text(path, "two")

    assert path.read_text(encoding="utf-8") == "two"
    assert [each.name for each in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("durable", [False, True])
def test_a_folder_takes_the_place_of_the_old_one(tmp_path, durable):
    for name in ("old", "new"):
        with atomic_write(tmp_path / "folder", durable=durable) as partial:
            (partial / "deep").mkdir(parents=True)
            (partial / "deep" / name).touch()

    assert [each.name for each in (tmp_path / "folder/deep").iterdir()] == ["new"]
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_is_not_to_be_replaced_stays(tmp_path):
    (tmp_path / "folder/old").mkdir(parents=True)

    with (
        pytest.raises(OSError, match=r"/folder'$"),
        atomic_write(tmp_path / "folder", replace=False) as partial,
    ):
        partial.mkdir()

    assert (tmp_path / "folder/old").is_dir()
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with atomic_write(path) as first:
        first.write_text("the first, which")
        with atomic_write(path) as second:
            second.write_text("2")
        assert path.read_text() == "2"
        with first.open("a") as file:
            file.write(" is longer")

    assert path.read_text() == "the first, which is longer"


def test_after_an_error_the_file_is_as_it_was(tmp_path):
    write_text(tmp_path / "a", "old")

    with pytest.raises(ValueError, match="no"), atomic_write(tmp_path / "a") as partial:  # noqa: PT012
        partial.write_text("ha")
        raise ValueError("no")

    assert (tmp_path / "a").read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_what_is_not_put_in_place_is_deleted(tmp_path):
    with beside(tmp_path / "a") as partial:
        partial.write_text("ha")

    assert [*tmp_path.iterdir()] == []


def test_what_a_killed_writer_has_left_goes_and_what_is_being_written_stays(tmp_path):
    write_text(tmp_path / "a", "old")
    (tmp_path / ".mine").mkdir()
    (tmp_path / ".file.0123456789ab").touch()
    killed_child(lambda: begin_and_die(tmp_path / "a"))
    assert (tmp_path / "a").read_text() == "old"

    with atomic_write(tmp_path / "b") as partial:
        partial.write_text("new")
        (left,) = sweep(tmp_path)

    assert left.name.startswith(".a.")
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        *(".file.0123456789ab", ".mine", "a", "b")
    ]


def test_the_next_process_sweeps_where_it_writes(tmp_path, monkeypatch):
    killed_child(lambda: begin_and_die(tmp_path / "a"))
    atomic_files.sweep_once.cache_clear()  # as in a new process

    write_text(tmp_path / "b", "new")

    assert [each.name for each in tmp_path.iterdir()] == ["b"]


def test_an_error_names_the_file_that_was_to_be_written(tmp_path):
    (tmp_path / "a.json/deep").mkdir(parents=True)

    with pytest.raises(IsADirectoryError, match=r"/a\.json'$"):
        write_text(tmp_path / "a.json", "x")


def test_a_lock_that_somebody_holds_on_the_folder_stops_nobody(tmp_path):
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    signal.alarm(20)  # instead of waiting for ever
    try:
        write_text(tmp_path / "a", "new")
        assert sweep(tmp_path) == []
    finally:
        signal.alarm(0)
        os.close(held)

    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127])
def test_a_name_may_be_as_long_as_the_file_system_takes_it(tmp_path, name):
    write_text(tmp_path / name, "x")

    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("before", "after"), [(0o600, 0o600), (0o664, 0o664), (0o440, 0o640)])
def test_a_file_keeps_its_permissions(tmp_path, before, after):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(before)

    write_text(path, "new")

    assert path.stat().st_mode & 0o777 == after


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    cache = tmp_path / "cache"
    cache.write_text("old")
    cache.chmod(0o444)
    (tmp_path / "a").symlink_to(cache)

    write_text(tmp_path / "a", "new")

    assert (cache.read_text(), (tmp_path / "a").read_text()) == ("old", "new")
    assert (tmp_path / "a").stat().st_mode & 0o200
