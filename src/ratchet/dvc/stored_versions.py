"""What DVC keeps of a version: bundle, rows, fitted objects, the raw file or its origin."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

from ratchet.bundle.manifest import read_manifest
from ratchet.dvc.store import VersioningError, VersionPointer, VersionStore
from ratchet.registry.ledger_checkpoint import CheckpointEntry, checkpoint_entry
from ratchet.registry.registry import Registry, Version

DVC_TAG = "dvc"
"""Tag of a registered version: hash of what DVC keeps of it."""

REMOTE_TAG = "dvc_remote"
"""Tag of a registered version: name of the remote that has it."""

BUNDLE_FOLDER = "06_models/bundle"
"""Place of the bundle among the files of a version."""

_NOTED = ("created_at", "as_of", "data_hash", "code_commit", "mlflow_run", "orchestrator_run")
_OF_ONE_RUN = ("data_hash", "code_commit", "as_of")


def dataset_folders(name: str, targets: Iterable[str]) -> dict[str, str]:
    """Datasets that belong to a version -> the folder they get in it.

    Args:
        name: name of the use case.
        targets: its targets.
    """
    rows = {f"{name}.{part}": "05_model_input" for part in ("train", "validation", "test")}
    fitted = {
        f"{name}.{target}.{part}": f"06_models/{target}"
        for target in targets
        for part in ("best_model", "choice")
    }
    return {
        f"{name}.raw": "01_raw",
        **rows,
        f"{name}.statistics": "05_model_input",
        f"{name}.encoder": "06_models",
        **fitted,
    }


def store_versions(
    versions: VersionStore,
    registry: Registry,
    name: str,
    targets: Collection[str],
    files: Mapping[str, Path],
) -> list[str]:
    """Put registered versions of a use case into DVC that are not there yet.

    Of one that an earlier, killed run has left out, the rows are kept only if they are still those
    that it was made with; its bundle is kept in any case.

    Args:
        versions: where to.
        registry: has the versions, and is told their hashes.
        name: name of the use case.
        targets: its targets.
        files: datasets of the newest version -> their files.

    Returns:
        Numbers of the versions that were put there.
    """
    known = registry.versions(name)
    left = [version for version in known if DVC_TAG not in version.tags and version.folder.is_dir()]
    for version in left:
        pointer = versions.pointer(name, version.bundle)
        if pointer is None:
            mine = files if _is_of_one_run(version, known[-1]) else {}
            decided = checkpoint_entry(registry.ledger, name)
            pointer = _keep(versions, version, name, targets, mine, decided)
        registry.set_tags(name, version.number, {DVC_TAG: pointer.hash})
    return [version.number for version in left]


def _is_of_one_run(version: Version, newest: Version) -> bool:
    manifests = [read_manifest(each.folder) for each in (version, newest)]
    facts = [
        [manifest[key] for key in _OF_ONE_RUN] + [manifest["files"].get("use_case.json")]
        for manifest in manifests
    ]
    return facts[0] == facts[1]


def _keep(
    versions: VersionStore,
    version: Version,
    name: str,
    targets: Collection[str],
    files: Mapping[str, Path],
    decided: CheckpointEntry | None,
) -> VersionPointer:
    manifest = read_manifest(version.folder)
    raw = files.get(f"{name}.raw")
    origin = None if raw is None else file_origin(raw)
    kept = {
        dataset: f"{folder}/{files[dataset].name}"
        for dataset, folder in dataset_folders(name, targets).items()
        # What a package brings is had from there: it need not be stored again.
        if dataset in files and not (files[dataset] == raw and origin and origin["package"])
    }
    meta = {
        "use_case": name,
        "version": version.number,
        "bundle": version.bundle,
        "digest": version.tags.get("digest"),
        **{key: manifest[key] for key in _NOTED},
        "raw": origin,
        "files": kept,
        "ledger": decided.model_dump() if decided else None,
    }
    sources = {BUNDLE_FOLDER: version.folder, **{place: files[d] for d, place in kept.items()}}
    return versions.add(name, version.bundle, sources, meta)


def push_versions(versions: VersionStore, registry: Registry, name: str) -> str | None:
    """Copy versions to the remote that are not known to be there.

    Returns:
        What was done, in words; None if there was nothing to do, or no remote.
    """
    known = [v for v in registry.versions(name) if DVC_TAG in v.tags and REMOTE_TAG not in v.tags]
    found = {version.bundle: version.number for version in known}
    pointers = [p for p in (versions.pointer(name, bundle) for bundle in found) if p is not None]
    remote, pushed = versions.push(pointers) if pointers else (None, [])
    if remote is None or not pushed:
        return None
    numbers = [found[pointer.bundle] for pointer in pushed]
    for number in numbers:
        registry.set_tags(name, number, {REMOTE_TAG: remote})
    return f"DVC has version {', '.join(numbers)}, and the remote '{remote}' has a copy"


def find_version(
    versions: VersionStore, registry: Registry | None, name: str, version: str
) -> VersionPointer:
    """The pointer of a version, by the files in the project, or else by registry and ledger.

    Args:
        versions: where pointers are.
        registry: the registry, if it can be reached.
        name: name of the use case.
        version: number of the version, or name of its bundle.

    Raises:
        VersioningError: there is none, or several versions have this number; says which there are.
    """
    known = versions.pointers(name)
    found = [pointer for pointer in known if version in (pointer.version, pointer.bundle)]
    told = None if registry is None else _told_by(registry, name, version)
    if told is not None and told.hash not in {pointer.hash for pointer in known}:
        return told
    if told is not None:
        found = [pointer for pointer in known if pointer.hash == told.hash]
    if len(found) > 1:
        bundles = ", ".join(pointer.bundle for pointer in found)
        raise VersioningError(
            f"several registries had a version {version} of {name}: name its bundle, {bundles}"
        )
    if not found:
        there = ", ".join(pointer.version for pointer in known) or "none yet"
        raise VersioningError(
            f"version {version} of {name} is not known to DVC, which has: {there}. Pointers are in "
            f"{versions.folder / name}: were they committed, and pulled by git?"
        )
    return found[0]


def _told_by(registry: Registry, name: str, version: str) -> VersionPointer | None:
    """What the registry knows, or the ledger if the version was removed from there."""
    tags = {v.number: v.tags for v in registry.versions(name)}.get(version, {})
    entries = [e for e in registry.ledger.entries(name) if e.version == version]
    hashes = [tags.get(DVC_TAG), *(entry.details.get(DVC_TAG) for entry in reversed(entries))]
    known = next((str(each) for each in hashes if each), None)
    if known is None:
        return None
    bundle = str(tags.get("bundle") or f"version-{version}")
    return VersionPointer(
        name, bundle, {"md5": known, "hash": "md5", "path": bundle}, {"version": version}
    )


def file_origin(path: Path) -> dict[str, Any]:
    """Which file it is: ``file``, ``package`` that brings it (or null), ``sha256``, ``size``."""
    folder, package = _package(path)
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {
        "file": path.name if folder is None else path.relative_to(folder).as_posix(),
        "package": package,
        "sha256": digest,
        "size": path.stat().st_size,
    }


def _package(path: Path) -> tuple[Path | None, str | None]:
    """The installed package that a file belongs to, and the folder it is installed in."""
    for folder in path.parents:
        for about in folder.glob("*.dist-info"):
            package = PathDistribution(about)
            inside = path.relative_to(folder).as_posix()
            if any(file.as_posix() == inside for file in package.files or []):
                return folder, f"{package.metadata['Name']} {package.version}"
    return None, None
