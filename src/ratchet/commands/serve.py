"""``kedro ratchet serve`` and ``keys``: models that answer over HTTP, and who may ask them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from kedro.config import AbstractConfigLoader, MissingConfigException

from ratchet.config.loader import project_loader
from ratchet.database import database_url, tracking_uri
from ratchet.project_context import check_environment, env_option, registry_entry
from ratchet.serving.keys import add_key, read_keys, revoke_key
from ratchet.serving.settings import Settings, environment_settings, read_settings, variable

_PATHS = ("state", "keys_file", "model_output", "models")


@click.command()
@click.option("--host", help="Address to listen on; others than 127.0.0.1 need keys.")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--workers", type=int, help="Processes behind that port.")
@click.option("--metrics-port", type=int, help="A port of its own for the metrics.")
@click.option("--show-settings", is_flag=True, hidden=True, help="Print the settings as JSON.")
@env_option
def serve(
    host: str | None,
    port: int | None,
    workers: int | None,
    metrics_port: int | None,
    show_settings: bool,
    env: str | None,
) -> None:
    """Serve the models that the ledger says serve, until Ctrl-C.

    Settings are in conf/*/serving.yml. The process that serves holds neither Kedro nor pandas.
    """
    from ratchet.serving.child_processes import SETTINGS

    options = {"host": host, "port": port, "workers": workers, "metrics_port": metrics_port}
    settings = service_settings(
        env, {name: value for name, value in options.items() if value is not None}
    )
    if show_settings:  # of an environment, for a service that was started without Kedro
        click.echo(settings.model_dump_json())
        return
    environ = {**os.environ, SETTINGS: settings.model_dump_json()}
    os.execve(sys.executable, [sys.executable, "-m", "ratchet.serving"], environ)


def service_settings(env: str | None, given: Mapping[str, Any] | None = None) -> Settings:
    """Settings of the service of the project we stand in.

    Args:
        env: environment; Kedro's default otherwise.
        given: settings that go before those of the files.

    Raises:
        UserError: there is no such environment, the catalog has no registry, or a setting cannot
            be used.
    """
    loader, project = project_loader(env)
    check_environment(loader)
    variables = environment_settings(os.environ)
    variables.pop("database_url", None)  # the globals have it, if it applies
    configured = {**_of_project(loader, project), **_of_file(loader), **variables, **(given or {})}
    places = {name: variable(name) for name in variables}
    settings = read_settings(configured, "serving", places)
    folders = {
        name: project / path for name in _PATHS if (path := getattr(settings, name)) is not None
    }
    jobs = settings.jobs.model_copy(update={"folder": project / settings.jobs.folder})
    return settings.model_copy(update={**folders, "jobs": jobs, "env": env})


def _of_file(loader: AbstractConfigLoader) -> Mapping[str, object]:
    try:
        return dict(loader["serving"])
    except MissingConfigException:  # the defaults do
        return {}


def _of_project(loader: AbstractConfigLoader, project: Path) -> Mapping[str, object]:
    """Where versions and decisions are, and which use cases there may be."""
    entry = registry_entry(loader)
    uri = tracking_uri(entry["tracking_uri"], project)
    parameters = loader["parameters"]
    return {
        "database_url": database_url(uri, project, entry.get("database_url")),
        "tracking_uri": uri,
        "project": project,
        "model_output": loader["globals"]["paths"]["model_output"],
        "bundles": project / entry["filepath"],
        "use_cases": [name for name, value in parameters.items() if isinstance(value, Mapping)],
    }


@click.group()
def keys() -> None:
    """Make, list and revoke keys of the service.

    As soon as there is one, every request needs a key.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "-s",
    "scopes",
    multiple=True,
    required=True,
    help="What it is for: predict, observe, train or operate; several times for more.",
)
@env_option
def add(name: str, scopes: tuple[str, ...], env: str | None) -> None:
    """Make a key for NAME, who will be the actor of what is done with it.

    It is shown once.
    """
    path = service_settings(env).keys_file
    token = add_key(path, name, scopes)
    click.echo(token)
    click.echo(
        f"Key of {name}, for {', '.join(scopes)}. It is shown this once; {path.name} holds its "
        f"hash.\nUse: curl -H 'Authorization: Bearer KEY' ...",
        err=True,
    )


@keys.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@env_option
def list_(as_json: bool, env: str | None) -> None:
    """List the keys: names, scopes and days, never the keys themselves."""
    existing = read_keys(service_settings(env).keys_file)
    if as_json:
        content = [key.model_dump(mode="json", exclude={"sha256"}) for key in existing]
        click.echo(json.dumps(content, indent=2))
        return
    for key in existing:
        click.echo(f"{key.name}  {','.join(key.scopes)}  {key.created_at:%Y-%m-%d}")
    if not existing:
        click.echo("there are no keys: the service is for this machine alone")


@keys.command()
@click.argument("name")
@env_option
def revoke(name: str, env: str | None) -> None:
    """Take the key of NAME back; a service that runs refuses it within a second."""
    revoke_key(service_settings(env).keys_file, name)
    click.echo(f"{name} has no key any more")
