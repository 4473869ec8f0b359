"""What a bundle consists of: the file that names every other one, with its hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import UserError

FORMAT = 1
"""Layout of a bundle; a reader refuses any other."""

MANIFEST = "manifest.json"


def _is_moment(text: str) -> str:
    # Not a word such as "now", which pandas knows as well.
    if not re.match(r"\d{4,}-\d\d-\d\d", text) or pd.isna(pd.Timestamp(text)):
        raise ValueError("expected a date or a time")
    return text


Moment = Annotated[str, AfterValidator(_is_moment)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Input(_Strict):
    type: str
    nullable: bool


class _Signature(_Strict):
    inputs: Annotated[dict[str, _Input], Field(min_length=1)]
    features: Annotated[dict[str, str], Field(min_length=1)]
    outputs: Annotated[dict[str, list[str]], Field(min_length=1)]


class _Manifest(_Strict):
    """What stands in a manifest, and of which type it is."""

    format: Literal[1]
    use_case: str
    created_at: Moment
    as_of: str | None
    candidates: dict[str, str]
    signature: _Signature
    last_row: Moment | None
    decided_until: Moment | None
    data_hash: str
    code_commit: str | None
    mlflow_run: str | None
    orchestrator_run: str | None
    packages: dict[str, str]
    refit: Literal["none", "all"]
    files: dict[str, Any]


_NAME = re.compile(r"\w[\w. -]*(/\w[\w. -]*)?")
_HASH = re.compile(r"[0-9a-f]{64}")


class BundleError(UserError):
    """A bundle is incomplete, damaged or not one of ours: the message names the file."""


def sha256_hex(content: bytes) -> str:
    """SHA-256 as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def bundle_digest(folder: Path) -> str:
    """SHA-256 of a bundle's manifest, and so of everything that the manifest names.

    Raises:
        BundleError: there is no manifest.
    """
    try:
        return _hash_of_file(folder / MANIFEST)
    except OSError as error:
        raise BundleError(f"{MANIFEST} is missing in bundle {folder}: {error.strerror}") from error


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a bundle.

    Raises:
        BundleError: something is missing in it, or of another type than a reader expects.
    """
    _check(dict(manifest), folder / MANIFEST)
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a bundle, and nothing else.

    Raises:
        BundleError: the folder or the manifest is missing, or the manifest is not one of ours.
    """
    return read_manifest_with_digest(folder)[0]


def read_manifest_with_digest(folder: Path) -> tuple[dict[str, Any], str]:
    """Read the manifest of a bundle; the digest is that of what was read, whatever comes later.

    Raises:
        BundleError: see ``read_manifest``.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        manifest = json.loads(content.decode("utf-8"))
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is no manifest of a bundle: {error}") from error
    _check(manifest, path)
    return dict(manifest), sha256_hex(content)


def _check(manifest: Any, path: Path) -> None:
    if not isinstance(manifest, dict):
        raise BundleError(f"{path} is no manifest of a bundle: expected an object")
    found = manifest.get("format")
    if type(found) is not int or found != FORMAT:  # true is 1, too
        raise BundleError(f"{path}: expected format {FORMAT}, found {found!r}")
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        raise BundleError(f"{path}: {first_problem(error)}") from error
    for name, digest in manifest["files"].items():
        if not _NAME.fullmatch(name) or name == MANIFEST:
            raise BundleError(f"{path}: {name!r} is no file that a bundle may have")
        if not isinstance(digest, str) or not _HASH.fullmatch(digest):
            raise BundleError(f"{path}: {digest!r} is no SHA-256 of {name}")


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with what was read, and where."""
    first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"])) or "the whole"
    if first["type"] == "missing":
        return f"'{name}' is missing"
    return f"'{name}' cannot be {_shortened(first['input'])}: {first['msg']}"


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 100 else f"{text[:100]}..."


def hash_files(folder: Path) -> dict[str, str]:
    """Hash of every file of a bundle but its manifest, by its path in the folder."""
    names = sorted(_list_files(folder) - {MANIFEST})
    return {name: _hash_of_file(folder / name) for name in names}


def _hash_of_file(path: Path) -> str:
    """Hash of a file that need not fit into memory: one that somebody has put there."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Make sure that a bundle consists of the files of its manifest, unchanged.

    Nothing of them is interpreted.

    Raises:
        BundleError: a file is missing, extra or changed, or is no plain file; all that are.
    """
    expected = manifest["files"]
    there = _list_files(folder) - {MANIFEST}
    _refuse(folder, "is missing in", sorted(expected.keys() - there))
    _refuse(folder, "is not in the manifest of", sorted(there - expected.keys()))
    changed = [name for name, digest in hash_files(folder).items() if digest != expected[name]]
    _refuse(folder, "was changed or cut off after it was written into", changed)


def _refuse(folder: Path, what: str, names: Iterable[str]) -> None:
    if listed := ", ".join(names):
        raise BundleError(f"{listed} {what} bundle {folder}; it cannot be used")


def _list_files(folder: Path) -> set[str]:
    """Paths of everything in a folder that is no folder itself.

    Raises:
        BundleError: a link or a device is among them.
    """
    found = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BundleError(f"{name} in bundle {folder} is no plain file; it cannot be used")
        if path.is_file():
            found.add(name)
    return found


class BundleFiles:
    """The files of a bundle; each is held against its hash when it is read.

    Args:
        folder: the bundle.
        hashes: SHA-256 of every file, by its path in the folder.
    """

    def __init__(self, folder: Path, hashes: Mapping[str, str]) -> None:
        self.folder = folder
        self._hashes = hashes

    def __contains__(self, name: str) -> bool:
        return name in self._hashes

    def content(self, name: str) -> bytes:
        """Read a file.

        Raises:
            BundleError: it is missing, or is not as it was written.
        """
        path = self.folder / name
        if name not in self:
            raise BundleError(f"{name} is not in the manifest of bundle {self.folder}")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from error
        if sha256_hex(content) != self._hashes[name]:
            raise BundleError(f"{path} was changed after it was written")
        return content

    def json(self, name: str) -> Any:
        """Read a JSON file.

        Raises:
            BundleError: see ``content``, or it is no JSON.
        """
        try:
            return json.loads(self.content(name))
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{self.folder / name} is no JSON: {error}") from error

    def table(self, name: str) -> pd.DataFrame:
        """Read a Parquet file.

        Raises:
            BundleError: see ``content``, or it is no table.
        """
        try:
            return pd.read_parquet(BytesIO(self.content(name)))
        except (ValueError, OSError) as error:
            raise BundleError(f"{self.folder / name} is no table: {error}") from error

    def model(self, name: str) -> Any:
        """Read a fitted model, if all types in it are known.

        Raises:
            BundleError: see ``content``, or it is no model, or holds a type that is not trusted.
        """
        from ratchet.learning import trusted

        content = self.content(name)
        try:
            return trusted.loads(content, str(self.folder / name))
        except ValueError as error:
            raise BundleError(str(error)) from error
