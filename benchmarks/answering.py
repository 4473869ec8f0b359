"""CPU time of an answer through pandas (`Bundle.answer`), here and at another commit.

Both trees answer the golden rows of the same bundles, but for later steps of paths, which need the
steps before; in processes that take turns:

    git worktree add /tmp/before f07d173
    python benchmarks/answering.py /tmp/before/src data/06_models/bundles/*/*
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from harness.measure import alternate, median, print_table

ANSWERS = """
import json, sys, time
import pandas as pd
from ratchet.bundle.reader import open_bundle
bundle = open_bundle(sys.argv[1])
rows = [pd.DataFrame([case["fields"]]) for case in bundle.golden if "before" not in case]
taken = []
for number in range(int(sys.argv[2]) + 2):
    start = time.process_time()
    bundle.answer(rows[number % len(rows)])
    taken.append(time.process_time() - start)
print(json.dumps(sorted(taken[2:])[len(taken[2:]) // 2] * 1e3))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path, nargs="?", help="folder with the other `ratchet`")
    parser.add_argument("bundles", type=Path, nargs="*", help="bundles to ask")
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each (default: 5)")
    parser.add_argument("--answers", type=int, default=12, help="answers of each (default: 12)")
    given = parser.parse_args()
    if not given.bundles:
        print(
            "no bundles are named: python benchmarks/answering.py SRC BUNDLE ...; nothing measured"
        )
        return
    now = Path(__file__).resolve().parents[1] / "src"
    rows = []
    for bundle in (path for path in given.bundles if path.is_dir()):
        both = (partial(milliseconds, src, bundle, given.answers) for src in (given.before, now))
        measured = alternate(given.pairs, *both)
        ratios = [one / other for one, other in measured]
        medians = [median(values) for values in (*zip(*measured, strict=True), ratios)]
        ends = min(ratios), max(ratios)
        rows.append([bundle.parent.name, *(f"{value:.2f}" for value in (*medians, *ends))])
    print_table(("CPU ms per answer", "before", "now", "ratio", "from", "to"), rows)


def milliseconds(src: Path, bundle: Path, answers: int) -> float:
    """Median CPU time of an answer, in a process of its own with one thread."""
    alone = {"PYTHONPATH": str(src), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ANSWERS, str(bundle), str(answers)],
        env=os.environ | alone,
        capture_output=True,
        text=True,
        check=True,
    )
    taken: float = json.loads(done.stdout.splitlines()[-1])
    return taken


if __name__ == "__main__":
    main()
