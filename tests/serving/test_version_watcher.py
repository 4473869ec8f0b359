"""What serves follows the ledger, without a failed answer, whatever happens to processes."""

import asyncio
import bisect
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
import sqlalchemy as sa

from ratchet.database import connect
from ratchet.errors import DatabaseError, DataError
from ratchet.registry.ledger import Ledger
from ratchet.serving import version_opener
from ratchet.serving.bundle_worker import WorkerError
from ratchet.serving.metrics import age_of
from ratchet.serving.version_opener import VersionOpener
from ratchet.serving.version_transfer import VersionSource
from ratchet.serving.version_watcher import Watcher

ROOT = Path(__file__).parents[2]
PROGRAM = str(Path(__file__).with_name("tiny.py"))
TINY = [sys.executable, "-P", PROGRAM]
Tiny = runpy.run_path(PROGRAM)["Tiny"]
POLL = 0.05


class Decisions:
    """A ledger, and the files that say how versions behave."""

    def __init__(self, folder, parameters):
        self.folder = folder
        self.url = f"sqlite:///{folder / 'ledger.db'}"
        self.ledger = Ledger(connect(self.url))
        self.moments, self.champions = [], []
        (folder / "bundles").mkdir()
        (folder / "bundles" / "parameters.json").write_text(parameters.model_dump_json())

    def decide(self, event, version, use_case="films"):
        state = self.ledger.state(use_case)
        champion = version if event in ("promote", "rollback", "override") else state.champion
        previous = state.champion if champion != state.champion else state.previous
        self.ledger.append(
            *(use_case, event),
            **{"version": version, "champion": champion, "previous": previous},
            **{"actor": "test", "reason": "test", "expect": state.seq},
            quarantined=[state.champion] if event == "rollback" else state.quarantined,
        )
        self.moments.append(time.monotonic())
        self.champions.append(champion)

    def behave(self, version, how):
        (self.folder / "bundles" / version).write_text(how)

    def served(self, moment):
        """What the ledger named at a moment."""
        place = bisect.bisect_right(self.moments, moment)
        return self.champions[place - 1] if place else None


@pytest.fixture
def decisions(tmp_path, use_cases):
    return Decisions(tmp_path, use_cases["films"])


@asynccontextmanager
async def watching(decisions, **options):
    ledger, notices = Ledger(connect(decisions.url)), []
    source = VersionSource("", str(decisions.folder / "bundles"), decisions.url)
    opener = VersionOpener(ledger, source, Tiny, loader=TINY, worker=[*TINY, "worker"])
    watcher = Watcher(ledger, opener, poll_seconds=POLL, notify=notices.append, **options)
    watcher.notices = notices
    await watcher.start()
    try:
        yield watcher
    finally:
        await watcher.stop()


async def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        await asyncio.sleep(0.01)


def version(watcher, use_case="films"):
    serving = watcher.champion(use_case)
    return None if serving is None else serving.version


def said(serving):
    [answer] = serving.answerer.answer([{"film": 1}])
    return str(int(answer.predictions["rating"].value))


def test_what_the_ledger_names_serves_and_a_rollback_takes_a_moment(decisions):
    decisions.decide("promote", "1")

    async def watch():
        async with watching(decisions) as watcher:
            await until(lambda: version(watcher) == "1")
            assert watcher.champion("films").since == decisions.ledger.state("films").since
            decisions.decide("promote", "2")
            await until(lambda: version(watcher) == "2")
            await until(lambda: watcher.models("films").previous is not None)
            decisions.behave("1", "broken")  # it is held ready, and not opened again
            started = time.monotonic()
            decisions.decide("rollback", "1")
            await until(lambda: version(watcher) == "1")
            assert time.monotonic() - started < 2
            assert said(watcher.champion("films")) == "1"
            assert watcher.problems() == {}

    asyncio.run(watch())


