"""What answers notice of versions that take over, and what a kill costs.

    python benchmarks/serving_swap.py PROJECT [--use-case films] [--requests 10000] [--rate 50]
    python benchmarks/serving_swap.py PROJECT --use-case power --kills 50

``PROJECT`` has been run (``kedro run``): its bundles and its database are copied, and nothing of it
is touched. Promotions are decisions of the ledger about versions whose bundle is a real one, so
that each is opened, verified, compiled and handed over as in production. Requests come at fixed
moments, whatever became of those before: the time of one that has waited counts from there.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ratchet.database import connect
from ratchet.release.ledger import Ledger
from ratchet.release.manifest import bundle_digest
from ratchet.release.versions import DIGEST
from ratchet.serving.__main__ import SETTINGS

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
    swapping: bool


@dataclass
class Stage:
    """A copy of a project, and the service of it."""

    folder: Path
    use_case: str
    port: int
    sent: list[Sent] = field(default_factory=list)
    decided: list[tuple[float, str]] = field(default_factory=list)
    swapping: bool = False
    process: subprocess.Popen[bytes] | None = None

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

    def decide(self, event: str, version: str) -> None:
        """Write a decision; versions take turns between the bundles that there are."""
        ledger = Ledger(connect(self.url))
        state = ledger.state(self.use_case)
        found = sorted((self.folder / "bundles" / self.use_case).glob("*/manifest.json"))
        digest = bundle_digest(found[int(version) % len(found)].parent)
        ledger.append(
            *(self.use_case, event),
            version=version,
            champion=version,
            previous=state.champion,
            actor="benchmark",
            reason="benchmark",
            details={DIGEST: digest},
            expect=state.seq,
        )
        self.decided.append((time.perf_counter(), version))

    def body(self) -> bytes:
        [path, *_] = sorted((self.folder / "bundles" / self.use_case).glob("*/golden.json"))[-1:]
        return json.dumps(json.loads(path.read_text())[0]["fields"]).encode()


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
        stage.decide("promote", "1")
        try:
            yield stage
        finally:
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

    async def ask(self, due: float, wait: asyncio.Semaphore) -> None:
        """Send a request and keep what came."""
        async with wait:
            status, content = 0, {}
            try:
                status, content = await asyncio.wait_for(self._exchange(), 30)
            except (OSError, EOFError, TimeoutError, ValueError):
                self.streams = None
            seconds = time.perf_counter() - due
            names = (content.get("model_version", ""), content.get("request_id", ""))
            self.stage.sent.append(Sent(due, seconds, status, *names, self.stage.swapping))

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


async def swaps(stage: Stage, requests: int, rate: float) -> None:
    """Promotions and rollbacks under load, beside the same load without."""
    stage.start()
    enough = asyncio.Event()
    asking = asyncio.create_task(load(stage, rate, enough))
    await until_served(stage, "1")
    stage.sent.clear()
    while len(stage.sent) < requests // 5:
        await asyncio.sleep(0.05)
    stage.swapping, taken, back = True, [], []
    for number in range(2, PROMOTIONS + 2):
        stage.decide("promote", str(number))
        taken.append(await until_served(stage, str(number)))
        if number % (PROMOTIONS // ROLLBACKS) == 0:
            # The rollback target was the champion until now, and is ready.
            stage.decide("rollback", str(number - 1))
            back.append(await until_served(stage, str(number - 1)))
    while len(stage.sent) < requests:
        await asyncio.sleep(0.05)
    enough.set()
    await asking
    report(stage, taken, back)


def report(stage: Stage, taken: list[float], back: list[float]) -> None:
    failed = [one for one in stage.sent if one.status != 200]
    calm = [one.seconds * 1e3 for one in stage.sent if not one.swapping]
    busy = [one.seconds * 1e3 for one in stage.sent if one.swapping]
    early = sum(not _was_named(stage, one) for one in stage.sent)
    say(f"{stage.use_case}: {len(stage.sent):,} requests, {len(failed)} failed")
    say(f"{len(taken)} promotions, {len(back)} rollbacks; {early} answers of a version too early")
    say(f"until a promotion serves: median {np.median(taken):.1f} s, longest {max(taken):.1f} s")
    say(f"until a rollback serves: median {np.median(back):.1f} s, longest {max(back):.1f} s")
    for name, times in (("without swaps", calm), ("with swaps", busy)):
        p50, p99 = np.percentile(times, [50, 99])
        say(f"{name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {max(times):.1f} ms")


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
            stage.decide("promote", str(number))
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
    parser.add_argument("--requests", type=int, default=10_000)
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
            asyncio.run(swaps(stage, given.requests, given.rate))


if __name__ == "__main__":
    main()
