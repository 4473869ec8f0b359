"""``kedro ratchet keys``: who may ask the service for what."""

from __future__ import annotations

import json

import click

from ratchet.commands.serve import service_settings
from ratchet.project_context import env_option


@click.group()
def keys() -> None:
    """Make, list and revoke keys of the service.

    As soon as there is one, nobody gets in without.
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
    from ratchet.serving.keys import add_key

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
    from ratchet.serving.keys import read_keys

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
    from ratchet.serving.keys import revoke_key

    revoke_key(service_settings(env).keys_file, name)
    click.echo(f"{name} has no key any more")
