"""Browsers that have shown a key once: a signed cookie replaces it until the evening.

The cookie holds the name of the key, its own end, and a signature over both and the key's hash; not
the key. A key that is revoked takes its sessions along, and every worker knows them all.
"""

from __future__ import annotations

import binascii
import hmac
import logging
import os
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from ratchet.serving.errors import Problem
from ratchet.serving.keys import Key, Keys

COOKIE = "ratchet_session"
SECONDS = 12 * 3600

LOGGER = logging.getLogger(__name__)

_UNAVAILABLE = (
    "sign-ins are not possible at present, and the log of the service says why; a key in the "
    "header Authorization works"
)
_FILE = "session.key"
_BYTES = 32


class Sessions:
    """Makes such cookies, and knows the keys behind them.

    Args:
        folder: of the service's own files; the secret of the signatures is among them.
        keys: the keys.
        clock: seconds since 1970.
    """

    def __init__(self, folder: Path, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._keys, self._clock = folder, keys, clock

    def make(self, key: Key) -> str:
        """Value of the cookie for a key."""
        until = int(self._clock()) + SECONDS
        name = urlsafe_b64encode(key.name.encode()).decode()
        return f"{name}:{until}:{self._sign(key, until)}"

    def find(self, value: str) -> Key | None:
        """The key behind a cookie; ``None`` where it has ended, was forged, or its key revoked."""
        name, _, rest = value.partition(":")
        until, _, signature = rest.partition(":")
        if not until.isascii() or not until.isdecimal() or len(until) > 15:
            return None
        try:
            key = self._keys.named(urlsafe_b64decode(name).decode())
        except (binascii.Error, ValueError):
            return None
        if key is None or int(until) < self._clock():
            return None
        expected = self._sign(key, int(until))
        return key if hmac.compare_digest(expected.encode(), signature.encode()) else None

    def _sign(self, key: Key, until: int) -> str:
        content = f"{key.name}\n{until}\n{key.sha256}".encode()
        return hmac.new(self._secret, content, sha256).hexdigest()

    @cached_property
    def _secret(self) -> bytes:
        """Made once, by whichever process comes first.

        Raises:
            Problem: it cannot be read or made; the next request tries again.
        """
        path = self._folder / _FILE
        try:
            secret = path.read_bytes() if path.exists() else self._make_secret(path)
        except OSError as error:
            LOGGER.error("The secret of sessions, %s, cannot be read or made: %s", path, error)
            raise Problem(503, "failed", _UNAVAILABLE) from error
        if len(secret) != _BYTES:
            LOGGER.error("%s has %d bytes instead of %d: remove it", path, len(secret), _BYTES)
            raise Problem(503, "failed", _UNAVAILABLE)
        return secret

    def _make_secret(self, path: Path) -> bytes:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{_FILE}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(_BYTES))
            os.fsync(descriptor)
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            os.close(descriptor)
            temporary.unlink()
        return path.read_bytes()
