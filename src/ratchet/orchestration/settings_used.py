"""Which keys of the configuration a phase hangs on, in the files as they are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_GLOBALS = re.compile(r"\$\{globals:\s*([\w.]+)")


class Configuration:
    """The files of ``conf/base`` without anything put in for ``${globals:...}``.

    DVC reads them like this, and compares single keys of them.

    Args:
        project: the project folder.
    """

    def __init__(self, project: Path) -> None:
        base = project / "conf" / "base"
        self._parameters = _read(
            project, [*base.rglob("parameters*.yml"), *base.glob("parameters*/**/*.yml")]
        )
        self._globals = _read(project, base.glob("globals*.yml"))
        self._catalog = _read(project, base.glob("catalog/*.yml"))

    def tracked(self, parameters: Iterable[str], raw: str | None) -> list[dict[str, list[str]]]:
        """Keys that DVC has to compare, by file.

        Args:
            parameters: dotted names of parameters that nodes take.
            raw: the raw dataset that they read, if they do.

        Returns:
            As ``params`` of a stage takes it. Of a value that a global stands for, both are named.
        """
        found: set[tuple[str, str]] = set()
        for name in parameters:
            found |= set(self._follow(self._parameters, name))
        for entry in (content[raw] for content in self._catalog.values() if raw in content):
            found |= set(self._named_in(entry))
        files = sorted({file for file, _ in found})
        return [{file: _outermost(key for f, key in found if f == file)} for file in files]

    def _follow(self, files: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
        """File and key of a setting, and of the globals that its value names."""
        parts = name.split(".")
        for file, content in files.items():
            if parts[0] not in content:
                continue
            value, depth = content, 0
            while depth < len(parts) and isinstance(value, dict) and parts[depth] in value:
                value, depth = value[parts[depth]], depth + 1
            yield file, ".".join(parts[:depth])
            rest = parts[depth:] if isinstance(value, str) else []
            yield from self._named_in(value, rest)

    def _named_in(self, value: Any, rest: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
        for name in _GLOBALS.findall(yaml.safe_dump(value, width=10_000)):
            if not name.startswith("paths."):  # where files lie is in deps and outs
                yield from self._follow(self._globals, ".".join([name, *rest]))


def _read(project: Path, paths: Iterable[Path]) -> dict[str, Any]:
    return {
        path.relative_to(project).as_posix(): yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for path in sorted(set(paths))
    }


def _outermost(keys: Iterable[str]) -> list[str]:
    """Keys without those that lie inside of another one."""
    known = sorted(set(keys))
    return [k for k in known if not any(k.startswith(f"{other}.") for other in known)]
