"""``kedro ratchet reproduce``: does the same come out twice?"""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
from kedro.config import MissingConfigException

from ratchet.config import loader_here, read_use_cases
from ratchet.errors import UserError
from ratchet.learning.files import write_text

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader

    from ratchet.commands.comparison import Difference, Results

PIPELINES = "understanding,preprocessing,classical,recurrent,evaluation"
HASH_SEEDS = (1, 2)

_KEPT, _SHOWN = 200, 10  # differences in the report, and on the screen


class NotComparedError(click.ClickException):
    """There are no two results to compare."""

    exit_code = 2


@dataclass(frozen=True)
class Asked:
    """What is to be run, as ``kedro run`` takes it."""

    use_case: str
    env: str
    pipelines: str
    params: str


@click.command()
@click.option("--use-case", "-u", required=True, help="Use case to run twice.")
@click.option("--env", "-e", help="Environment of the configuration, as for `kedro run`.")
@click.option(
    "--pipelines", default=PIPELINES, show_default=True, help="What to run; ends in evaluation."
)
@click.option("--params", default="", help="Parameters of the run, as for `kedro run`.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Empty folder for what the runs write; without it they write into a temporary one.",
)
def reproduce(
    use_case: str, env: str | None, pipelines: str, params: str, keep: Path | None
) -> None:
    """Run a use case twice and compare metrics and predictions bit by bit.

    The runs are processes of their own and share no search. The exit code is 0 where both came out
    the same, 1 where they differ, and 2 where they could not be compared.
    """
    asked = Asked(use_case, env or os.environ.get("KEDRO_ENV") or "local", pipelines, params)
    try:
        with TemporaryDirectory(prefix="ratchet-") as temporary:
            folder = _empty(keep) if keep else Path(temporary)
            differences = run_twice(asked, folder.resolve())
    except (UserError, MissingConfigException) as error:
        raise NotComparedError(str(error)) from error
    raise SystemExit(1 if differences else 0)


def _empty(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"--keep: {folder} is not empty")
    return folder


def run_twice(asked: Asked, folder: Path) -> list[Difference]:
    """Run twice, write the report, and tell what differs.

    Args:
        asked: what to run.
        folder: empty folder for the files of the runs.

    Raises:
        UserError: a run failed, or something that both had to share changed between them.
    """
    from ratchet.commands import conditions
    from ratchet.commands.comparison import compare

    loader, project = loader_here(asked.env)
    known = read_use_cases(loader["parameters"])
    if asked.use_case not in known:
        raise UserError(
            f"--use-case: no use case '{asked.use_case}'; there are {', '.join(sorted(known))}"
        )
    before = conditions.shared(loader, project, asked.use_case)
    results, runs = [], []
    for place, hash_seed in zip(("first", "second"), HASH_SEEDS, strict=True):
        found, seconds = _run(asked, loader, project, folder / place, hash_seed)
        results.append(found)
        runs.append({"hash_seed": hash_seed, "seconds": seconds, **_described(found)})
    if before != conditions.shared(loader, project, asked.use_case):
        raise UserError("code, configuration or data changed during the runs: start again")
    differences = compare(*results)
    report = {
        **asdict(asked),
        "seed": conditions.seed(loader, asked.params),
        **before,
        **conditions.surroundings(project),
        "runs": runs,
    }
    path = project / loader["globals"]["paths"]["reporting"] / asked.use_case
    _write(path / "reproducibility.json", report, differences)
    _show(asked.use_case, runs, differences)
    click.echo(f"Report: {os.path.relpath(path / 'reproducibility.json')}")
    return differences


def _run(
    asked: Asked, loader: AbstractConfigLoader, project: Path, folder: Path, hash_seed: int
) -> tuple[Results, float]:
    from ratchet.commands import elsewhere
    from ratchet.commands.comparison import read_results

    click.echo(f"{asked.use_case}: {folder.name} run ... ", nl=False)
    place = elsewhere.Elsewhere(project, folder, asked.env)
    copied = elsewhere.copy_configuration(place, loader)
    elsewhere.check_nothing_escapes(copied["catalog"], place)
    command = place.command(asked.use_case, asked.pipelines, asked.params)
    seconds = elsewhere.run(place, command, hash_seed=hash_seed)
    click.echo(f"{seconds:.0f} s")
    return read_results(place.path("model_output") / asked.use_case), round(seconds, 1)


def _described(results: Results) -> dict[str, Any]:
    return {
        **{f"{what}_sha256": digest for what, digest in results.hashes().items()},
        "rows": len(results.predictions),
        "chosen": dict(results.chosen),
    }


def _write(path: Path, content: dict[str, Any], differences: list[Difference]) -> None:
    report = {
        "equal": not differences,
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        **content,
        "n_differences": len(differences),
        "differences": [difference.to_json() for difference in differences[:_KEPT]],
    }
    write_text(path, json.dumps(report, indent=2))


def _show(use_case: str, runs: list[dict[str, Any]], differences: list[Difference]) -> None:
    from rich.console import Console
    from rich.table import Table

    targets = runs[0]["chosen"]
    rows = {
        "metrics": [run["metrics_sha256"][:16] for run in runs],
        "predictions": [run["predictions_sha256"][:16] for run in runs],
        **{f"chosen for {name}": [run["chosen"].get(name) for run in runs] for name in targets},
    }
    table = Table("", "first run", "second run", "same", title=f"{use_case}, run twice")
    for name, (first, second) in rows.items():
        table.add_row(name, first, second, "yes" if first == second else "NO")
    Console(width=120, highlight=False).print(table)
    for difference in differences[:_SHOWN]:
        click.echo(f"  {_told(difference)}")
    if len(differences) > _SHOWN:
        click.echo(f"  ... and {len(differences) - _SHOWN} more, see the report")


def _told(difference: Difference) -> str:
    size = "" if difference.size is None else f", {difference.size:.3g} apart"
    rows = "" if difference.rows is None else f" ({difference.rows} rows, most in {difference.row})"
    return f"{difference.where}: {difference.first} and {difference.second}{size}{rows}"
