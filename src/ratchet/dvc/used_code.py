"""Which code something runs: the modules that its own import, one after the other."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path


def used_code(project: Path, modules: Iterable[str]) -> list[str]:
    """Packages of ours, and modules beside them, of which something is needed.

    Only the phases of ``pipelines`` count one by one: of another package the whole folder counts.

    Args:
        project: the project folder.
        modules: see ``used_modules``.

    Returns:
        Paths relative to the project, in order.
    """
    source = project / "src"
    files = used_modules(source, modules)
    paths = {_place(path.relative_to(source)) for path in files}
    return sorted(f"src/{place.as_posix()}" for place in paths if place is not None)


def used_modules(source: Path, modules: Iterable[str]) -> set[Path]:
    """Files of ours that some modules need, with their own.

    Imports inside of functions count, too.

    Args:
        source: the folder that contains our package.
        modules: dotted names; those of other packages are left out.
    """
    visited: set[Path] = set()
    to_read = [_file(source, module) for module in modules]
    while to_read:
        path = to_read.pop()
        if path is not None and path not in visited:
            visited.add(path)
            to_read += [_file(source, name) for name in _imported(source, path)]
    return visited


@cache
def _file(source: Path, name: str) -> Path | None:
    """The module that a dotted name leads to; it may go on with something inside of it."""
    parts = name.split(".")
    while parts[0] == "ratchet" and len(parts) > 1:
        stem = source.joinpath(*parts)
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
        parts.pop()
    return None


@cache
def _imported(source: Path, path: Path) -> tuple[str, ...]:
    package = path.relative_to(source).parent.parts
    return tuple(_names(ast.parse(path.read_text(encoding="utf-8")), package))


def _names(tree: ast.Module, package: tuple[str, ...]) -> Iterator[str]:
    """Dotted names of everything that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def _place(module: Path) -> Path | None:
    """Entry of the list that covers a module; None for the ``__init__.py`` above the packages."""
    path = Path(*module.parts[: 3 if module.parts[1] == "pipelines" else 2])
    return None if path.name == "__init__.py" else path
