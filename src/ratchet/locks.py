"""Locks between processes: files beside what they protect, whose waiting has words and an end.

The lock is the operating system's: it ends with its process, however that ends. Whoever may open
its file could hold it for ever, so only those may who can write into its folder. A project that a
group shares is one whose folders the group may write.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ratchet.errors import UserError

LOGGER = logging.getLogger(__name__)

SECONDS = 300.0
"""How long one process waits for another."""

_QUIET = 2.0
"""Seconds of waiting that are not logged."""


class LockedError(UserError):
    """Another process holds a lock for too long, or its file cannot be used."""


@contextmanager
def locked(
    path: Path, what: str, *, shared: bool = False, seconds: float | None = None
) -> Iterator[int]:
    """Hold a lock for as long as the block lasts.

    Args:
        path: its file, which is made; its folder has to be there.
        what: what is protected, for the message to those who wait.
        shared: let others hold it at the same time that want it shared as well.
        seconds: how long to wait; ``SECONDS`` by default.

    Yields:
        Descriptor of the file.

    Raises:
        LockedError: another process held it for all that time; says which. Or there is something
            else in the place of the file.
    """
    descriptor = _open(path)
    try:
        _wait(descriptor, path, what, SECONDS if seconds is None else seconds, shared=shared)
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise LockedError(
                f"{path} cannot be opened ({error.strerror}): it takes the permission to write "
                f"into {path.parent}, and to its file once its owner has run a command again"
            ) from error
        reasons = {errno.ELOOP: "is a link", errno.EISDIR: "is a folder"}
        what = reasons.get(error.errno or 0, f"cannot be opened ({error.strerror})")
        raise LockedError(f"{path} {what}; expected a file for a lock: remove it") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LockedError(f"{path} is no plain file; expected a file for a lock: remove it")
    with suppress(OSError):  # a file system without permissions
        _share(descriptor, path.parent)
    return descriptor


def _share(descriptor: int, folder: Path) -> None:
    """Let those open a lock's file who can write into its folder; only its owner can do that."""
    file, place = os.fstat(descriptor), folder.stat()
    if file.st_uid != os.geteuid():
        return
    wanted = 0o600
    if place.st_mode & stat.S_IWGRP:
        if file.st_gid != place.st_gid:
            os.fchown(descriptor, -1, place.st_gid)
        wanted |= 0o060
    if place.st_mode & stat.S_IWOTH and not place.st_mode & stat.S_ISVTX:
        wanted |= 0o006
    if stat.S_IMODE(file.st_mode) != wanted:
        os.fchmod(descriptor, wanted)


def _wait(descriptor: int, path: Path, what: str, seconds: float, *, shared: bool) -> None:
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    start, warned = time.monotonic(), False
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, operation)
            return
        waited = time.monotonic() - start
        if waited >= seconds:
            raise LockedError(
                f"{what}: {_holder(descriptor)} has held {path} for {seconds:.0f} s; try again "
                f"when it has ended, or end it"
            )
        if waited > _QUIET and not warned:
            LOGGER.warning(
                "%s: waiting for %s, for at most %.0f s (%s)",
                *(what, _holder(descriptor), seconds, path),
            )
            warned = True
        time.sleep(0.05)


def _holder(descriptor: int) -> str:
    """The process that holds a lock, as far as Linux says."""
    with suppress(OSError, ValueError, IndexError):
        inode = str(os.fstat(descriptor).st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "->" not in fields and fields[1] == "FLOCK" and fields[5].split(":")[2] == inode:
                command = Path(f"/proc/{fields[4]}/cmdline").read_bytes().replace(b"\0", b" ")
                return f"process {fields[4]} ({command.decode(errors='replace').strip()[:80]})"
    return "another process"
