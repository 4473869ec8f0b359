"""Versions of models as MLflow keeps them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

PREFIX = "ratchet-"
BUNDLE = "bundle"
"""Tag of a version: name of its folder."""
DIGEST = "digest"
"""Tag of a version, and detail of a decision: SHA-256 of the bundle's manifest."""

_FOLDER_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Version:
    """One registered version.

    Attributes:
        number: its number in the registry, as text.
        bundle: name of its folder; empty where ``fault`` says that the tag cannot be followed.
        folder: its folder, which may be missing.
        created: when it was registered (UTC).
        run_id: MLflow run that made it.
        tags: what was noted about it.
        fault: why its bundle cannot be found by the tag; empty where it can.
    """

    number: str
    bundle: str
    folder: Path
    created: datetime
    run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


def model_name(use_case: str) -> str:
    """Name of a use case's model in the registry."""
    return f"{PREFIX}{use_case}"


def models(client: MlflowClient) -> dict[str, RegisteredModel]:
    """Use case -> its model, for all that have one."""
    found = _pages(client.search_registered_models, f"name LIKE '{PREFIX}%'")
    return {model.name.removeprefix(PREFIX): model for model in found}


def model_of(client: MlflowClient, use_case: str) -> RegisteredModel | None:
    """The model of a use case, unless nothing was registered yet."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(model_name(use_case))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def versions_of(client: MlflowClient, use_case: str, bundles: Path) -> list[Version]:
    """All versions of a use case, oldest first.

    The folder is found by its name, so that it is found after the project has moved. A tag can be
    edited: one that is no name of a folder, is not where the version was registered from, or is
    shared with another version leads nowhere.
    """
    found = _pages(client.search_model_versions, f"name = '{model_name(use_case)}'")
    known = [_version(made, bundles / use_case) for made in found]
    claims = Counter(version.bundle for version in known)
    for place, version in enumerate(known):
        if version.bundle and claims[version.bundle] > 1:
            fault = f"its tag '{BUNDLE}' names {version.bundle!r}, as that of another version does"
            known[place] = _astray(version, fault)
    return sorted(known, key=lambda version: int(version.number))


def _version(made: Any, bundles: Path) -> Version:
    bundle = made.tags.get(BUNDLE, "")
    version = Version(
        number=str(made.version),
        bundle=bundle,
        folder=bundles / (bundle or "unknown"),
        created=datetime.fromtimestamp(made.creation_timestamp / 1000, UTC),
        run_id=made.run_id or None,
        tags=made.tags,
    )
    if bundle and not _FOLDER_NAME.fullmatch(bundle):
        return _astray(version, f"its tag '{BUNDLE}' is {bundle!r}, which is no bundle's name")
    origin = unquote((made.source or bundle).rstrip("/").rpartition("/")[2])
    if bundle != origin:
        told = f"its tag '{BUNDLE}' names {bundle!r}, and it was registered from {origin!r}"
        return _astray(version, told)
    return version


def _astray(version: Version, fault: str) -> Version:
    """The version without a way to any folder: what it names may belong to somebody else."""
    nowhere = version.folder.parent / f".no-bundle-{version.number}"
    return replace(version, bundle="", folder=nowhere, fault=fault)


def create_version(
    client: MlflowClient, use_case: str, folder: Path, tags: Mapping[str, Any], run_id: str | None
) -> str:
    """Register a bundle, and the model where it is the first one; give the version's number."""
    name = model_name(use_case)
    if model_of(client, use_case) is None:
        client.create_registered_model(name)
    # A server refuses paths on the disks of its clients.
    remote = client.tracking_uri.startswith("http")
    source = f"bundle://{use_case}/{folder.name}" if remote else folder.resolve().as_uri()
    noted = {**{key: str(value) for key, value in tags.items()}, BUNDLE: folder.name}
    return str(client.create_model_version(name, source, run_id=run_id, tags=noted).version)


def _pages(search: Callable[..., Any], condition: str) -> Iterator[Any]:
    """Everything that a search finds, page by page."""
    token = None
    while True:
        page = search(condition, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
