"""``kedro ratchet promote``, ``rollback``, ``hold``, ``trial``: decisions that a person takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ratchet.config import UseCase
from ratchet.config.loader import project_loader, read_use_cases
from ratchet.errors import UserError
from ratchet.hooks.mlflow_runs import find_project_run
from ratchet.primary_metric import primary_metric
from ratchet.project_context import (
    env_option,
    load_output,
    open_catalog,
    open_registry,
    renamed,
    use_case_option,
)
from ratchet.provenance import actor
from ratchet.registry import actions
from ratchet.registry.ledger import Entry
from ratchet.registry.registry import Registry

if TYPE_CHECKING:
    from ratchet.monitoring.trial import Trial

_HOUR = 3600

to_option = click.option("--to", "version", metavar="VERSION", help="Number of the version.")


def _not_empty(_: click.Context, __: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("a reason is needed: it is recorded in the ledger")
    return value


reason_option = click.option(
    "--reason", required=True, callback=_not_empty, help="Why; goes into the ledger."
)


@click.command()
@use_case_option
@to_option
@reason_option
@click.option(
    "--no-rollback-target",
    is_flag=True,
    help="Also where the version that serves now could not be brought back.",
)
@click.option("--no-way-back", is_flag=True, hidden=True, callback=renamed("--no-rollback-target"))
@env_option
def promote(
    use_case: str,
    version: str | None,
    reason: str,
    no_rollback_target: bool,
    no_way_back: bool,
    env: str | None,
) -> None:
    """Let a version serve: the newest candidate, or the one that is named."""
    from ratchet.bundle.smoke_test import run_smoke_test

    registry = open_registry(env, use_case)
    before = registry.ledger.state(use_case).seq
    entry = actions.promote(
        *(registry, use_case, version),
        reason=reason,
        actor=actor(),
        check=run_smoke_test,
        need_rollback_target=not (no_rollback_target or no_way_back),
    )
    click.echo(describe_decision(entry, before))


@click.command()
@use_case_option
@to_option
@reason_option
@env_option
def rollback(use_case: str, version: str | None, reason: str, env: str | None) -> None:
    """Let an earlier version serve again; the present one goes into quarantine."""
    from ratchet.bundle.smoke_test import run_smoke_test

    registry = open_registry(env, use_case)
    before = registry.ledger.state(use_case).seq
    entry = actions.roll_back(
        registry, use_case, version, reason=reason, actor=actor(), check=run_smoke_test
    )
    click.echo(describe_decision(entry, before))


@click.command()
@use_case_option
@reason_option
@click.option("--judged", is_flag=True, help="About the challenger that the gate has just judged.")
@env_option
def hold(use_case: str, reason: str, judged: bool, env: str | None) -> None:
    """Record the decision to keep everything as it is, and why."""
    catalog, _ = open_catalog(env, use_case)
    version, details = None, {}
    if judged:
        one = load_output(catalog, f"{use_case}.verdicts", "judge_challengers")[-1]
        version = one["version"]
        details = {key: one[key] for key in ("verdict", "digest", "candidates")}
    entry = actions.hold(
        catalog.load("registry"),
        use_case,
        version,
        reason=reason,
        actor=actor(),
        details=details,
    )
    _note_decision(use_case, env, f"HOLD: {entry.reason}")
    click.echo(
        f"hold (decision {entry.seq}): version {entry.champion or 'none'} of {use_case} serves"
    )


@click.command()
@use_case_option
@click.option("--version", help="The challenger; by default the latest that answers in a trial.")
@click.option(
    "--share",
    type=float,
    help="Share of a split that the challenger should answer; by default that of the answers.",
)
@click.option(
    "--planned", type=int, help="Days after which it ends; by default release.trial.days, or any."
)
@click.option("--json", "as_json", is_flag=True, help="All figures, for other programs.")
@click.option("--promote", is_flag=True, help="Let the challenger serve if it is better.")
@env_option
def trial(
    use_case: str,
    version: str | None,
    share: float | None,
    planned: int | None,
    as_json: bool,
    promote: bool,
    env: str | None,
) -> None:
    """Compare a challenger with the champion, by answers whose truth is known.

    May be called every day: the bounds hold for all days at once, so that of challengers that are
    as good as the champion at most one in twenty is ever called better or worse.
    """
    from ratchet.monitoring.trial import LEAST_DAYS  # loads SciPy

    if share is not None and not 0 < share < 1:
        raise click.BadParameter("expected a share between 0 and 1", param_hint="--share")
    if planned is not None and planned < LEAST_DAYS:
        raise click.BadParameter(f"expected at least {LEAST_DAYS} days", param_hint="--planned")
    registry = open_registry(env, use_case)
    parameters = read_use_cases(project_loader(env)[0]["parameters"])[use_case]
    result = read_trial(registry, use_case, parameters, version, share=share, planned=planned)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        click.echo("\n".join(_describe_trial(result)))
    if promote and result.verdict == "better":
        click.echo(_promote_better(registry, use_case, result), err=as_json)


def read_trial(
    registry: Registry,
    use_case: str,
    parameters: UseCase,
    version: str | None = None,
    *,
    share: float | None = None,
    planned: int | None = None,
) -> Trial:
    """The present result of the trial of a use case.

    Raises:
        UserError: nothing serves, or no challenger has answered beside it.
    """
    from ratchet.monitoring.prediction_log import PredictionLog
    from ratchet.monitoring.trial import find_trial

    champion = registry.champion(use_case)
    if champion is None:
        raise UserError(f"{use_case}: no version serves yet, and so none is beside it")
    name, metric = primary_metric(parameters)
    configured = parameters.release.trial
    result = find_trial(
        PredictionLog(registry.ledger.engine).rows(use_case, name),
        *(champion, parameters.targets[name], metric),
        name=name,
        version=version,
        share=share,
        planned=planned or (configured.days if configured else None),
    )
    if result is None:
        which = f"version {version}" if version else "no challenger"
        raise UserError(
            f"{use_case}: {which} has answered beside version {champion}: the service lets the "
            f"newest challenger answer in its shadow (shadow: true in conf/*/serving.yml)"
        )
    return result


def _describe_trial(result: Trial) -> list[str]:
    lines = [result.headline(), result.figures()]
    lines += [f"{guard.name}: {guard.summary()}" for guard in result.guards]
    if result.sample_ratio is not None:
        lines.append(result.sample_ratio.summary())
    return lines


def _promote_better(registry: Registry, use_case: str, result: Trial) -> str:
    """Let the challenger serve, after a smoke test of both versions."""
    from ratchet.bundle.smoke_test import run_smoke_test

    before = registry.ledger.state(use_case).seq
    champion, challenger = result.versions
    entry = actions.promote(
        *(registry, use_case, challenger),
        reason=f"better in a trial beside version {champion}: {result.figures()}",
        actor=actor(),
        check=run_smoke_test,
    )
    return describe_decision(entry, before)


def describe_decision(entry: Entry, before: int) -> str:
    """What has changed, if anything."""
    when = f"{entry.at:%Y-%m-%d %H:%M:%S} UTC"
    if entry.seq <= before:
        return (
            f"version {entry.champion} of {entry.use_case} serves already (decision {entry.seq}, "
            f"{when}); nothing was changed"
        )
    seconds = (datetime.now(UTC) - entry.at).total_seconds()
    # Where the clock of an earlier decision was ahead, this one's time is no time.
    lag = f", its alias {seconds:.2f} s after the decision" if 0 <= seconds < _HOUR else ""
    failed = (
        f"version {entry.details['failed']} is in quarantine; " if "failed" in entry.details else ""
    )
    return (
        f"version {entry.champion} of {entry.use_case} serves (decision {entry.seq}){lag}; "
        f"{failed}the rollback target is "
        f"{'version ' + entry.previous if entry.previous else 'none'}"
    )


def _note_decision(use_case: str, env: str | None, text: str) -> None:
    """Let the MLflow run of the DAG run say what was decided; there may be none yet."""
    if run := find_project_run(env, make=True):
        run.client.set_tag(run.run_id, f"decision.{use_case}", text)
