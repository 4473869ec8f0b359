"""Atomic writes of files and folders.

Everything is written into a folder of its own beside its place, and moved there when it is
complete. A reader meanwhile, or after ``kill -9``, sees the old content or the new one; two
processes that write the same file do not meet.

The folder is locked while its writer runs, and gets its name after that. The system releases the
lock however the writer ends, and so the next process that writes there knows what to delete. No
process waits for a lock: any process that may read a folder could hold one on it for ever.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
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

    After an error in the block ``path`` is as it was. A file keeps its permissions; a link is
    replaced, and what it leads to stays, as DVC's cache must. A folder that is replaced is absent
    for a moment: only Linux could exchange two.

    Args:
        path: where it will be; its folder is made.
        durable: have it on disk before its name says that it is there, as a power failure demands.
        replace: a folder may take the place of one that is not empty.

    Yields:
        A path with the same name, in an empty folder on the same disk.

    Raises:
        OSError: nothing can be written or moved there; names ``path``.
    """
    with beside(path) as written:
        yield written
        put_in_place(written, path, durable=durable, replace=replace)


@contextmanager
def beside(path: str | Path) -> Iterator[Path]:
    """Give a path to write what may become ``path`` (``put_in_place``), or is deleted in the end.

    Yields:
        A path with the same name, in an empty folder on the same disk.

    Raises:
        OSError: nothing can be written there; names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path):
        sweep_once(path.parent)
        folder, lock = _own_folder(path)
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def put_in_place(
    written: Path, path: str | Path, *, durable: bool = False, replace: bool = True
) -> None:
    """Move what was written ``beside`` a path there; for the arguments see ``atomic_write``.

    Raises:
        OSError: it cannot be moved there; names ``path``.
    """
    path = Path(path)
    if durable:
        for each in [*written.rglob("*"), written]:
            _sync(each)
    with _naming(path):
        _keep_permissions(path, written)
        if replace and written.is_dir() and path.is_dir():
            path.rename(written.with_name(".old"))
        written.replace(path)
    if durable:
        _sync(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8 atomically; its folder is made."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def sweep(folder: Path) -> list[Path]:
    """Delete what writers that were killed have left in a folder.

    Returns:
        What was deleted.
    """
    with ExitStack() as locks:
        stale = []
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
    # Of a long name only the beginning: file systems take 255 bytes.
    folder = path.with_name(f".{path.name[:50]}.{uuid4().hex[:12]}")
    unlocked = folder.with_name(f"{folder.name}.new")  # which no process sweeps
    unlocked.mkdir()
    descriptor = os.open(unlocked, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks for folders; nothing is swept there
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unlocked.rename(folder)
    return folder, descriptor


def _keep_permissions(old: Path, new: Path) -> None:
    """Keep the permissions of the old file; the owner can write the new one."""
    with suppress(FileNotFoundError):
        mode = old.lstat().st_mode
        if stat.S_ISREG(mode) and new.is_file():
            new.chmod(stat.S_IMODE(mode) | stat.S_IWUSR)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors name the file that was to be written, not the temporary one beside it."""
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
