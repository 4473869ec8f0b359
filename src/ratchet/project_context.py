"""Where the commands find the registry, and which use cases there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from kedro.config import AbstractConfigLoader
from kedro.framework.session import KedroSession
from kedro.io import DatasetError

from ratchet.config.kedro_loader import only_use_cases
from ratchet.config.loader import project_loader, read_use_cases
from ratchet.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ratchet.config import UseCase
    from ratchet.registry.registry import Registry

OfUseCase = TypeVar("OfUseCase")

REGISTRY = "ratchet.datasets.RegistryDataset"

env_option = click.option("--env", "-e", help="Environment whose configuration is used.")
use_case_option = click.option("--use-case", "-u", required=True, help="Name of the use case.")
json_option = click.option("--json", "as_json", is_flag=True, help="One line of JSON.")


def renamed(option: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Callback of an option's old spelling, which goes on working: says on stderr what to write."""

    def warn(_: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value:
            click.echo(f"DeprecationWarning: {parameter.opts[0]} is called {option} now", err=True)
        return value

    return warn


def open_registry(env: str | None = None, use_case: str | None = None) -> Registry:
    """The registry of the project we stand in, as its catalog has it.

    Args:
        env: environment; Kedro's default otherwise.
        use_case: make sure that it exists.

    Raises:
        UserError: the catalog has no registry, its database was not made yet, or there is no such
            use case; says what to do.
    """
    loader, project = project_loader(env)
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
    loader, project = project_loader(env)
    check_environment(loader)
    with only_use_cases([use_case]):
        parameters = find_use_case(read_use_cases(loader["parameters"]), use_case)
        return open_context(project, env).catalog, parameters


def open_context(project: Path, env: str | None, **options: Any) -> Any:
    """The ``KedroContext`` of a new session.

    Args:
        project: the project folder.
        env: environment; Kedro's default otherwise.
        options: further arguments of ``KedroSession.create``.
    """
    session: Any = KedroSession.create(project, env=env, **options)
    with session:
        return session.load_context()


def find_use_case(use_cases: Mapping[str, OfUseCase], name: str) -> OfUseCase:
    """The entry of a use case by its name.

    Raises:
        UserError: there is none of that name; says which there are.
    """
    if name not in use_cases:
        raise UserError(f"no use case '{name}'; there are {', '.join(sorted(use_cases))}")
    return use_cases[name]


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
        existing = sorted(path.name for path in conf.glob("*") if path.is_dir())
        raise UserError(f"no environment '{loader.env}'; there are {', '.join(existing)}")


def _check_use_case(use_case: str, registry: Registry, loader: AbstractConfigLoader) -> None:
    # One that was taken out of the parameters has its history still.
    decided = dict.fromkeys(registry.ledger.use_cases())
    if use_case in decided:
        return  # reading the parameters takes longer than rolling back
    named = {name for name, value in loader["parameters"].items() if isinstance(value, Mapping)}
    find_use_case(decided | dict.fromkeys(named), use_case)


def registry_entry(loader: AbstractConfigLoader) -> Mapping[str, Any]:
    """What the catalog says of the registry: where decisions and bundles are.

    Raises:
        ConfigError: there is none.
    """
    entries: Mapping[str, Any] = loader["catalog"]
    for entry in entries.values():
        if isinstance(entry, Mapping) and entry.get("type") == REGISTRY:
            return entry
    raise ConfigError(f"the catalog has no dataset of type {REGISTRY}: where are the versions?")


def _registry(loader: AbstractConfigLoader, project: Path) -> Registry:
    from ratchet.datasets.stores import RegistryDataset

    entry = registry_entry(loader)
    registry: Registry = RegistryDataset(
        path=str(project),
        tracking_uri=entry["tracking_uri"],
        database_url=entry.get("database_url"),
        filepath=str(project / entry["filepath"]),
    ).load()
    return registry


def _check_database(registry: Registry, project: Path) -> None:
    """An SQLite file that is opened would be made, empty."""
    url = registry.ledger.engine.url
    if url.get_backend_name() != "sqlite" or not url.database or Path(url.database).is_file():
        return
    path = Path(url.database)
    shown = path.relative_to(project) if path.is_relative_to(project) else path
    if recorded := registry.checkpoint.read():
        lost = ", ".join(f"{name} to decision {each.seq}" for name, each in recorded.items())
        raise UserError(
            f"the database {shown} is gone; {registry.checkpoint.path} knows of {lost}: bring the "
            f"database back from a copy, or delete that file to start over"
        )
    raise UserError(f"nothing was decided yet, for there is no {shown}: `kedro run` makes it")
