"""CPU time that this project adds to Kedro's own commands.

`kedro --version` and `kedro registry list` in a copy of this project and in an empty Kedro project,
in alternation. The bar: at most 0.5 s of CPU more.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.measure import alternate, median, print_table, python
from harness.project import copy_project, empty_project

BAR = 0.5
COMMANDS = (["--version"], ["registry", "list"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9, help="measurements of each (default: 9)")
    pairs = parser.parse_args().pairs
    with TemporaryDirectory() as folder:
        ours = Path(folder, "ours")
        ours.mkdir()
        projects = empty_project(Path(folder)), copy_project(ours)
        rows = [row(command, pairs, *projects) for command in COMMANDS]
    header = ("CPU seconds", "empty", "this project", "difference", "from", "to", f"bar {BAR:g}")
    print_table(header, rows)


def row(command: list[str], pairs: int, empty: Path, ours: Path) -> list[str]:
    def cpu(project: Path) -> float:
        return python("-m", "kedro", *command, cwd=project).cpu

    runs: list[Callable[[], float]] = [partial(cpu, project) for project in (empty, ours)]
    alternate(1, *runs)  # the first run reads its files from the disk
    measured = alternate(pairs, *runs)
    differences = [ours - empty for empty, ours in measured]
    medians = [median(values) for values in (*zip(*measured, strict=True), differences)]
    return [
        f"kedro {' '.join(command)}",
        *(f"{value:.2f}" for value in (*medians, min(differences), max(differences))),
        "met" if median(differences) <= BAR else "not met",
    ]


if __name__ == "__main__":
    main()
