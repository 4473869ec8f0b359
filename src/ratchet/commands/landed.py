"""How a new raw file is brought in: checked beside its place, then put into it at once."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ratchet.config import loader_here, read_use_cases
from ratchet.errors import ConfigError, DataError, UserError
from ratchet.params import Landing, UseCase


def land_file(name: str, env: str | None) -> dict[str, Any]:
    """Bring the newest raw file of a use case in.

    Args:
        name: of the use case.
        env: environment of the configuration.

    Returns:
        ``landed``, whether there is a new file; ``source``, ``rows`` and ``text``.

    Raises:
        DataError: the new file cannot be read, or breaks the contract: names file, column and
            rows. The old one is still there.
        ConfigError: the raw data of the use case are no file of this machine.
    """
    loader, project = loader_here(env)
    use_cases = read_use_cases(loader["parameters"])
    if name not in use_cases:
        raise UserError(f"no use case '{name}'; there are {', '.join(sorted(use_cases))}")
    landing = use_cases[name].landing
    if landing is None:
        return _nothing(f"{name}: no landing.source is set; the raw file stays as it is")
    entry = loader["catalog"].get(f"{name}.raw", {})
    place = _place(name, entry, project)
    with _newest(landing, project, place) as (source, copy):
        if source is None:
            return _nothing(f"{name}: nothing lies at {landing.source}")
        if place.exists() and filecmp.cmp(copy, place, shallow=False):
            return _nothing(f"{name}: {source} is what is there already", source)
        rows = _check(name, use_cases[name], entry, source, copy)
        copy.replace(place)
    return {
        "landed": True,
        "source": source,
        "rows": rows,
        "text": f"{name}: {source} with {rows} rows is in its place, {_shown(place, project)}",
    }


def _nothing(text: str, source: str | None = None) -> dict[str, Any]:
    return {"landed": False, "source": source, "rows": None, "text": text}


def _place(name: str, entry: Mapping[str, Any], project: Path) -> Path:
    path = str(entry.get("filepath", ""))
    if not path or "://" in path:
        raise ConfigError(
            f"catalog entry {name}.raw: landing puts a file in its place, and so it needs a "
            f"filepath on this machine, found {path or 'none'}"
        )
    return project / path


@contextmanager
def _newest(landing: Landing, project: Path, place: Path) -> Iterator[tuple[str | None, Path]]:
    """The last file by name, and a copy of it beside its place.

    The copy has the ending of the place, by which some readers know what they read.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    copy = place.with_name(f".landing-{os.getpid()}-{place.name}")
    try:
        yield _fetch(landing, project, copy), copy
    finally:
        copy.unlink(missing_ok=True)


def _fetch(landing: Landing, project: Path, copy: Path) -> str | None:
    """Copy the last file by name; give its name, or None where there is none."""
    from fsspec.core import url_to_fs

    remote = "://" in landing.source
    source = landing.source if remote else str(project / landing.source)
    try:
        files, path = url_to_fs(source, **landing.storage_options)
        found = [one for one in sorted(files.glob(path)) if files.isfile(one)]
        if not found:
            return None
        with files.open(found[-1], "rb") as there, copy.open("wb") as here:
            shutil.copyfileobj(there, here)
            here.flush()
            os.fsync(here.fileno())
    except Exception as error:  # each kind of storage has its own, and one may not be installed
        raise DataError(f"landing.source {landing.source} cannot be read: {error}") from error
    return str(found[-1]) if remote else _shown(Path(found[-1]), project)


def _check(name: str, use_case: UseCase, entry: Mapping[str, Any], source: str, copy: Path) -> int:
    """Read a file the way the catalog would, and hold it to the contract: its rows."""
    from kedro.io import AbstractDataset, DatasetError

    from ratchet.datasets.raw import RawDataset, is_guessed
    from ratchet.errors import root_cause
    from ratchet.preparation import typed_rows

    config = {key: value for key, value in entry.items() if key not in ("metadata", "credentials")}
    config["filepath"] = str(copy)
    dataset: Any = (
        RawDataset(name=f"{name}.raw", config=config, data=use_case.data)
        if is_guessed(config)
        else AbstractDataset.from_config(f"{name}.raw", config)
    )
    try:
        typed = typed_rows(dataset.load(), use_case.data, dict(use_case.targets))
    except (DatasetError, ConfigError) as error:
        raise DataError(
            f"{source} was not landed: it cannot be read: {root_cause(error)}"
        ) from error
    except DataError as error:
        raise DataError(f"{source} was not landed:\n{error}") from error
    return len(typed)


def _shown(path: Path, project: Path) -> str:
    return str(path.relative_to(project) if path.is_relative_to(project) else path)
