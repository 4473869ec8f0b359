"""A run of several use cases ends with all its processes, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.cpu_count() == 1, reason="one core runs one use case after the other"),
]

RUN = ["run", "--env", "test", "--pipelines", "understanding,preprocessing,classical"]


def lanes(process: subprocess.Popen[bytes], log: Path) -> list[psutil.Process]:
    """The processes of two use cases that have begun, and all others that were started."""
    end = time.monotonic() + 120
    while not all(f"[{name}.typed]" in log.read_text() for name in ("films", "power")):
        assert time.monotonic() < end, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(make_project, tmp_path, how):
    project, log = make_project(tmp_path, ["films", "power"]), tmp_path / "log.txt"
    kedro = [sys.executable, "-m", "kedro", *RUN, "--namespaces", "films,power"]
    if how == signal.SIGTERM:  # as in the background of a script
        kedro = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *kedro]
    process = subprocess.Popen(
        kedro,
        cwd=project,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    started = lanes(process, log)

    if how == signal.SIGINT:  # Ctrl-C goes to all processes of a terminal
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)

    process.wait(30)
    _, left = psutil.wait_procs(started, timeout=30)
    assert [one for one in left if one.status() != psutil.STATUS_ZOMBIE] == []
    if how != signal.SIGKILL:
        assert process.returncode == 128 + how
        assert log.read_text().rstrip().endswith("run the same command again to continue")
