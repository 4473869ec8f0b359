"""Where the commands find the registry, and which use cases there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.config import AbstractConfigLoader
from kedro.io import DatasetError

from ratchet.config.loader import loader_here, read_use_cases
from ratchet.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ratchet.config import UseCase
    from ratchet.registry.registry import Registry

REGISTRY = "ratchet.datasets.RegistryDataset"

env_option = click.option("--env", "-e", help="Environment whose configuration is used.")
use_case_option = click.option("--use-case", "-u", required=True, help="Name of the use case.")


def open_registry(env: str | None = None, use_case: str | None = None) -> Registry:
    """The registry of the project we stand in, as its catalog has it.

    Args:
        env: environment; Kedro's default otherwise.
        use_case: make sure that it exists.

    Raises:
        UserError: the catalog has no registry, its database was not made yet, or there is no such
            use case; says what to do.
    """
    loader, project = loader_here(env)
    check_environment(loader)
    registry = _registry(loader, project)
    _check_database(registry, project)
    if use_case is not None:
        _check_use_case(use_case, registry, loader)
    return registry


def open_catalog(env: str | None, use_case: str) -> tuple[Any, UseCase]:
    """The catalog of the project we stand in, and the parameters of a use case.

    Raises:
        UserError: there is no such environment or use case.
    """
    from kedro.framework.session import KedroSession

    loader, project = loader_here(env)
    check_environment(loader)
    use_cases = read_use_cases(loader["parameters"])
    if use_case not in use_cases:
        raise UserError(f"no use case '{use_case}'; there are {', '.join(sorted(use_cases))}")
    session: Any = KedroSession.create(project, env=env)
    with session:
        return session.load_context().catalog, use_cases[use_case]


def load_output(catalog: Any, name: str, node: str) -> Any:
    """Load what a node of the latest run has written.

    Raises:
        UserError: it is not there yet, or cannot be read.
    """
    if not catalog.exists(name):
        raise UserError(f"there is no {name} yet: the node {node} writes it in a `kedro run`")
    try:
        return catalog.load(name)
    except DatasetError as error:
        raise UserError(f"{name} cannot be read: {error}") from error


def check_environment(loader: AbstractConfigLoader) -> None:
    """Make sure that the environment exists.

    Raises:
        UserError: it does not; says which there are.
    """
    conf = Path(loader.conf_source)
    if loader.env and not (conf / loader.env).is_dir():
        there = sorted(path.name for path in conf.glob("*") if path.is_dir())
        raise UserError(f"no environment '{loader.env}'; there are {', '.join(there)}")


def _check_use_case(use_case: str, registry: Registry, loader: AbstractConfigLoader) -> None:
    # One that was taken out of the parameters has its history still.
    known = set(registry.ledger.use_cases())
    if use_case in known:
        return  # reading the parameters takes longer than rolling back
    known |= {name for name, value in loader["parameters"].items() if isinstance(value, Mapping)}
    if use_case not in known:
        raise UserError(f"no use case '{use_case}'; there are {', '.join(sorted(known))}")


def registry_entry(loader: AbstractConfigLoader) -> dict[str, Any]:
    """What the catalog says of the registry: ``tracking_uri``, and the ``filepath`` of bundles.

    Raises:
        ConfigError: there is none.
    """
    entries: dict[str, Any] = loader["catalog"]
    found = [entry for entry in entries.values() if _type(entry) == REGISTRY]
    if not found:
        raise ConfigError(f"the catalog has no dataset of type {REGISTRY}: where are the versions?")
    return dict(found[0])


def _registry(loader: AbstractConfigLoader, project: Path) -> Registry:
    from ratchet.datasets.registry import RegistryDataset

    entry = registry_entry(loader)
    registry: Registry = RegistryDataset(
        path=str(project),
        tracking_uri=entry["tracking_uri"],
        filepath=str(project / entry["filepath"]),
    ).load()
    return registry


def _type(entry: Any) -> str | None:
    return entry.get("type") if isinstance(entry, Mapping) else None


def _check_database(registry: Registry, project: Path) -> None:
    """An SQLite file that is opened would be made, empty."""
    url = registry.ledger.engine.url
    if url.get_backend_name() != "sqlite" or not url.database or Path(url.database).is_file():
        return
    path = Path(url.database)
    name = path.relative_to(project) if path.is_relative_to(project) else path
    if known := registry.checkpoint.read():
        lost = ", ".join(f"{use_case} to decision {each.seq}" for use_case, each in known.items())
        raise UserError(
            f"the database {name} is gone; {registry.checkpoint.path} knows of {lost}: bring the "
            f"database back from a copy, or delete that file to begin anew"
        )
    raise UserError(f"nothing was decided yet, for there is no {name}: `kedro run` makes it")
