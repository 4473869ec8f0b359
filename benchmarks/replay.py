"""How long 26 Sundays of electric load take with five policies, and how long another policy takes.

In a project of its own: nothing is kept from before. The first replay trains 26 stages and walks
through them with the configured policy, two baselines, the bare rules and the best in hindsight;
the second does the same with one more policy, and trains nothing. The bar is 10 minutes for the
first on two cores.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.measure import python
from harness.project import copy_project

BAR = 600.0
FIRST = dt.date(2014, 6, 29)
POLICY = "release: {min_gain: 0.05}\nmonitoring: {watch: {failing: 3}}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sundays", type=int, default=26, help="how many (default: 26)")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time (default: 2)")
    asked = parser.parse_args()
    last = FIRST + dt.timedelta(weeks=asked.sundays)
    with TemporaryDirectory(prefix="ratchet-") as temporary:
        project = copy_project(Path(temporary))
        (project / "cautious.yml").write_text(POLICY)
        command = [
            *("-m", "kedro", "ratchet", "replay", "--use-case", "power"),
            *("--from", str(FIRST), "--to", str(last), "--jobs", str(asked.jobs)),
        ]
        first = python(*command, cwd=project)
        report = json.loads((project / "data/replay/power/report.json").read_text())
        trained = len(list((project / "data/replay/power/stages").glob("2*")))
        second = python(*command, "--policy", "cautious.yml", cwd=project)
    print(f"{asked.sundays} Sundays, {len(report['policies'])} policies, {asked.jobs} at a time")
    print(f"first     {first.wall:6.0f} s, {first.cpu:6.0f} CPU-s ({trained} trainings)")
    print(f"a policy  {second.wall:6.0f} s, {second.cpu:6.0f} CPU-s (none)")
    print(f"bar       {BAR:6.0f} s")
    if first.wall > BAR:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
