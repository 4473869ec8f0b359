"""How a new raw file is brought in: checked beside its place, then put into it at once."""

from __future__ import annotations

import csv
import filecmp
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
from fsspec.core import url_to_fs
from kedro.io import AbstractDataset, DatasetError

from ratchet.config import FINDINGS, Landing, UseCase
from ratchet.config.loader import project_loader, read_use_cases
from ratchet.datasets.raw import RawDataset, guesses_types
from ratchet.errors import ConfigError, DataError, UserError, root_cause
from ratchet.learning.atomic_files import beside, put_in_place
from ratchet.preparation.contract import typed_rows
from ratchet.preparation.revisions import find_revisions
from ratchet.project_context import find_use_case

NOT_COMPARED = "not_compared"
"""Finding where the file in place cannot be read any more: it is replaced."""

_TAIL = 1 << 16
"""Bytes at the end of a file among which its last lines are looked for."""


@dataclass(frozen=True)
class Ingested:
    """Result of ingesting the newest raw file of a use case.

    Attributes:
        text: that in words.
        source: the file; ``None`` where there is none.
        rows: its rows; ``None`` where it is not new.
        changes: what it does to known rows, all of it allowed, or why that is not known; ``None``
            where it is not new.
    """

    text: str
    source: str | None = None
    rows: int | None = None
    changes: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, object]:
        """Keys as the tasks of Airflow read them; ``landed`` says whether there is a new file."""
        content = {"landed": self.rows is not None, "source": self.source, "rows": self.rows}
        changes = {} if self.changes is None else {"changes": dict(self.changes)}
        return {**content, **changes, "text": self.text}


def ingest_file(name: str, env: str | None, allow: Collection[str] = ()) -> Ingested:
    """Bring the newest raw file of a use case in.

    Args:
        name: of the use case.
        env: environment of the configuration.
        allow: what the file may do to known rows beside what the parameters allow.

    Raises:
        DataError: the new file cannot be read, breaks the contract, or does to known rows what is
            not allowed: names file, column and rows. The old one is still there.
        ConfigError: the raw data of the use case are no file of this machine.
    """
    loader, project = project_loader(env)
    use_case = find_use_case(read_use_cases(loader["parameters"]), name)
    landing = use_case.landing or Landing()
    if landing.source is None:
        return Ingested(f"{name}: no landing.source is set; the raw file stays as it is")
    entry = loader["catalog"].get(f"{name}.raw", {})
    target = _place(name, entry, project)
    with beside(target) as copy:  # of the same name: by its ending some readers know what they read
        source = _fetch(landing.source, landing, project, copy)
        if source is None:
            return Ingested(f"{name}: there is no file at {landing.source}")
        if target.exists() and filecmp.cmp(copy, target, shallow=False):
            return Ingested(f"{name}: {source} is what is there already", source)
        file = _RawFile(name, use_case, entry)
        rows, changes = file.check(source, copy, target, {*landing.allow, *allow})
        put_in_place(copy, target, durable=True)
    lines = [f"{name}: {source} with {rows} rows is in its place, {_shown(target, project)}"]
    lines += [f"- {text} [{word}]" for word, text in changes.items()]
    return Ingested("\n".join(lines), source, rows, changes)


def _place(name: str, entry: Mapping[str, Any], project: Path) -> Path:
    path = str(entry.get("filepath", ""))
    if not path or "://" in path:
        raise ConfigError(
            f"catalog entry {name}.raw: landing puts a file in its place, and so it needs a "
            f"filepath on this machine, found {path or 'none'}"
        )
    return project / path


def _fetch(pattern: str, landing: Landing, project: Path, copy: Path) -> str | None:
    """Copy the last file by name; give its name, or None where there is none."""
    remote = "://" in pattern
    source = pattern if remote else str(project / pattern)
    try:
        files, path = url_to_fs(source, **landing.storage_options)
        matching = [one for one in sorted(files.glob(path)) if files.isfile(one)]
        if not matching:
            return None
        with files.open(matching[-1], "rb") as remote_file, copy.open("wb") as local_file:
            shutil.copyfileobj(remote_file, local_file)
    except Exception as error:  # each kind of storage has its own, and one may not be installed
        raise DataError(f"landing.source {pattern} cannot be read: {error}") from error
    return str(matching[-1]) if remote else _shown(Path(matching[-1]), project)


