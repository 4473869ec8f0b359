"""``kedro ratchet trial``: how a challenger does beside the champion."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ratchet.commands.place import env_option, registry_here, use_case_option
from ratchet.commands.release import outcome
from ratchet.commands.serve import settings_here
from ratchet.config import loader_here, read_use_cases
from ratchet.errors import UserError
from ratchet.provenance import actor

if TYPE_CHECKING:
    from ratchet.monitoring.trial import Compared, Trial
    from ratchet.release.registry import Registry

_WORDS = {
    "better": "the challenger is better",
    "worse": "the challenger is worse",
    "undecided": "nothing is decided yet",
}


@click.command()
@use_case_option
@click.option("--version", help="The challenger; by default the latest that answers in a trial.")
@click.option(
    "--share",
    type=float,
    help="Share of a split that the challenger should answer; by default that of serving.yml.",
)
@click.option("--planned", type=int, help="Days after which the trial ends; by default any day.")
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

    May be asked every day: the bounds hold for all days at once, so that of challengers that are as
    good as the champion at most one in twenty is ever called better or worse.
    """
    from ratchet.monitoring.trial import LEAST_DAYS

    if share is None:
        share = settings_here(env).split.get(use_case, 0.5)
    if not 0 < share < 1:
        raise click.BadParameter("expected a share between 0 and 1", param_hint="--share")
    if planned is not None and planned < LEAST_DAYS:
        raise click.BadParameter(f"expected at least {LEAST_DAYS} days", param_hint="--planned")
    registry = registry_here(env, use_case)
    found = look(registry, use_case, env, version, share=share, planned=planned)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        click.echo("\n".join(_lines(found)))
    if promote and found.verdict == "better":
        click.echo(_promote(registry, use_case, found), err=as_json)


def look(
    registry: Registry,
    use_case: str,
    env: str | None = None,
    version: str | None = None,
    *,
    share: float = 0.5,
    planned: int | None = None,
) -> Trial:
    """The trial of a use case as it stands.

    Raises:
        UserError: nothing serves, or no challenger has answered beside it.
    """
    from ratchet.monitoring.log_table import CHALLENGER, CHAMPION, SHADOW
    from ratchet.monitoring.prediction_log import PredictionLog
    from ratchet.monitoring.trial import compare_arms
    from ratchet.release.deciding import deciding

    known = read_use_cases(loader_here(env)[0]["parameters"])[use_case]
    champion = registry.champion(use_case)
    if champion is None:
        raise UserError(f"{use_case}: no version serves yet, and so none is beside it")
    name, metric = deciding(known)
    log = PredictionLog(registry.ledger.engine)
    rows = log.rows(use_case, name)
    beside = rows[rows["arm"].isin([SHADOW, CHALLENGER]) & (rows["version"] != champion)]
    if version is not None:
        beside = beside[beside["version"] == version]
    if beside.empty:
        which = f"version {version}" if version else "no challenger"
        raise UserError(
            f"{use_case}: {which} has answered beside version {champion}: the service lets the "
            f"newest challenger answer in its shadow (shadow: true in conf/*/serving.yml)"
        )
    latest = beside.sort_values("predicted_at").iloc[-1]
    return compare_arms(
        rows[(rows["version"] == champion) & (rows["arm"] == CHAMPION)],
        beside[(beside["version"] == latest["version"]) & (beside["arm"] == latest["arm"])],
        known.targets[name],
        metric,
        kind="shadow" if latest["arm"] == SHADOW else "split",
        name=name,
        versions=(champion, latest["version"]),
        share=share,
        planned=planned,
    )


def _lines(found: Trial) -> list[str]:
    champion, challenger = found.versions
    what = "the same rows" if found.kind == "shadow" else "rows of its own"
    lines = [
        f"version {challenger} beside version {champion}, on {what}: {_WORDS[found.verdict]}",
        f"{found.target}, by the losses of {found.metric}: {_told(found.loss)}; "
        f"{found.rows[0]} and {found.rows[1]} rows with truth",
    ]
    lines += [f"{guard.name}: {_told(guard)}" for guard in found.guards]
    if found.sample_ratio is not None:
        lines.append(f"rows of the arms are as they should be: p = {found.sample_ratio:.3g}")
    return lines


def _told(one: Compared) -> str:
    if not one.days:
        return "no day yet on which both have such answers"
    told = f"{one.champion:.4g} of the champion, {one.challenger:.4g} of the challenger"
    if one.low is None or one.high is None:
        return f"{told}; {one.days} days, too few to say more"
    return f"{told}; gain {one.gain:.3g} ({one.low:.3g} to {one.high:.3g}) over {one.days} days"


def _promote(registry: Registry, use_case: str, found: Trial) -> str:
    """Let the challenger serve, after a smoke test of both versions."""
    from ratchet.release import actions
    from ratchet.release.rehearsal import rehearse

    before = registry.ledger.state(use_case).seq
    entry = actions.promote(
        *(registry, use_case, found.versions[1]),
        reason=f"better in a trial beside version {found.versions[0]}: {_told(found.loss)}",
        actor=actor(),
        check=rehearse,
    )
    return outcome(entry, before)
