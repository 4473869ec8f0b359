"""Which keys of the configuration a phase hangs on, in the files as they are written."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ratchet.errors import ConfigError

_GLOBALS = re.compile(r"\$\{globals:\s*([\w.]+)")


ACTING = ("release", "monitoring")
"""Phases, and their parameters, that are no stages: what they decide depends on what serves, and so
on more than files; and it must not be decided again because a file has changed."""

OVERRIDES = "params.yaml"
"""What experiments change: DVC's own name for it. ``conf/dvc/parameters.yml`` leads there."""

_HEADER = """\
# What experiments change: `dvc exp run -S +films.features.min_count=40` writes it here, and runs
# of DVC take it in place of what conf/base says (docs/how-to/version-data-and-models.md). Empty
# sections have to stay: DVC compares them.

"""


class Configuration:
    """The files of ``conf/base``, and what experiments change of them, as they are written.

    Nothing is put in for ``${globals:...}``: DVC reads them like this, and compares single keys.
    For the same reason ``-S`` cannot write into them: it would put something in.

    Args:
        project: the project folder.
    """

    def __init__(self, project: Path) -> None:
        base = project / "conf" / "base"
        self._parameters = _read(
            project, [*base.rglob("parameters*.yml"), *base.glob("parameters*/**/*.yml")]
        )
        overrides = project / OVERRIDES
        self._parameters |= _read(project, [overrides] if overrides.exists() else [])
        self._globals = _read(project, base.glob("globals*.yml"))
        self._catalog = _read(project, base.glob("catalog/*.yml"))

    def tracked(self, parameters: Iterable[str], raw: str | None) -> list[dict[str, list[str]]]:
        """Keys that DVC has to compare, by file.

        Args:
            parameters: dotted names of parameters that nodes take.
            raw: the raw dataset that they read, if they do.

        Returns:
            As ``params`` of a stage takes it. Of a value that comes from a global, both are named.

        Raises:
            ConfigError: a value is a date, which DVC cannot compare; names its place.
        """
        result: set[tuple[str, str]] = set()
        for name in parameters:
            result |= set(self._follow(self._parameters, name))
        for entry in (content[raw] for content in self._catalog.values() if raw in content):
            result |= set(self._named_in(entry))
        files = sorted({file for file, _ in result})
        return [{file: _outermost(key for f, key in result if f == file)} for file in files]

    def _follow(self, files: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
        """File and key of a setting, and of the globals that its value names."""
        parts = name.split(".")
        for file, content in files.items():
            if parts[0] not in content:
                continue
            value, depth = content, 0
            while depth < len(parts) and isinstance(value, dict) and parts[depth] in value:
                value, depth = value[parts[depth]], depth + 1
            key = ".".join(parts[:depth])
            _check_dates(value, key, file)
            yield file, key
            rest = parts[depth:] if isinstance(value, str) else []
            yield from self._named_in(value, rest)

    def _named_in(self, value: Any, rest: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
        for name in _GLOBALS.findall(yaml.safe_dump(value, width=10_000)):
            if not name.startswith("paths."):  # where files lie is in deps and outs
                yield from self._follow(self._globals, ".".join([name, *rest]))


def overrides_text(parameters: Mapping[str, Any], now: str) -> str:
    """The file of what experiments change, with a section for everything that a stage compares.

    Args:
        parameters: those of the project.
        now: the file as it is; returned as it is if nothing is missing there.
    """
    result: dict[str, Any] = yaml.safe_load(now) or {}
    missing = "as_of" not in result
    result.setdefault("as_of", None)
    for name in sorted(name for name, value in parameters.items() if isinstance(value, dict)):
        own = result.setdefault(name, {})
        sections = [
            key
            for key, value in parameters[name].items()
            if isinstance(value, dict) and key not in ACTING
        ]
        missing |= bool(set(sections) - set(own))
        own |= {section: own.get(section, {}) for section in sections}
    return _HEADER + yaml.safe_dump(result, sort_keys=False) if missing else now


def _read(project: Path, paths: Iterable[Path]) -> dict[str, Any]:
    return {
        path.relative_to(project).as_posix(): yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for path in sorted(set(paths))
    }


def _check_dates(value: Any, key: str, file: str) -> None:
    """Refuse what DVC would fail at, without saying where."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_dates(inner, f"{key}.{name}", file)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            _check_dates(inner, f"{key}[{position}]", file)
    elif isinstance(value, dt.date):
        raise ConfigError(f'{file}: {key}: DVC takes a date only in quotes: "{value}"')


def _outermost(keys: Iterable[str]) -> list[str]:
    """Keys without those that lie inside of another one."""
    existing = sorted(set(keys))
    return [k for k in existing if not any(k.startswith(f"{other}.") for other in existing)]
