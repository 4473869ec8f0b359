"""Removal of bundles: old versions, and what killed processes have left."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ratchet.bundle.manifest import MANIFEST
from ratchet.learning.atomic_files import sweep

_MAX_AGE = 24 * 3600.0
"""Seconds after which no process is about to register a bundle any more."""

_REMOVED = ".pruned"
_REGISTERED = ".registered"


def mark_registered(folder: Path) -> None:
    """Mark a bundle as registered, by a file beside it.

    It is kept then although the present tracking database, maybe another one, does not have it.
    """
    _beside(folder, _REGISTERED).touch()


def remove_bundle(folder: Path) -> None:
    """Rename a bundle, so that it is gone at once, then delete it."""
    renamed = _beside(folder, _REMOVED)
    with suppress(FileNotFoundError):
        folder.rename(renamed)
        _delete(renamed)
    _beside(folder, _REGISTERED).unlink(missing_ok=True)


def collect_garbage(folder: Path, registered: Collection[str]) -> None:
    """Delete what killed processes have left.

    That is what they were deleting or writing, and after a day whole bundles that they did not
    register.

    Args:
        folder: where the bundles of a use case are.
        registered: names of the bundles that are registered.
    """
    for path in folder.glob(f".*{_REMOVED}"):
        _delete(path)
    sweep(folder)
    for path in [path for path in folder.glob("[!.]*") if not path.is_symlink()]:
        unregistered = path.name not in registered and not _beside(path, _REGISTERED).exists()
        if unregistered and (path / MANIFEST).is_file() and _age(path) > _MAX_AGE:
            remove_bundle(path)


def _delete(folder: Path) -> None:
    """Delete a folder; of a link in its place only the link."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _beside(folder: Path, end: str) -> Path:
    return folder.with_name(f".{folder.name}{end}")


def _age(folder: Path) -> float:
    """Seconds since anything in a folder was written."""
    return time.time() - max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
