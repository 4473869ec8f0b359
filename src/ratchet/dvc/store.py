"""The DVC store of versions: the bundle of each, its rows, fitted objects, and raw file or origin.

The versions are a DVC repository of their own inside of the project's (``data/versions``, with a
pointer ``<use_case>/<bundle>.dvc`` for each), so that ``dvc pull``, ``status`` and ``gc`` of the
pipeline neither fetch nor list nor delete them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import yaml

from ratchet.bundle.manifest import read_manifest
from ratchet.errors import UserError
from ratchet.learning.atomic_files import write_text
from ratchet.locks import locked
from ratchet.registry.ledger_checkpoint import CheckpointEntry, checkpoint_entry
from ratchet.registry.registry import Registry, Version

if TYPE_CHECKING:
    from dvc.repo import Repo

VERSION_FILE = "version.json"
"""File in a version with its number, digest, raw file and datasets."""

DVC_TAG = "dvc"
"""Tag of a registered version: hash of its folder in DVC."""

REMOTE_TAG = "dvc_remote"
"""Tag of a registered version: name of the remote that has it."""

BUNDLE_FOLDER = "06_models/bundle"
"""Folder of the bundle among the files of a version."""

_POINTER = ".dvc"
_REMOTE_FOLDER = "versions"


class DvcStoreError(UserError):
    """A version cannot be put into DVC, or cannot be fetched from there."""


@dataclass(frozen=True)
class VersionPointer:
    """The pointer file by which DVC finds the files of a version.

    Attributes:
        use_case: name of the use case.
        bundle: name of its bundle.
        out: hash, size and number of the files, as DVC writes them.
        meta: content of ``VERSION_FILE``: its number, ``digest``, ``data_hash``, ``raw`` ...
    """

    use_case: str
    bundle: str
    out: Mapping[str, object]
    meta: Mapping[str, object]

    @property
    def hash(self) -> str:
        """Hash of the folder, by which DVC finds it."""
        return str(self.out["md5"])

    @property
    def version(self) -> str:
        """Number in the registry that has made it."""
        return str(self.meta["version"])


class FileOrigin(TypedDict):
    """A raw file: its name, the package that brings it (or None), its SHA-256 and bytes."""

    file: str
    package: str | None
    sha256: str
    size: int


class VersionStore:
    """The DVC repository of the versions.

    Args:
        folder: the repository.
        project: the project folder, whose remote is used unless the versions have one of their own.
    """

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder = folder
        self._project = project

    @property
    def exists(self) -> bool:
        """Whether the folder is a DVC repository."""
        return (self.folder / ".dvc").is_dir()

    def use_cases(self) -> list[str]:
        """Use cases that have versions."""
        return sorted({path.parent.name for path in self.folder.glob(f"*/*{_POINTER}")})

    def pointers(self, use_case: str) -> list[VersionPointer]:
        """All versions of a use case that have a whole pointer, oldest first."""
        paths = sorted((self.folder / use_case).glob(f"*{_POINTER}"))
        pointers = (self.pointer(use_case, path.stem) for path in paths)
        return [pointer for pointer in pointers if pointer is not None]

    def pointer(self, use_case: str, bundle: str) -> VersionPointer | None:
        """The pointer of a version; None if there is none, or it was cut off."""
        try:
            text = self._path(use_case, bundle).read_text(encoding="utf-8")
            content = yaml.safe_load(text)
            (out,) = content["outs"]
            pointer = VersionPointer(use_case, bundle, dict(out), dict(content["meta"]))
            return pointer if pointer.hash and pointer.version else None
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
            return None

    def add(
        self, use_case: str, bundle: str, files: Mapping[str, Path], meta: Mapping[str, object]
    ) -> VersionPointer:
        """Put the files of a version into DVC; killed at any moment, it can be done again.

        Args:
            use_case: name of the use case.
            bundle: name of its bundle.
            files: path in the version -> file or folder.
            meta: see ``VersionPointer``.
        """
        folder = self.folder / use_case / bundle
        shutil.rmtree(folder, ignore_errors=True)
        # Copies: DVC makes its files read-only, and by a link the project's files as well.
        for name, path in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target)
            else:
                shutil.copyfile(path, target)
        (folder / VERSION_FILE).write_text(json.dumps(meta, indent=2), encoding="utf-8")
        with self._locked():
            self._remove_cut_pointers()
        with self._repository() as repository:
            (stage,) = repository.add(str(folder))
            stage.meta = dict(meta)  # last: a pointer without it does not count
            stage.dump()
        shutil.rmtree(folder)
        pointer = self.pointer(use_case, bundle)
        assert pointer is not None
        return pointer

    def push(self, pointers: Iterable[VersionPointer]) -> tuple[str | None, list[VersionPointer]]:
        """Copy versions to the remote.

        Returns:
            Name of the remote, None where none is configured; and the versions that it has now.
            Those are left out that are not in the cache here, as in a clone that did not make them.
        """
        with self._repository() as repository:
            name = repository.config["core"].get("remote")
            if not name:
                return None, []
            local = [each for each in pointers if repository.cache.local.exists(each.hash)]
            if local:
                repository.push(targets=[str(self._path(p.use_case, p.bundle)) for p in local])
            return str(name), local

    def fetch(self, pointer: VersionPointer, to: Path) -> None:
        """Write the files of a version into a folder, from the cache or else from the remote.

        Args:
            pointer: of the version.
            to: the folder, which must not exist.

        Raises:
            DvcStoreError: neither has them.
        """
        path = self._path(pointer.use_case, pointer.bundle)
        is_stored = self.pointer(pointer.use_case, pointer.bundle) is not None
        if not is_stored:
            content = {"outs": [dict(pointer.out)], "meta": dict(pointer.meta)}
            write_text(path, yaml.safe_dump(content, sort_keys=False))
        try:
            with self._repository() as repository:
                repository.pull(targets=[str(path)], force=True)
            shutil.move(path.with_suffix(""), to)
        except DvcStoreError as error:
            raise DvcStoreError(
                f"version {pointer.version} of {pointer.use_case} could not be fetched. Was it "
                f"pushed to the remote that `dvc remote list` shows? (kedro ratchet push)\n{error}"
            ) from error
        finally:
            if not is_stored:
                path.unlink()

    def _path(self, use_case: str, bundle: str) -> Path:
        return self.folder / use_case / f"{bundle}{_POINTER}"

    def _remove_cut_pointers(self) -> None:
        """Remove what a killed process was writing: DVC fails on it."""
        for path in self.folder.glob(f"*/*{_POINTER}"):
            try:
                whole = "outs" in yaml.safe_load(path.read_text(encoding="utf-8"))
            except (yaml.YAMLError, TypeError):
                whole = False
            if not whole:
                path.unlink()

    @contextmanager
    def _repository(self) -> Iterator[Repo]:
        """The DVC repository, for one process at a time: DVC itself soon gives up waiting.

        Raises:
            DvcStoreError: any error of DVC and its file systems.
        """
        from dvc.repo import Repo

        try:
            with self._locked(), Repo(str(self.folder), config=self._config()) as repository:
                yield repository
        except Exception as error:
            raise DvcStoreError(f"DVC in {self.folder}: {error}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = self.folder / ".dvc" / "tmp"
        folder.mkdir(exist_ok=True)
        with locked(folder / "ratchet.lock", f"DVC in {self.folder}"):
            yield

    def _config(self) -> dict[str, Any]:
        """The project's remote, in which versions have a folder of their own.

        So ``dvc gc --cloud`` of the pipeline does not delete them.
        """
        from dvc.config import Config

        own = Config(str(self.folder / ".dvc"))
        shared = Config(str(self._project / ".dvc"))
        # Without git DVC neither writes a .gitignore beside every pointer nor advises to add it.
        core: dict[str, Any] = {"no_scm": True}
        name = shared["core"].get("remote")
        if own["core"].get("remote") or not name:
            return {"core": core}
        remote = dict(shared["remote"][name])
        remote["url"] = f"{str(remote['url']).rstrip('/')}/{_REMOTE_FOLDER}"
        return {"core": {**core, "remote": name}, "remote": {name: remote}}


def dataset_folders(name: str, targets: Iterable[str]) -> dict[str, str]:
    """Datasets of a use case that belong to a version -> their folder in it."""
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

    Where an earlier run was killed before it stored a version, the rows are stored only if they are
    still those of that version; its bundle is stored in any case.

    Args:
        versions: the store.
        registry: has the versions; their hashes in DVC become tags.
        name: name of the use case.
        targets: its targets.
        files: datasets of the newest version -> their files.

    Returns:
        Numbers of the versions that were stored.
    """
    registered = registry.versions(name)
    missing = [each for each in registered if DVC_TAG not in each.tags and each.folder.is_dir()]
    for version in missing:
        pointer = versions.pointer(name, version.bundle)
        if pointer is None:
            own = files if _inputs_of(version) == _inputs_of(registered[-1]) else {}
            decided = checkpoint_entry(registry.ledger, name)
            pointer = _store(versions, version, name, targets, own, decided)
        registry.set_tags(name, version.number, {DVC_TAG: pointer.hash})
    return [version.number for version in missing]


