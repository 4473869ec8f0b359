"""CPU and wall time of commands, in alternation."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")

QUIET = {"KEDRO_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "true", "CI": "true"}
"""Variables by which tools report nothing to anybody and draw no progress."""


class Cost(NamedTuple):
    """Seconds of a command: CPU of all its processes, and wall."""

    cpu: float
    wall: float

    def less(self, *others: Cost) -> Cost:
        return Cost(
            self.cpu - sum(other.cpu for other in others),
            self.wall - sum(other.wall for other in others),
        )


def python(*arguments: str | Path, cwd: Path) -> Cost:
    """Run this interpreter and measure it with every process it waits for.

    Raises:
        SystemExit: the command failed; shows what it said.
    """
    command = [sys.executable, *map(str, arguments)]
    before, start = children_cpu(), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | QUIET,
        capture_output=True,
        text=True,
        check=False,
    )
    cost = Cost(children_cpu() - before, time.perf_counter() - start)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return cost


class Peak(NamedTuple):
    """What a command takes: CPU seconds of all its processes, and MB of the largest one."""

    cpu: float
    memory: float


def peak(
    *arguments: str | Path, cwd: Path, program: str = sys.executable, **variables: str
) -> Peak:
    """Run an interpreter and measure it with every process it waits for.

    Args:
        arguments: of the interpreter.
        cwd: folder that it runs in; what it says goes to ``output.txt`` there.
        program: the interpreter; this one by default.
        variables: of its environment, beside those of this process.

    Raises:
        SystemExit: the command failed; shows what it said.
    """
    command = [program, *map(str, arguments)]
    environ = os.environ | QUIET | variables
    with (cwd / "output.txt").open("w+") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{output.read()[-3000:]}")
    return Peak(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def children_cpu() -> float:
    """CPU seconds of all finished child processes and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def alternate(pairs: int, first: Callable[[], T], second: Callable[[], T]) -> list[tuple[T, T]]:
    """Run two measurements in turn, each as often first as second.

    What else the machine does comes and goes: neighbours in time share it, and their difference
    is free of most of it.
    """
    measured = []
    for number in range(pairs):
        if number % 2:
            later = second()
            measured.append((first(), later))
        else:
            measured.append((first(), second()))
    return measured


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print text in columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, ["-" * width for width in widths], *rows):
        first, *rest = zip(row, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]))
