"""HTTP/1.1 with an end to waiting: for the first request, for its rest, and for answers to be read.

uvicorn waits for ever for a client that opens a connection and says nothing, or half of a request,
or that does not read its answer. Each such connection holds a file of the process, of which there
are not many, and the last one its answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ratchet.serving.settings import Limits

LARGEST_HEAD = 64 * 1024
"""Bytes of a request before its body."""

LEAST_READ = 16 * 1024
"""Bytes of an answer that a client has to read within ``idle_seconds``."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection that is closed when its client is silent for too long."""

    limits = Limits()
    """Seconds; a subclass has its own, see ``protocol``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._end: asyncio.TimerHandle | None = None
        self._reading_end: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._close_after(self.limits.idle_seconds)

    def data_received(self, data: bytes) -> None:
        """Read on; what is no request yet does not count as one."""
        super().data_received(data)
        self._head_bytes += len(data)
        if self._is_in_head and self._head_bytes > LARGEST_HEAD:
            self.send_400_response(f"The head of a request may have {LARGEST_HEAD} bytes.")
            return
        cycle: RequestResponseCycle | None = self.cycle
        if self._end is None and (cycle is None or cycle.response_complete):
            self._close_after(self.limits.idle_seconds)

    def on_message_begin(self) -> None:
        """A request has begun: its headers have to follow."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0
        self._close_after(self.limits.body_seconds)

    def on_headers_complete(self) -> None:
        """From here on the application minds the time."""
        self._is_in_head = False
        self._stop_clock()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock with the connection."""
        self._stop_clock()
        self._stop_reading_clock()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered: it has some time."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """The client has read enough."""
        self._stop_reading_clock()
        super().resume_writing()

    def _expect_reading(self) -> None:
        self._stop_reading_clock()
        unread = self.transport.get_write_buffer_size()

        def check() -> None:
            if self.transport.get_write_buffer_size() > unread - LEAST_READ:
                self.transport.abort()  # what is left of the answer goes with it
            else:
                self._expect_reading()

        self._reading_end = self.loop.call_later(self.limits.idle_seconds, check)

    def _stop_reading_clock(self) -> None:
        if self._reading_end is not None:
            self._reading_end.cancel()
            self._reading_end = None

    def _close_after(self, seconds: float) -> None:
        self._stop_clock()
        self._end = self.loop.call_later(seconds, self.transport.close)

    def _stop_clock(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None


def protocol(limits: Limits) -> type[BoundedProtocol]:
    """The protocol with the limits of a service."""
    return type("Protocol", (BoundedProtocol,), {"limits": limits})
