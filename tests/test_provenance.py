"""Which code a run says that it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ratchet.provenance import code_commit, code_version


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "data").mkdir()
    for name in ("code.py", "data/best_scores.json", "dvc.lock"):
        (tmp_path / name).write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_what_runs_write_makes_no_other_code(checkout):
    for name in ("data/best_scores.json", "dvc.lock", "new.txt"):
        (checkout / name).write_text("2")

    assert code_commit(checkout) == git(checkout, "rev-parse", "HEAD")


def test_changed_code_is_dirty(checkout):
    (checkout / "code.py").write_text("2")

    assert code_commit(checkout) == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_outside_of_a_checkout_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert code_commit(tmp_path) is None


def test_a_missing_part_of_the_code_is_an_error():
    with pytest.raises(FileNotFoundError, match=r"no_such_folder: expected a file or folder"):
        code_version(["errors.py", "no_such_folder"], ["numpy"])


def test_the_version_of_code_follows_its_parts_and_libraries():
    versions = {
        code_version(["errors.py"], ["numpy"]),
        code_version(["errors.py", "json_values.py"], ["numpy"]),
        code_version(["errors.py"], ["pandas"]),
        code_version(["errors.py"], ["not-installed"]),
    }

    assert len(versions) == 4
