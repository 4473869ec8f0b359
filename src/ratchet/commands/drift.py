"""``kedro ratchet drift``: have the inputs moved, and what would it do if they did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ratchet.config.loader import loader_here, read_use_cases
from ratchet.errors import UserError
from ratchet.learning.files import atomic_write, write_text
from ratchet.project_context import env_option, open_registry, use_case_option

if TYPE_CHECKING:
    from ratchet.monitoring.drift import DriftReport
    from ratchet.production.drift_check import DriftCheck

_SHOWN = 12  # columns in the table


@click.command()
@use_case_option
@click.option("--scenario", metavar="NAME", help="Change the inputs as the parameters name it.")
@click.option("--version", metavar="VERSION", help="A version; by default the one that serves.")
@env_option
def drift(use_case: str, scenario: str | None, version: str | None, env: str | None) -> None:
    """Compare the newest rows with those that the champion learned from.

    With --scenario the rows of its test time are changed first, and scored with and without. The
    report goes to data/08_reporting/<use case>/drift_<scenario>.json and .png, without scenario to
    drift_window. Ends with 3 where the severity is MEDIUM and with 4 where it is HIGH.
    """
    look, folder = _look(use_case, version, env)
    content, report, current = _newest(look) if scenario is None else _simulated(look, scenario)
    stem = folder / f"drift_{scenario or 'window'}"
    shown = stem.relative_to(Path.cwd()) if stem.is_relative_to(Path.cwd()) else stem
    _write(stem, {"use_case": use_case, "scenario": scenario, **content}, report, look, current)
    named = ", ".join(look.now.bundle.manifest["candidates"].values())
    _print(f"{use_case} ({named})", scenario, content, report)
    click.echo(f"\nMore in {shown}.json and {stem.name}.png")
    raise SystemExit(report.exit_code)


def _look(name: str, version: str | None, env: str | None) -> tuple[DriftCheck, Path]:
    """Rows of today as a bundle sees them, and where reports go."""
    from kedro.framework.session import KedroSession

    from ratchet.bundle.scoring_frame import scoring_frame
    from ratchet.production.drift_check import DriftCheck

    loader, project = loader_here(env)
    use_cases = read_use_cases(loader["parameters"])
    if name not in use_cases:
        raise UserError(f"--use-case: no use case '{name}'; there are {', '.join(use_cases)}")
    registry = open_registry(env, name)
    number = version or registry.champion(name)
    if number is None:
        raise UserError(f"{name}: no version serves; `kedro run` ends with the first")
    bundle = registry.open_bundle(name, number)
    with KedroSession.create(project, env=env) as session:
        context = session.load_context()  # type: ignore[attr-defined]
        raw, params = context.catalog.load(f"{name}.raw"), context.params
        measured = context.catalog.load(f"{name}.measured")
    reporting = project / loader["globals"]["paths"]["reporting"] / name
    now = scoring_frame(bundle, raw, params.get("as_of"), measured)
    return DriftCheck(now, use_cases[name], int(params["seed"])), reporting


def _simulated(look: DriftCheck, name: str) -> tuple[dict[str, Any], DriftReport, Any]:
    """What a scenario does to the scores, and what is found of it."""
    from ratchet.commands.drift_rows import UnlearnedRows
    from ratchet.monitoring.drift.effect import error_from_effect, scenario_effect
    from ratchet.primary_metric import primary_metric

    known = look.use_case.monitoring.drift.scenarios
    if name not in known:
        there = ", ".join(known) or "none; name some in monitoring.drift.scenarios"
        raise UserError(f"--scenario: no scenario '{name}'; there are {there}")
    rows, use_case = UnlearnedRows(look.now), look.now.bundle.use_case
    target, metric = primary_metric(use_case)
    changed = rows.changed(known[name], look.seed)
    effect = scenario_effect(
        look.now,
        changed,
        rows.predict,
        use_case.targets,
        horizon=use_case.features.horizon,
        seed=look.seed,
    )
    allowed = look.use_case.monitoring.watch.rollback_above
    current = rows.inputs(changed)
    before = look.compare(rows.inputs(look.now))
    report = look.compare(current, error=error_from_effect(effect[target], metric, allowed))
    content = {
        "change": known[name].model_dump(),
        "effect": effect,
        "without": {"severity": before.severity, "moved": before.moved},
    }
    return content, report, current


def _newest(look: DriftCheck) -> tuple[dict[str, Any], DriftReport, Any]:
    """What is found in the newest rows, and in the windows before them."""
    from ratchet.commands.drift_rows import UnlearnedRows, latest_windows

    window = look.use_case.monitoring.watch.window
    data, rows = look.now.bundle.use_case.data, UnlearnedRows(look.now).inputs(look.now)
    time = data.row_time if data.time else None
    windows = latest_windows(rows, window, look.drift.persistent, time)
    *earlier, report = look.follow(windows)
    return {"before": [part.severity for part in earlier]}, report, windows[-1]


def _write(
    stem: Path, content: Mapping[str, Any], report: DriftReport, look: DriftCheck, current: Any
) -> None:
    from ratchet.monitoring.comparison import jsonable
    from ratchet.reports.drift_figures import draw

    bundle = look.now.bundle
    model = {"bundle": bundle.folder.name, "candidates": bundle.manifest["candidates"]}
    plain = jsonable({**content, **model, "drift": report.to_json()})
    text, picture = (stem.with_name(f"{stem.name}.{end}") for end in ("json", "png"))
    write_text(text, json.dumps(plain, indent=2) + "\n")
    with atomic_write(picture) as partial:
        draw(report, look.now.bundle.reference, current).savefig(partial, dpi=110)


def _print(
    title: str, scenario: str | None, content: Mapping[str, Any], report: DriftReport
) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True)
    if "effect" in content:
        console.print(_effect_table(scenario or "", content["effect"]))
    console.print(_column_table(title, report))
    told = [] if report.error is None or report.error.worse else [report.error.text]
    for reason in [*report.reasons, *told]:
        console.print(f"- {reason}", markup=False)


def _effect_table(scenario: str, effect: Mapping[str, Any]) -> Any:
    from rich.table import Table

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
    from rich.table import Table

    title = f"Drift of {of}: {report.severity}, {report.rows['current']} rows"
    table = Table("column", "moved", "p", "what", title=title)
    for name, column in list(report.columns.items())[:_SHOWN]:
        table.add_row(name, "yes" if column.moved else "", f"{column.p_value:.2g}", column.text)
    joint = report.joint
    table.add_row("(together)", "yes" if joint.moved else "", f"{joint.p_value:.2g}", joint.text)
    return table
