"""Versions are tried by a child process first: what would end or fill this one is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from ratchet.learning.classical import build
from ratchet.params import UseCase
from ratchet.release import rehearsal, writing
from ratchet.release.bundle import BundleError, write_bundle
from ratchet.release.manifest import MANIFEST, hash_files, read_manifest
from ratchet.release.rehearsal import Limits, open_version, rehearse, try_out
from tests.release.test_bundle import FILMS, RUN, films, finished, made

SETTINGS = {
    **FILMS,
    "data": {**FILMS["data"], "derive": {}},
    "features": {"numeric": ["runtime", "year"], "min_count": 1},
    "targets": {"rating": FILMS["targets"]["rating"]},
}


@pytest.fixture(scope="module")
def boosted(tmp_path_factory) -> Path:
    """A bundle with a model of XGBoost."""

    def fit(target, train, validation):
        model = build("regression", "xgboost", seed=0).set_params(n_estimators=5)
        return finished(model, target, train, validation, "classical")

    contents = made("films", films(), UseCase.model_validate(SETTINGS), fit)
    folder = tmp_path_factory.mktemp("bundles") / "films" / "b1"
    write_bundle(folder, contents, {"use_case": "films", **RUN})
    return folder


@pytest.fixture
def elsewhere(monkeypatch) -> None:
    """As if another process had written all bundles."""
    monkeypatch.setattr(rehearsal, "WRITTEN", set())
    monkeypatch.setattr(rehearsal, "_HELD", set())


@pytest.fixture
def children(monkeypatch) -> list[str]:
    """The folders that children try."""
    tried: list[str] = []
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run

    def count(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
        tried.append(command[3])
        return run(command, **more)

    monkeypatch.setattr(rehearsal.subprocess, "run", count)
    return tried


def seal(folder: Path) -> None:
    """Write the manifest anew, as who changes files on purpose would."""
    manifest = {**read_manifest(folder), "files": hash_files(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_what_was_written_here_needs_no_child(boosted, children):
    assert rehearse(boosted).digest in writing.WRITTEN
    assert children == []


@pytest.mark.slow
def test_a_child_tries_each_digest_once(boosted, elsewhere, children):
    for _ in range(2):
        assert rehearse(boosted).manifest["use_case"] == "films"

    assert children == [str(boosted)]


def spoil(path: Path) -> None:
    """Garbage in place of the trees of XGBoost."""
    with ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with ZipFile(path, "w") as archive:
        for name, content in parts.items():
            spoiled = content[:40] + b"\xff" * 400 if name.endswith(".bin") else content
            archive.writestr(name, spoiled)


@pytest.mark.slow
def test_garbage_does_not_reach_this_process(boosted, elsewhere, tmp_path, in_memory):
    """Sealed and registered anew, so that every hash fits; XGBoost sees it, or dies of it."""
    registry, folder = in_memory(tmp_path), tmp_path / "films" / "b1"
    shutil.copytree(boosted, folder)
    spoil(folder / "models" / "rating.skops")
    seal(folder)
    registry.register("films", folder, {})

    with pytest.raises(BundleError, match=r"b1.*(has died|rating\.skops cannot be loaded)"):
        open_version(registry, "films", "1")


def test_the_death_of_the_child_is_a_refusal(boosted, elsewhere, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(0o700)
    monkeypatch.setattr(rehearsal.sys, "executable", str(python))

    for _ in range(2):  # nothing is remembered of it
        with pytest.raises(BundleError, match=r"b1: the process .* has died \(signal SIGSEGV\)"):
            rehearse(boosted)


@pytest.mark.slow
def test_limits(boosted, elsewhere):
    with pytest.raises(BundleError, match="b1: it did not open and answer within 1 s"):
        try_out(boosted, Limits(seconds=1))
    with pytest.raises(BundleError, match=r"b1: it (takes more than 60 MB|cannot be tried)"):
        try_out(boosted, Limits(memory_mb=60))


def test_a_child_says_why(boosted, tmp_path, monkeypatch, capsys):
    """What runs in the child, called here: another answer than it must give, then a fine bundle."""
    monkeypatch.setattr(rehearsal, "_limit", lambda limits: None)
    monkeypatch.setattr(rehearsal, "_follow_parent", lambda: None)
    folder = tmp_path / "b1"
    shutil.copytree(boosted, folder)
    golden = json.loads((folder / "golden.json").read_text())
    golden[0]["answers"]["rating"]["prediction"] += 1
    (folder / "golden.json").write_text(json.dumps(golden))
    seal(folder)

    assert rehearsal._main(str(folder), "1", "1", "1") == 3
    assert "golden.json: row" in capsys.readouterr().out
    assert rehearsal._main(str(boosted), "1", "1", "1") == 0
    assert capsys.readouterr().out == ""
