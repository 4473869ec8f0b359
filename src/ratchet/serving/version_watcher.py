"""What serves: the versions that the ledger names, held ready in this process.

The ledger is read every second. Where it has moved, the versions that it names are opened, see
``opening``; when one is ready, one reference is exchanged. The champion and the rollback target are
both held, so that a rollback takes no time. A version that does not open never serves: the one
before goes on, a notice is sent, and it is tried again later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ratchet.errors import DataError
from ratchet.registry.ledger import Ledger, State
from ratchet.serving.bundle_worker import SlowAnswerer
from ratchet.serving.child_processes import end_ahead
from ratchet.serving.protocols import Serving
from ratchet.serving.version_opener import LoadedVersion, OpeningFailure, VersionOpener
from ratchet.serving.version_transfer import VersionKey

LOGGER = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often the ledger is read."""

Decision = tuple[int, str]
"""Number and digest of a decision."""

_DEATHS_IN_SILENCE = 2
"""How often a process that opens versions may die before a notice is sent."""


@dataclass(frozen=True)
class Failure:
    """A version that did not open.

    Attributes:
        reason: why.
        tries: how often it was tried.
        retry_at: when it is tried again, by ``time.monotonic``.
        is_refused: whether it was looked at and refused; otherwise the process died.
    """

    reason: str
    tries: int
    retry_at: float
    is_refused: bool


@dataclass(frozen=True)
class UseCaseModels:
    """What serves of a use case.

    Attributes:
        name: name of the use case.
        state: what the ledger says.
        serving: the version that answers; it is another than ``state.champion`` as long as that
            one is opened, or does not open.
        previous: the rollback target.
        challenger: the version that answers beside it, where one does.
        failures: versions that should be ready and did not open.
    """

    name: str
    state: State
    serving: LoadedVersion | None = None
    previous: LoadedVersion | None = None
    challenger: LoadedVersion | None = None
    failures: Mapping[str, Failure] = field(default_factory=dict)

    @property
    def trouble(self) -> str | None:
        """Why the champion does not serve; ``None`` where it does."""
        champion = self.state.champion
        failure = self.failures.get(champion or "")
        if failure is not None:
            other = "no version" if self.serving is None else f"version {self.serving.version}"
            return f"version {champion} does not open, {other} serves: {failure.reason}"
        if champion is not None and self.serving is None:
            return f"version {champion} is being opened"
        return None


@dataclass(frozen=True)
class Notice:
    """A message for operators.

    Attributes:
        use_case: of which.
        version: of which.
        text: what happened.
        advice: what can be done.
        at: when.
    """

    use_case: str
    version: str
    text: str
    advice: str
    at: datetime


def log_notice(notice: Notice) -> None:
    """Write a notice to the log."""
    LOGGER.error("%s: %s", notice.text, notice.advice)


