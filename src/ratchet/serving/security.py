"""Who gets in: names of the host, origins of pages, keys, scopes, and how often.

Without keys the service is for this machine alone. A page that a browser on this machine has loaded
from elsewhere is not this machine: it is recognised by the host name that it uses (DNS rebinding),
and by the origin that browsers add to what changes something.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from ratchet.errors import ConfigError
from ratchet.serving.errors import Problem
from ratchet.serving.keys import CONTENT, SCOPES, Key, Keys, Scope
from ratchet.serving.request_context import SCOPE, Call, call_of
from ratchet.serving.sessions import COOKIE, Sessions
from ratchet.serving.settings import LOOPBACK_NAMES, Settings, is_loopback

HOW = "kedro ratchet keys add NAME --scope {scope}"
_SAFE = ("GET", "HEAD", "OPTIONS")
_CLIENTS = 10_000  # buckets that are remembered

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy of every answer: nothing inline, nothing from elsewhere."""

DOCS_POLICY = (
    POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'") + "; worker-src blob:"
)
"""That of /docs and /redoc, whose libraries set styles by script."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with none, forms of our own pages come from "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer that does not set them itself."""


def check_exposure(settings: Settings, keys: Keys) -> None:
    """Make sure that other machines need a key.

    Raises:
        ConfigError: others could; says how to make a key.
    """
    if len(keys):
        return
    # Behind a proxy on this machine that does not forward the client, all seem to be local.
    named = [name for name in settings.allowed_hosts if not is_loopback(name)]
    if named or not settings.is_loopback:
        what = f"allowed_hosts: {named[0]}" if settings.is_loopback else f"host: {settings.host}"
        raise ConfigError(
            f"{what} can be reached from other machines, and there are no keys in {keys.path} or "
            f"{CONTENT}: make one first ({HOW.format(scope='predict')}), or serve 127.0.0.1 alone"
        )


class Buckets:
    """A bucket of tokens for each client: so many requests at once, and so many per second.

    Args:
        rate: requests per second; 0 for any number.
        burst: requests at once.
        clock: seconds.
    """

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = rate, float(burst), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take a token; seconds until there is one, or 0 if it was there."""
        if not self._rate:
            return 0.0
        now = self._clock()
        tokens, at = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        missing = max(1.0 - tokens, 0.0)
        self._buckets[client] = (tokens if missing else tokens - 1.0, now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return missing / self._rate


class Guard:
    """ASGI middleware that lets in whom it should, and knows under which name.

    Args:
        app: what is guarded.
        settings: names of the host and limits.
        keys: keys of the clients.
        sessions: browsers that have shown one.
    """

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys, sessions: Sessions) -> None:
        self._app, self._settings, self._keys = app, settings, keys
        self._sessions = sessions
        self._buckets = Buckets(settings.limits.rate, settings.limits.burst)
        named = {name.lower() for name in settings.allowed_hosts}
        # Listening on all addresses, any host name is right; a key is needed then.
        self._names = named | {*LOOPBACK_NAMES} if settings.is_loopback or named else None

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Let a request pass, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                return  # there are none
            await self._app(scope, receive, send)
            return
        call: Call = scope[SCOPE]
        try:
            self._check(scope, call)
        except Problem as problem:
            await problem.response(call.request_id)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: AsgiScope, call: Call) -> None:
        headers = Headers(scope=scope)
        client = scope.get("client")
        call.local = client is not None and is_loopback(client[0])
        self._check_names(scope["method"], headers)
        address = f"at {client[0] if client else '?'}"
        token = token_of(headers)
        call.key = self._session(headers) if token is None else self._keys.find(token)
        if call.key is None and token is None and call.local and not self._keys.needed:
            return
        self._count(f"key {call.key.name}" if call.key else address)
        if token is not None and call.key is None:
            raise Problem(
                401,
                "key-needed",
                "there is no such key; it may have been revoked",
                headers={"www-authenticate": "Bearer"},
            )

    def _count(self, client: str) -> None:
        if wait := self._buckets.wait(client):
            raise Problem(
                429,
                "too-many-requests",
                f"more than {self._settings.limits.rate:g} requests per second; wait a moment",
                headers={"retry-after": str(max(1, round(wait)))},
            )

    def _check_names(self, method: str, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) > 1:  # a proxy may have heeded another one
            raise Problem(400, "malformed", "expected one Host header, got several")
        host = hosts[0] if hosts else ""
        if self._names is not None and _name(host) not in self._names:
            raise Problem(
                421,
                "wrong-host",
                "the service is not called by this name; names other than 127.0.0.1 and localhost "
                "have to be in the setting allowed_hosts",
            )
        origin = headers.get("origin")
        if method in _SAFE or origin is None or _place(origin) == host:
            return
        raise Problem(403, "not-allowed", "pages of other sites may not ask the service")

    def _session(self, headers: Headers) -> Key | None:
        """The key that a browser has shown before."""
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        return None if cookie is None else self._sessions.find(cookie)


def token_of(headers: Headers) -> str | None:
    """The key that a request shows: ``Authorization: Bearer``, or ``X-API-Key``."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key") or None


def _place(origin: str) -> str | None:
    """Host and port of a page; ``None`` where the header holds no URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name(host: str) -> str:
    """Name of a host without its port."""
    host = host.lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


_BEARER = HTTPBearer(
    auto_error=False, scheme_name="key", description="A key made by `kedro ratchet keys add`."
)


def require_scope(scope: Scope) -> Callable[..., Awaitable[None]]:
    """Dependency of a route: the caller has this scope.

    Without keys this machine may do anything.
    """

    async def check(request: Request, _: object = Depends(_BEARER)) -> None:
        service = request.app.state.service
        call, keys = call_of(request), service.keys
        if scope == "predict" and service.settings.public_predictions:
            return
        if call.key is not None:
            if not call.key.allows(scope):
                raise Problem(
                    403,
                    "not-allowed",
                    f"the key '{call.key.name}' is not for this; it takes the scope '{scope}' "
                    f"({SCOPES[scope]})",
                )
        elif keys.needed:
            raise Problem(
                401,
                "key-needed",
                f"this takes a key with the scope '{scope}': Authorization: Bearer KEY; whoever "
                f"runs the service makes one by {HOW.format(scope=scope)}",
                headers={"www-authenticate": "Bearer"},
            )
        elif not call.local:
            raise Problem(
                403,
                "not-allowed",
                f"without keys the service answers the machine it runs on alone; whoever runs it "
                f"makes a key by {HOW.format(scope=scope)}",
            )

    return check
