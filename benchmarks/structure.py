"""Figures of the structure by room: files, lines, imports inside functions, untyped dicts.

    python benchmarks/structure.py

``tests/test_structure.py`` holds the bounds, ``tests/test_imports.py`` forbids import cycles. A
room is a package of ``src/ratchet``. Those that came after commit 09d69bd (service, compiled
answers, market) are also summed up by themselves.
"""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "src" / "ratchet"
NEWER = ("serving", "compiled", "learning/demand", "pipelines/pricing.py")
"""Rooms that did not exist at commit 09d69bd."""


@dataclass
class Figures:
    """Counts of one room, or of all."""

    files: int = 0
    lines: int = 0
    inner_imports: int = 0
    untyped_dicts: int = 0

    def add(self, other: Figures) -> None:
        """Add the counts of another room."""
        self.files += other.files
        self.lines += other.lines
        self.inner_imports += other.inner_imports
        self.untyped_dicts += other.untyped_dicts


def measure(root: Path = ROOT) -> dict[str, Figures]:
    """Count by room, over all modules of a package.

    Args:
        root: the folder of the package.
    """
    rooms: dict[str, Figures] = defaultdict(Figures)
    for path in sorted(root.rglob("*.py")):
        rooms[room_of(path.relative_to(root))].add(figures_of(path.read_text(encoding="utf-8")))
    return rooms


def total(rooms: Mapping[str, Figures], *, newer: bool | None = None) -> Figures:
    """Sum over all rooms, or over those that are newer (or not) than commit 09d69bd."""
    result = Figures()
    for room, figures in rooms.items():
        if newer is None or (room in NEWER) == newer:
            result.add(figures)
    return result


def room_of(path: Path) -> str:
    """Room of a module: its package, or a newer one inside of an older package."""
    newer = [room for room in NEWER if path.is_relative_to(room)]
    return newer[0] if newer else path.parts[0] if len(path.parts) > 1 else "(root)"


def figures_of(text: str) -> Figures:
    """Counts of one module."""
    tree = ast.parse(text)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    inner = {
        (node.lineno, node.col_offset)
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    untyped = sum(
        isinstance(node, ast.Subscript) and ast.unparse(node) == "dict[str, Any]"
        for node in ast.walk(tree)
    )
    return Figures(1, text.count("\n"), len(inner), untyped)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    rooms = measure()
    print(f"{'room':20}{'files':>7}{'lines':>8}{'inner imports':>15}{'dict[str, Any]':>16}")
    sums = {
        "since 09d69bd": total(rooms, newer=True),
        "older rooms": total(rooms, newer=False),
        "all": total(rooms),
    }
    for name, row in [*sorted(rooms.items()), *sums.items()]:
        counts = f"{row.files:7}{row.lines:8}{row.inner_imports:15}{row.untyped_dicts:16}"
        print(f"{name:20}{counts}")


if __name__ == "__main__":
    main()
