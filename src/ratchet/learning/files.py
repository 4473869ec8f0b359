"""Files and folders that are there whole, or as they were before.

Everything is written into a folder of its own beside its place, and moved there when it is
complete. Whoever reads meanwhile, or after ``kill -9``, sees the old content or the new one; two
processes that write the same file do not meet.

The folder is locked while its writer lives. The system lets go of the lock however that ends, and
so the next process that writes there knows what to delete.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

_PARTIAL = re.compile(r"\..+\.[0-9a-f]{12}")


@contextmanager
def atomic_write(
    path: str | Path, *, durable: bool = False, replace: bool = True
) -> Iterator[Path]:
    """Give a path to write a file or a folder to; it becomes ``path`` when the block is done.

    After an error in the block ``path`` is as it was. A folder that is replaced is absent for a
    moment: only Linux could exchange two.

    Args:
        path: where it will be; its folder is made.
        durable: have it on disk before its name says that it is there, as a power failure demands.
        replace: a folder may take the place of one that is not empty.

    Yields:
        A path with the same name, in an empty folder on the same disk.

    Raises:
        OSError: nothing can be written or moved there; names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path):
        sweep_once(path.parent)
        folder, lock = _own_folder(path)
    written = folder / path.name
    try:
        yield written
        if durable:
            for each in [*written.rglob("*"), written]:
                _sync(each)
        with _naming(path):
            if replace and written.is_dir() and path.is_dir():
                path.rename(folder / "old")
            written.replace(path)
        if durable:
            _sync(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; its folder is made."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def sweep(folder: Path) -> list[Path]:
    """Delete what writers that were killed have left in a folder.

    Returns:
        What was deleted.
    """
    with ExitStack() as locks:
        stale = []
        with suppress(FileNotFoundError), _locked(folder):  # nobody begins meanwhile
            for path in sorted(folder.glob(".*")):
                if not _PARTIAL.fullmatch(path.name) or path.is_symlink():
                    continue
                with suppress(OSError):  # in use, just gone, or no folder
                    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                    locks.callback(os.close, descriptor)
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    stale.append(path)
        for path in stale:
            shutil.rmtree(path, ignore_errors=True)
    return stale


@cache
def sweep_once(folder: Path) -> None:
    """``sweep``, the first time that this process asks for it."""
    sweep(folder)


def _own_folder(path: Path) -> tuple[Path, int]:
    """Make the folder of a writer and lock it; the folder, and what holds the lock."""
    folder = path.with_name(f".{path.name}.{uuid4().hex[:12]}")
    with _locked(path.parent):
        folder.mkdir()
        descriptor = os.open(folder, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks for folders; nothing is swept there
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return folder, descriptor


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors name the file that was to be written, not what lies beside it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
