"""``kedro ratchet manifest``: what the DAGs of Airflow are drawn from."""

from __future__ import annotations

from pathlib import Path

import click
from kedro.config import MissingConfigException

from ratchet.commands.generated_files import bring_up_to_date
from ratchet.config.loader import loader_here, read_use_cases, remember
from ratchet.errors import ConfigError
from ratchet.project_context import env_option

MANIFEST = "dags/manifest.json"


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; say whether the file is up to date.")
@env_option
def manifest(check: bool, env: str | None) -> None:
    """Write dags/manifest.json, from which Airflow draws the DAGs, anew.

    Needed after a change of use cases, of candidates or of airflow.yml.
    """
    text, project = _text(env)
    bring_up_to_date(project, MANIFEST, text, check=check, command="kedro ratchet manifest")


def _text(env: str | None) -> tuple[str, Path]:
    from ratchet.airflow import build_manifest, manifest_text, read_settings
    from ratchet.pipeline_registry import register_pipelines

    loader, project = loader_here(env)
    try:
        config = loader["airflow"]
    except MissingConfigException:
        raise ConfigError("there is no airflow.yml in conf/: docs/reference/dags.md") from None
    use_cases = read_use_cases(loader["parameters"])
    settings = read_settings(config, use_cases)
    remember(loader, project)
    catalog = {
        name: str(entry["filepath"])
        for name, entry in loader["catalog"].items()
        if isinstance(entry, dict) and "filepath" in entry
    }
    return manifest_text(
        build_manifest(settings, use_cases, register_pipelines(), catalog)
    ), project
