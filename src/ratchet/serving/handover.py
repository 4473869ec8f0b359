"""What a loader process hands over: versions that were opened, verified and compiled.

On its standard output there is a frame for each version: a line with three numbers (which of the
versions asked for, bytes of the description, bytes of the arrays), then the description as JSON and
the arrays as ``compiled.store`` writes them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

CHUNK = 256 * 1024
"""Bytes that are taken at once, so that answers come in between."""

LARGEST = 2_000_000_000
"""Bytes of a version, beyond which nothing of ours is."""


@dataclass(frozen=True)
class Source:
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
    """What there is to know of a version that was opened, or why it was not.

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
class Frame:
    """One version that was handed over.

    Attributes:
        number: which of the versions asked for, from 0.
        description: what there is to know of it.
        content: its compiled form; empty where it has none.
    """

    number: int
    description: Description
    content: bytearray


def as_json(description: Description) -> bytes:
    """A description as JSON."""
    return json.dumps(asdict(description)).encode()


async def read_frames(stream: asyncio.StreamReader) -> AsyncIterator[Frame]:
    """Read frames until the stream ends, in small pieces.

    Raises:
        EOFError: it ends within a frame.
        ValueError: what comes is no frame.
    """
    while head := await stream.readline():
        number, size, body = map(int, head.split())
        if not (0 <= size <= LARGEST and 0 <= body <= LARGEST):
            raise ValueError(f"no frame has {body} bytes")
        told = Description(**json.loads(await _read(stream, size)))
        yield Frame(number, told, await _read(stream, body))


async def _read(stream: asyncio.StreamReader, size: int) -> bytearray:
    content = bytearray(size)
    view, place = memoryview(content), 0
    while place < size:
        piece = await stream.read(min(CHUNK, size - place))
        if not piece:
            raise EOFError("the process has died")
        view[place : place + len(piece)] = piece
        place += len(piece)
        await asyncio.sleep(0)  # data that are there already are read without a pause
    return content
