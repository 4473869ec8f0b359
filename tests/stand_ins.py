"""Databases, and a registry that needs no MLflow server, for tests of what serves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from ratchet.registry.registry import Registry


class Page(list[Any]):
    """One page of what a search finds."""

    token: str | None = None


class Store:
    """The part of ``MlflowClient`` that the registry uses, in memory.

    ``before`` is called before everything that writes, so that a test can stop it there.
    """

    tracking_uri = "sqlite:///memory"

    def __init__(self) -> None:
        self.models: dict[str, Any] = {}
        self.before: Callable[[str], None] = lambda what: None

    def get_registered_model(self, name: str) -> Any:
        if name not in self.models:
            raise MlflowException(f"no {name}", RESOURCE_DOES_NOT_EXIST)
        return self.models[name]

    def search_registered_models(self, _: str, page_token: str | None = None) -> Page:
        return _page(list(self.models.values()), page_token)

    def search_model_versions(self, condition: str, page_token: str | None = None) -> Page:
        model = self.models.get(condition.split("'")[1])
        return _page([] if model is None else list(model.versions.values()), page_token)

    def create_registered_model(self, name: str) -> None:
        self.before("create_registered_model")
        self.models[name] = SimpleNamespace(
            name=name, aliases={}, tags={}, versions={}, numbers=count(1)
        )

    def create_model_version(
        self, name: str, source: str, run_id: str | None, tags: dict[str, str]
    ) -> Any:
        self.before("create_model_version")
        version = next(self.models[name].numbers)
        made = SimpleNamespace(
            version=version, source=source, run_id=run_id, tags=tags, creation_timestamp=version
        )
        self.models[name].versions[version] = made
        return made

    def delete_registered_model(self, name: str) -> None:
        del self.models[name]

    def delete_model_version(self, name: str, version: str) -> None:
        self.before("delete_model_version")
        model = self.models[name]
        del model.versions[int(version)]
        model.aliases = {a: at for a, at in model.aliases.items() if str(at) != version}

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self.before("set_model_version_tag")
        self.models[name].versions[int(version)].tags[key] = value

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self.before("set_registered_model_alias")
        if int(version) not in self.models[name].versions:
            raise MlflowException(f"no version {version}", RESOURCE_DOES_NOT_EXIST)
        self.models[name].aliases[alias] = int(version)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self.before("delete_registered_model_alias")
        del self.models[name].aliases[alias]

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self.before("set_registered_model_tag")
        self.models[name].tags[key] = value


def _page(found: list[Any], token: str | None) -> Page:
    """Two at a time, so that whoever forgets the next page is found out."""
    start = int(token or 0)
    page = Page(found[start : start + 2])
    page.token = str(start + 2) if start + 2 < len(found) else None
    return page


def _make_bundle(registry: Registry, name: str, use_case: str = "films") -> Path:
    folder = registry.bundles / use_case / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(f'{{"name": "{name}"}}')
    return folder


def _check(folder: Path) -> None:
    """A bundle without a manifest does not answer."""
    if not (folder / "manifest.json").is_file():
        raise ValueError("manifest.json is missing")


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    """Make a folder that looks like a bundle."""
    return _make_bundle


@pytest.fixture(scope="session")
def check() -> Callable[[Path], None]:
    """Opens a bundle."""
    return _check


@pytest.fixture(scope="session")
def in_memory() -> Callable[[Path], Registry]:
    """Make a registry in memory, with its bundles in a folder."""

    def make(folder: Path) -> Registry:
        registry = Registry(Store.tracking_uri, folder, "sqlite://")
        registry.client = Store()  # type: ignore[assignment]
        return registry

    return make


@pytest.fixture
def registry(in_memory: Callable[[Path], Registry], tmp_path: Path) -> Registry:
    """A registry in memory."""
    return in_memory(tmp_path / "bundles")


@pytest.fixture
def mlflow_registry(empty_mlflow: Callable[[Path], Path], tmp_path: Path) -> Registry:
    """A registry in MLflow on SQLite."""
    return Registry(f"sqlite:///{empty_mlflow(tmp_path / 'mlflow.db')}", tmp_path / "bundles")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: Callable[[], str] = request.getfixturevalue("postgresql")
    return server()
