"""Requests that are sent again with the same ``Idempotency-Key``: the same response, once the work.

Held in memory, for a day at most: after a restart, and at another process, the stores themselves
recognize what is handed in again by its rows.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256

from fastapi import Request
from starlette.responses import Response

from ratchet.serving.errors import Problem
from ratchet.serving.request_context import call_of

HEADER = "idempotency-key"
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_SECONDS = 24 * 3600.0
_MOST = 10_000
_LARGEST = 64 * 1024  # bytes of a response that is stored


@dataclass(slots=True)
class _Entry:
    """A request: the hash of its body, and its response as soon as there is one."""

    digest: bytes
    at: float
    response: Response | None = None


def idempotency_key(request: Request) -> str | None:
    """The key of a request, where it has one.

    Raises:
        Problem: it is none.
    """
    key = request.headers.get(HEADER)
    if key is not None and not _KEY.fullmatch(key):
        raise Problem(
            422, "reused-key", "Idempotency-Key: expected up to 200 visible ASCII characters"
        )
    return key


class Replays:
    """Responses by client, route and key.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str, str], _Entry] = OrderedDict()

    async def once(self, request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
        """The response of the work, which is not done again for the same key.

        Args:
            request: the request; without the header everything is done.
            work: makes the response.

        Raises:
            Problem: the key was used for another body, or its first request is not done yet.
        """
        header = idempotency_key(request)
        if header is None:
            return await work()
        key = (call_of(request).actor or "", request.url.path, header)
        digest = sha256(await request.body()).digest()
        if (response := self._replay(key, digest)) is not None:
            return response
        entry = self._entries[key] = _Entry(digest, self._clock())
        try:
            response = await work()
        except BaseException:
            self._entries.pop(key, None)  # what has failed may be tried again
            raise
        if len(bytes(response.body)) <= _LARGEST:
            entry.response = response
        else:
            self._entries.pop(key, None)
        return response

    def _replay(self, key: tuple[str, str, str], digest: bytes) -> Response | None:
        self._forget()
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.digest != digest:
            raise Problem(
                422, "reused-key", "Idempotency-Key: this key came with another body before"
            )
        if entry.response is None:
            raise Problem(
                409,
                "conflict",
                "the first request with this Idempotency-Key is still being worked on",
                headers={"retry-after": "1"},
            )
        response = Response(entry.response.body, entry.response.status_code)
        response.raw_headers = [*entry.response.raw_headers, (b"idempotent-replayed", b"true")]
        return response

    def _forget(self) -> None:
        now = self._clock()
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if len(self._entries) < _MOST and now - entry.at < _SECONDS:
                return
            del self._entries[key]
