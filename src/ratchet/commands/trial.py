"""``kedro ratchet trial``: how a challenger does beside the champion."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ratchet.commands.release import describe_decision
from ratchet.config.loader import loader_here, read_use_cases
from ratchet.errors import UserError
from ratchet.project_context import env_option, open_registry, use_case_option
from ratchet.provenance import actor

if TYPE_CHECKING:
    from ratchet.config import UseCase
    from ratchet.monitoring.trial import Trial
    from ratchet.registry.registry import Registry


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
    from ratchet.monitoring.trial import LEAST_DAYS

    if share is not None and not 0 < share < 1:
        raise click.BadParameter("expected a share between 0 and 1", param_hint="--share")
    if planned is not None and planned < LEAST_DAYS:
        raise click.BadParameter(f"expected at least {LEAST_DAYS} days", param_hint="--planned")
    registry = open_registry(env, use_case)
    parameters = read_use_cases(loader_here(env)[0]["parameters"])[use_case]
    result = read_trial(registry, use_case, parameters, version, share=share, planned=planned)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        click.echo("\n".join(_lines(result)))
    if promote and result.verdict == "better":
        click.echo(_promote(registry, use_case, result), err=as_json)


def read_trial(
    registry: Registry,
    use_case: str,
    parameters: UseCase,
    version: str | None = None,
    *,
    share: float | None = None,
    planned: int | None = None,
) -> Trial:
    """The trial of a use case as it stands.

    Raises:
        UserError: nothing serves, or no challenger has answered beside it.
    """
    from ratchet.monitoring.prediction_log import PredictionLog
    from ratchet.monitoring.trial import find_trial
    from ratchet.primary_metric import primary_metric

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


def _lines(result: Trial) -> list[str]:
    lines = [result.headline(), result.figures()]
    lines += [f"{guard.name}: {guard.summary()}" for guard in result.guards]
    if result.sample_ratio is not None:
        lines.append(result.sample_ratio.summary())
    return lines


def _promote(registry: Registry, use_case: str, result: Trial) -> str:
    """Let the challenger serve, after a smoke test of both versions."""
    from ratchet.bundle.smoke_test import run_smoke_test
    from ratchet.registry import actions

    before = registry.ledger.state(use_case).seq
    champion, challenger = result.versions
    entry = actions.promote(
        *(registry, use_case, challenger),
        reason=f"better in a trial beside version {champion}: {result.figures()}",
        actor=actor(),
        check=run_smoke_test,
    )
    return describe_decision(entry, before)
