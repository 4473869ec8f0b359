"""Processes that are killed for good: the benchmark, with fewer kills."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_no_kill_costs_a_champion():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "kill.py", "--kills", "10", "--timed", "4"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    (kills,) = re.findall(r"^(\d+) kills, 0 faults", done.stdout, re.MULTILINE)
    assert int(kills) >= 40
