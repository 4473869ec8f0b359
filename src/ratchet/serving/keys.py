"""Keys of clients: who may do what, and under which name it is written down.

A key is 256 random bits, so its plain SHA-256 reveals nothing about it; only the hash is stored.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import ConfigError, UserError
from ratchet.learning.atomic_files import atomic_write
from ratchet.locks import locked

LOGGER = logging.getLogger(__name__)

Scope = Literal["predict", "observe", "train", "operate"]
SCOPES: dict[Scope, str] = {
    "predict": "ask for predictions",
    "observe": "hand in measurements and what came true",
    "train": "start, follow and cancel searches",
    "operate": "read the metrics and the monitoring, and why something does not serve",
}
"""What a key can be for."""

PREFIX = "rk_"
"""How keys start, so that scanners for secrets can know them."""

CONTENT = "RATCHET_API_KEYS"
"""Environment variable with the content of a file of keys, for containers without such a file."""

_NAME = re.compile(r"[\w][\w.@-]{0,59}", re.ASCII)
_LOOK_AGAIN = 1.0  # seconds after which a change of the file counts


class Key(BaseModel):
    """A key, without itself.

    Attributes:
        name: who has it: the actor of what is done with it.
        scopes: what it is for.
        sha256: hash of the key.
        created_at: when it was made (UTC).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    scopes: tuple[Scope, ...]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    created_at: datetime

    def allows(self, scope: Scope) -> bool:
        """Whether the key is for something."""
        return scope in self.scopes


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: list[Key] = []


class Keys:
    """The keys of a file, which is read again when it has changed.

    As soon as there is such a file, every request needs a key, even after the file was deleted,
    until the service is started again.

    Args:
        path: the file; it need not be there.
        content: content of such a file, which is used in its place.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, path: Path, content: str | None = None) -> None:
        self.path = path
        self._content = content
        self._state: tuple[int, ...] | None = None
        self._looked = -_LOOK_AGAIN
        self._keys: list[Key] = []
        self._needed = False
        self._read()

    @property
    def needed(self) -> bool:
        """Whether keys are needed at all."""
        self._refresh()
        return self._needed

    def find(self, token: str) -> Key | None:
        """The key that a client has shown."""
        self._refresh()
        digest, match = digest_of(token), None
        for key in self._keys:  # all of them, so that the time taken reveals nothing
            if hmac.compare_digest(key.sha256, digest):
                match = key
        return match

    def named(self, name: str) -> Key | None:
        """The key of that name."""
        self._refresh()
        return next((key for key in self._keys if key.name == name), None)

    def __len__(self) -> int:
        self._refresh()
        return len(self._keys)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_AGAIN:
            return
        self._looked = now
        try:
            self._read()
        except ConfigError as error:
            # The keys that were valid before stay valid, and no others are.
            LOGGER.error("The keys stay as they were. %s", error)

    def _read(self) -> None:
        if self._content:
            self._keys, self._needed = _parse(self._content, CONTENT), True
            return
        state = _state(self.path)
        if state == self._state:
            return
        self._keys = read_keys(self.path)
        self._needed = self._needed or state is not None
        self._state = state


def digest_of(token: str) -> str:
    """SHA-256 of a key."""
    return sha256(token.encode("utf-8", "replace")).hexdigest()


def read_keys(path: Path) -> list[Key]:
    """Keys of a file; none where there is no such file.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    try:
        return _parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; expected a file of keys") from error


def _parse(content: str | bytes, origin: str) -> list[Key]:
    try:
        return _File.model_validate_json(content).keys
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise ConfigError(
            f"{origin}: {place or 'content'}: {problem['msg']}; put a copy back, or delete the "
            f"file and make new keys (kedro ratchet keys add)"
        ) from error


def add_key(path: Path, name: str, scopes: Iterable[str]) -> str:
    """Make a key; it is shown here and never again.

    Args:
        path: file of the keys, which is made.
        name: who gets it.
        scopes: what it is for, see ``SCOPES``.

    Raises:
        UserError: the name is taken or unfit, or there is no such scope.
    """
    checked = _scopes(scopes)
    if not _NAME.fullmatch(name):
        raise UserError(
            f"a key's name may hold up to 60 of a-z, A-Z, 0-9, '.', '@', '_' and '-', got {name!r}"
        )
    token = PREFIX + secrets.token_urlsafe(32)
    key = Key(
        name=name,
        scopes=checked,
        sha256=digest_of(token),
        created_at=datetime.now(UTC).replace(microsecond=0),
    )
    with _editing(path):
        keys = read_keys(path)
        if any(existing.name == name for existing in keys):
            raise UserError(
                f"there is a key '{name}' already; take another name, or revoke that one first "
                f"(kedro ratchet keys revoke {name})"
            )
        _write(path, [*keys, key])
    return token


def revoke_key(path: Path, name: str) -> None:
    """Take a key back; a service that runs refuses it within a second.

    Raises:
        UserError: there is no such key; says which there are.
    """
    with _editing(path):
        keys = read_keys(path)
        retained = [key for key in keys if key.name != name]
        if len(retained) == len(keys):
            names = ", ".join(key.name for key in keys) or "none"
            raise UserError(f"there is no key '{name}'; there are: {names}")
        _write(path, retained)


def _scopes(scopes: Iterable[str]) -> tuple[Scope, ...]:
    allowed = get_args(Scope)
    distinct = list(dict.fromkeys(scopes))
    if unknown := [scope for scope in distinct if scope not in allowed]:
        raise UserError(f"no scope {', '.join(unknown)}; there are {', '.join(allowed)}")
    if not distinct:
        raise UserError(f"say what the key is for: one or more of {', '.join(allowed)}")
    return tuple(scope for scope in allowed if scope in distinct)


def _editing(path: Path) -> AbstractContextManager[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return locked(path.with_name(f".{path.name}.lock"), f"the keys in {path}")


def _write(path: Path, keys: Sequence[Key]) -> None:
    content = _File(keys=list(keys)).model_dump(mode="json")
    with atomic_write(path, durable=True) as partial:
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes with the file; ``None`` where there is none.

    Raises:
        ConfigError: it cannot be checked whether there is one, and so whether keys are needed.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; expected a file of keys, or none") from error
    return (status.st_mtime_ns, status.st_size, status.st_ino)
