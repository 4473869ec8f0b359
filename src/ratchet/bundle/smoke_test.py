"""Smoke test of a bundle before it serves: a child process opens it and lets it answer.

Compiled code trusts the numbers in a model: an index that is out of range ends the process, a
length may take all memory. So what this process has not written itself is opened and asked by a
child process first, within limits, once per digest; if the child dies, the bundle is refused.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import ratchet
from ratchet.bundle.manifest import BundleError
from ratchet.bundle.reader import Bundle, open_bundle
from ratchet.bundle.writer import WRITTEN_DIGESTS
from ratchet.learning.processes import ProcessLimits, end_with_parent


@dataclass(frozen=True)
class SmokeTestLimits(ProcessLimits):
    """What a smoke test may take.

    Attributes:
        seconds: wall-clock time, also on a busy machine.
    """

    seconds: int = 600


LIMITS = SmokeTestLimits()

_PASSED: set[str] = set()
"""Digests of bundles that have passed, in a child process or in the one that has written them."""

_MAX_REASON = 1_000
"""Characters of a reason; libraries add traces to theirs."""

_REFUSED = 3
"""Exit code of a child process whose last line says why."""


def run_smoke_test(folder: Path) -> Bundle:
    """Open a bundle and let it answer its golden rows; once per digest in this process.

    Raises:
        BundleError: it is damaged, or gives other answers than it must.
    """
    bundle = open_tested(folder)
    if bundle.digest not in _PASSED:  # written here
        bundle.check_golden()
        _PASSED.add(bundle.digest)
    return bundle


def open_tested(folder: Path, limits: SmokeTestLimits = LIMITS) -> Bundle:
    """Open a bundle after a child process has opened it and let it answer its golden rows.

    What this process has written, or what has passed before, is only opened.

    Raises:
        BundleError: it is damaged, gives other answers than it must, or exceeds the limits.
    """
    bundle = open_bundle(folder)
    if bundle.digest not in WRITTEN_DIGESTS | _PASSED:
        _in_child(folder, limits)
        _PASSED.add(bundle.digest)
    bundle.check_contents()  # afterwards: a small table can hold more rows than the memory
    return bundle


def _in_child(folder: Path, limits: SmokeTestLimits) -> None:
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


def _reason(folder: Path, code: int, output: str, limits: SmokeTestLimits) -> str:
    if code == _REFUSED:
        return output.strip().rpartition("\n")[2][:_MAX_REASON]
    if -code == signal.SIGXCPU:
        return f"{folder}: it took more than {limits.cpu_seconds} s of CPU to open and answer"
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{folder}: the process that tried it has died ({how}): numbers in it are damaged"


def _main(folder: str, *numbers: str) -> int:
    """Test a bundle in this process; 0 when it passes, else the reason is the last line."""
    limits = SmokeTestLimits(*map(int, numbers))
    end_with_parent(os.getppid(), end=lambda: os._exit(1))
    try:
        limits.apply()
        bundle = open_bundle(folder)
        bundle.check_contents()
        bundle.check_trees()
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
