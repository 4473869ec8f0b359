"""Registered versions in MLflow: reading, checking where their bundles are, and creating them."""

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
BUNDLE_TAG = "bundle"
"""Tag of a version: name of its folder."""
DIGEST_TAG = "digest"
"""Tag of a version, and detail of a decision: SHA-256 of the bundle's manifest."""

_FOLDER_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Version:
    """One registered version.

    Attributes:
        number: its number in the registry, as text.
        bundle: name of its folder; empty where there is a ``fault``.
        folder: its folder, which may be missing.
        created: when it was registered (UTC).
        run_id: MLflow run that made it.
        tags: its tags in MLflow.
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


def registered_models(client: MlflowClient) -> dict[str, RegisteredModel]:
    """Use case -> its model, for all that have one."""
    pages = _pages(client.search_registered_models, f"name LIKE '{PREFIX}%'")
    return {model.name.removeprefix(PREFIX): model for model in pages}


def registered_model(client: MlflowClient, use_case: str) -> RegisteredModel | None:
    """The model of a use case; None where nothing was registered yet."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(model_name(use_case))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def versions_of(client: MlflowClient, use_case: str, bundles: Path) -> list[Version]:
    """All versions of a use case, oldest first.

    The folder is found by its name, so that the project may move. A tag can be edited: one that is
    not the name of a folder, is not where the version was registered from, or is that of another
    version too, is a ``fault``.
    """
    entities = _pages(client.search_model_versions, f"name = '{model_name(use_case)}'")
    versions = [_version(entity, bundles / use_case) for entity in entities]
    claims = Counter(version.bundle for version in versions if version.bundle)
    shared = "its tag '{}' names {!r}, as that of another version does"
    versions = [
        _without_bundle(version, shared.format(BUNDLE_TAG, version.bundle))
        if claims[version.bundle] > 1
        else version
        for version in versions
    ]
    return sorted(versions, key=lambda version: int(version.number))


def _version(entity: Any, bundles: Path) -> Version:
    bundle = entity.tags.get(BUNDLE_TAG, "")
    version = Version(
        number=str(entity.version),
        bundle=bundle,
        folder=bundles / (bundle or "unknown"),
        created=datetime.fromtimestamp(entity.creation_timestamp / 1000, UTC),
        run_id=entity.run_id or None,
        tags=entity.tags,
    )
    tag = f"its tag '{BUNDLE_TAG}'"
    if bundle and not _FOLDER_NAME.fullmatch(bundle):
        return _without_bundle(version, f"{tag} is {bundle!r}, which is no bundle's name")
    origin = unquote((entity.source or bundle).rstrip("/").rpartition("/")[2])
    if bundle != origin:
        return _without_bundle(
            version, f"{tag} names {bundle!r}, and it was registered from {origin!r}"
        )
    return version


def _without_bundle(version: Version, fault: str) -> Version:
    """The version without a folder: the one that its tag names may be another version's."""
    nowhere = version.folder.parent / f".no-bundle-{version.number}"
    return replace(version, bundle="", folder=nowhere, fault=fault)


def create_version(
    client: MlflowClient, use_case: str, folder: Path, tags: Mapping[str, Any], run_id: str | None
) -> str:
    """Register a bundle, and the model where it is the first one; give the version's number."""
    name = model_name(use_case)
    if registered_model(client, use_case) is None:
        client.create_registered_model(name)
    # A server refuses paths on the disks of its clients.
    remote = client.tracking_uri.startswith("http")
    source = f"bundle://{use_case}/{folder.name}" if remote else folder.resolve().as_uri()
    texts = {**{key: str(value) for key, value in tags.items()}, BUNDLE_TAG: folder.name}
    return str(client.create_model_version(name, source, run_id=run_id, tags=texts).version)


def _pages(search: Callable[..., Any], condition: str) -> Iterator[Any]:
    """Everything that a search finds, page by page."""
    token = None
    while True:
        page = search(condition, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
