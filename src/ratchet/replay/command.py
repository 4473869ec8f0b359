"""``kedro ratchet replay``: its options, the report, and the table of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.utils import split_string
from rich.table import Table

from ratchet import progress
from ratchet.config.loader import project_loader
from ratchet.learning.atomic_files import write_text
from ratchet.project_context import use_case_option
from ratchet.replay import QUICK_CANDIDATES

if TYPE_CHECKING:
    from ratchet.replay.setup import ReplayRequest

ENV = "replay"

_LOG_WIDTH = 140

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@use_case_option
@click.option("--from", "first", required=True, metavar="DATE", help="The first Sunday.")
@click.option("--to", "last", required=True, metavar="DATE", help="Last day that is answered.")
@click.option("--every", default="7d", show_default=True, help="From one Sunday to the next.")
@click.option(
    "--policy",
    "files",
    multiple=True,
    type=_file,
    help="YAML with keys of `release` and `monitoring` that differ; may be repeated.",
)
@click.option(
    "--candidates",
    default="",
    callback=split_string,
    help=f"What is trained; {','.join(QUICK_CANDIDATES)} by default.",
)
@click.option("--incidents", type=_file, help="YAML of what goes wrong.")
@click.option("--env", "-e", default=ENV, show_default=True, help="Environment: small grids.")
@click.option("--jobs", type=click.IntRange(min=1), help="Trainings at a time; a core each.")
def replay(
    use_case: str,
    first: str,
    last: str,
    every: str,
    files: tuple[Path, ...],
    candidates: list[str],
    incidents: Path | None,
    env: str,
    jobs: int | None,
) -> None:
    """Backtest release policies on past Sundays: train, judge, serve, watch, roll back.

    The configured policy is compared with those of the files, with never and always taking the new
    model, with bare thresholds, and with the best in hindsight. The report goes to
    data/replay/<use case>/report.html and .json. What was trained is kept: the same command goes
    on where it was stopped, and another policy trains nothing.
    """
    from ratchet.replay.setup import ReplayRequest, read_days

    sundays, until = read_days(first, last, every)
    request = ReplayRequest(
        use_case=use_case,
        sundays=sundays,
        until=until,
        candidates=tuple(candidates),
        policies=files,
        incidents=incidents,
        env=env,
        jobs=jobs or os.cpu_count() or 1,
    )
    try:
        path = run(request)
    except KeyboardInterrupt:
        progress.stop()
        click.echo("Interrupted; run the same command again to continue", err=True)
        raise SystemExit(130) from None
    click.echo(f"Report: {os.path.relpath(path)}")


def run(request: ReplayRequest) -> Path:
    """Replay, write the report, and show it in short.

    Returns:
        The page.

    Raises:
        UserError: something in the arguments or the configuration cannot be used, or nothing could
            be trained at all.
    """
    from ratchet.replay import page
    from ratchet.replay.backtest import simulate
    from ratchet.replay.outcome import build_report
    from ratchet.replay.setup import (
        incidents_of,
        policies_of,
        read_yaml,
        stages_of,
        training_spec,
    )

    loader, project = project_loader(request.env)
    spec, use_case = training_spec(request, loader, project)
    policies = policies_of(request, use_case)
    incidents = incidents_of(request)
    stages = stages_of(request, loader, project, spec, use_case, incidents)
    history, backtests = simulate(request, stages, policies, incidents)
    report = {
        **{"use_case": request.use_case, "title": use_case.about.title, "env": request.env},
        **{"from": str(request.sundays[0].date()), "to": str(request.until.date())},
        "trained": sorted({n for t in use_case.targets.values() for n in t.all_candidates}),
        "files": {path.stem: read_yaml(path) for path in request.policies},
        **build_report(history, backtests),
    }
    path = stages.folder / "report.html"
    write_text(path.with_suffix(".json"), json.dumps(report, indent=2) + "\n")
    write_text(path, page.render(report))
    _print_summary(report)
    return path


def _print_summary(report: Mapping[str, Any]) -> None:
    from ratchet.replay import page

    table = Table(*page.columns(report), title=page.title(report))
    for policy in report["policies"]:
        table.add_row(*page.overview(report, policy))
    console = progress.console(_LOG_WIDTH)
    console.print(table)
    console.print(page.verdict(report), markup=False, highlight=False)
