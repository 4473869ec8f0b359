"""What answers notice of versions that take over, and what a kill costs.

    python benchmarks/serving_swap.py PROJECT [--use-case films] [--promotions 20] [--rate 50]
    python benchmarks/serving_swap.py PROJECT --use-case power --kills 50

``PROJECT`` has been run (``kedro run``): its bundles and its database are copied, and nothing of it
is touched. Promotions are decisions of the ledger about versions whose bundle is a real one, so
that each is opened, verified, compiled and handed over as in production. Requests come at fixed
moments, whatever became of those before: the time of one that has waited counts from there, or
from when this process got to run.

On a machine with other work a tail says more about that work than about a swap. So windows of three
kinds take turns: nothing happens (``calm``); a loader opens the same version and nobody takes it
(``opening``), which costs the machine what a swap does and the service nothing; and a promotion
(``swap``). ``swap`` against ``opening`` is what the service itself does to its clients, ``opening``
against ``calm`` what two cores do. Beside each stands how long the thread that answers was ready to
run and got no core, by the kernel's count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ratchet.bundle.manifest import bundle_digest
from ratchet.database import connect
from ratchet.registry.ledger import Ledger
from ratchet.registry.model_versions import DIGEST_TAG
from ratchet.serving.child_processes import LOADER, SETTINGS, LoaderProcess
from ratchet.serving.version_loader import LoadRequest
from ratchet.serving.version_opener import NICENESS
from ratchet.serving.version_transfer import VersionSource, receive_version

PROMOTIONS, ROLLBACKS = 20, 5
LONGEST = 300.0  # seconds until a decision has to be seen


@dataclass
class Sent:
    """A request: when it was due, how long its answer took, and what came."""

    due: float
    seconds: float
    status: int
    version: str
    request: str
    window: str


@dataclass
class Window:
    """What the thread that answers did in the windows of a kind, in seconds."""

    wall: float = 0.0
    ran: float = 0.0
    waited: float = 0.0


@dataclass
class Stage:
    """A copy of a project, and the service of it."""

    folder: Path
    use_case: str
    port: int
    sent: list[Sent] = field(default_factory=list)
    decided: list[tuple[float, str]] = field(default_factory=list)
    window: str = "calm"
    windows: dict[str, Window] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    decisions: ProcessPoolExecutor = field(
        default_factory=lambda: ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    )

    def __getstate__(self) -> dict[str, object]:
        """Where it is; what runs stays in this process."""
        return {"folder": self.folder, "use_case": self.use_case}

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def start(self) -> None:
        settings = {
            **{"port": self.port, "database_url": self.url, "use_cases": [self.use_case]},
            **{"bundles": str(self.folder / "bundles"), "state": str(self.folder / "state")},
            **{"keys_file": str(self.folder / "keys.json"), "shadow": False},
        }
        environment = {**os.environ, SETTINGS: json.dumps(settings)}
        command = [sys.executable, "-P", "-m", "ratchet.serving"]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(30)

    async def decide(self, event: str, version: str) -> None:
        """Have a decision written by another process: this one keeps to its moments."""
        loop = asyncio.get_running_loop()
        at = time.perf_counter()
        await loop.run_in_executor(self.decisions, decide, self, event, version)
        self.decided.append((at, version))

    def bundle_of(self, version: str) -> Path:
        """Versions take turns between the bundles that there are."""
        paths = sorted((self.folder / "bundles" / self.use_case).glob("*/manifest.json"))
        return paths[int(version) % len(paths)].parent

    def scheduled(self) -> tuple[float, float, float]:
        """Wall time, and for how long the thread that answers ran and waited for a core."""
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/schedstat")
        ran, waited, _ = map(int, path.read_text().split())
        return time.perf_counter(), ran / 1e9, waited / 1e9

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """A window of a kind."""
        self.window, before = name, self.scheduled()
        yield
        after, sums = self.scheduled(), self.windows.setdefault(name, Window())
        for place, attribute in enumerate(("wall", "ran", "waited")):
            spent = after[place] - before[place]
            setattr(sums, attribute, getattr(sums, attribute) + spent)
        self.window = "between"

    def body(self) -> bytes:
        [path, *_] = sorted((self.folder / "bundles" / self.use_case).glob("*/golden.json"))[-1:]
        return json.dumps(json.loads(path.read_text())[0]["fields"]).encode()


def decide(stage: Stage, event: str, version: str) -> None:
    """Write a decision."""
    ledger = Ledger(connect(stage.url))
    state = ledger.state(stage.use_case)
    ledger.append(
        *(stage.use_case, event),
        version=version,
        champion=version,
        previous=state.champion,
        actor="benchmark",
        reason="benchmark",
        details={DIGEST_TAG: bundle_digest(stage.bundle_of(version))},
        expect=state.seq,
    )


@contextmanager
def staged(project: Path, use_case: str) -> Iterator[Stage]:
    """A copy of what is served, with a ledger of its own."""
    with TemporaryDirectory() as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        folder = Path(name)
        bundles = project / "data" / "06_models" / "bundles" / use_case
        shutil.copytree(bundles, folder / "bundles" / use_case)
        stage = Stage(folder, use_case, port)
        decide(stage, "promote", "1")
        stage.decided.append((time.perf_counter(), "1"))
        try:
            yield stage
        finally:
            stage.decisions.shutdown()
            if stage.process is not None and stage.process.poll() is None:
                stage.stop()


class Client:
    """A connection that is kept, as that of a proxy."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        body = stage.body()
        head = f"POST /predict/{stage.use_case} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.request = head.encode() + body
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, due: float, turn: asyncio.Semaphore) -> None:
        """Send a request and keep what came."""
        window = self.stage.window
        async with turn:
            status, content = 0, {}
            try:
                status, content = await asyncio.wait_for(self._exchange(), 30)
            except (OSError, EOFError, TimeoutError, ValueError):
                self.streams = None
            seconds = time.perf_counter() - due
            names = (content.get("model_version", ""), content.get("request_id", ""))
            self.stage.sent.append(Sent(due, seconds, status, *names, window))

    async def _exchange(self) -> tuple[int, dict[str, str]]:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.stage.port)
        reader, writer = self.streams
        writer.write(self.request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(size))


