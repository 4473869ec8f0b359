"""``kedro ratchet export``: the models that serve, in a folder for a container."""

from __future__ import annotations

from pathlib import Path

import click

from ratchet.project_context import env_option, open_registry


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--use-case", "-u", "use_cases", multiple=True, help="Name of a use case; all by default."
)
@env_option
def export(folder: Path, use_cases: tuple[str, ...], env: str | None) -> None:
    """Copy the models that serve into a folder that a container can serve.

    FOLDER has their bundles, and the decisions about them, afterwards. The service answers from it
    with the setting models.
    """
    from ratchet.registry.export import export_models

    registry = open_registry(env)
    for name in use_cases:
        open_registry(env, name)  # refuses a name that is unknown
    names = use_cases or registry.ledger.use_cases()
    for each in export_models(registry, folder, names):
        others = "".join(f", version {version}" for version in each.others)
        click.echo(f"{each.use_case}: version {each.champion}{others}")
    click.echo(f"Serve them: RATCHET_MODELS={folder} python -m ratchet.serving")
