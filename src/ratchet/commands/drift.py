"""``kedro ratchet drift``: drift of the newest rows, or of rows that a scenario has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from ratchet.config.loader import project_loader, read_use_cases
from ratchet.errors import UserError
from ratchet.json_values import json_or_null
from ratchet.learning.atomic_files import atomic_write, write_text
from ratchet.project_context import (
    env_option,
    find_use_case,
    open_context,
    open_registry,
    use_case_option,
)

if TYPE_CHECKING:
    from ratchet.frames import DataFrame
    from ratchet.monitoring.drift import DriftReport
    from ratchet.production.drift_check import DriftCheck

_SHOWN = 12  # columns in the table


@click.command()
@use_case_option
@click.option("--scenario", metavar="NAME", help="Change the inputs as the parameters name it.")
@click.option("--version", metavar="VERSION", help="A version; by default the one that serves.")
@env_option
def drift(use_case: str, scenario: str | None, version: str | None, env: str | None) -> None:
    """Compare the newest rows with those that the champion was trained on.

    With --scenario the rows of its test time are changed first, and scored with and without. The
    report goes to data/08_reporting/<use case>/drift_<scenario>.json and .png, without scenario to
    drift_window. Ends with 3 where the severity is MEDIUM and with 4 where it is HIGH.
    """
    from ratchet.production.unlearned_rows import newest_drift, scenario_drift

    check, folder = _open_check(use_case, version, env)
    content, report, current = (
        newest_drift(check) if scenario is None else scenario_drift(check, scenario)
    )
    stem = folder / f"drift_{scenario or 'window'}"
    shown = stem.relative_to(Path.cwd()) if stem.is_relative_to(Path.cwd()) else stem
    _write(stem, {"use_case": use_case, "scenario": scenario, **content}, report, check, current)
    named = ", ".join(check.now.bundle.manifest["candidates"].values())
    _print(f"{use_case} ({named})", scenario, content, report)
    click.echo(f"\nMore in {shown}.json and {stem.name}.png")
    raise SystemExit(report.exit_code)


def _open_check(name: str, version: str | None, env: str | None) -> tuple[DriftCheck, Path]:
    """Rows of today as a bundle sees them, and where reports go."""
    from ratchet.bundle.scoring_frame import scoring_frame
    from ratchet.production.drift_check import DriftCheck

    loader, project = project_loader(env)
    use_case = find_use_case(read_use_cases(loader["parameters"]), name)
    registry = open_registry(env, name)
    number = version or registry.champion(name)
    if number is None:
        raise UserError(f"{name}: no version serves; `kedro run` ends with the first")
    bundle = registry.open_bundle(name, number)
    context = open_context(project, env)
    params, catalog = context.params, context.catalog
    raw, measured = catalog.load(f"{name}.raw"), catalog.load(f"{name}.measured")
    reporting = project / loader["globals"]["paths"]["reporting"] / name
    now = scoring_frame(bundle, raw, params.get("as_of"), measured)
    return DriftCheck(now, use_case, int(params["seed"])), reporting


def _write(
    stem: Path,
    content: Mapping[str, object],
    report: DriftReport,
    check: DriftCheck,
    current: DataFrame,
) -> None:
    from ratchet.reports.drift_figures import draw

    bundle = check.now.bundle
    model = {"bundle": bundle.folder.name, "candidates": bundle.manifest["candidates"]}
    plain = json_or_null({**content, **model, "drift": report.to_json()})
    text, picture = (stem.with_name(f"{stem.name}.{end}") for end in ("json", "png"))
    write_text(text, json.dumps(plain, indent=2) + "\n")
    with atomic_write(picture) as partial:
        partial.write_bytes(draw(report, check.now.bundle.reference, current))


def _print(
    title: str, scenario: str | None, content: Mapping[str, Any], report: DriftReport
) -> None:
    console = Console(soft_wrap=True)
    if "effect" in content:
        console.print(_effect_table(scenario or "", content["effect"]))
    console.print(_column_table(title, report))
    error = [] if report.error is None or report.error.worse else [report.error.text]
    for reason in [*report.reasons, *error]:
        console.print(f"- {reason}", markup=False)


def _effect_table(scenario: str, effect: Mapping[str, Any]) -> Any:
    table = Table("target", "metric", "as it is", "changed", title=f"Scores with {scenario}")
    for name, target in effect.items():
        for metric, scores in target["metrics"].items():
            before, after = (_interval(scores[when]) for when in ("before", "after"))
            table.add_row(name, metric, before, after)
        table.add_row(name, "rows without an answer", "0", str(target["unanswered"]))
    return table


def _interval(score: Mapping[str, float]) -> str:
    return f"{score['value']:.4g} ({score['low']:.4g} to {score['high']:.4g})"


def _column_table(of: str, report: DriftReport) -> Any:
    title = f"Drift of {of}: {report.severity}, {report.rows['current']} rows"
    table = Table("column", "moved", "p", "what", title=title)
    for name, column in list(report.columns.items())[:_SHOWN]:
        table.add_row(name, "yes" if column.moved else "", f"{column.p_value:.2g}", column.text)
    joint = report.joint
    table.add_row("(together)", "yes" if joint.moved else "", f"{joint.p_value:.2g}", joint.text)
    return table