def test_clocks_that_jump_change_nothing(decisions):
    """Another machine's clock decides: a day behind, then a year ahead, then a year behind."""
    jumps = iter([0, -1, 365, -365])
    decisions.ledger = Ledger(
        connect(decisions.url), now=lambda: datetime.now(UTC) + timedelta(days=next(jumps))
    )
    decisions.decide("promote", "1")
    since = []

    async def watch():
        async with watching(decisions) as watcher:
            for number, event in (("2", "promote"), ("3", "promote"), ("2", "rollback")):
                decisions.decide(event, number)
                await until(lambda number=number: version(watcher) == number)
                since.append(watcher.champion("films").since)
                assert said(watcher.champion("films")) == number
                assert age_of(since[-1]) >= 0
            assert watcher.problems() == {}

    asyncio.run(watch())

    assert since == sorted(set(since))


def test_answers_go_on_while_versions_take_over(decisions):
    """2,000 answers, 10 promotions, 3 rollbacks: none fails, each is of the ledger's version."""
    decisions.decide("promote", "1")
    answers, failed = [], []

    async def ask(watcher):
        while len(answers) < 2_000 or len(decisions.champions) < 14:
            serving = watcher.champion("films")
            try:
                answers.append((time.monotonic(), serving.version, said(serving)))
            except Exception as error:  # counted
                failed.append(error)
            await asyncio.sleep(0.001)

    async def decide(watcher):
        for number in range(2, 12):
            decisions.decide("promote", str(number))
            await until(lambda number=number: version(watcher) == str(number))
            if number % 4 == 3:
                await until(lambda: watcher.models("films").previous is not None)
                decisions.decide("rollback", str(number - 1))
                await until(lambda number=number: version(watcher) == str(number - 1))

    async def watch():
        async with watching(decisions) as watcher:
            await until(lambda: version(watcher) == "1")
            await asyncio.gather(ask(watcher), decide(watcher))
            return watcher.swaps

    swaps = asyncio.run(watch())

    assert failed == []
    assert swaps == 14
    assert len(answers) >= 2_000
    # Opening one takes a process a second or two; before that the one before it answers.
    late = 10.0
    for moment, named, told in answers:
        assert named == told
        earlier = bisect.bisect_right(decisions.moments, moment - late)
        assert named in decisions.champions[max(earlier - 1, 0) :]
        assert named in decisions.champions[: bisect.bisect_right(decisions.moments, moment)]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("broken", "version 2 is damaged"),
        ("dies", "has died (signal SIGKILL)"),
        ("lies", "it opens, and does not answer"),
    ],
)
def test_a_version_that_does_not_open_never_serves_and_somebody_is_told(decisions, how, why):
    decisions.decide("promote", "1")
    decisions.behave("2", how)
    seen = set()

    async def watch():
        async with watching(decisions) as watcher:
            await until(lambda: version(watcher) == "1")
            decisions.decide("promote", "2")
            while not watcher.notices:
                seen.add(version(watcher))
                await asyncio.sleep(0.005)
            assert version(watcher) == "1"
            assert why in watcher.notices[0].text
            assert "version 1 serves" in watcher.problems()["films"]
            decisions.behave("2", "")
            decisions.decide("override", "2")  # somebody has mended it
            await until(lambda: version(watcher) == "2")
            assert watcher.problems() == {}
            assert len(watcher.notices) == 1

    asyncio.run(watch())
    assert seen == {"1"}


def test_at_the_start_the_rollback_target_stands_in_for_a_champion_that_does_not_open(decisions):
    decisions.decide("promote", "1")
    decisions.decide("promote", "2")
    decisions.behave("2", "broken")
    decisions.decide("promote", "3", "power")

    async def watch():
        async with watching(decisions, use_cases=["films", "stock"]) as watcher:
            await until(lambda: version(watcher) == "1" and version(watcher, "power") == "3")
            assert watcher.use_cases() == ["films", "power", "stock"]
            assert [*watcher.problems()] == ["films"]

    asyncio.run(watch())


