"""Versions in DVC: kept, pushed, found and brought back, also after a kill."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.bundle.manifest import FORMAT, hash_files, write_manifest
from ratchet.dvc import store
from ratchet.dvc.store import (
    DVC_TAG,
    REMOTE_TAG,
    DvcStoreError,
    VersionStore,
    find_version,
    push_versions,
    store_versions,
)
from ratchet.registry.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
NOTHING_KNOWN = ("as_of", "last_row", "decided_until", "code_commit", "mlflow_run")

TARGETS = ["rating"]


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *who, "-C", str(folder), *arguments], check=True, capture_output=True)


@pytest.fixture
def versions(tmp_path: Path) -> VersionStore:
    """The DVC repositories of this project, in a git repository of its own."""
    project = tmp_path / "project"
    for name in (".dvc", "data/versions/.dvc"):
        (project / name).mkdir(parents=True)
        for file in ("config", ".gitignore"):
            shutil.copy(ROOT / name / file, project / name)
    shutil.copy(ROOT / ".gitignore", project)
    git(tmp_path, "init", "-q", str(project))
    return VersionStore(project / "data/versions", project)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """What a run has left."""
    folder = tmp_path / "run"
    folder.mkdir()
    found = {
        "films.raw": folder / "films.csv",
        "films.train": folder / "train.parquet",
        "films.rating.best_model": folder / "best_model.skops",
    }
    for name, path in found.items():
        path.write_text(f"content of {name}")
    return found


def register(registry: Registry, name: str, **facts: Any) -> str:
    """Register a bundle with one file and a manifest."""
    folder = registry.bundles / "films" / name
    folder.mkdir(parents=True)
    (folder / "use_case.json").write_text("{}")
    manifest = {
        **{"format": FORMAT, "use_case": "films", "created_at": "2026-11-25", "refit": "none"},
        **{"candidates": {}, "packages": {}, "data_hash": "same"},
        "signature": {
            "inputs": {"a": {"type": "number", "nullable": False}},
            "features": {"a": "float64"},
            "outputs": {"rating": ["prediction"]},
        },
        **dict.fromkeys((*NOTHING_KNOWN, "orchestrator_run")),
        **facts,
    }
    write_manifest(folder, {**manifest, "files": hash_files(folder)})
    return registry.register("films", folder, {"digest": "d"})


def tags(registry: Registry, version: str) -> Any:
    return registry.version("films", version).tags


def test_a_version_comes_back_in_a_fresh_clone(versions, registry, files, tmp_path):
    number = register(registry, "one")

    assert store_versions(versions, registry, "films", TARGETS, files) == [number]
    assert push_versions(versions, registry, "films") == (
        "DVC has version 1, and the remote 'storage' has a copy"
    )
    git(tmp_path / "project", "add", ".")
    git(tmp_path / "project", "commit", "-qm", "a version")
    git(tmp_path, "clone", "-q", "project", "clone")
    clone = VersionStore(tmp_path / "clone/data/versions", tmp_path / "clone")
    pointer = find_version(clone, None, "films", "1")
    with pytest.raises(DvcStoreError, match="version 1 of films could not be fetched"):
        clone.fetch(pointer, tmp_path / "back")
    remote = tmp_path / "clone/data/remote"
    remote.symlink_to(tmp_path / "project/data/remote")
    clone.fetch(pointer, tmp_path / "back")

    assert pointer.hash == tags(registry, "1")[DVC_TAG]
    assert tags(registry, "1")[REMOTE_TAG] == "storage"
    about = json.loads((tmp_path / "back/version.json").read_text())
    assert about == dict(pointer.meta)
    assert about["raw"]["package"] is None
    for dataset, place in about["files"].items():
        assert (tmp_path / "back" / place).read_text() == f"content of {dataset}"
    assert (tmp_path / "back/06_models/bundle/manifest.json").exists()
    # Nothing else was left, and the project's files can still be written.
    assert [path.name for path in (versions.folder / "films").iterdir()] == ["one.dvc"]
    assert all(os.access(path, os.W_OK) for path in files.values())
    assert (remote / "versions/files/md5").is_dir()


def test_clean_ups_of_dvc_see_the_pointers(versions, registry, files, tmp_path):
    """What `.gitignore` hides from DVC, `dvc gc` would delete."""
    from dvc.repo import Repo

    register(registry, "one")
    store_versions(versions, registry, "films", TARGETS, files)
    with Repo(str(versions.folder)) as own, Repo(str(tmp_path / "project")) as outer:
        assert [stage.relpath.rpartition("/")[2] for stage in own.index.stages] == ["one.dvc"]
        assert outer.index.stages == []  # where `dvc pull` and `dvc status` work
        own.gc(workspace=True)
    shutil.rmtree(tmp_path / "project/data/remote", ignore_errors=True)

    versions.fetch(versions.pointers("films")[0], tmp_path / "back")
    assert (tmp_path / "back/05_model_input/train.parquet").exists()


def test_what_is_kept_is_not_kept_again(versions, registry, files, monkeypatch):
    register(registry, "one")
    store_versions(versions, registry, "films", TARGETS, files)
    monkeypatch.setattr(VersionStore, "add", None)

    assert store_versions(versions, registry, "films", TARGETS, files) == []


def cut_pointer(versions: VersionStore) -> None:
    path = versions.folder / "films/one.dvc"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def leave_copies(versions: VersionStore) -> None:
    (versions.folder / "films/one.dvc").unlink()
    (versions.folder / "films/one/05_model_input").mkdir(parents=True)
    (versions.folder / "films/one/05_model_input/train.parquet").write_text("half")


def keep_all(versions: VersionStore) -> None:
    """Killed between the pointer and the tag."""


@pytest.mark.parametrize("killed", [cut_pointer, leave_copies, keep_all])
def test_the_next_run_mends_what_a_killed_one_has_left(
    versions, registry, files, killed: Callable[[VersionStore], None]
):
    number = register(registry, "one")
    store_versions(versions, registry, "films", TARGETS, files)
    before = tags(registry, number).pop(DVC_TAG)
    killed(versions)

    assert store_versions(versions, registry, "films", TARGETS, files) == [number]
    assert tags(registry, number)[DVC_TAG] == before
    assert versions.pointer("films", "one").hash == before


def test_rows_of_another_run_are_not_taken_for_those_of_a_killed_one(versions, registry, files):
    register(registry, "killed", data_hash="earlier rows")
    register(registry, "beside")
    register(registry, "newest")

    store_versions(versions, registry, "films", TARGETS, files)

    kept_files = {
        name: set(versions.pointer("films", name).meta["files"])
        for name in ("killed", "beside", "newest")
    }
    assert kept_files == {"killed": set(), "beside": set(files), "newest": set(files)}
    assert versions.pointer("films", "killed").meta["raw"] is None


def test_a_push_that_fails_is_told_and_done_later(versions, registry, files, tmp_path):
    register(registry, "one")
    store_versions(versions, registry, "films", TARGETS, files)
    (tmp_path / "project/data/remote").write_text("a file where a folder is needed")

    with pytest.raises(DvcStoreError, match=r"DVC in .*versions: "):
        push_versions(versions, registry, "films")
    assert REMOTE_TAG not in tags(registry, "1")
    (tmp_path / "project/data/remote").unlink()

    assert "'storage' has a copy" in str(push_versions(versions, registry, "films"))
    assert push_versions(versions, registry, "films") is None  # nothing is left to do
    shutil.rmtree(versions.folder / ".dvc/cache")
    assert versions.push(versions.pointers("films")) == ("storage", [])  # not told to be there


def test_versions_may_have_a_remote_of_their_own_or_none(versions, registry, files, tmp_path):
    register(registry, "one")
    store_versions(versions, registry, "films", TARGETS, files)
    shared = tmp_path / "project/.dvc/config"
    shared.write_text("[core]\n    analytics = false\n")
    nowhere = push_versions(versions, registry, "films")
    (versions.folder / ".dvc/config").write_text(
        f"[core]\n    remote = own\n['remote \"own\"']\n    url = {tmp_path / 'own'}\n"
    )

    assert nowhere is None
    assert "'own' has a copy" in str(push_versions(versions, registry, "films"))
    assert (tmp_path / "own/files/md5").is_dir()


def test_a_version_is_found_by_number_bundle_registry_and_ledger(
    versions, registry, in_memory, files, tmp_path
):
    register(registry, "one")
    store_versions(versions, registry, "films", TARGETS, files)
    later = in_memory(tmp_path / "later")  # a database that was made anew counts from 1 again
    register(later, "two", created_at="2026-11-26")
    store_versions(versions, later, "films", TARGETS, files)

    with pytest.raises(DvcStoreError, match="name its bundle, one, two"):
        find_version(versions, None, "films", "1")
    assert find_version(versions, None, "films", "one").bundle == "one"
    assert find_version(versions, later, "films", "1").bundle == "two"
    with pytest.raises(DvcStoreError, match=r"version 7 of films .* which has: 1, 1"):
        find_version(versions, later, "films", "7")

    hash_ = tags(later, "1")[DVC_TAG]
    later.ledger.append(
        *("films", "hold"),
        **{"version": "1", "champion": None, "previous": None, "actor": "a", "reason": "why"},
        details={DVC_TAG: hash_},
        expect=0,
    )
    later.client.delete_model_version("ratchet-films", "1")
    (versions.folder / "films/two.dvc").unlink()
    pointer = find_version(versions, later, "films", "1")
    versions.fetch(pointer, tmp_path / "back")

    assert pointer.hash == hash_
    assert json.loads((tmp_path / "back/version.json").read_text())["bundle"] == "two"
    assert [path.name for path in (versions.folder / "films").glob("*.dvc")] == ["one.dvc"]


def test_a_file_that_a_package_brings_is_named_and_not_copied(tmp_path):
    about = tmp_path / "samples/films-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: films\nVersion: 1.2\n")
    (about / "RECORD").write_text("films/data.csv,,\n")
    path = tmp_path / "samples/films/data.csv"
    path.parent.mkdir()
    path.write_text("film\n1\n")

    found = store.file_origin(path)

    assert found["package"] == "films 1.2"
    assert found["file"] == "films/data.csv"
    assert found["size"] == 7
    assert len(found["sha256"]) == 64
