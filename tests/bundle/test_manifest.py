"""A manifest is one of ours, and names nothing outside of its folder."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from ratchet.bundle.manifest import (
    BundleError,
    check_files,
    hash_files,
    read_manifest,
    write_manifest,
)

GOOD: dict[str, Any] = {
    "format": 1,
    "use_case": "films",
    "created_at": "2026-01-01T00:00:00+00:00",
    "as_of": None,
    "candidates": {"rating": "ridge"},
    "signature": {
        "inputs": {"runtime": {"type": "number", "nullable": True}},
        "features": {"runtime": "float64"},
        "outputs": {"rating": ["prediction", "low", "high"]},
    },
    "last_row": "2020-01-01T00:00:00",
    "decided_until": None,
    "data_hash": "0" * 64,
    "code_commit": None,
    "mlflow_run": None,
    "orchestrator_run": None,
    "packages": {},
    "refit": "none",
    "files": {},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of two files."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "größe.skops").write_bytes(b"one")
    (tmp_path / "golden.json").write_text("[]")
    write_manifest(tmp_path, {**GOOD, "files": hash_files(tmp_path)})
    return tmp_path


def test_it_comes_back(folder):
    manifest = read_manifest(folder)

    assert set(manifest["files"]) == {"models/größe.skops", "golden.json"}
    assert {name: manifest[name] for name in GOOD if name != "files"} == {
        name: value for name, value in GOOD.items() if name != "files"
    }
    check_files(folder, manifest)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"not json", b"[" * 100_000])
def test_what_is_no_json(folder, content):
    (folder / "manifest.json").write_bytes(content)

    with pytest.raises(BundleError, match=r"manifest\.json is no manifest of a bundle"):
        read_manifest(folder)


@pytest.mark.parametrize("content", ["[]", "1", "null", '"text"'])
def test_what_is_no_object(folder, content):
    (folder / "manifest.json").write_text(content)

    with pytest.raises(BundleError, match=r"manifest\.json is no manifest of a bundle"):
        read_manifest(folder)


def change(folder: Path, **values: Any) -> None:
    (folder / "manifest.json").write_text(json.dumps({**read_manifest(folder), **values}))


@pytest.mark.parametrize("found", [0, 2, "1", None, True, 1.5, [1]])
def test_another_format(folder, found):
    change(folder, format=found)

    with pytest.raises(BundleError, match=r"manifest\.json: expected format 1, found"):
        read_manifest(folder)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_what_has_to_be_said(folder, name):
    manifest = read_manifest(folder)
    del manifest[name]
    (folder / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(BundleError, match=rf"manifest\.json: .*{name}.*"):
        read_manifest(folder)


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"format"}))
def test_a_value_of_another_type(folder, name):
    change(folder, **{name: 3.5})

    with pytest.raises(BundleError, match=rf"manifest\.json: '{name}' cannot be 3\.5"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "/etc/passwd",
            "../golden.json",
            "models/../../x",
            "a/b/c",
            "",
            ".",
            "..",
            "./golden.json",
        ),
        *(
            "models//x",
            "C:\\x",
            "models\\x",
            "manifest.json",
            ".hidden",
            "models/.x",
            "a\x00b",
            "a\n",
        ),
    ],
)
def test_a_path_that_no_bundle_has(folder, name):
    change(folder, files={name: "0" * 64})

    with pytest.raises(BundleError, match=r"manifest\.json: .* is no file that a bundle may have"):
        read_manifest(folder)


@pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, 7, None])
def test_a_hash_that_is_none(folder, digest):
    change(folder, files={"golden.json": digest})

    with pytest.raises(
        BundleError, match=r"no SHA-256 of golden\.json|files\.golden\.json' cannot be"
    ):
        read_manifest(folder)


def test_all_files_that_differ_are_named(folder):
    manifest = read_manifest(folder)
    for path in ("models/größe.skops", "golden.json"):
        (folder / path).write_text("other")

    with pytest.raises(BundleError, match=r"^golden\.json, models/größe\.skops was changed"):
        check_files(folder, manifest)


def test_nothing_is_written_that_cannot_be_read(tmp_path):
    with pytest.raises(BundleError, match="'refit' cannot be None"):
        write_manifest(tmp_path, {**GOOD, "refit": None})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        *((name, "now", f"'{name}' cannot be 'now'") for name in ("decided_until", "last_row")),
        ("decided_until", "NaT", "'decided_until' cannot be 'NaT'"),
        ("decided_until", "2020-13-01", "'decided_until' cannot be '2020-13-01'"),
        ("signature", {}, "'signature.inputs' is missing"),
        ("signature", {**GOOD["signature"], "features": {}}, "'signature.features' cannot be {}"),
        (
            "signature",
            {**GOOD["signature"], "inputs": {"a": {"type": 3, "nullable": True}}},
            r"'signature.inputs.a.type' cannot be 3",
        ),
        ("candidates", {"rating": 1}, "'candidates.rating' cannot be 1"),
        ("refit", "some", "'refit' cannot be 'some'"),
    ],
)
def test_what_is_said_has_to_make_sense(folder, name, value, told):
    change(folder, **{name: value})

    with pytest.raises(BundleError, match=re.escape(f"manifest.json: {told}")):
        read_manifest(folder)


def test_a_huge_file_is_refused_without_being_held_in_memory(tmp_path):
    content = tmp_path / "model"
    content.write_bytes(b"small")
    manifest = {**GOOD, "files": hash_files(tmp_path)}
    with content.open("ab") as file:
        file.truncate(64_000_000)

    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match="model was changed or cut off"):
            check_files(tmp_path, manifest)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
