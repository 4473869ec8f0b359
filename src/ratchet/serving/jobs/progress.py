"""Progress of a job: lines of a file that its process writes and others read from any position.

Each line is an event in JSON, with ``event`` and ``at``. The position after a line is its id: who
was cut off asks for what comes after the last one that was seen.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

FILE = "progress.jsonl"
LOG_LINES = 12
_CHUNK = 256 * 1024


class Event(NamedTuple):
    """A line of the file.

    Attributes:
        position: bytes up to its end.
        kind: ``stage``, ``trial`` or ``log``.
        content: the line as it is in the file.
        values: what it says.
    """

    position: int
    kind: str
    content: str
    values: dict[str, Any]


class Writer:
    """Appends events, a line each.

    An event that cannot be written, as on a full disk, is left out: a search does not fail for it.

    Args:
        folder: folder of the job.
    """

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._cut = b""  # ends the line of an event of which half was written

    def write(self, event: str, **values: Any) -> None:
        """Append an event."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        content = {"event": event, "at": now, **{key: _plain(each) for key, each in values.items()}}
        line = self._cut + json.dumps(content, default=str).encode() + b"\n"
        with suppress(OSError):
            self._cut = b"" if os.write(self._file, line) == len(line) else b"\n"

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(folder: Path, after: int = 0) -> list[Event]:
    """Events whose lines begin at a position or later; some at a time.

    Args:
        folder: folder of the job.
        after: position after the last event that is known; any other position goes on with the
            next whole line.
    """
    try:
        with (folder / FILE).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = _line_start(file, after) if 0 < after <= size else 0
            file.seek(start)
            content = file.read(_CHUNK)
    except FileNotFoundError:
        return []
    events, position = list[Event](), start
    for line in content.split(b"\n")[:-1]:
        position += len(line) + 1
        try:
            values = json.loads(line)
            events.append(Event(position, str(values["event"]), line.decode(), values))
        except (ValueError, KeyError, TypeError):
            continue  # of a full disk: half a line
    return events


def _line_start(file: Any, position: int) -> int:
    """The position itself where a line begins there, or else that of the next line."""
    file.seek(position - 1)
    if file.read(1) == b"\n":
        return position
    rest = file.readline()
    return position + len(rest)


def read_all(folder: Path, after: int = 0) -> list[Event]:
    """All events after a position, see ``read``."""
    events = list[Event]()
    while part := read(folder, events[-1].position if events else after):
        events += part
    return events


def summary(folder: Path) -> dict[str, Any]:
    """How far a job is by now: its stage, the last trial, and the end of its log."""
    state: dict[str, Any] = {"stage": None, "trials": None, "log": [], "position": 0}
    for event in read_all(folder):
        state["position"] = event.position
        if event.kind == "stage":
            state["stage"] = event.values.get("name")
        elif event.kind == "trial":
            state["trials"] = event.values
        elif event.kind == "log":
            state["log"].append(event.values.get("text"))
    state["log"] = state["log"][-LOG_LINES:]
    return state
