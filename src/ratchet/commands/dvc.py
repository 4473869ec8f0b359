"""``kedro ratchet dvc``: the pipelines as stages of DVC."""

from __future__ import annotations

from pathlib import Path

import click

from ratchet.config import loader_here, read_use_cases
from ratchet.errors import UserError

STAGES = "dvc.yaml"
MEMORY = {"{default}": {"type": "MemoryDataset"}}
"""What Kedro takes for a dataset that the catalog does not name."""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; say whether the file is up to date.")
def dvc(check: bool) -> None:
    """Write dvc.yaml, which says what `dvc repro` runs, anew.

    Needed after a change of use cases, candidates, the catalog, or of what a phase imports. It goes
    by conf/base alone, so that it is the same for everybody.
    """
    text, project = _text()
    path = project / STAGES
    if path.exists() and path.read_text(encoding="utf-8") == text:
        click.echo(f"{STAGES} is up to date")
    elif check:
        raise UserError(f"{STAGES} is stale: write it anew with `kedro ratchet dvc`")
    else:
        part = path.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
        click.echo(f"{STAGES} is written")


def _text() -> tuple[str, Path]:
    from kedro.io import CatalogConfigResolver

    from ratchet.orchestration.stages import Project, dvc_text
    from ratchet.pipeline_registry import PHASES

    loader, folder = loader_here("base")
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
    return dvc_text(project), folder