class Watcher:
    """Follows the ledger.

    Args:
        ledger: what serves.
        opener: opens versions.
        use_cases: names of further use cases, beside those of the ledger.
        shadows: use case -> whether a challenger is held ready.
        poll_seconds: how often the ledger is read.
        notify: called with messages for operators.
    """

    def __init__(
        self,
        ledger: Ledger,
        opener: VersionOpener,
        *,
        use_cases: Sequence[str] = (),
        shadows: Callable[[str], bool] = lambda _: False,
        poll_seconds: float = POLL_SECONDS,
        notify: Callable[[Notice], None] = log_notice,
    ) -> None:
        self._ledger = ledger
        self._opener = opener
        self._names = tuple(use_cases)
        self._shadows = shadows
        self._poll_seconds = poll_seconds
        self._notify = notify
        self._after_poll: Callable[[], None] = lambda: None
        self._has_looked = False
        self._seen: dict[str, Decision] = {}
        self._states: dict[str, State] = {}
        self._ready: dict[VersionKey, LoadedVersion] = {}
        self._opening: set[VersionKey] = set()
        self._failures: dict[VersionKey, Failure] = {}
        self._models: dict[str, UseCaseModels] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._openings: set[asyncio.Task[None]] = set()
        self._main: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._unreadable: dict[str, str] = {}
        self._poll_error: str | None = None
        self.ledger_error: str | None = None
        self.swaps = 0

    def on_poll(self, after_poll: Callable[[], None]) -> None:
        """Call a function in a thread after each look at the ledger.

        It may let versions see what other processes were handed; where it fails it is called again.
        """
        self._after_poll = after_poll

    async def start(self) -> None:
        """Begin to follow the ledger."""
        self._main = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """End, with all processes."""
        tasks = [task for task in (self._main, *self._openings) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._opener.stop()
        await asyncio.gather(*self._background, return_exceptions=True)
        for loaded in self._ready.values():
            await _end(loaded.serving)

    def use_cases(self) -> Sequence[str]:
        """Names of all use cases, whether or not something serves, in alphabetical order."""
        return sorted({*self._names, *self._models})

    def champion(self, use_case: str) -> Serving | None:
        """What answers; ``None`` where nothing serves yet."""
        models = self._models.get(use_case)
        return models.serving.serving if models is not None and models.serving else None

    def challenger(self, use_case: str) -> Serving | None:
        """What answers the same rows without being seen, where something does."""
        models = self._models.get(use_case)
        return models.challenger.serving if models is not None and models.challenger else None

    def models(self, use_case: str) -> UseCaseModels | None:
        """What serves of a use case; ``None`` where the ledger has no decision about it."""
        return self._models.get(use_case)

    def ready(self, use_case: str) -> list[Serving]:
        """All versions of a use case that are held ready, which see the same measurements."""
        return [one.serving for (name, _), one in self._ready.items() if name == use_case]

    def problems(self) -> Mapping[str, str]:
        """Use case -> why what should serve does not, without paths."""
        reasons = {name: why for name, one in self._models.items() if (why := one.trouble)}
        reasons |= self._unreadable
        if self.ledger_error is not None:
            why = f"the ledger cannot be read: what serves stays ({self.ledger_error})"
            # Where nothing ever served, nothing is missing: the others are ready to be asked.
            reasons = dict.fromkeys(self._models or self.use_cases(), why) | reasons
        elif not self._has_looked:
            reasons |= dict.fromkeys(self.use_cases(), "the ledger is being read")
        return reasons

    async def _follow(self) -> None:
        while True:
            try:
                moved = await asyncio.to_thread(self._look, dict(self._seen))
                self._take_states(moved)
                self._has_looked = True
                self._converge()
                if not self._openings:
                    end_ahead()
            except Exception as error:  # a database may be away for any reason; what serves serves
                if self.ledger_error is None:
                    LOGGER.warning("the ledger cannot be followed, what serves stays: %s", error)
                self.ledger_error = f"{type(error).__name__}: {error}"
            else:
                self.ledger_error = None
            try:
                await asyncio.to_thread(self._after_poll)
            except Exception as error:  # of the database as well: it is called again
                if self._poll_error != str(error):
                    LOGGER.warning("measurements of other processes are not seen yet: %s", error)
                self._poll_error = str(error)
            else:
                self._poll_error = None
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()
            self._wake.clear()

    def _look(self, earlier: Mapping[str, Decision]) -> dict[str, tuple[Decision, State]]:
        """The states of the use cases about which something was decided since the last look.

        Decisions that were changed in the database concern their use case alone.
        """
        moved, unreadable = {}, {}
        newest = self._ledger.newest_decisions()
        for name in sorted({*newest, *earlier}):
            if newest.get(name) == earlier.get(name):
                continue
            try:
                self._check_continuity(name, earlier.get(name))
                moved[name] = newest[name], self._ledger.state(name)
            except DataError as error:
                unreadable[name] = str(error)
                if self._unreadable.get(name) != str(error):
                    LOGGER.error("%s", error)
        self._unreadable = unreadable
        return moved

    def _check_continuity(self, name: str, last: Decision | None) -> None:
        """Make sure that the decision read last is still there: a ledger only grows.

        Raises:
            DataError: it is gone, or another one has its number.
        """
        if last is None or self._ledger.digest(name, last[0]) == last[1]:
            return
        raise DataError(
            f"the ledger went backwards, and what serves stays: decision {last[0]} about {name} is "
            f"gone or another one. The database was replaced by an older or an empty one: put the "
            f"newest copy back, or start the service again to serve what the ledger says now"
        )

    def _take_states(self, moved: Mapping[str, tuple[Decision, State]]) -> None:
        for name, (decision, state) in moved.items():
            self._seen[name], self._states[name] = decision, state
            for key in [key for key in self._failures if key[0] == name]:
                del self._failures[key]  # there is a new decision: try at once

    def _converge(self) -> None:
        """Let serve what should and can, drop what no longer does, and open what is missing."""
        needed: set[VersionKey] = set()
        urgent: list[VersionKey] = []
        others: list[VersionKey] = []
        for name, state in self._states.items():
            versions = self._wanted(name, state)
            models = self._models_of(name, state)
            if _version(models.serving) != _version(self._serving(name)):
                self.swaps += 1
                LOGGER.info("%s: version %s serves", name, _version(models.serving))
            self._models[name] = models
            needed |= {
                VersionKey(name, one) for one in (*versions, _version(models.serving)) if one
            }
            for key in [VersionKey(name, version) for version in versions]:
                if self._is_missing(key):
                    (urgent if key.version == state.champion else others).append(key)
        self._drop(needed)
        if urgent or (others and not self._openings):
            self._start_opening(urgent or others)

    def _serving(self, name: str) -> LoadedVersion | None:
        models = self._models.get(name)
        return None if models is None else models.serving

    def _wanted(self, name: str, state: State) -> list[str]:
        challenger = state.held if self._shadows(name) else None
        versions = (state.champion, state.previous, challenger)
        return list(dict.fromkeys(version for version in versions if version is not None))

    def _models_of(self, name: str, state: State) -> UseCaseModels:
        def ready(version: str | None) -> LoadedVersion | None:
            return self._ready.get(VersionKey(name, version or ""))

        serving = _since(ready(state.champion), state.since)
        if serving is None and state.champion is not None:
            serving = self._stand_in(name, state)
        failures = {version: one for (of, version), one in self._failures.items() if of == name}
        challenger = ready(state.held) if self._shadows(name) else None
        return UseCaseModels(name, state, serving, ready(state.previous), challenger, failures)

    def _stand_in(self, name: str, state: State) -> LoadedVersion | None:
        """What answers while the champion is not ready: what did so far, or else the one before."""
        last = self._serving(name)
        previous = self._ready.get(VersionKey(name, state.previous or ""))
        if VersionKey(name, state.champion or "") not in self._failures:
            return last
        if last is None or last.version in state.quarantined:
            return previous or last
        return last

    def _is_missing(self, key: VersionKey) -> bool:
        failure = self._failures.get(key)
        is_due = failure is None or time.monotonic() >= failure.retry_at
        return key not in self._ready and key not in self._opening and is_due

    def _drop(self, needed: set[VersionKey]) -> None:
        for key in [key for key in self._ready if key not in needed]:
            self._in_background(_end(self._ready.pop(key).serving))
        for key in [key for key in self._failures if key not in needed]:
            del self._failures[key]

    def _in_background(self, what: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(what)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _start_opening(self, versions: list[VersionKey]) -> None:
        self._opening |= set(versions)
        opening = self._opener.open(versions, self._take, gives_way=bool(self._ready))
        task = asyncio.create_task(opening)
        self._openings.add(task)
        task.add_done_callback(self._opening_ended)

    def _opening_ended(self, task: asyncio.Task[None]) -> None:
        self._openings.discard(task)
        self._wake.set()

    def _take(self, key: VersionKey, outcome: LoadedVersion | OpeningFailure) -> None:
        """Take a version that is ready, or note why it is not."""
        self._opening.discard(key)
        if isinstance(outcome, OpeningFailure):
            self._fail(key, outcome)
            return
        self._failures.pop(key, None)
        self._ready[key] = outcome
        self._converge()

    def _fail(self, key: VersionKey, outcome: OpeningFailure) -> None:
        before = self._failures.get(key)
        tries = 1 if before is None else before.tries + 1
        first_pause = 30.0 if outcome.is_refused else 1.0
        retry_at = time.monotonic() + min(first_pause * 2 ** (tries - 1), 900.0)
        self._failures[key] = Failure(outcome.reason, tries, retry_at, outcome.is_refused)
        self._converge()
        if outcome.is_refused:
            is_news = before is None or before.reason != outcome.reason
        else:
            is_news = tries == _DEATHS_IN_SILENCE + 1
        if is_news:
            self._notify(_notice_of(key, outcome.reason))


def _notice_of(key: VersionKey, reason: str) -> Notice:
    use_case, version = key
    return Notice(
        *key,
        f"{use_case}: version {version} does not open and does not serve: {reason}",
        "bring its bundle back from a copy (kedro ratchet checkout), or go back: "
        f"kedro ratchet rollback --use-case {use_case} --reason ...",
        datetime.now(UTC),
    )


def _since(loaded: LoadedVersion | None, since: datetime | None) -> LoadedVersion | None:
    """The version with the moment from which on it serves, by the ledger."""
    if loaded is None or since is None or loaded.serving.since == since:
        return loaded
    return replace(loaded, serving=replace(loaded.serving, since=since))


async def _end(serving: Serving) -> None:
    if isinstance(serving.answerer, SlowAnswerer):
        await serving.answerer.stop()


def _version(loaded: LoadedVersion | None) -> str | None:
    return None if loaded is None else loaded.version
