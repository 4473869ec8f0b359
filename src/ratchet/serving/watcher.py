"""What serves: the versions that the ledger names, held ready in this process.

The ledger is asked every second. Where it has moved, what it names is opened and compiled by a
child process, see ``loader``; when that has answered, one reference is exchanged. The champion and
the rollback target are both held, so that a rollback takes no time. A version that does not open
never serves: the one before goes on, somebody is told, and it is tried again later.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ratchet.compiled.answers import Answerer
from ratchet.params import CHECKED, UseCase
from ratchet.release.ledger import Ledger, State
from ratchet.release.versions import DIGEST
from ratchet.serving.children import LOADER, end_ahead, take_or_start
from ratchet.serving.handover import Description, Frame, Source, read_frames
from ratchet.serving.loader import LoadRequest
from ratchet.serving.models import Serving
from ratchet.serving.worker import SlowAnswerer

LOGGER = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often the ledger is asked."""

NICENESS = 5
"""By how much answers go before the opening of a version, once something serves."""

MEMORY_EACH = 1_500_000_000
"""Free memory, in bytes, that opening one more version at the same time takes."""

LONGEST_SECONDS = 600.0
"""How long a version may take to open, on a busy machine, before its process is ended."""

_SWITCH_SECONDS = 0.0005
"""How long a thread that takes a version over may keep answers waiting."""

_DEATHS_IN_SILENCE = 2
"""How often a process that opens versions may die before somebody is told."""


