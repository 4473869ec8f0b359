"""Data and models of every version in DVC: what it was made of and what it is, to be had again.

The versions are a DVC repository of their own inside of the project's (``data/versions``, with a
pointer ``<use_case>/<bundle>.dvc`` for each), so that ``dvc pull``, ``status`` and ``gc`` of the
pipeline neither fetch nor list nor delete them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ratchet.errors import UserError
from ratchet.learning.files import write_text
from ratchet.locks import locked

if TYPE_CHECKING:
    from dvc.repo import Repo

VERSION_FILE = "version.json"
"""File in a version that says what it is."""

_END = ".dvc"
_REMOTE_FOLDER = "versions"


class VersioningError(UserError):
    """A version cannot be put into DVC, or not be brought back from there."""


@dataclass(frozen=True)
class VersionPointer:
    """What leads to the files of a version.

    Attributes:
        use_case: of which.
        bundle: name of its bundle.
        out: hash, size and number of the files, as DVC writes them.
        meta: what is known of the version: its number, ``digest``, ``data_hash``, ``raw`` ...
    """

    use_case: str
    bundle: str
    out: Mapping[str, Any]
    meta: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """Hash of the folder, by which DVC finds it."""
        return str(self.out["md5"])

    @property
    def version(self) -> str:
        """Number in the registry that made it."""
        return str(self.meta["version"])


class VersionStore:
    """The versions in DVC.

    Args:
        folder: the DVC repository of the versions.
        project: the project folder, whose remote is used unless the versions have one of their own.
    """

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder = folder
        self._project = project

    @property
    def exist(self) -> bool:
        """Whether the folder is a DVC repository."""
        return (self.folder / ".dvc").is_dir()

    def use_cases(self) -> list[str]:
        """Use cases that have versions."""
        return sorted({path.parent.name for path in self.folder.glob(f"*/*{_END}")})

    def pointers(self, use_case: str) -> list[VersionPointer]:
        """All versions of a use case that have a whole pointer, oldest first."""
        paths = sorted((self.folder / use_case).glob(f"*{_END}"))
        found = (self.pointer(use_case, path.stem) for path in paths)
        return [pointer for pointer in found if pointer is not None]

    def pointer(self, use_case: str, bundle: str) -> VersionPointer | None:
        """The pointer of a version; None if there is none, or one that was cut off."""
        try:
            text = self._path(use_case, bundle).read_text(encoding="utf-8")
            content = yaml.safe_load(text)
            (out,) = content["outs"]
            found = VersionPointer(use_case, bundle, dict(out), dict(content["meta"]))
            return found if found.hash and found.version else None
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
            return None

    def add(
        self, use_case: str, bundle: str, files: Mapping[str, Path], meta: Mapping[str, Any]
    ) -> VersionPointer:
        """Put the files of a version into DVC; killed at any moment, it can be done again.

        Args:
            use_case: of which.
            bundle: name of its bundle.
            files: place in the version -> file or folder.
            meta: see ``VersionPointer``.
        """
        place = self.folder / use_case / bundle
        shutil.rmtree(place, ignore_errors=True)
        # Copies: DVC makes what it keeps read-only, and by a link the project's files as well.
        for name, path in files.items():
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target)
            else:
                shutil.copyfile(path, target)
        (place / VERSION_FILE).write_text(json.dumps(meta, indent=2), encoding="utf-8")
        with self._locked():
            self._remove_cut_pointers()
        with self._repository() as repository:
            (stage,) = repository.add(str(place))
            stage.meta = dict(meta)  # last: a pointer without it counts for none
            stage.dump()
        shutil.rmtree(place)
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
            here = [each for each in pointers if repository.cache.local.exists(each.hash)]
            if here:
                repository.push(targets=[str(self._path(p.use_case, p.bundle)) for p in here])
            return str(name), here

    def bring(self, pointer: VersionPointer, to: Path) -> None:
        """Write the files of a version into a folder, from the cache or else from the remote.

        Args:
            pointer: which.
            to: the folder, which must not be there yet.

        Raises:
            VersioningError: neither has them.
        """
        path = self._path(pointer.use_case, pointer.bundle)
        known = self.pointer(pointer.use_case, pointer.bundle) is not None
        if not known:
            content = {"outs": [dict(pointer.out)], "meta": dict(pointer.meta)}
            write_text(path, yaml.safe_dump(content, sort_keys=False))
        try:
            with self._repository() as repository:
                repository.pull(targets=[str(path)], force=True)
            shutil.move(path.with_suffix(""), to)
        except VersioningError as error:
            raise VersioningError(
                f"version {pointer.version} of {pointer.use_case} could not be fetched. Was it "
                f"pushed to the remote that `dvc remote list` shows? (kedro ratchet push)\n{error}"
            ) from error
        finally:
            if not known:
                path.unlink()

    def _path(self, use_case: str, bundle: str) -> Path:
        return self.folder / use_case / f"{bundle}{_END}"

    def _remove_cut_pointers(self) -> None:
        """What a killed process was writing; DVC refuses to work beside it."""
        for path in self.folder.glob(f"*/*{_END}"):
            try:
                whole = "outs" in yaml.safe_load(path.read_text(encoding="utf-8"))
            except (yaml.YAMLError, TypeError):
                whole = False
            if not whole:
                path.unlink()

    @contextmanager
    def _repository(self) -> Iterator[Repo]:
        """The DVC repository, one process after the other: DVC itself soon gives up waiting.

        Raises:
            VersioningError: whatever DVC and its file systems raise, with the folder.
        """
        from dvc.repo import Repo

        try:
            with self._locked(), Repo(str(self.folder), config=self._config()) as repository:
                yield repository
        except Exception as error:
            raise VersioningError(f"DVC in {self.folder}: {error}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = self.folder / ".dvc" / "tmp"
        folder.mkdir(exist_ok=True)
        with locked(folder / "ratchet.lock", f"DVC in {self.folder}"):
            yield

    def _config(self) -> dict[str, Any]:
        """The project's remote, of which versions take a folder for themselves.

        ``dvc gc --cloud`` of the pipeline then does not take them for leftovers.
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
