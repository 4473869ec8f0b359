"""Folders of bundles that go: old versions, and what killed processes have left."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ratchet.bundle.manifest import MANIFEST
from ratchet.learning.files import sweep

_OLD = 24 * 3600.0
"""Seconds after which nobody is about to register a bundle any more."""

_PRUNED = ".pruned"
_REGISTERED = ".registered"


def mark_registered(folder: Path) -> None:
    """Note beside a bundle that it was registered.

    Whoever tracks to another database for a while finds its versions in none: they are kept.
    """
    _beside(folder, _REGISTERED).touch()


def remove_bundle(folder: Path) -> None:
    """Take a bundle out of sight at once, then delete it."""
    aside = _beside(folder, _PRUNED)
    with suppress(FileNotFoundError):
        folder.rename(aside)
        _delete(aside)
    _beside(folder, _REGISTERED).unlink(missing_ok=True)


def collect_garbage(folder: Path, known: Collection[str]) -> None:
    """Delete what killed processes have left.

    That is what they were deleting or writing, and after a day whole bundles that they did not
    come to register.

    Args:
        folder: where the bundles of a use case are.
        known: names of the bundles that are registered.
    """
    for path in folder.glob(f".*{_PRUNED}"):
        _delete(path)
    sweep(folder)
    for path in [path for path in folder.glob("[!.]*") if not path.is_symlink()]:
        unregistered = path.name not in known and not _beside(path, _REGISTERED).exists()
        if unregistered and (path / MANIFEST).is_file() and _age(path) > _OLD:
            remove_bundle(path)


def _delete(folder: Path) -> None:
    """Delete a folder; of a link in its place the link alone."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _beside(folder: Path, end: str) -> Path:
    return folder.with_name(f".{folder.name}{end}")


def _age(folder: Path) -> float:
    """Seconds since anything in a folder was written."""
    return time.time() - max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
