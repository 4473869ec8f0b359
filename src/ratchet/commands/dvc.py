"""``kedro ratchet dvc``, ``checkout`` and ``push``: stages of DVC, and versions kept in it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from kedro.config import AbstractConfigLoader
from kedro.io import CatalogConfigResolver

from ratchet.commands.generated_files import bring_up_to_date, text_of
from ratchet.config.loader import project_loader, read_use_cases
from ratchet.dvc.parameters import OVERRIDES, overrides_text
from ratchet.dvc.stages import Project, dvc_text
from ratchet.dvc.store import (
    BUNDLE_FOLDER,
    REMOTE_TAG,
    VERSION_FILE,
    VersionStore,
    file_origin,
    find_version,
)
from ratchet.errors import UserError
from ratchet.learning.atomic_files import atomic_write
from ratchet.pipeline_registry import PHASES
from ratchet.project_context import env_option, open_registry, use_case_option
from ratchet.registry.registry import Registry

STAGES, COMMAND = "dvc.yaml", "kedro ratchet dvc"
MEMORY = {"{default}": {"type": "MemoryDataset"}}
"""What Kedro takes for a dataset that the catalog does not name."""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; say whether the files are up to date.")
def dvc(check: bool) -> None:
    """Regenerate dvc.yaml, which says what `dvc repro` runs.

    Needed after a change of use cases, candidates, the catalog, or of what a phase imports. It goes
    by conf/base alone, so that it is the same for everybody. What experiments change is kept.
    """
    loader, folder = project_loader("base")
    overrides = overrides_text(loader["parameters"], text_of(folder / OVERRIDES) or "")
    bring_up_to_date(folder, OVERRIDES, overrides, check=check, command=COMMAND)
    bring_up_to_date(folder, STAGES, _text(loader, folder), check=check, command=COMMAND)


def _text(loader: AbstractConfigLoader, folder: Path) -> str:
    use_cases = read_use_cases(loader["parameters"])
    project = Project(
        folder=folder,
        use_cases=use_cases,
        pipelines={
            name: {phase: create(name, use_case) for phase, create in PHASES.items()}
            for name, use_case in use_cases.items()
        },
        catalog=CatalogConfigResolver(loader["catalog"], default_runtime_patterns=MEMORY),
    )
    return dvc_text(project)


@click.command()
@use_case_option
@click.option("--version", required=True, metavar="V", help="Its number, or name of its bundle.")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    help="New folder for it; by default everything goes where the catalog has it.",
)
@env_option
def checkout(use_case: str, version: str, to: Path | None, env: str | None) -> None:
    """Restore data and model of a version from DVC, also in a fresh clone.

    What serves stays, and so does a raw file that is there.
    """
    if to is not None and to.exists() and any(to.iterdir()):
        raise UserError(f"--to: {to} is not empty")
    loader, project = project_loader(env)
    versions = _versions(loader, project)
    pointer = find_version(versions, _registry(env), use_case, version)
    with TemporaryDirectory(dir=versions.folder, prefix=".") as temporary:
        folder = Path(temporary) / "version"
        versions.fetch(pointer, folder)
        about = json.loads((folder / VERSION_FILE).read_text(encoding="utf-8"))
        _check(folder, about)
        if to is None:
            placed = _put_into_project(folder, about, loader, project)
        else:
            with atomic_write(to, replace=False) as partial:
                shutil.move(folder, partial)
            placed = [str(to)]
    click.echo("\n".join([_version_text(about), *placed, *_raw_file_notes(about, loader, project)]))


@click.command()
@click.option("--use-case", "-u", help="Name of the use case; all by default.")
@env_option
def push(use_case: str | None, env: str | None) -> None:
    """Copy all versions that DVC has to its remote; what is there already is not sent again."""
    loader, project = project_loader(env)
    versions = _versions(loader, project)
    all_pointers = [p for name in versions.use_cases() for p in versions.pointers(name)]
    pointers = [pointer for pointer in all_pointers if use_case in (None, pointer.use_case)]
    if not pointers:
        raise UserError(f"there are no versions in {versions.folder}: `kedro run` makes them")
    remote, pushed = versions.push(pointers)
    if remote is None:
        raise UserError("no remote is configured: `dvc remote add --default NAME URL`")
    if (registry := _registry(env)) is not None:
        for name in {pointer.use_case for pointer in pushed}:
            bundles = {p.bundle for p in pushed if p.use_case == name}
            for version in registry.versions(name):
                if version.bundle in bundles:
                    registry.set_tags(name, version.number, {REMOTE_TAG: remote})
    others = len(pointers) - len(pushed)
    note = f"; {others} were made elsewhere, and are not in the cache here" if others else ""
    click.echo(f"the remote '{remote}' has a copy of {len(pushed)} versions{note}")


def _versions(loader: AbstractConfigLoader, project: Path) -> VersionStore:
    versions = VersionStore(project / loader["versioning"]["folder"], project)
    if not versions.exists:
        raise UserError(
            f"{versions.folder} is no DVC repository: docs/how-to/version-data-and-models.md"
        )
    return versions


def _registry(env: str | None) -> Registry | None:
    """The registry; None in a fresh clone, whose database was not made yet."""
    try:
        return open_registry(env)
    except UserError:
        return None


def _check(folder: Path, about: Mapping[str, Any]) -> None:
    """Make sure that what came back is the version that was registered."""
    from ratchet.bundle.reader import open_bundle  # loads scikit-learn

    digest = open_bundle(folder / BUNDLE_FOLDER).digest
    if about["digest"] and digest != about["digest"]:
        raise UserError(
            f"the bundle of version {about['version']} of {about['use_case']} has the digest "
            f"{digest}, and was registered with {about['digest']}: nothing was changed"
        )


def _put_into_project(
    folder: Path, about: Mapping[str, Any], loader: AbstractConfigLoader, project: Path
) -> list[str]:
    """Move the files of a version to the places that the catalog has for them."""
    targets: dict[str, Path] = {}
    for dataset, path in about["files"].items():
        target = _path(loader, project, dataset)
        if target is None:
            raise UserError(f"the catalog has no file for {dataset}: take --to FOLDER")
        if path.startswith("01_raw/") and target.exists():
            if target.read_bytes() != (folder / path).read_bytes():
                raise UserError(
                    f"{os.path.relpath(target)} is another file than that of version "
                    f"{about['version']}: move it away, or take --to FOLDER"
                )
            continue
        targets[path] = target
    bundles = _path(loader, project, "registry")
    if bundles is not None and not (bundles / about["use_case"] / about["bundle"]).exists():
        targets[BUNDLE_FOLDER] = bundles / about["use_case"] / about["bundle"]
    for path, target in targets.items():
        with atomic_write(target) as partial:
            shutil.move(folder / path, partial)  # maybe from another disk
    return [f"  {os.path.relpath(target)}" for target in targets.values()]


def _path(loader: AbstractConfigLoader, project: Path, dataset: str) -> Path | None:
    """File of a dataset as the catalog has it."""
    resolver = CatalogConfigResolver(
        loader["catalog"], default_runtime_patterns={"{default}": {"type": "MemoryDataset"}}
    )
    path = resolver.resolve_pattern(dataset).get("filepath")
    return None if path is None else project / path


def _version_text(about: Mapping[str, Any]) -> str:
    code = about["code_commit"]
    origin = f"{about['use_case']}, version {about['version']} of {about['created_at']}"
    return f"{origin}, made by commit {code}" if code else origin


def _raw_file_notes(
    about: Mapping[str, Any], loader: AbstractConfigLoader, project: Path
) -> list[str]:
    """What to know of a raw file that is had from elsewhere."""
    raw = about["raw"]
    if raw is None:
        return ["The rows that it was made with were not kept: a later run had replaced them."]
    if f"{about['use_case']}.raw" in about["files"]:
        return []
    path = _path(loader, project, f"{about['use_case']}.raw")
    same = path is not None and path.is_file() and file_origin(path)["sha256"] == raw["sha256"]
    state = "as it is here" if same else "which is not here: `make setup` at its commit fetches it"
    return [f"Its raw file is {raw['file']} of the package {raw['package']}, {state}."]
