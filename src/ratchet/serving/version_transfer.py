"""How a loader process hands over versions that it has opened, verified and compiled.

Each version is a sealed file in memory, whose descriptor is sent over a socket: the serving process
maps it, and copies nothing. The file holds three numbers (bytes of the description, where the
arrays begin, bytes of the arrays), the description as JSON, and from the next page on the arrays as
``compiled.serialization`` writes them.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import socket
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

_HEAD = b"%016d %016d %016d\n"
_HEAD_SIZE = len(_HEAD % (0, 0, 0))
_NUMBER_SIZE = 16  # bytes that say which version a message is about
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class VersionKey(NamedTuple):
    """A version of a use case.

    Attributes:
        use_case: name of the use case.
        version: its number.
    """

    use_case: str
    version: str


@dataclass(frozen=True)
class VersionSource:
    """Where versions come from.

    Attributes:
        tracking_uri: where MLflow tracks.
        bundles: folder of the bundles.
        database_url: database of the ledger.
        compiled: whether versions are compiled where that is possible.
    """

    tracking_uri: str
    bundles: str
    database_url: str
    compiled: bool = True


@dataclass(frozen=True)
class Description:
    """A version that was opened, or the reason why it was not.

    Attributes:
        status: ``compiled``; ``slow`` where only its bundle can answer; ``refused``.
        reason: why it is not compiled, or does not open.
        digest: SHA-256 of its manifest.
        manifest: its manifest.
        parameters: its ``use_case.json``: the contract and everything else it was made with.
        golden: raw fields of the rows that it was tried with.
    """

    status: Literal["compiled", "slow", "refused"]
    reason: str | None = None
    digest: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    golden: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Handover:
    """One version that was handed over.

    Attributes:
        number: which of the requested versions, from 0.
        description: what it is.
        content: its compiled form, read-only; of a version that has none what prices its
            segments, or nothing.
    """

    number: int
    description: Description
    content: mmap.mmap | bytes


def create_file(name: str) -> int:
    """Descriptor of a new file in memory, for one version."""
    return os.memfd_create(name[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def write_version(file: int, description: Description, content: bytes) -> None:
    """Write a version, its head last: a file with a head is complete."""
    described = json.dumps(asdict(description)).encode()
    size = mmap.ALLOCATIONGRANULARITY
    start = -(-(_HEAD_SIZE + len(described)) // size) * size
    _write_at(file, described, _HEAD_SIZE)
    _write_at(file, content, start)
    _write_at(file, _HEAD % (len(described), start, len(content)), 0)


def _write_at(file: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def is_complete(file: int) -> bool:
    """Whether all of a version was written."""
    return bool(os.pread(file, _HEAD_SIZE, 0).strip(b"\0"))


def send_version(connection: socket.socket, number: int, file: int) -> None:
    """Send a complete version, sealed against changes."""
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    socket.send_fds(connection, [b"%d" % number], [file])


def receive_version(connection: socket.socket) -> Handover | None:
    """Take the next version; ``None`` where none will come any more.

    Raises:
        ValueError: what came is no version.
    """
    message, files, *_ = socket.recv_fds(connection, _NUMBER_SIZE, 1)
    if not message:
        return None
    if not files:
        raise ValueError("a loader has sent no file")
    try:
        return _read_version(int(message), files[0])
    finally:
        os.close(files[0])


def _read_version(number: int, file: int) -> Handover:
    if fcntl.fcntl(file, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise ValueError("a loader has sent a file that it could still change")
    described, start, size = map(int, os.pread(file, _HEAD_SIZE, 0).split())
    description = Description(**json.loads(os.pread(file, described, _HEAD_SIZE)))
    if not size:
        return Handover(number, description, b"")
    content = mmap.mmap(file, size, prot=mmap.PROT_READ, offset=start)
    return Handover(number, description, content)
