"""The manifest of a bundle, with the hash of every file, and files read against these hashes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from ratchet.errors import UserError
from ratchet.learning import trusted

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
"""Layout of a bundle; a reader refuses any other."""

MANIFEST = "manifest.json"


def _is_moment(text: str) -> str:
    import pandas as pd  # takes half a second, and most commands read no manifest

    # Not a word such as "now", which pandas accepts as well.
    if not re.match(r"\d{4,}-\d\d-\d\d", text) or pd.isna(pd.Timestamp(text)):
        raise ValueError("expected a date or a time")
    return text


Moment = Annotated[str, AfterValidator(_is_moment)]


_STRICT = ConfigDict(strict=True, extra="allow")


@with_config(_STRICT)
class Input(TypedDict):
    """A column of the raw rows that an answer needs."""

    type: str
    nullable: bool


@with_config(_STRICT)
class Signature(TypedDict):
    """Columns of the raw rows, types of the features, and columns of the answers by target."""

    inputs: Annotated[dict[str, Input], Field(min_length=1)]
    features: Annotated[dict[str, str], Field(min_length=1)]
    outputs: Annotated[dict[str, list[str]], Field(min_length=1)]


@with_config(_STRICT)
class Manifest(TypedDict):
    """The manifest of a bundle, see ``docs/reference/bundle.md``; there may be more fields."""

    format: Literal[1]
    use_case: str
    created_at: Moment
    as_of: str | None
    candidates: dict[str, str]
    signature: Signature
    last_row: Moment | None
    decided_until: Moment | None
    data_hash: str
    code_commit: str | None
    mlflow_run: str | None
    orchestrator_run: str | None
    packages: dict[str, str]
    refit: Literal["none", "all"]
    files: dict[str, str]


_MANIFEST = TypeAdapter(Manifest)
_NAME = re.compile(r"\w[\w. -]*(/\w[\w. -]*)?")
_HASH = re.compile(r"[0-9a-f]{64}")


class BundleError(UserError):
    """A bundle is incomplete, damaged or not a bundle: the message names the file."""


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


def write_manifest(folder: Path, manifest: Mapping[str, object]) -> None:
    """Write the manifest of a bundle.

    Raises:
        BundleError: see ``check_manifest``.
    """
    check_manifest(manifest, folder / MANIFEST)
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a bundle, and nothing else.

    Raises:
        BundleError: the folder or the manifest is missing, or it is not a manifest of a bundle.
    """
    return read_manifest_with_digest(folder)[0]


def read_manifest_with_digest(folder: Path) -> tuple[Manifest, str]:
    """Read the manifest of a bundle, and the SHA-256 of what was read.

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
    return check_manifest(manifest, path), sha256_hex(content)


def check_manifest(content: Any, path: Path) -> Manifest:
    """Make sure that something is a manifest.

    Args:
        content: the manifest in JSON types.
        path: where it is read or written.

    Raises:
        BundleError: a field is missing, or of another type or format than a reader expects.
    """
    if not isinstance(content, dict):
        raise BundleError(f"{path} is no manifest of a bundle: expected an object")
    layout = content.get("format")
    if type(layout) is not int or layout != FORMAT:  # true is 1, too
        raise BundleError(f"{path}: expected format {FORMAT}, found {layout!r}")
    try:
        manifest = _MANIFEST.validate_python(content)
    except ValidationError as error:
        raise BundleError(f"{path}: {first_problem(error)}") from error
    for name, digest in manifest["files"].items():
        if not _NAME.fullmatch(name) or name == MANIFEST:
            raise BundleError(f"{path}: {name!r} is no file that a bundle may have")
        if not _HASH.fullmatch(digest):
            raise BundleError(f"{path}: {digest!r} is no SHA-256 of {name}")
    return manifest


def first_problem(error: ValidationError) -> str:
    """The first problem of a validation, with the path of the field."""
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
    """Hash of a file that need not fit into memory."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def check_files(folder: Path, manifest: Manifest) -> None:
    """Make sure that a bundle consists of the files of its manifest, unchanged.

    Their content is not interpreted.

    Raises:
        BundleError: a file is missing, extra or changed, or is no plain file; all that are.
    """
    expected = manifest["files"]
    present = _list_files(folder) - {MANIFEST}
    _refuse(folder, "is missing in", sorted(expected.keys() - present))
    _refuse(folder, "is not in the manifest of", sorted(present - expected.keys()))
    changed = [name for name, digest in hash_files(folder).items() if digest != expected[name]]
    _refuse(folder, "was changed or cut off after it was written into", changed)


def _refuse(folder: Path, what: str, names: Iterable[str]) -> None:
    if listed := ", ".join(names):
        raise BundleError(f"{listed} {what} bundle {folder}; it cannot be used")


def _list_files(folder: Path) -> set[str]:
    """Paths of all files in a folder and its subfolders.

    Raises:
        BundleError: a link or a device is among them.
    """
    names = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BundleError(f"{name} in bundle {folder} is no plain file; it cannot be used")
        if path.is_file():
            names.add(name)
    return names


class BundleFiles:
    """The files of a bundle; each is compared with its hash when it is read.

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
        import pandas as pd

        try:
            return pd.read_parquet(BytesIO(self.content(name)))
        except (ValueError, OSError) as error:
            raise BundleError(f"{self.folder / name} is no table: {error}") from error

    def model(self, name: str) -> Any:
        """Read a fitted model, if all types in it are known.

        Raises:
            BundleError: see ``content``, or it is no model, or holds a type that is not trusted.
        """
        content = self.content(name)
        try:
            return trusted.loads(content, str(self.folder / name))
        except ValueError as error:
            raise BundleError(str(error)) from error
