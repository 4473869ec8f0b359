"""Opens versions in child processes, and makes of them what routes ask for answers.

A loader process, see ``loader``, verifies and compiles them; a version that cannot be compiled gets
a worker process, see ``worker``. What serves is decided elsewhere, see ``watcher``.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.compiled.answers import Answerer
from ratchet.config import CHECKED, UseCase
from ratchet.errors import ConfigError, DatabaseError
from ratchet.registry.ledger import Ledger
from ratchet.registry.model_versions import DIGEST_TAG
from ratchet.serving.bundle_worker import SlowAnswerer
from ratchet.serving.child_processes import LOADER, take_or_start
from ratchet.serving.protocols import Serving
from ratchet.serving.version_loader import LoadRequest
from ratchet.serving.version_transfer import (
    Description,
    Handover,
    VersionKey,
    VersionSource,
    receive_version,
)

if TYPE_CHECKING:
    from ratchet.learning.demand.book import DemandBook

LOGGER = logging.getLogger(__name__)

NICENESS = 5
"""By how much answers go before the opening of a version, once something serves."""

MEMORY_EACH = 1_500_000_000
"""Free memory, in bytes, that opening one more version at the same time takes."""

LONGEST_SECONDS = 600.0
"""How long a version may take to open, on a busy machine, before its process is ended."""


@dataclass(frozen=True, eq=False)
class LoadedVersion:
    """A version that is ready to answer.

    Attributes:
        serving: the version, as routes see it.
        loaded_at: since when it is ready.
        seconds: how long it took to get ready.
        size: bytes of its compiled form; 0 on the slow path.
    """

    serving: Serving
    loaded_at: datetime
    seconds: float
    size: int

    @property
    def version(self) -> str:
        """Its number."""
        return self.serving.version


@dataclass(frozen=True)
class OpeningFailure:
    """Why a version is not ready.

    Attributes:
        reason: the reason, in one line.
        is_refused: whether the version was looked at and refused; otherwise its process died.
    """

    reason: str
    is_refused: bool


Deliver = Callable[[VersionKey, LoadedVersion | OpeningFailure], None]
"""Callback for the result of opening a version."""


class VersionOpener:
    """Opens versions.

    Args:
        ledger: knows the digest that a version was judged with.
        source: where versions come from.
        load: makes an answerer of bytes, see ``compiled.serialization``.
        loader: command of the process that opens versions.
        worker: command of the process that answers slowly.
    """

    def __init__(
        self,
        ledger: Ledger,
        source: VersionSource,
        load: Callable[[Any], Answerer],
        *,
        loader: Sequence[str] = (),
        worker: Sequence[str] = (),
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._load = load
        self._loader = loader or LOADER
        self._worker = worker
        self._prepare: Callable[[Serving], None] = lambda _: None
        self._workers: set[asyncio.Task[None]] = set()

    def on_prepare(self, prepare: Callable[[Serving], None]) -> None:
        """Call a function in a thread with each version before it is delivered.

        It may bring the state of its series up to date.
        """
        self._prepare = prepare

    async def open(
        self, versions: Sequence[VersionKey], deliver: Deliver, *, gives_way: bool
    ) -> None:
        """Open versions at the same time, and deliver each when it is ready.

        A version that answers slowly may be delivered after the return: its process takes time
        that others need not wait for.

        Args:
            versions: the versions; the smallest is delivered first.
            deliver: called once for each of them, in the thread of the event loop.
            gives_way: whether other processes go before.
        """
        started, pending = time.monotonic(), dict(enumerate(versions))
        reason = "the process that opens versions has died"
        try:
            request = await asyncio.to_thread(self._request, versions)
            handovers = self._handovers(request, NICENESS if gives_way else 0)
            async with asyncio.timeout(LONGEST_SECONDS), aclosing(handovers):
                async for handover in handovers:
                    key = pending.pop(handover.number)
                    delivery = self._deliver(key, handover, request, started, deliver)
                    if handover.description.status == "slow":
                        self._in_background(delivery)
                    else:
                        await delivery
        except TimeoutError:
            reason = f"it did not open within {LONGEST_SECONDS:.0f} s"
        except Exception as error:  # of a child, a socket or the database: it is tried again
            reason = f"what opens versions has failed: {type(error).__name__}: {error}"
        for key in pending.values():
            deliver(key, OpeningFailure(reason, is_refused=False))

    async def stop(self) -> None:
        """End the start of processes that answer slowly."""
        for task in self._workers:
            task.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _request(self, versions: Sequence[VersionKey]) -> LoadRequest:
        judged = [(*key, self._ledger.first_detail(*key, DIGEST_TAG)) for key in versions]
        return LoadRequest(self._source, judged, parallel_of(len(versions)))

    async def _handovers(
        self, request: LoadRequest, niceness: int
    ) -> AsyncGenerator[Handover, None]:
        command = [*self._loader, *([str(niceness)] if niceness else [])]
        process = take_or_start(command)
        try:
            process.request(request.as_line())
            while True:
                await _until_readable(process.connection)
                # In a thread: JSON of megabytes is read, and pages are mapped.
                handover = await asyncio.to_thread(receive_version, process.connection)
                if handover is None:
                    return
                yield handover
        finally:
            await asyncio.to_thread(process.end)

    def _in_background(self, delivery: Any) -> None:
        task = asyncio.create_task(delivery)
        self._workers.add(task)
        task.add_done_callback(self._workers.discard)

    async def _deliver(
        self,
        key: VersionKey,
        handover: Handover,
        request: LoadRequest,
        started: float,
        deliver: Deliver,
    ) -> None:
        description = handover.description
        if description.status == "refused":
            deliver(key, OpeningFailure(str(description.reason), is_refused=True))
            return
        try:
            if description.status == "compiled":
                serving = await asyncio.to_thread(self._from_arrays, key, handover)
            else:
                serving = await self._from_worker(key, handover, request)
        except Exception as error:  # whatever a version does that should be sound
            LOGGER.debug("a version was not taken over", exc_info=error)
            # Measurements that cannot be read at present are no fault of the version.
            is_refused = not isinstance(error, ConfigError | DatabaseError)
            reason = f"{type(error).__name__}: {error}"
            deliver(key, OpeningFailure(reason, is_refused))
            return
        seconds = time.monotonic() - started
        loaded = LoadedVersion(serving, datetime.now(UTC), seconds, len(handover.content))
        deliver(key, loaded)

    def _from_arrays(self, key: VersionKey, handover: Handover) -> Serving:
        """Let a version answer once, so that the first request finds it ready."""
        with _without_collection():
            answerer = self._load(handover.content)
            answerer.answer(handover.description.golden[:1])
            prices = getattr(answerer, "prices", None)
            book = None if prices is None else ready(prices.book)
            serving = serving_of(key, handover.description, answerer, book)
            self._prepare(serving)
        return serving

    async def _from_worker(
        self, key: VersionKey, handover: Handover, request: LoadRequest
    ) -> Serving:
        own_request = replace(request, versions=[request.versions[handover.number]])
        answerer = SlowAnswerer(own_request, self._worker)
        try:
            await answerer.start()
            prices: Any = self._load(handover.content) if handover.content else None
            book = None if prices is None else await asyncio.to_thread(ready, prices.book)
            serving = serving_of(key, handover.description, answerer, book)
            await asyncio.to_thread(self._prepare, serving)
        except BaseException:
            await answerer.stop()
            raise
        return serving


def ready(book: DemandBook) -> DemandBook:
    """Let a book price a segment, so that the first request finds all of it in memory."""
    if book.keys:
        book.quote(book.keys[0].merchant, book.keys[0].product)
    return book


def serving_of(
    key: VersionKey,
    description: Description,
    answerer: Answerer | SlowAnswerer,
    prices: DemandBook | None = None,
) -> Serving:
    """A version as routes see it."""
    inputs = description.manifest["signature"]["inputs"]
    last_row = description.manifest["last_row"]
    return Serving(
        UseCase.model_validate(description.parameters, context=CHECKED),
        *(key.use_case, key.version, description.digest),
        since=datetime.now(UTC),
        answerer=answerer,
        inputs={column: one["nullable"] for column, one in inputs.items()},
        trained_until=None if last_row is None else datetime.fromisoformat(last_row),
        examples=description.golden,
        degraded=description.reason if description.status == "slow" else None,
        prices=prices,
    )


def parallel_of(versions: int) -> int:
    """How many versions may be opened at the same time, by processors and free memory."""
    return max(1, min(versions, os.cpu_count() or 1, _free_memory() // MEMORY_EACH))


def _free_memory() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = dict(line.split(":", 1) for line in lines)
        return int(sizes["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return MEMORY_EACH


async def _until_readable(connection: socket.socket) -> None:
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector away from objects that stay, now and later.

    A look at all objects of a version keeps requests waiting for tens of milliseconds. What is
    garbage by now stays as well: at each version that is opened a few objects.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