@dataclass(frozen=True)
class _RawFile:
    """How the raw file of a use case is read.

    Attributes:
        name: of the use case.
        use_case: its parameters.
        entry: of the catalog.
    """

    name: str
    use_case: UseCase
    entry: Mapping[str, Any]

    def check(
        self, source: str, copy: Path, place: Path, allowed: Collection[str]
    ) -> tuple[int, dict[str, str]]:
        """Hold a new file to the contract and to the file in place: its rows, and what is allowed.

        Raises:
            DataError: it is refused.
        """
        end = _cut_off(copy, place, self.entry)
        findings = {"cut_line": end} if end else {}
        self._refuse(findings, allowed, source)
        try:
            rows = self._rows(copy)
        except (DatasetError, ConfigError) as error:
            raise DataError(
                f"{source} was not landed: it cannot be read: {root_cause(error)}"
            ) from error
        except DataError as error:
            raise DataError(f"{source} was not landed:\n{error}") from error
        findings |= self._compare(rows, place)
        self._refuse(findings, allowed, source)
        return len(rows), findings

    def _rows(self, path: Path) -> pd.DataFrame:
        """Read a file the way the catalog would, and hold it to the contract."""
        name, data = f"{self.name}.raw", self.use_case.data
        options = {k: v for k, v in self.entry.items() if k not in ("metadata", "credentials")}
        config = {**options, "filepath": str(path)}
        dataset: Any = (
            RawDataset(name=name, config=config, data=data)
            if guesses_types(config)
            else AbstractDataset.from_config(name, config)
        )
        return typed_rows(dataset.load(), data, dict(self.use_case.targets))

    def _compare(self, rows: pd.DataFrame, place: Path) -> dict[str, str]:
        """What a new file does to the rows of the file in place, if those can still be read."""
        if not place.exists():
            return {}
        try:
            existing = self._rows(place)
        except (DatasetError, UserError) as error:
            return {NOT_COMPARED: f"the file that was there cannot be read: {root_cause(error)}"}
        return find_revisions(existing, rows, self.use_case.data).findings

    def _refuse(self, findings: Mapping[str, str], allowed: Collection[str], source: str) -> None:
        refused = {
            word: text for word, text in findings.items() if word in {*FINDINGS} - {*allowed}
        }
        if not refused:
            return
        lines = [f"- {text} [{word}]" for word, text in refused.items()]
        options = "".join(f" --allow {word}" for word in refused)
        way_out = (
            f"Mend the delivery. Where this is meant, `kedro ratchet land --use-case {self.name}"
            f"{options}` takes it this once, and landing.allow: [{', '.join(refused)}] always"
        )
        if "changed_rows" in refused:
            way_out += "; data.columns.<name>.revised: true names a column whose values may change"
        raise DataError(
            "\n".join(
                [f"{source} was not landed: it differs from the file in place:", *lines, way_out]
            )
        )


def _shown(path: Path, project: Path) -> str:
    return str(path.relative_to(project) if path.is_relative_to(project) else path)


def _cut_off(file: Path, before: Path, entry: Mapping[str, Any]) -> str:
    """What says that the last line of a CSV file was cut off; empty where nothing does.

    It has fewer values than the line before it; or no end, where the file that was there before
    has one.

    Args:
        file: the new file.
        before: the one that is in place; it may be missing.
        entry: of the catalog, which says how the file is read.
    """
    options = entry.get("load_args") or {}
    separator = str(options.get("sep") or options.get("delimiter") or ",")
    if not str(entry.get("type", "")).endswith("CSVDataset") or len(separator) > 1:
        return ""
    if {"comment", "skipfooter"} & set(options):
        return ""
    encoding, quote = options.get("encoding") or "utf-8", options.get("quotechar") or '"'
    text = _tail(file, encoding)
    records = _last_records(text, quote)
    values = [len(next(csv.reader(r, delimiter=separator, quotechar=quote))) for r in records]
    if len(values) == 2 and values[0] < values[1]:
        return (
            f"the last line has {values[0]} values, and the line before it {values[1]} "
            f"({records[0][0]!r})"
        )
    if text and not text.endswith(("\n", "\r")) and _tail(before, encoding).endswith(("\n", "\r")):
        return (
            f"the last line has no end ({records[0][-1]!r}), and that of the file in place has one"
        )
    return ""


def _tail(path: Path, encoding: str) -> str:
    """The last lines of a file as text; nothing where it cannot be read."""
    try:
        with fsspec.open(str(path), "rb", compression="infer") as file:
            start = max(0, file.seek(0, 2) - _TAIL)
            file.seek(start - start % 4)  # characters of some encodings are as long
            return str(file.read().decode(encoding, errors="replace"))
    except (OSError, EOFError, ValueError, LookupError):  # the reader will say it better
        return ""


def _last_records(text: str, quote: str) -> list[list[str]]:
    """The lines of the last two records, the last one first: quoted values may have line ends."""
    records: list[list[str]] = []
    lines: list[str] = []
    for line in reversed(re.split(r"\r\n|\n|\r", text.rstrip("\r\n"))):
        lines.insert(0, line)
        if sum(part.count(quote) for part in lines) % 2 == 0:
            records.append(lines)
            lines = []
        if len(records) == 2:
            break
    return records
