"""Opening a version and letting it answer, before it serves.

Compiled code believes the numbers in a model: a child of a tree that is out of range ends the
process, a length makes it take all memory. So what this process has not written itself is opened
and asked by a child process first, within limits, once per digest; its death is a refusal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ratchet
from ratchet.bundle import Bundle, open_bundle
from ratchet.bundle.manifest import BundleError
from ratchet.bundle.writer import WRITTEN
from ratchet.learning.processes import ProcessLimits, follow_parent

if TYPE_CHECKING:
    from ratchet.registry.registry import Registry


@dataclass(frozen=True)
class Limits(ProcessLimits):
    """What a bundle may take while it is tried.

    Attributes:
        seconds: by the clock, also on a busy machine.
    """

    seconds: int = 600


LIMITS = Limits()

_HELD: set[str] = set()
"""Digests of bundles that a child of this process has tried, or this process of its own."""

_LONGEST = 1_000
"""Characters of a reason; libraries add traces to theirs."""

_REFUSED = 3
"""Exit code of a child that says why in its last line."""


def open_version(registry: Registry, use_case: str, version: str | None) -> Bundle:
    """Open a version that is to answer: what was judged, whole, and tried before.

    Raises:
        RegistryError: it is not there, or is not what was judged.
        BundleError: it is damaged, or answers otherwise than it must.
    """
    bundle = rehearse(registry.folder(use_case, version))
    # Of what is open now: the folder may have been exchanged since its digest was compared.
    registry.compare_digest(use_case, str(version), bundle.digest)
    return bundle


def rehearse(folder: Path) -> Bundle:
    """Open a bundle and let it answer its golden rows, once in this process.

    Raises:
        BundleError: it is damaged, or answers otherwise than it must.
    """
    bundle = try_out(folder)
    if bundle.digest not in _HELD:  # written here
        bundle.check_golden()
        _HELD.add(bundle.digest)
    return bundle


def try_out(folder: Path, limits: Limits = LIMITS) -> Bundle:
    """Open a bundle after a child process has, and has let it answer its golden rows.

    What this process has written, or has had tried before, is only opened.

    Raises:
        BundleError: it is damaged, answers otherwise than it must, or takes more than it may.
    """
    bundle = open_bundle(folder)
    if bundle.digest not in WRITTEN | _HELD:
        _in_child(folder, limits)
        _HELD.add(bundle.digest)
    bundle.check_contents()  # afterwards: a small table can hold more rows than the memory
    return bundle


def _in_child(folder: Path, limits: Limits) -> None:
    # -P: without modules of the current folder, which the parent has not either.
    options = ["-P", "-m", __name__, str(folder), *map(str, asdict(limits).values())]
    command = [sys.executable, *options]
    source = str(Path(ratchet.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        child = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
            errors="replace",
            timeout=limits.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"{folder}: it did not open and answer within {limits.seconds} s"
        raise BundleError(reason) from None
    if child.returncode:
        raise BundleError(_reason(folder, child.returncode, child.stdout, limits))


def _reason(folder: Path, code: int, said: str, limits: Limits) -> str:
    if code == _REFUSED:
        return said.strip().rpartition("\n")[2][:_LONGEST]
    if -code == signal.SIGXCPU:
        return f"{folder}: it took more than {limits.cpu_seconds} s of CPU to open and answer"
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{folder}: the process that tried it has died ({how}): numbers in it are damaged"


def _main(folder: str, *numbers: str) -> int:
    """Try a bundle in this process; 0 when it holds, else the reason is the last line."""
    limits = Limits(*map(int, numbers))
    follow_parent(os.getppid(), end=lambda: os._exit(1))
    try:
        limits.apply()
        bundle = open_bundle(folder)
        bundle.check_contents()
        bundle.check_numbers()
        bundle.check_golden()
    except BundleError as error:
        reason = str(error)
    except MemoryError as error:
        reason = f"{folder}: it takes more than {limits.memory_mb} MB to open and answer: {error}"
    except Exception as error:
        reason = f"{folder}: it cannot be tried: {type(error).__name__}: {error}"
    else:
        return 0
    print(" ".join(reason.split()))  # noqa: T201 - what the parent reads
    return _REFUSED


if __name__ == "__main__":
    # Without the ends of threads and libraries, which may hang or fail for their own reasons.
    _code = _main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(_code)
