"""Exports: what serves, in a folder of its own that needs neither the project nor its database.

The folder has the bundles and a ledger with all decisions about their use cases. A service that
reads it takes a new export over as it takes a decision over.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet.database import connect
from ratchet.errors import UserError
from ratchet.registry import EXPORTED_BUNDLES, EXPORTED_LEDGER
from ratchet.registry.ledger import Ledger
from ratchet.registry.model_versions import DIGEST_TAG
from ratchet.registry.registry import Registry

_PART = ".part"  # end of the names of what is not complete yet


@dataclass(frozen=True)
class Exported:
    """The versions of a use case in an export.

    Attributes:
        use_case: name of the use case.
        champion: number of the version that serves.
        others: the rollback target and the challenger in a trial, where they can be opened.
    """

    use_case: str
    champion: str
    others: tuple[str, ...]


def export_models(registry: Registry, folder: Path, use_cases: Sequence[str]) -> list[Exported]:
    """Export the versions that serve, each after a smoke test.

    What the folder had of an earlier export and is not needed any more is removed at the end.

    Args:
        registry: where the versions are.
        folder: an earlier export, or a folder without files.
        use_cases: which use cases; those of which nothing serves are left out.

    Raises:
        UserError: nothing serves, the folder holds something else, or a champion is damaged or has
            no digest in the ledger.
    """
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{EXPORTED_LEDGER}{_PART}"
    partial.unlink(missing_ok=True)
    ledger = Ledger(connect(f"sqlite:///{partial.absolute()}"))
    names = [name for name in use_cases if registry.champion(name) is not None]
    if not names:
        raise UserError(f"nothing serves yet of {', '.join(use_cases) or 'any use case'}")
    registry.ledger.copy(ledger.engine, names)
    needed: set[Path] = set()
    bundles = folder / EXPORTED_BUNDLES
    exported = [_export(registry, ledger, bundles / n, n, needed) for n in names]
    ledger.engine.dispose()
    for path in (folder, bundles, *(bundles / name for name in names)):
        path.chmod(path.stat().st_mode | 0o055)  # the container has another user
    partial.chmod(0o644)
    partial.replace(folder / EXPORTED_LEDGER)
    for path in bundles.iterdir():
        if path.name not in names:
            shutil.rmtree(path)
    for path in bundles.glob("*/*"):
        if path not in needed:
            shutil.rmtree(path)
    return exported


def _check_folder(folder: Path) -> None:
    if (folder / EXPORTED_LEDGER).is_file():
        return
    if folder.exists() and (not folder.is_dir() or any(map(_is_foreign, folder.iterdir()))):
        raise UserError(
            f"{folder} is not empty and is no export: name a new folder, or one that "
            f"`kedro ratchet export` has written"
        )


def _is_foreign(path: Path) -> bool:
    """Whether a file is neither hidden, such as .gitkeep, nor left by an export cut short."""
    return not path.name.startswith(".") and path.name != f"{EXPORTED_LEDGER}{_PART}"


def _export(
    registry: Registry, ledger: Ledger, folder: Path, use_case: str, needed: set[Path]
) -> Exported:
    """Copy the bundles of a use case that its decisions name."""
    with registry.locked(use_case):
        state = ledger.state(use_case)
        champion = str(state.champion)
        if not _has_digest(ledger, use_case, champion):
            raise UserError(
                f"the ledger has no digest of version {champion} of {use_case}, which an early "
                f"release promoted: let another version serve, and then this one again"
            )
        others = [
            version
            for version in dict.fromkeys([state.previous, state.held])
            if version is not None
            and version != champion
            and _has_digest(ledger, use_case, version)
            and registry.has_bundle(use_case, version)
        ]
        for version in (champion, *others):
            bundle = registry.open_bundle(use_case, version).folder
            needed.add(folder / bundle.name)
            _copy(bundle, folder / bundle.name)
    return Exported(use_case, champion, tuple(others))


def _has_digest(ledger: Ledger, use_case: str, version: str) -> bool:
    """Whether a version can be recognised without MLflow."""
    return ledger.first_detail(use_case, version, DIGEST_TAG) is not None


def _copy(bundle: Path, target: Path) -> None:
    """Copy a bundle so that any user may read it; all of it appears at once."""
    if target.exists():
        return
    partial = target.with_name(f".{target.name}{_PART}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(bundle, partial)
    for path in (partial, *partial.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    partial.replace(target)
