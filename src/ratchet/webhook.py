"""Tells a web address how a run goes: its start, its progress, its end or its failure.

The address is that of a chat bot or of anything else that takes JSON by POST; ``text`` is what a
person reads. Messages leave from a thread of their own, and trouble with the address is logged once
in the log and never hurts the run.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ratchet.errors import hide_secrets

LOGGER = logging.getLogger(__name__)
ADDRESS = "RATCHET_WEBHOOK_URL"
TIMEOUT = 5.0
"""Seconds that a message may take, and that the end of a run waits for the last one."""
PAUSE = 30.0
"""Seconds between two messages on progress."""


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect: the server could redirect us to addresses that only we can reach."""

    def redirect_request(self, *_: Any) -> None:
        """Nowhere: the redirection is an error."""


class Webhook:
    """Sends messages to an address.

    Args:
        url: the address, http or https; ``None``, or an empty one, sends nothing.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = url or None
        self._messages: queue.Queue[Mapping[str, object]] = queue.Queue(maxsize=100)
        self._thread: threading.Thread | None = None
        self._last_progress = -PAUSE
        self._in_trouble = False

    def send(self, event: str, text: str, **details: Any) -> None:
        """Send a message; returns at once.

        Args:
            event: ``start``, ``progress``, ``alert``, ``end`` or ``failure``.
            text: what happened, for a person.
            details: the same for a program; JSON can hold it.
        """
        if self.url is None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._deliver, daemon=True)
            self._thread.start()
        with suppress(queue.Full):  # the last hundred were not delivered
            self._messages.put_nowait({"event": event, "text": hide_secrets(text), **details})

    def progress(self, name: str, done: int, total: int, best: float) -> None:
        """Say how far a search is, not more often than every half minute."""
        now = time.monotonic()
        if self.url is None or now - self._last_progress < PAUSE:
            return
        self._last_progress = now
        score = {} if math.isnan(best) else {"best": best}
        text = f"{name}: {done} of {total}" + (f", best {best:.4g}" if score else "")
        self.send("progress", text, search=name, done=done, total=total, **score)

    def wait(self) -> None:
        """Wait until all is sent, or the last message has taken too long."""
        end = time.monotonic() + TIMEOUT
        while self._messages.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.02)

    def _deliver(self) -> None:
        while True:
            message = self._messages.get()
            try:
                self._post(message)
            except Exception as error:  # any error of the network
                self._warn(error)
            finally:
                self._messages.task_done()

    def _post(self, message: Mapping[str, object]) -> None:
        assert self.url is not None
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("expected an address that starts with http:// or https://")
        body = json.dumps(message, default=str).encode()
        request = Request(self.url, body, {"Content-Type": "application/json"})
        with build_opener(_NoRedirects).open(request, timeout=TIMEOUT):
            pass

    def _warn(self, error: Exception) -> None:
        # The address is a secret: everyone who has it can write to the chat.
        if not self._in_trouble:
            code = f" {error.code}" if isinstance(error, HTTPError) else ""
            LOGGER.warning("The webhook does not work: %s%s", type(error).__name__, code)
        self._in_trouble = True


_webhook = Webhook()


def configure(credentials: Mapping[str, object]) -> Webhook:
    """Take the address from the environment, or else from the credentials.

    There it is ``webhook``, or ``webhook.url``.
    """
    global _webhook  # noqa: PLW0603 - one run, one address
    entry = credentials.get("webhook")
    url = os.environ.get(ADDRESS) or (entry.get("url") if isinstance(entry, dict) else entry)
    _webhook = Webhook(str(url) if url else None)
    return _webhook


def current() -> Webhook:
    """The webhook of this run."""
    return _webhook