@dataclass(frozen=True, eq=False)
class Loaded:
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
    serving: Loaded | None = None
    previous: Loaded | None = None
    challenger: Loaded | None = None
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
    """Something that somebody has to be told.

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
        source: where versions come from.
        load: makes an answerer of bytes, see ``compiled.store``.
        use_cases: names of those there are, beside those of the ledger.
        shadows: use case -> whether a challenger is held ready.
        poll_seconds: how often the ledger is asked.
        loader: command of the process that opens versions.
        worker: command of the process that answers slowly.
        tell: told of what somebody has to know.
    """

    def __init__(
        self,
        ledger: Ledger,
        source: Source,
        load: Callable[[Any], Answerer],
        *,
        use_cases: Sequence[str] = (),
        shadows: Callable[[str], bool] = lambda _: False,
        poll_seconds: float = POLL_SECONDS,
        loader: Sequence[str] = (),
        worker: Sequence[str] = (),
        tell: Callable[[Notice], None] = log_notice,
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._load = load
        self._names = tuple(use_cases)
        self._shadows = shadows
        self._poll_seconds = poll_seconds
        self._loader = loader or LOADER
        self._worker = worker
        self._tell = tell
        self._prepare: Callable[[Serving], None] = lambda _: None
        self._after_poll: Callable[[], None] = lambda: None
        self._has_looked = False
        self._seen: dict[str, int] = {}
        self._states: dict[str, State] = {}
        self._ready: dict[tuple[str, str], Loaded] = {}
        self._loading: set[tuple[str, str]] = set()
        self._failures: dict[tuple[str, str], Failure] = {}
        self._models: dict[str, UseCaseModels] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._loaders: set[asyncio.Task[None]] = set()
        self._main: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self.ledger_error: str | None = None
        self.swaps = 0

    def on_prepare(self, prepare: Callable[[Serving], None]) -> None:
        """Call a function in a thread with each version before it serves.

        It may bring the state of its series up to date.
        """
        self._prepare = prepare

    def on_poll(self, after_poll: Callable[[], None]) -> None:
        """Call a function in a thread after each look at the ledger."""
        self._after_poll = after_poll

    async def start(self) -> None:
        """Begin to follow the ledger."""
        self._main = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """End, with all processes."""
        tasks = [task for task in (self._main, *self._loaders) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in self._background:
            task.cancel()
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
        """All that is known of a use case; ``None`` where the ledger does not know it."""
        return self._models.get(use_case)

    def ready(self, use_case: str) -> list[Serving]:
        """All versions of a use case that are held ready, which see the same measurements."""
        return [one.serving for (name, _), one in self._ready.items() if name == use_case]

    def problems(self) -> Mapping[str, str]:
        """Use case -> why what should serve does not, in words for anybody to read."""
        found = {name: why for name, one in self._models.items() if (why := one.trouble)}
        if self.ledger_error is not None or not self._has_looked:
            why = (
                "the ledger is being read"
                if self.ledger_error is None
                else "the ledger cannot be read"
            )
            found |= {name: why for name in self.use_cases() if self.champion(name) is None}
        return found

    async def _follow(self) -> None:
        while True:
            try:
                moved = await asyncio.to_thread(self._look, dict(self._seen))
                self._take_states(moved)
                self._has_looked = True
                self._converge()
                if not self._loaders:
                    end_ahead()
                await asyncio.to_thread(self._after_poll)
            except Exception as error:  # a database may be away for any reason; what serves serves
                if self.ledger_error is None:
                    LOGGER.warning("the ledger cannot be followed, what serves stays: %s", error)
                self.ledger_error = f"{type(error).__name__}: {error}"
            else:
                self.ledger_error = None
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()
            self._wake.clear()

    def _look(self, seen: Mapping[str, int]) -> dict[str, State]:
        """The states of the use cases about which something was decided since the last look."""
        numbers = self._ledger.newest_numbers()
        moved = [name for name, seq in numbers.items() if seen.get(name) != seq]
        return {name: self._ledger.state(name) for name in moved}

    def _take_states(self, moved: Mapping[str, State]) -> None:
        for name, state in moved.items():
            self._seen[name], self._states[name] = state.seq, state
            for key in [key for key in self._failures if key[0] == name]:
                del self._failures[key]  # somebody has decided something: try at once

    def _converge(self) -> None:
        """Let serve what should and can, drop what no longer does, and open what is missing."""
        kept: set[tuple[str, str]] = set()
        urgent, others = [], []
        for name, state in self._states.items():
            wanted = self._wanted(name, state)
            models = self._models_of(name, state)
            if _version(models.serving) != _version(self._serving(name)):
                self.swaps += 1
                LOGGER.info("%s: version %s serves", name, _version(models.serving))
            self._models[name] = models
            kept |= {(name, version) for version in [*wanted, _version(models.serving)] if version}
            missing = [version for version in wanted if self._is_missing(name, version)]
            urgent += [(name, version) for version in missing if version == state.champion]
            others += [(name, version) for version in missing if version != state.champion]
        self._drop(kept)
        if urgent or (others and not self._loaders):
            self._start_loader(urgent or others)

    def _serving(self, name: str) -> Loaded | None:
        models = self._models.get(name)
        return None if models is None else models.serving

    def _wanted(self, name: str, state: State) -> list[str]:
        challenger = state.held if self._shadows(name) else None
        found = (state.champion, state.previous, challenger)
        return list(dict.fromkeys(version for version in found if version is not None))

    def _models_of(self, name: str, state: State) -> UseCaseModels:
        def ready(version: str | None) -> Loaded | None:
            return self._ready.get((name, version or ""))

        serving = _since(ready(state.champion), state.since)
        if serving is None and state.champion is not None:
            serving = self._stand_in(name, state)
        failures = {version: one for (of, version), one in self._failures.items() if of == name}
        challenger = ready(state.held) if self._shadows(name) else None
        return UseCaseModels(name, state, serving, ready(state.previous), challenger, failures)

    def _stand_in(self, name: str, state: State) -> Loaded | None:
        """What answers while the champion is not ready: what did so far, or else the one before."""
        last = self._serving(name)
        previous = self._ready.get((name, state.previous or ""))
        if (name, state.champion or "") not in self._failures:
            return last
        if last is None or last.version in state.quarantined:
            return previous or last
        return last

    def _is_missing(self, name: str, version: str) -> bool:
        key = (name, version)
        failure = self._failures.get(key)
        is_due = failure is None or time.monotonic() >= failure.retry_at
        return key not in self._ready and key not in self._loading and is_due

    def _drop(self, kept: set[tuple[str, str]]) -> None:
        for key in [key for key in self._ready if key not in kept]:
            self._in_background(_end(self._ready.pop(key).serving))
        for key in [key for key in self._failures if key not in kept]:
            del self._failures[key]

    def _in_background(self, what: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(what)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _start_loader(self, versions: list[tuple[str, str]]) -> None:
        self._loading |= set(versions)
        task = asyncio.create_task(self._take_over(versions))
        self._loaders.add(task)
        task.add_done_callback(self._loader_ended)

    def _loader_ended(self, task: asyncio.Task[None]) -> None:
        self._loaders.discard(task)
        self._wake.set()

    async def _take_over(self, versions: list[tuple[str, str]]) -> None:
        """Have versions opened by a child process, and take each when it comes."""
        started = time.monotonic()
        waiting = dict(enumerate(versions))
        reason = "the process that opens versions has died"
        try:
            digests = await asyncio.to_thread(self._digests, versions)
            known = [(*key, digest) for key, digest in zip(versions, digests, strict=True)]
            request = LoadRequest(self._source, known, parallel_of(len(versions)))
            async with asyncio.timeout(LONGEST_SECONDS), aclosing(self._frames(request)) as frames:
                async for frame in frames:
                    take = self._take(waiting.pop(frame.number), frame, request, started)
                    if frame.description.status == "slow":  # in another process, in its own time
                        self._in_background(take)
                    else:
                        await take
        except TimeoutError:
            reason = f"it did not open within {LONGEST_SECONDS:.0f} s"
        except Exception as error:  # of a child, a pipe or the database: it is tried again
            reason = f"what opens versions has failed: {type(error).__name__}: {error}"
        for key in waiting.values():
            self._fail(key, reason, is_refused=False)

    def _digests(self, versions: list[tuple[str, str]]) -> list[str | None]:
        return [self._ledger.noted(name, version, DIGEST) for name, version in versions]

    async def _frames(self, request: LoadRequest) -> AsyncGenerator[Frame, None]:
        niceness = [str(NICENESS)] if self._ready else []
        process = take_or_start([*self._loader, *niceness])
        assert process.stdin is not None
        assert process.stdout is not None
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        try:
            process.stdin.write(request.as_line())
            async for frame in read_frames(reader):
                yield frame
        finally:
            transport.close()
            process.stdin.close()
            process.kill()
            await asyncio.to_thread(process.wait)

    async def _take(
        self, key: tuple[str, str], frame: Frame, request: LoadRequest, started: float
    ) -> None:
        told = frame.description
        if told.status == "refused":
            self._fail(key, str(told.reason), is_refused=True)
            return
        try:
            serving = await self._serving_of(key, frame, request)
            with _short_turns():
                await asyncio.to_thread(self._prepare, serving)
        except Exception as error:  # whatever a version does that should be sound
            LOGGER.debug("a version was not taken over", exc_info=error)
            self._fail(key, f"{type(error).__name__}: {error}", is_refused=True)
            return
        now, seconds = datetime.now(UTC), time.monotonic() - started
        self._loading.discard(key)
        self._failures.pop(key, None)
        self._ready[key] = Loaded(serving, now, seconds, len(frame.content))
        self._converge()

    async def _serving_of(
        self, key: tuple[str, str], frame: Frame, request: LoadRequest
    ) -> Serving:
        told = frame.description
        if told.status == "compiled":
            with _short_turns():
                return await asyncio.to_thread(self._warm, key, frame)
        slow = SlowAnswerer(
            replace(request, versions=[request.versions[frame.number]]), self._worker
        )
        await slow.start()
        return serving_of(key, told, slow)

    def _warm(self, key: tuple[str, str], frame: Frame) -> Serving:
        """Let a version answer once, so that the first request finds it ready."""
        answerer = self._load(frame.content)
        answerer.answer(frame.description.golden[:1])
        return serving_of(key, frame.description, answerer)

    def _fail(self, key: tuple[str, str], reason: str, *, is_refused: bool) -> None:
        last = self._failures.get(key)
        tries = 1 if last is None else last.tries + 1
        pause = min((30.0 if is_refused else 1.0) * 2 ** (tries - 1), 900.0)
        self._loading.discard(key)
        self._failures[key] = Failure(reason, tries, time.monotonic() + pause, is_refused)
        self._converge()
        is_news = last is None if is_refused else tries == _DEATHS_IN_SILENCE + 1
        if is_news or (last is not None and is_refused and last.reason != reason):
            use_case, version = key
            self._tell(
                Notice(
                    *key,
                    f"{use_case}: version {version} does not open and does not serve: {reason}",
                    "bring its bundle back from a copy (kedro ratchet checkout), or go back: "
                    f"kedro ratchet rollback --use-case {use_case} --reason ...",
                    datetime.now(UTC),
                )
            )


def parallel_of(versions: int) -> int:
    """How many versions may be opened at the same time, by processors and free memory."""
    return max(1, min(versions, os.cpu_count() or 1, _free_memory() // MEMORY_EACH))


def _free_memory() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = dict(line.split(":", 1) for line in lines)
        return int(found["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        return MEMORY_EACH


@contextmanager
def _short_turns() -> Iterator[None]:
    """Let threads that work keep the one that answers waiting for a moment only."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(_SWITCH_SECONDS, before))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _since(loaded: Loaded | None, since: datetime | None) -> Loaded | None:
    """The version with the moment from which on it serves, by the ledger."""
    if loaded is None or since is None or loaded.serving.since == since:
        return loaded
    return replace(loaded, serving=replace(loaded.serving, since=since))


async def _end(serving: Serving) -> None:
    if isinstance(serving.answerer, SlowAnswerer):
        await serving.answerer.stop()


def serving_of(
    key: tuple[str, str], told: Description, answerer: Answerer | SlowAnswerer
) -> Serving:
    """A version as routes see it."""
    name, version = key
    inputs = told.manifest["signature"]["inputs"]
    return Serving(
        UseCase.model_validate(told.parameters, context=CHECKED),
        name,
        version,
        told.digest,
        since=datetime.now(UTC),
        answerer=answerer,
        inputs={column: one["nullable"] for column, one in inputs.items()},
        trained_until=_moment(told.manifest["last_row"]),
        examples=told.golden,
        degraded=told.reason if told.status == "slow" else None,
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _version(loaded: Loaded | None) -> str | None:
    return None if loaded is None else loaded.version
