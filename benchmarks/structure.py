"""Figures of the structure by room: files, lines, inner imports, untyped dicts, cycles.

    python benchmarks/structure.py

``tests/test_structure.py`` holds the bounds. A room is a package of ``src/ratchet``. Those that
came after commit 09d69bd (service, compiled answers, market) are also summed up by themselves.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import networkx as nx

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


@dataclass
class Structure:
    """Figures by room, and groups of files that import each other in a circle."""

    rooms: dict[str, Figures] = field(default_factory=lambda: defaultdict(Figures))
    cycles: list[list[str]] = field(default_factory=list)

    def total(self, *, newer: bool | None = None) -> Figures:
        """Sum over all rooms, or over those that are newer (or not) than commit 09d69bd."""
        total = Figures()
        for room, figures in self.rooms.items():
            if newer is None or (room in NEWER) == newer:
                total.add(figures)
        return total


def measure(root: Path = ROOT) -> Structure:
    """Read all modules of a package and count.

    Args:
        root: the folder of the package; its name is the name that modules import it by.
    """
    structure = Structure()
    modules = {module_name(path, root): path for path in sorted(root.rglob("*.py"))}
    imports: nx.DiGraph[str] = nx.DiGraph()
    for name, path in modules.items():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        structure.rooms[room_of(path.relative_to(root))].add(figures_of(text, tree))
        imports.add_edges_from((name, other) for other in imported(tree, set(modules) - {name}))
    structure.cycles = [
        sorted(group) for group in nx.strongly_connected_components(imports) if len(group) > 1
    ]
    return structure


def module_name(path: Path, root: Path) -> str:
    """Dotted name of a module of the package."""
    parts = [root.name, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(path: Path) -> str:
    """Room of a module: its package, or a newer one inside of an older package."""
    newer = [room for room in NEWER if path.is_relative_to(room)]
    return newer[0] if newer else path.parts[0] if len(path.parts) > 1 else "(root)"


def figures_of(text: str, tree: ast.Module) -> Figures:
    """Counts of one module."""
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


def imported(tree: ast.Module, modules: set[str]) -> set[str]:
    """Modules of the package that a module imports, at the top or inside of a function."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in modules else node.module)
    return names & modules


def main() -> None:
    """Print the table."""
    structure = measure()
    print(f"{'room':24}{'files':>7}{'lines':>8}{'inner imports':>15}{'dict[str, Any]':>16}")
    rows = [
        *sorted(structure.rooms.items()),
        ("since 09d69bd", structure.total(newer=True)),
        ("older rooms", structure.total(newer=False)),
        ("all", structure.total()),
    ]
    for name, row in rows:
        counts = f"{row.files:7}{row.lines:8}{row.inner_imports:15}{row.untyped_dicts:16}"
        print(f"{name:24}{counts}")
    print(f"cycles between files: {len(structure.cycles)}")
    for cycle in structure.cycles:
        print("  " + ", ".join(cycle))


if __name__ == "__main__":
    main()
