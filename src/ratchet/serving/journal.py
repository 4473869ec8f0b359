"""Journal of a process: what it has answered, line by line, until the database has it.

A folder is shared by all processes that serve a project, and each appends to files of its own,
``<owner>.<number>.jsonl``. For as long as it lives it holds a lock, ``<owner>.lock``: where that
can be taken, its owner is dead, and another process writes the rest into the database. Each line
has a checksum, so that one that was cut off by a power cut is recognised.
"""

from __future__ import annotations

import os
import re
import secrets
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ratchet.errors import UserError
from ratchet.locks import LockedError, locked

SEGMENT_BYTES = 4_000_000
"""Size from which on a file is followed by another one, so that it can be removed when written."""

_NAME = re.compile(r"(?P<owner>[\w-]+)\.(?P<number>\d{6,})\.jsonl")


class LogFullError(UserError):
    """What was answered cannot be written down at present, so that it may not be sent."""


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """How far a journal was read or written.

    Attributes:
        segment: number of the file, from 1.
        size: bytes in it.
        rows: answers in it.
    """

    segment: int = 1
    size: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a journal.

    Attributes:
        content: what was appended; ``None`` where the line is damaged.
        size: its bytes in the file.
    """

    content: bytes | None
    size: int


class Journal:
    """The journal that this process appends to.

    Args:
        folder: folder of the journals, made if it is missing.
        segment_bytes: size of a file.

    Attributes:
        owner: its name.
        place: how far it was written.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.owner = f"{os.getpid()}-{secrets.token_hex(6)}"
        self.place = JournalPosition()
        self._segment_bytes = segment_bytes
        self._is_synced = True
        self._finished: list[int] = []
        self._held = ExitStack()
        # Under its name it is locked from the first moment: no process takes its owner for dead.
        new = folder / f".{self.owner}.new"
        self._held.enter_context(locked(new, "a new journal"))
        new.rename(lock_of(folder, self.owner))
        self._file = self._open(self.place.segment)

    def append(self, content: bytes, rows: int = 1) -> None:
        """Write one line, by one call of the system; all of it or nothing.

        Args:
            content: without a line break.
            rows: how many answers it holds.

        Raises:
            LogFullError: the disk is full, or the file cannot be written.
        """
        line = b"%08x %b\n" % (zlib.crc32(content), content)
        try:
            if self.place.size >= self._segment_bytes:
                self.start_segment()
            written = os.write(self._file, line)
            if written < len(line):
                os.ftruncate(self._file, self.place.size)
        except OSError as error:
            raise LogFullError(f"{self.folder}: cannot be written: {error.strerror}") from error
        if written < len(line):
            raise LogFullError(f"{self.folder}: no space is left on the disk")
        position = self.place
        self.place = JournalPosition(
            position.segment, position.size + written, position.rows + rows
        )
        self._is_synced = False

    def start_segment(self) -> None:
        """Go on in another file, so that this one can be removed.

        Raises:
            OSError: there can be no other one at present; this one goes on.
        """
        number = self.place.segment + 1
        following = self._open(number)
        self._finished.append(self._file)
        self._file, self.place = following, JournalPosition(number)

    def sync(self) -> None:
        """Wait until the disk has everything, as after a power cut nothing else would be there.

        Another thread may do it: nothing is closed that this one still writes to.
        """
        finished, self._finished = self._finished, []
        for file in finished:
            os.fdatasync(file)
            os.close(file)
        if not self._is_synced:
            self._is_synced = True
            os.fdatasync(self._file)

    def close(self) -> None:
        """Release the journal; another process writes what is not in the database yet."""
        self.sync()
        os.close(self._file)
        self._held.close()

    def _open(self, number: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL | os.O_NOFOLLOW
        return os.open(segment_of(self.folder, self.owner, number), flags, 0o600)


def lock_of(folder: Path, owner: str) -> Path:
    """The lock that an owner holds as long as it lives."""
    return folder / f"{owner}.lock"


def segment_of(folder: Path, owner: str, number: int) -> Path:
    """One of the files of an owner."""
    return folder / f"{owner}.{number:06d}.jsonl"


def owners(folder: Path) -> set[str]:
    """All who have left a lock or a file in a folder."""
    names = {path.stem for path in folder.glob("*.lock")}
    return names | {listed["owner"] for path in folder.iterdir() if (listed := _match(path))}


def segments(folder: Path, owner: str) -> list[int]:
    """Numbers of the files of an owner, in their order."""
    listed = (_match(path) for path in folder.glob(f"{owner}.*.jsonl"))
    return sorted(int(one["number"]) for one in listed if one and one["owner"] == owner)


def read_lines(path: Path, start: int, most: int) -> Iterator[Line]:
    """Complete lines of a file; one that is still being written, or was cut off, is none.

    Args:
        path: the file.
        start: bytes to skip, which are complete lines.
        most: bytes after which no other line is begun.
    """
    with path.open("rb") as file:
        file.seek(start)
        n_bytes = 0
        while n_bytes < most and (line := file.readline()).endswith(b"\n"):
            n_bytes += len(line)
            yield Line(_content(line), len(line))


@contextmanager
def lock_abandoned(folder: Path, owner: str) -> Iterator[bool]:
    """Hold the journal of an owner that is dead.

    Yields:
        Whether it is; otherwise nothing is held.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(lock_of(folder, owner), "a journal", seconds=0))
        except LockedError:
            yield False
        else:
            yield True


def remove(folder: Path, owner: str) -> None:
    """Remove what is left of an owner, the lock last."""
    for number in segments(folder, owner):
        segment_of(folder, owner, number).unlink(missing_ok=True)
    lock_of(folder, owner).unlink(missing_ok=True)


def _content(line: bytes) -> bytes | None:
    checksum, _, content = line[:-1].partition(b" ")
    return content if checksum == b"%08x" % zlib.crc32(content) else None


def _match(path: Path) -> re.Match[str] | None:
    return _NAME.fullmatch(path.name)
