"""What is done around every request: its id, its headers, its metrics, its limits, its failure.

Plain ASGI: a wrapper that reads and builds requests and responses would cost more than the answer.
"""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ratchet.serving.errors import Problem, as_problem
from ratchet.serving.metrics import NOWHERE, Metrics
from ratchet.serving.request_context import SCOPE, Call, new_call
from ratchet.serving.security import HEADERS
from ratchet.serving.settings import Limits

LOGGER = logging.getLogger(__name__)

FAILED = "something went wrong here; whoever runs the service finds the reason in its log"


class Requests:
    """Gives every request an id and its headers, counts it, and turns failures into problems.

    Args:
        app: what answers.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope)
        call = new_call(given.get("x-request-id"), given.get("idempotency-key"))
        scope[SCOPE] = call
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers["x-request-id"] = call.request_id
                headers["server-timing"] = call.server_timing()
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass  # the client has disconnected
        except Exception as error:
            problem = self._problem(error, scope, call)
            if status:  # half an answer was sent already: the connection has to end
                raise
            await problem.response(call.request_id)(scope, receive, send_with_headers)
        finally:
            self._count(scope, call, status)

    def _problem(self, error: Exception, scope: Scope, call: Call) -> Problem:
        if isinstance(error, HTTPException):
            return as_problem(error, scope["path"])
        LOGGER.error("Request %s has failed", call.request_id, exc_info=error)
        return Problem(500, "failed", FAILED)

    def _count(self, scope: Scope, call: Call, status: int) -> None:
        route = getattr(scope.get("route"), "path", NOWHERE)
        self._metrics.requests.labels(route, _method(scope), str(status or "closed")).inc()
        self._metrics.seconds.labels(route).observe(call.milliseconds / 1e3)


def _method(scope: Scope) -> str:
    """The method; all that HTTP does not define count as one."""
    defined = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    method: str = scope["method"]
    return method if method in defined else NOWHERE


class Bodies:
    """Bounds what a body may hold and how long it may take, declared or not.

    Args:
        app: what reads the body.
        limits: bytes and seconds.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request be read as far as it may."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._limits.batch_bytes:
            raise self._too_large()
        until = time.monotonic() + self._limits.body_seconds
        read, ended = 0, False

        async def receive_some() -> Message:
            nonlocal read, ended
            if ended:
                return await receive()  # what comes now is the end of the connection
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            read += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if read > self._limits.batch_bytes:
                raise self._too_large()
            return message

        await self._app(scope, receive_some, send)

    def _too_large(self) -> Problem:
        return Problem(
            413,
            "too-large",
            f"a body may have {self._limits.batch_bytes:,} bytes; send several requests",
            headers={"connection": "close"},
        )

    def _too_slow(self) -> Problem:
        return Problem(
            408,
            "too-slow",
            f"the body was not there after {self._limits.body_seconds:g} s",
            headers={"connection": "close"},
        )