def children_of(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


@pytest.fixture
def own_children():
    """Give processes that this one has started since; other tests may have left some."""
    before = {*children_of(os.getpid())}
    return lambda: [child for child in children_of(os.getpid()) if child not in before]


def test_a_loader_that_is_killed_is_followed_by_another_one(decisions, own_children):
    decisions.decide("promote", "1")

    async def watch():
        async with watching(decisions) as watcher:
            for _ in range(3):
                await until(own_children)
                for child in own_children():
                    os.kill(child, signal.SIGKILL)
            await until(lambda: version(watcher) == "1", 30)

    asyncio.run(watch())


def test_what_no_longer_serves_is_let_go_of(decisions):
    for number in ("1", "2", "3"):
        decisions.decide("promote", number)

    async def watch():
        async with watching(decisions) as watcher:
            await until(lambda: {one.version for one in watcher.ready("films")} == {"2", "3"})
            decisions.decide("promote", "4")
            await until(lambda: {one.version for one in watcher.ready("films")} == {"3", "4"})

    asyncio.run(watch())


def test_a_challenger_is_held_ready_where_it_is_wanted(decisions):
    decisions.decide("promote", "1")
    decisions.decide("hold", "2")

    async def watch(shadows):
        async with watching(decisions, shadows=lambda _: shadows) as watcher:
            await until(lambda: version(watcher) == "1")
            if not shadows:
                assert watcher.challenger("films") is None
                return
            await until(lambda: watcher.challenger("films") is not None)
            assert said(watcher.challenger("films")) == "2"
            decisions.decide("reject", "2")
            await until(lambda: watcher.challenger("films") is None)

    asyncio.run(watch(False))
    asyncio.run(watch(True))


def test_without_the_ledger_what_serves_goes_on(decisions, monkeypatch):
    decisions.decide("promote", "1")

    async def watch():
        async with watching(decisions) as watcher:
            await until(lambda: version(watcher) == "1")
            numbers = watcher._ledger.newest_decisions
            monkeypatch.setattr(watcher._ledger, "newest_decisions", lambda: 1 / 0)
            await until(lambda: watcher.ledger_error is not None)
            assert said(watcher.champion("films")) == "1"
            monkeypatch.setattr(watcher._ledger, "newest_decisions", numbers)
            decisions.decide("promote", "2")
            await until(lambda: version(watcher) == "2")
            assert watcher.ledger_error is None

    asyncio.run(watch())


@pytest.mark.parametrize("has_gone_on", [False, True])
def test_a_ledger_that_went_backwards_leaves_what_serves(decisions, has_gone_on):
    """An older copy of the database takes its place, and goes on otherwise."""
    decisions.decide("promote", "1")
    path = Path(decisions.url.removeprefix("sqlite:///"))
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    decisions.decide("promote", "2")
    newest = path.with_name("newest.db")

    async def watch():
        async with watching(decisions) as watcher:
            await until(lambda: version(watcher) == "2")
            path.rename(newest)
            shutil.copy(copy, path)
            if has_gone_on:
                decisions.decide("reject", "3")
            await until(lambda: "backwards" in watcher.problems().get("films", ""))
            assert said(watcher.champion("films")) == "2"
            newest.rename(path)
            await until(lambda: watcher.problems() == {})
            decisions.decide("promote", "3")
            await until(lambda: version(watcher) == "3")

    asyncio.run(watch())


def test_an_empty_database_leaves_what_serves(decisions):
    decisions.decide("promote", "1")
    path = Path(decisions.url.removeprefix("sqlite:///"))

    async def watch():
        async with watching(decisions, use_cases=["films", "stock"]) as watcher:
            await until(lambda: version(watcher) == "1")
            path.rename(path.with_name("moved.db"))
            path.touch()
            await until(lambda: "cannot be read" in watcher.problems().get("films", ""))
            assert said(watcher.champion("films")) == "1"
            assert "stock" not in watcher.problems()  # in which nothing ever served

    asyncio.run(watch())


def test_decisions_that_cannot_be_read_concern_their_use_case_alone(decisions, monkeypatch):
    decisions.decide("promote", "1")
    decisions.decide("promote", "1", "power")

    async def watch():
        async with watching(decisions) as watcher:
            await until(lambda: version(watcher) == "1")
            state = watcher._ledger.state

            def damaged(use_case):
                if use_case == "power":
                    raise DataError("the decisions about power cannot be read")
                return state(use_case)

            monkeypatch.setattr(watcher._ledger, "state", damaged)
            decisions.decide("promote", "2", "power")
            decisions.decide("promote", "2")
            await until(lambda: version(watcher) == "2")
            assert said(watcher.champion("power")) == "1"
            assert "cannot be read" in watcher.problems()["power"]
            assert "films" not in watcher.problems()
            monkeypatch.undo()
            await until(lambda: version(watcher, "power") == "2")
            assert watcher.problems() == {}

    asyncio.run(watch())


def test_a_database_that_goes_away_while_a_version_is_opened_holds_it_up_for_a_moment(
    decisions, monkeypatch
):
    decisions.decide("promote", "1")
    away = sa.exc.OperationalError("SELECT", {}, ConnectionError("gone"))

    async def watch():
        async with watching(decisions) as watcher:
            monkeypatch.setattr(watcher._ledger, "first_detail", Mock(side_effect=[away, None]))
            await until(lambda: version(watcher) == "1")

    asyncio.run(watch())


def test_measurements_that_cannot_be_read_hold_a_version_up_for_a_moment(decisions):
    decisions.decide("promote", "1")
    prepare = Mock(side_effect=[DatabaseError("it is locked"), None])

    async def watch():
        async with watching(decisions) as watcher:
            watcher._opener.on_prepare(prepare)
            await until(lambda: version(watcher) == "1")
            assert watcher.notices == []

    asyncio.run(watch())


def test_a_version_that_cannot_be_compiled_answers_slowly_and_says_so(decisions):
    decisions.decide("promote", "1")
    decisions.behave("1", "slow")

    async def watch():
        async with watching(decisions) as watcher:
            await until(lambda: version(watcher) == "1")
            serving = watcher.champion("films")
            assert serving.degraded == "it is too odd"
            answers = await asyncio.gather(
                *(serving.answerer.answer([{"film": number}]) for number in range(5))
            )
            assert [answer.key for [answer] in answers] == ["0", "1", "2", "3", "4"]
            os.kill(serving.answerer._process.pid, signal.SIGKILL)
            with suppress(WorkerError):  # it may be asked before its death is seen
                await serving.answerer.answer([{"film": 1}])
            [answer] = await serving.answerer.answer([{"film": 6}])
            assert answer.key == "6"

    asyncio.run(watch())


def test_a_version_that_takes_for_ever_to_open_is_given_up(decisions, own_children, monkeypatch):
    monkeypatch.setattr(version_opener, "LONGEST_SECONDS", 0.5)
    decisions.behave("1", "waits")
    decisions.decide("promote", "1")

    async def watch():
        async with watching(decisions) as watcher:
            await until(lambda: "did not open within" in watcher.problems().get("films", ""))

    asyncio.run(watch())
    assert own_children() == []


HEAVY = ("pandas", "sklearn", "scipy", "skops", "pandera", "mlflow", "kedro", "xgboost", "keras")


def in_another_process(decisions, then):
    """Python code that watches these decisions, and does something."""
    return (
        "import asyncio, sys\n"
        "from tests.serving.test_version_watcher import *\n"
        "from types import SimpleNamespace\n"
        "async def main():\n"
        f"    folder, url = Path({str(decisions.folder)!r}), {decisions.url!r}\n"
        "    async with watching(SimpleNamespace(folder=folder, url=url)) as watcher:\n"
        f"        {then}\n"
        "asyncio.run(main())\n"
    )


def test_the_process_that_answers_loads_nothing_heavy(decisions):
    decisions.decide("promote", "1")
    then = f"await until(lambda: version(watcher)); print([m for m in {HEAVY} if m in sys.modules])"
    command = [sys.executable, "-c", in_another_process(decisions, then)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_processes_end_with_the_one_that_started_them(decisions):
    """A loader that waits, when its parent is killed."""
    decisions.behave("1", "waits")
    decisions.decide("promote", "1")
    command = [sys.executable, "-c", in_another_process(decisions, "await asyncio.sleep(60)")]
    with subprocess.Popen(command, cwd=ROOT) as parent:
        end = time.monotonic() + 20
        while not (loaders := children_of(parent.pid)) or not (forks := children_of(loaders[0])):
            assert time.monotonic() < end
            time.sleep(0.02)
        parent.kill()
    while any(Path(f"/proc/{pid}").exists() for pid in [*loaders, *forks]):
        assert time.monotonic() < end
        time.sleep(0.05)
