"""A disk that is full or read-only: one message, and everything before it as it was."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kedro.io import DatasetError

from ratchet.cli import readable
from ratchet.learning import trusted

pytestmark = pytest.mark.slow
PHASES = ("understanding", "preprocessing", "classical")


def mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def shop(project: Path, add_shop: Callable[[Path], Path]) -> Iterator[Path]:
    """A shop whose data are on a small disk of its own."""
    data = project / "data"
    (data / "01_raw/samples").unlink()
    (data / "01_raw").rmdir()
    if not mount(data, "size=8m"):
        pytest.skip("only root can mount a small disk")
    try:
        (data / "01_raw").mkdir()
        add_shop(project)
        (project / "conf/shop/mlflow.yml").write_text("enabled: false")
        yield project
    finally:
        # Out of sight at once, also while something in it is still open.
        subprocess.run(["umount", "--lazy", data], check=True)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_whole(folder: Path, before: dict[Path, bytes]) -> None:
    """The same files, tables as they were; models are written anew with other names inside."""
    now = files(folder)
    assert now.keys() == before.keys()
    for path, content in now.items():
        if path.suffix == ".skops":
            trusted.load(path)
        else:
            assert content == before[path], path


def test_it_ends_with_one_message_and_leaves_what_was_there(shop, run_kedro):
    data = shop / "data"
    run_kedro(shop, *PHASES, env="shop", namespaces=["shop"])
    before = files(data)
    assert [path for path in before if path.suffix == ".skops"]
    used = sum(path.stat().st_blocks for path in data.rglob("*")) // 2

    for options, reason in {
        f"remount,size={used + 8}k": "no space is left on the disk; make room and run the same",
        "remount,ro": "the disk is mounted read-only",
    }.items():
        assert mount(data, options)
        with pytest.raises(DatasetError) as caught:
            run_kedro(shop, *PHASES, env="shop", namespaces=["shop"])

        first, *notes = readable(caught.value).splitlines()
        assert first.startswith("shop.")
        assert reason in first
        assert any(note.startswith(f"file: {data}") for note in notes)
        assert_whole(data, before)

    assert mount(data, "remount,rw,size=8m")
    run_kedro(shop, *PHASES, env="shop", namespaces=["shop"])
    assert files(data).keys() == before.keys()
