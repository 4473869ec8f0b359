"""CPU time that it takes to draw all DAGs, once Airflow is imported.

Airflow parses the files again and again. The bar: 0.3 s for all of them together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from harness.measure import print_table

BAR = 0.3
DAGS = Path(__file__).resolve().parents[1] / "dags"
PARSE = """
import importlib, importlib.util, json, pathlib, sys, time
import airflow.sdk
for name in ("DAG", "Asset", "BaseSensorOperator", "CronTriggerTimetable", "Param"):
    getattr(airflow.sdk, name)
for name in ("bash", "empty", "hitl", "python", "trigger_dagrun"):
    importlib.import_module(f"airflow.providers.standard.operators.{name}")
folder = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(folder))
start, drawn = time.process_time(), 0
for path in sorted(folder.glob("*.py")):
    spec = importlib.util.spec_from_file_location(f"drawn_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn += len(module.DAGS)
print(json.dumps([time.process_time() - start, drawn]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=9, help="measurements (default: 9)")
    times = parser.parse_args().times
    with TemporaryDirectory() as home:
        measured = [parse(home) for _ in range(times)]
    seconds = [cpu for cpu, _ in measured]
    header = ("DAGs", "CPU seconds", "from", "to", f"bar {BAR:g}")
    verdict = "met" if median(seconds) <= BAR else "missed"
    row = [str(measured[0][1]), *(f"{f(seconds):.3f}" for f in (median, min, max)), verdict]
    print_table(header, [row])


def parse(home: str) -> tuple[float, int]:
    """CPU seconds of drawing all DAGs in a process of its own, and how many there are."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(DAGS)],
        env=os.environ | {"AIRFLOW_HOME": home},
        capture_output=True,
        text=True,
        check=True,
    )
    cpu, drawn = json.loads(done.stdout.splitlines()[-1])
    return cpu, drawn


if __name__ == "__main__":
    main()