def _inputs_of(version: Version) -> tuple[str | None, ...]:
    """What a version was made from: hash of the rows, code, ``as_of``, parameters."""
    manifest = read_manifest(version.folder)
    parameters = manifest["files"].get("use_case.json")
    return manifest["data_hash"], manifest["code_commit"], manifest["as_of"], parameters


def _store(
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
    paths = {
        dataset: f"{folder}/{files[dataset].name}"
        for dataset, folder in dataset_folders(name, targets).items()
        # A raw file that a package brings need not be stored again.
        if dataset in files and not (files[dataset] == raw and origin and origin["package"])
    }
    meta = {
        "use_case": name,
        "version": version.number,
        "bundle": version.bundle,
        "digest": version.tags.get("digest"),
        "created_at": manifest["created_at"],
        "as_of": manifest["as_of"],
        "data_hash": manifest["data_hash"],
        "code_commit": manifest["code_commit"],
        "mlflow_run": manifest["mlflow_run"],
        "orchestrator_run": manifest["orchestrator_run"],
        "raw": origin,
        "files": paths,
        "ledger": decided.model_dump() if decided else None,
    }
    sources = {path: files[dataset] for dataset, path in paths.items()}
    return versions.add(name, version.bundle, {BUNDLE_FOLDER: version.folder, **sources}, meta)


def push_versions(versions: VersionStore, registry: Registry, name: str) -> str | None:
    """Copy versions to the remote that are not known to be there.

    Returns:
        A sentence about what was copied; None if nothing was, or there is no remote.
    """
    stored = [v for v in registry.versions(name) if DVC_TAG in v.tags and REMOTE_TAG not in v.tags]
    by_bundle = {version.bundle: version.number for version in stored}
    pointers = [p for p in (versions.pointer(name, each) for each in by_bundle) if p is not None]
    remote, pushed = versions.push(pointers) if pointers else (None, [])
    if remote is None or not pushed:
        return None
    numbers = [by_bundle[pointer.bundle] for pointer in pushed]
    for number in numbers:
        registry.set_tags(name, number, {REMOTE_TAG: remote})
    return f"DVC has version {', '.join(numbers)}, and the remote '{remote}' has a copy"


def find_version(
    versions: VersionStore, registry: Registry | None, name: str, version: str
) -> VersionPointer:
    """The pointer of a version, by the files in the project, or else by registry and ledger.

    Args:
        versions: the store.
        registry: the registry, if it can be reached.
        name: name of the use case.
        version: number of the version, or name of its bundle.

    Raises:
        DvcStoreError: there is none, or several versions have this number; says which there are.
    """
    stored = versions.pointers(name)
    recorded = None if registry is None else _recorded_pointer(registry, name, version)
    if recorded is None:
        matches = [each for each in stored if version in (each.version, each.bundle)]
    else:
        matches = [each for each in stored if each.hash == recorded.hash] or [recorded]
    if len(matches) > 1:
        bundles = ", ".join(pointer.bundle for pointer in matches)
        raise DvcStoreError(
            f"several registries had a version {version} of {name}: name its bundle, {bundles}"
        )
    if not matches:
        numbers = ", ".join(pointer.version for pointer in stored) or "none yet"
        raise DvcStoreError(
            f"version {version} of {name} is not in DVC, which has: {numbers}. Pointers are in "
            f"{versions.folder / name}: were they committed, and pulled by git?"
        )
    return matches[0]


def _recorded_pointer(registry: Registry, name: str, version: str) -> VersionPointer | None:
    """The pointer by the tags in the registry, or by the ledger if the version was removed."""
    tags = {v.number: v.tags for v in registry.versions(name)}.get(version, {})
    entries = [e for e in registry.ledger.entries(name) if e.version == version]
    hashes = [tags.get(DVC_TAG), *(entry.details.get(DVC_TAG) for entry in reversed(entries))]
    newest = next((str(each) for each in hashes if each), None)
    if newest is None:
        return None
    bundle = str(tags.get("bundle") or f"version-{version}")
    return VersionPointer(
        name, bundle, {"md5": newest, "hash": "md5", "path": bundle}, {"version": version}
    )


def file_origin(path: Path) -> FileOrigin:
    """Identify a raw file."""
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
        for metadata in folder.glob("*.dist-info"):
            package = PathDistribution(metadata)
            inside = path.relative_to(folder).as_posix()
            if any(file.as_posix() == inside for file in package.files or []):
                return folder, f"{package.metadata['Name']} {package.version}"
    return None, None
