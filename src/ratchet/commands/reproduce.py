"""``kedro ratchet reproduce``: does the same come out twice?"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
from kedro.config import MissingConfigException

from ratchet.config.loader import loader_here, read_use_cases
from ratchet.errors import UserError
from ratchet.learning.files import write_text

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader

    from ratchet.commands.comparison import Difference, Results
    from ratchet.monitoring.measurements import Measurement

PIPELINES = "understanding,preprocessing,classical,recurrent,evaluation"
HASH_SEEDS = (1, 2)

_LISTED, _SHOWN = 200, 10  # differences in the report, and on the screen


class NotComparedError(click.ClickException):
    """There are no two results to compare."""

    exit_code = 2


@dataclass(frozen=True)
class Request:
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
    request = Request(use_case, env or os.environ.get("KEDRO_ENV") or "local", pipelines, params)
    try:
        with TemporaryDirectory(prefix="ratchet-") as temporary:
            folder = _empty(keep) if keep else Path(temporary)
            differences = run_twice(request, folder.resolve())
    except (UserError, MissingConfigException) as error:
        raise NotComparedError(str(error)) from error
    raise SystemExit(1 if differences else 0)


def _empty(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"--keep: {folder} is not empty")
    return folder


def run_twice(request: Request, folder: Path) -> list[Difference]:
    """Run twice, write the report, and tell what differs.

    Args:
        request: what to run.
        folder: empty folder for the files of the runs.

    Raises:
        UserError: a run failed, or something that both had to share changed between them.
    """
    from ratchet.commands import run_fingerprint
    from ratchet.commands.comparison import compare

    loader, project = loader_here(request.env)
    use_cases = read_use_cases(loader["parameters"])
    if request.use_case not in use_cases:
        raise UserError(
            f"--use-case: no use case '{request.use_case}'; there are "
            f"{', '.join(sorted(use_cases))}"
        )
    measured = read_measurements(loader, project, request.use_case)
    if measured:
        click.echo(f"{request.use_case}: both runs see {len(measured):,} measurements")
    before = run_fingerprint.fingerprint(loader, project, request.use_case)
    results, runs = [], []
    for place, hash_seed in zip(("first", "second"), HASH_SEEDS, strict=True):
        result, seconds = _run(request, loader, project, folder / place, hash_seed, measured)
        results.append(result)
        runs.append({"hash_seed": hash_seed, "seconds": seconds, **_described(result)})
    if before != run_fingerprint.fingerprint(loader, project, request.use_case):
        raise UserError("code, configuration or data changed during the runs: start again")
    differences = compare(*results)
    report = {
        **asdict(request),
        "seed": run_fingerprint.seed(loader, request.params),
        **before,
        "measurements": {"rows": len(measured), "sha256": _hash_of(measured)},
        **run_fingerprint.describe_environment(project),
        "runs": runs,
    }
    path = project / loader["globals"]["paths"]["reporting"] / request.use_case
    _write(path / "reproducibility.json", report, differences)
    _show(request.use_case, runs, differences)
    click.echo(f"Report: {os.path.relpath(path / 'reproducibility.json')}")
    return differences


def read_measurements(
    loader: AbstractConfigLoader, project: Path, use_case: str
) -> list[Measurement]:
    """What the service was handed in of a use case: training reads it as rows, too.

    It is read once, since the service may be handed in more between the two runs.
    """
    from ratchet.datasets import MeasurementsDataset

    catalog = loader["catalog"]
    entry = catalog.get(f"{use_case}.measured") or catalog.get("{use_case}.measured")
    if entry is None:
        return []
    options = {name: entry[name] for name in ("tracking_uri", "read") if name in entry}
    return MeasurementsDataset(use_case=use_case, path=str(project), **options).load()


def _write_measurements(measured: list[Measurement], url: str, use_case: str) -> None:
    """Put measurements into the database of a run, with the first values of corrected ones."""
    from ratchet.database import connect
    from ratchet.monitoring.measurements import Measurements

    engine = connect(url)
    store, now = Measurements(engine), dt.datetime.now(dt.UTC)
    first = [replace(one, fields={**one.fields, **one.first}) for one in measured]
    for rows in (first, measured):
        store.write(use_case, rows, at=now, source="reproduce")
    engine.dispose()


def _hash_of(measured: list[Measurement]) -> str | None:
    """SHA-256 of what was measured; ``None`` where nothing was."""
    rows = [
        [one.time.isoformat(), one.series, dict(one.fields), dict(one.first)] for one in measured
    ]
    text = json.dumps(rows, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest() if rows else None


def _run(
    request: Request,
    loader: AbstractConfigLoader,
    project: Path,
    folder: Path,
    hash_seed: int,
    measured: list[Measurement],
) -> tuple[Results, float]:
    from ratchet.commands import sandbox
    from ratchet.commands.comparison import read_results

    click.echo(f"{request.use_case}: {folder.name} run ... ", nl=False)
    place = sandbox.Sandbox(project, folder, request.env)
    copied = sandbox.copy_configuration(place, loader)
    sandbox.check_nothing_escapes(copied["catalog"], place)
    if measured:
        _write_measurements(measured, place.database_url, request.use_case)
    command = place.command(request.use_case, request.pipelines, request.params)
    seconds = sandbox.run(place, command, hash_seed=hash_seed)
    click.echo(f"{seconds:.0f} s")
    return read_results(place.path("model_output") / request.use_case), round(seconds, 1)


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
        "differences": [difference.to_json() for difference in differences[:_LISTED]],
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
        click.echo(f"  {_described_difference(difference)}")
    if len(differences) > _SHOWN:
        click.echo(f"  ... and {len(differences) - _SHOWN} more, see the report")


def _described_difference(difference: Difference) -> str:
    size = "" if difference.size is None else f", {difference.size:.3g} apart"
    rows = "" if difference.rows is None else f" ({difference.rows} rows, most in {difference.row})"
    return f"{difference.where}: {difference.first} and {difference.second}{size}{rows}"
