"""Results of a search on disk: an interrupted search continues from them.

A folder holds the searches over one set of rows. Every file is written under another name and
renamed when it is whole; one that cannot be read counts as not there. Nothing is pickled.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import shutil
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from ratchet.learning.atomic_files import atomic_write, sweep


class FoldRecord(TypedDict):
    """A trial on one fold, as JSON: score, losses, epochs, and seconds."""

    score: float
    val_mae: float
    n_parameters: int
    epochs: int
    best_epoch: int
    status: str
    history: dict[str, list[float]]
    fit_time: float
    cpu_time: float
    compiled: bool


class Record(TypedDict):
    """A trial without its arrays, as JSON."""

    folds: list[FoldRecord]


_KINDS = ("groups", "weights", "states")
_ARRAY = "array number"


def digest(content: Any) -> str:
    """Hash of a JSON-like value, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, default=_plain)
    return sha256(text.encode()).hexdigest()[:20]


class Store:
    """A folder of finished groups of trials, of weights, and of states of training.

    A context manager: while it is open no other process can open the same folder, and waits.

    Args:
        root: folder of all searches.
        fingerprint: name of this search's own folder in it.
        limit: bytes to which the other folders are cut back, those that lie unused longest first.
    """

    def __init__(self, root: Path, fingerprint: str, *, limit: int = 2**31) -> None:
        self.folder = Path(root) / fingerprint
        self._limit = limit

    def __enter__(self) -> Self:
        self._lock = _locked(self.folder / "lock")
        for kind in _KINDS:
            (self.folder / kind).mkdir(exist_ok=True)
            sweep(self.folder / kind)
        os.utime(self.folder)
        _cut_back(self.folder.parent, self._limit)
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    def read_group(self, key: str) -> list[Any] | None:
        """Records of a finished group; ``None`` when there are none or the file is damaged."""
        try:
            packed = (self.folder / "groups" / f"{key}.json.gz").read_bytes()
            records: list[Any] = json.loads(gzip.decompress(packed))
        except (OSError, EOFError, ValueError, zlib.error):
            return None
        return records

    def write_group(self, key: str, records: Sequence[Mapping[str, object]]) -> None:
        """Keep the records of a finished group."""
        packed = gzip.compress(json.dumps(records, default=_plain).encode(), mtime=0)
        self._write("groups", f"{key}.json.gz", packed)

    def read_arrays(self, kind: str, key: str) -> Any:
        """What ``write_arrays`` kept; ``None`` when it is not there or damaged."""
        try:
            content = (self.folder / kind / f"{key}.npz").read_bytes()
            with np.load(BytesIO(content), allow_pickle=False) as file:
                return unpack(file)
        except Exception:  # a damaged archive raises whatever its broken byte leads to
            return None

    def write_arrays(self, kind: str, key: str, content: Any) -> None:
        """Keep lists and mappings of arrays and numbers; ``kind``: ``weights`` or ``states``."""
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **pack(content))
        self._write(kind, f"{key}.npz", buffer.getvalue())

    def has_arrays(self, kind: str, key: str) -> bool:
        """Whether there is a file, be it damaged."""
        return (self.folder / kind / f"{key}.npz").exists()

    def drop_arrays(self, kind: str, keys: Iterable[str]) -> None:
        """Remove what is not needed any more."""
        for key in keys:
            (self.folder / kind / f"{key}.npz").unlink(missing_ok=True)

    def drop_states(self, *, keep: Collection[str] = ()) -> None:
        """Remove states of training; ``keep``: first parts of names, up to a dash."""
        for path in (self.folder / "states").glob("*.npz"):
            if path.stem.partition("-")[0] not in keep:
                path.unlink()

    def _write(self, kind: str, name: str, content: bytes) -> None:
        with atomic_write(self.folder / kind / name, durable=True) as partial:
            partial.write_bytes(content)


def pack(content: Any) -> dict[str, NDArray[Any]]:
    """Collect the arrays of nested lists and mappings, beside a JSON text of the structure."""
    arrays: list[NDArray[Any]] = []

    def without(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {str(name): without(value) for name, value in part.items()}
        if isinstance(part, list | tuple):
            return [without(value) for value in part]
        if isinstance(part, np.ndarray):
            arrays.append(part)
            return {_ARRAY: len(arrays) - 1}
        return part

    text = json.dumps(without(content), default=_plain)
    return {"content": np.array(text)} | {f"a{i}": array for i, array in enumerate(arrays)}


def unpack(file: Mapping[str, NDArray[Any]]) -> Any:
    """Undo ``pack``; tuples come back as lists."""

    def fill(part: Any) -> Any:
        if isinstance(part, list):
            return [fill(value) for value in part]
        if isinstance(part, dict):
            if part.keys() == {_ARRAY}:
                return file[f"a{part[_ARRAY]}"]
            return {name: fill(value) for name, value in part.items()}
        return part

    return fill(json.loads(str(file["content"])))


def _plain(value: Any) -> Any:
    """A NumPy number as Python's, anything else by its text."""
    return value.item() if isinstance(value, np.generic) else repr(value)


def _locked(path: Path) -> IO[str]:
    """Open and lock a file; the system releases it, however this process ends."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("w")
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
            file.close()
        except FileNotFoundError:  # another process made room just now
            continue


def _cut_back(root: Path, limit: int) -> None:
    """Remove the folders unused for longest, except those that a process has open."""
    folders = [path for path in root.iterdir() if (path / "lock").exists()]
    for folder in sorted(folders, key=_used, reverse=True):
        # What vanishes meanwhile is no error: ``walk`` bears it, too.
        limit -= sum(_size(Path(at, name)) for at, _, names in os.walk(folder) for name in names)
        if limit < 0:
            _remove(folder)


def _used(folder: Path) -> float:
    """When a folder was opened last; 0 when another process has removed it just now."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: Path) -> int:
    """Bytes of a file; 0 when another process has removed or renamed it just now."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _remove(folder: Path) -> None:
    """Remove a folder, unless a process has it open or has removed it already."""
    with suppress(FileNotFoundError, BlockingIOError), (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
