"""Processes that release models are killed, and what serves must not care.

`kill -9` hits processes that register, judge, promote, roll back and prune, in two ways: at random
moments, two processes at a time; and at each single write of each action (before a row of the
ledger is begun, before it is committed, after that, before each alias, tag and version). After
every kill there must be exactly one champion in the registry, before and after it is repaired; the
ledger must name it, its chain must hold, and its bundle must open. The bar: no fault.

MLflow and the ledger share one SQLite file. Bundles are stand-ins: what is killed here is what
moves them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow.store.model_registry.sqlalchemy_store  # noqa: F401 - once for all processes
from harness import victim
from harness.measure import median, print_table

LONGEST = 1.0  # seconds that a process works at most before it is killed
PROCESSES = 2


@dataclass
class Tally:
    """What became of the kills of one kind."""

    kills: int = 0
    behind: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, kills: int, seen: dict[str, Any]) -> None:
        self.kills += kills
        self.behind += seen["behind"]
        self.faults += seen["faults"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=120, help="at random moments (default: 120)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--timed", type=int, default=40, help="promotions timed (default: 40)")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        calm = Path(temporary, "calm")
        calm.mkdir()
        in_child(victim.begin, calm)
        # Children inherit what is loaded: SQLAlchemy takes half a second for its first questions.
        victim.faults(shutil.copytree(calm, Path(temporary, "warm")))
        at_random = random_kills(shutil.copytree(calm, Path(temporary, "random")), options)
        at_writes = {action: kills_at_writes(calm, action) for action in victim.ACTIONS}
        seconds = in_child(victim.time_of_going_back, calm, options.timed)
    rows = [row("random moments", at_random)]
    rows += [row(f"each write of {action}", tally) for action, tally in at_writes.items()]
    print_table(("killed at", "kills", "alias behind", "faults"), rows)
    print(
        f"\nfrom decision to aliases in place: median {median(seconds):.3f} s, "
        f"longest {max(seconds):.3f} s of {len(seconds)} promotions and rollbacks"
    )
    tallies = [at_random, *at_writes.values()]
    kills = sum(tally.kills for tally in tallies)
    faults = [fault for tally in tallies for fault in tally.faults]
    print(f"{kills} kills, {len(faults)} faults; bar 0: {'not met' if faults else 'met'}")
    for fault in faults:
        print(f"  {fault}")
    raise SystemExit(1 if faults else 0)


def row(name: str, tally: Tally) -> list[str]:
    return [name, str(tally.kills), str(tally.behind), str(len(tally.faults))]


def random_kills(folder: Path, options: argparse.Namespace) -> Tally:
    """Let processes work side by side, and kill them all after a random time."""
    rng, tally = random.Random(options.seed), Tally()
    while tally.kills < options.kills:
        workers = [start(work, folder, rng.random()) for _ in range(PROCESSES)]
        for worker in workers:
            worker.wait_for_word()
        time.sleep(rng.uniform(0, LONGEST))
        rng.shuffle(workers)
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
        if any(worker.end() != -signal.SIGKILL for worker in workers):
            raise SystemExit("a process ended before it was killed")
        tally.add(len(workers), in_child(victim.faults, folder))
    return tally


def kills_at_writes(calm: Path, action: str) -> Tally:
    """Kill an action before its first write, before its second, until it comes to its end."""
    tally = Tally()
    with TemporaryDirectory() as temporary:
        for moment in count():
            folder = shutil.copytree(calm, Path(temporary, str(moment)))
            if not (code := start(work_until, folder, action, moment).end()):
                break
            if code != -signal.SIGKILL:
                raise SystemExit(f"{action}: a process ended before it was killed")
        for seen in in_child(faults_of_each, [Path(temporary, str(n)) for n in range(moment)]):
            tally.add(1, seen)
    return tally


def faults_of_each(folders: list[Path]) -> list[dict[str, Any]]:
    """What does not hold in each folder."""
    return [victim.faults(folder) for folder in folders]


@dataclass
class Worker:
    """A process of ours, and the pipe on which it reports."""

    pid: int
    pipe: int

    def wait_for_word(self) -> bytes:
        return os.read(self.pipe, 1 << 16)

    def end(self) -> int:
        """Wait for it; its exit code, or the signal that ended it, negative."""
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.pipe)
        return os.waitstatus_to_exitcode(status)


def start(function: Callable[..., None], *arguments: Any) -> Worker:
    """Call a function in a child process; its first argument is where it may report."""
    reads, writes = os.pipe()
    if pid := os.fork():
        os.close(writes)
        return Worker(pid, reads)
    os.close(reads)
    code = 1
    try:
        function(writes, *arguments)
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a child process: the parent opens no database that is judged."""

    def report(pipe: int) -> None:
        with os.fdopen(pipe, "w") as out:
            json.dump(function(*arguments), out)

    worker = start(report)
    with os.fdopen(os.dup(worker.pipe)) as words:
        text = words.read()
    if worker.end():
        raise SystemExit(f"{function.__name__} failed")
    return json.loads(text)


def work(pipe: int, folder: Path, seed: float) -> None:
    """Do one thing after the other until killed."""
    registry, rng = victim.open_registry(folder), random.Random(seed)
    registry.repair(victim.USE_CASE)  # opens both databases
    os.write(pipe, b"ready")
    while True:
        victim.act(registry, rng.choice(victim.ACTIONS), rng)


def work_until(_: int, folder: Path, action: str, moment: int) -> None:
    """Do one thing, and die before one of its writes."""
    registry = victim.open_registry(folder)
    registry.repair(victim.USE_CASE)
    if action == "prune":
        for _ in range(5):
            registry.register(victim.USE_CASE, victim.make_bundle(registry), {})
    victim.die_at(registry, moment)
    # A seed for which something is promoted.
    victim.act(registry, action, random.Random(3))


if __name__ == "__main__":
    main()