async def load(stage: Stage, rate: float, until: asyncio.Event) -> None:
    """Ask at fixed moments until it is enough, over a handful of connections."""
    clients = [(Client(stage), asyncio.Semaphore()) for _ in range(8)]
    start, number, tasks = time.perf_counter(), 0, set()
    while not until.is_set():
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        client, turn = clients[number % len(clients)]
        # A moment that this process has missed is none of the service's.
        due = max(due, time.perf_counter())
        tasks.add(task := asyncio.create_task(client.ask(due, turn)))
        task.add_done_callback(tasks.discard)
        number += 1
    await asyncio.gather(*tasks)


async def until_served(stage: Stage, version: str) -> float:
    """Wait until answers are of a version; gives the seconds."""
    started, seen = time.perf_counter(), len(stage.sent)
    while time.perf_counter() - started < LONGEST:
        if any(one.version == version for one in stage.sent[seen:]):
            return time.perf_counter() - started
        await asyncio.sleep(0.01)
    raise SystemExit(f"version {version} does not serve after {LONGEST:.0f} s")


async def swaps(stage: Stage, promotions: int, rate: float) -> None:
    """Promotions and rollbacks under load, in turns with the same load without."""
    stage.start()
    enough = asyncio.Event()
    asking = asyncio.create_task(load(stage, rate, enough))
    await until_served(stage, "1")
    await asyncio.sleep(5)
    stage.sent.clear()
    taken, back = [], []
    for number in range(2, promotions + 2):
        with stage.within("opening"):
            opened = await open_elsewhere(stage, str(number))
        with stage.within("calm"):
            await asyncio.sleep(opened)
        with stage.within("swap"):
            await stage.decide("promote", str(number))
            taken.append(await until_served(stage, str(number)))
            if number % (PROMOTIONS // ROLLBACKS) == 0:
                # The rollback target was the champion until now, and is ready.
                await stage.decide("rollback", str(number - 1))
                back.append(await until_served(stage, str(number - 1)))
            await asyncio.sleep(0.5)
    enough.set()
    await asking
    report(stage, taken, back)


async def open_elsewhere(stage: Stage, version: str) -> float:
    """Open a version as the service does, for nobody; gives the seconds."""
    source = VersionSource("", str(stage.folder / "bundles"), stage.url)
    digest = bundle_digest(stage.bundle_of(version))
    request, started = LoadRequest(source, [(stage.use_case, version, digest)]), time.perf_counter()
    process = LoaderProcess([*LOADER, str(NICENESS)])
    process.request(request.as_line())
    while (seconds := time.perf_counter() - started) < LONGEST:
        with suppress(BlockingIOError):
            handover = receive_version(process.connection)
            assert handover is not None
            assert handover.description.status == "compiled", handover.description.reason
            break
        await asyncio.sleep(0.01)
    process.end()
    return seconds


def report(stage: Stage, taken: list[float], back: list[float]) -> None:
    failed = [one for one in stage.sent if one.status != 200]
    early = sum(not _was_named(stage, one) for one in stage.sent)
    say(f"{stage.use_case}: {len(stage.sent):,} requests, {len(failed)} failed")
    say(f"{len(taken)} promotions, {len(back)} rollbacks; {early} answers of a version too early")
    say(f"until a promotion serves: median {np.median(taken):.1f} s, longest {max(taken):.1f} s")
    if back:
        say(f"until a rollback serves: median {np.median(back):.1f} s, longest {max(back):.1f} s")
    tails = {}
    for name, window in stage.windows.items():
        times = [one.seconds * 1e3 for one in stage.sent if one.window == name]
        p50, p90, tails[name] = np.percentile(times, [50, 90, 99])
        say(
            f"{name}: {len(times):,} requests, p50 {p50:.1f} ms, p90 {p90:.1f} ms, "
            f"p99 {tails[name]:.1f} ms, longest {max(times):.1f} ms; the thread that answers ran "
            f"{window.ran / window.wall:.1%} of the time and waited for a core "
            f"{window.waited / window.wall:.1%}"
        )
    say(
        f"p99 of swap: {tails['swap'] / tails['calm']:.2f} times that of calm, "
        f"{tails['swap'] / tails['opening']:.2f} times that of opening; opening: "
        f"{tails['opening'] / tails['calm']:.2f} times that of calm"
    )


def _was_named(stage: Stage, one: Sent) -> bool:
    """Whether the ledger had named the version of an answer before the answer came."""
    came = one.due + one.seconds
    return any(version == one.version for at, version in stage.decided if at <= came)


def children_of(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


async def kills(stage: Stage, count: int, rate: float) -> None:
    """Kill the service, or a child of it, at random moments; look what is there afterwards."""
    chance = random.Random(0)
    stage.start()
    enough = asyncio.Event()
    asking = asyncio.create_task(load(stage, rate, enough))
    await until_served(stage, "1")
    number, back = 1, []
    for kill in range(count):
        assert stage.process is not None
        if kill % 2:
            number += 1
            await stage.decide("promote", str(number))
        await asyncio.sleep(chance.uniform(0, 3))
        victims = [stage.process.pid, *children_of(stage.process.pid)]
        victim = victims[0] if kill % 3 == 0 else chance.choice(victims)
        os.kill(victim, signal.SIGKILL)
        if victim == stage.process.pid:
            stage.process.wait()
            stage.start()
        back.append(await until_served(stage, str(number)))
    enough.set()
    await asking
    stage.stop()
    with sqlite3.connect(stage.folder / "mlflow.db") as database:
        rows = database.execute(
            "SELECT request, count(*) FROM ratchet_predictions GROUP BY 1, target"
        )
        logged = dict(rows.fetchall())
    sent = [one.request for one in stage.sent if one.status == 200]
    say(
        f"{count} kills; the ledger's champion serves after {np.median(back):.1f} s (median), "
        f"{max(back):.1f} s (longest)"
    )
    say(
        f"{len(sent):,} answers came, {sum(one not in logged for one in sent)} are not in the log, "
        f"{sum(number > 1 for number in logged.values())} are there twice"
    )


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path, nargs="?")
    parser.add_argument("--use-case", default="films")
    parser.add_argument("--promotions", type=int, default=PROMOTIONS)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    if given.project is None:
        say("no project is named: python benchmarks/serving_swap.py PROJECT; nothing measured")
        return
    with staged(given.project, given.use_case) as stage:
        if given.kills:
            asyncio.run(kills(stage, given.kills, given.rate))
        else:
            asyncio.run(swaps(stage, given.promotions, given.rate))


if __name__ == "__main__":
    main()
