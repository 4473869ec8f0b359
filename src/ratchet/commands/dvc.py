"""``kedro ratchet dvc``: the pipelines as stages of DVC."""

from __future__ import annotations

from pathlib import Path

import click
from kedro.config import AbstractConfigLoader

from ratchet.commands.generated_files import bring_up_to_date, text_of
from ratchet.config.loader import loader_here, read_use_cases

STAGES, COMMAND = "dvc.yaml", "kedro ratchet dvc"
MEMORY = {"{default}": {"type": "MemoryDataset"}}
"""What Kedro takes for a dataset that the catalog does not name."""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; say whether the files are up to date.")
def dvc(check: bool) -> None:
    """Write dvc.yaml, which says what `dvc repro` runs, anew.

    Needed after a change of use cases, candidates, the catalog, or of what a phase imports. It goes
    by conf/base alone, so that it is the same for everybody. What experiments change is kept.
    """
    from ratchet.dvc.parameters import OVERRIDES, overrides_text

    loader, folder = loader_here("base")
    overrides = overrides_text(loader["parameters"], text_of(folder / OVERRIDES) or "")
    bring_up_to_date(folder, OVERRIDES, overrides, check=check, command=COMMAND)
    bring_up_to_date(folder, STAGES, _text(loader, folder), check=check, command=COMMAND)


def _text(loader: AbstractConfigLoader, folder: Path) -> str:
    from kedro.io import CatalogConfigResolver

    from ratchet.dvc.stages import Project, dvc_text
    from ratchet.pipeline_registry import PHASES

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
    return dvc_text(project)
