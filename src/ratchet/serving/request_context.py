"""What belongs to one request: its id, who asks, and how long each part has taken."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ratchet.serving.keys import Key

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
SCOPE = "ratchet.call"
"""Where the call stands in the scope of ASGI."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Why a version answers a request in a split.

    Attributes:
        subject: hash of whom the answer is for, see ``trials.subject_hash``; ``None`` where the
            request does not say it, and so was assigned by itself.
        share: share of the subjects that the challenger answers.
    """

    subject: str | None
    share: float


@dataclass(slots=True)
class Call:
    """One request.

    Attributes:
        request_id: its id: that of the client, if it gave one.
        log_id: the same for the prediction log, where no two requests may have one.
        is_repeatable: whether the client has given an ``Idempotency-Key``.
        key: key of the client; ``None`` without one.
        local: whether it comes from this machine.
        assignment: to which arm of a split it was assigned, where there is one.
        started: when it began, by the clock of ``time.perf_counter``.
        spans: part of the work -> milliseconds, for ``Server-Timing``.
    """

    request_id: str
    log_id: str
    is_repeatable: bool = False
    key: Key | None = None
    local: bool = False
    assignment: Assignment | None = None
    started: float = field(default_factory=time.perf_counter)
    spans: dict[str, float] = field(default_factory=dict)

    @property
    def actor(self) -> str | None:
        """Name of the key."""
        return None if self.key is None else self.key.name

    @property
    def milliseconds(self) -> float:
        """Time since it began."""
        return (time.perf_counter() - self.started) * 1e3

    def read(self, body: bytes) -> None:
        """Tell requests apart that come with one ``Idempotency-Key``, and are not the same."""
        if self.is_repeatable:
            digest = sha256(f"{self.actor}\n".encode() + body).hexdigest()
            self.log_id = f"{self.log_id}.{digest[:12]}"

    def span(self, name: str, started: float) -> float:
        """Note that a part of the work has ended; milliseconds that it took in all."""
        self.spans[name] = self.spans.get(name, 0.0) + (time.perf_counter() - started) * 1e3
        return self.spans[name]

    def server_timing(self) -> str:
        """Value of the header ``Server-Timing``."""
        parts = [*self.spans.items(), ("total", self.milliseconds)]
        return ", ".join(f"{name};dur={spent:.2f}" for name, spent in parts)


def call_of(request: Any) -> Call:
    """The call that a request is."""
    call: Call = request.scope[SCOPE]
    return call


def new_call(given: str | None, idempotency_key: str | None) -> Call:
    """The call of a request that has just come.

    Args:
        given: id of the client, which is taken over where it is fit for logs.
        idempotency_key: by which the client tells its requests apart. An id alone may come twice,
            and the log would take the second request for the first one.
    """
    if idempotency_key is not None and not _ID.fullmatch(idempotency_key):
        idempotency_key = sha256(idempotency_key.encode()).hexdigest()[:32]
    if given is None or not _ID.fullmatch(given):
        request_id = log_id = new_id()
    else:
        request_id, log_id = given, f"{given}.{secrets.token_hex(4)}"
    return Call(request_id, idempotency_key or log_id, idempotency_key is not None)


def new_id() -> str:
    """A version 7 UUID (RFC 9562): such ids sort by time, which indexes of databases like."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
