"""``kedro ratchet replay``: what a policy would have done on past Sundays."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ratchet import config, progress
from ratchet.commands.files import write_text
from ratchet.commands.place import use_case_option
from ratchet.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:
    import pandas as pd
    from kedro.config import AbstractConfigLoader

    from ratchet.commands.replay_stages import Stages
    from ratchet.params import UseCase
    from ratchet.replay import Incident, Policy, Walk, World

ENV = "replay"
CANDIDATES = ("ridge", "logistic", "hist_gradient_boosting")
"""What is trained unless others are named: quick, and no worse than most."""

_LOG_WIDTH = 140
_POLICY_KEYS = ("release", "monitoring")

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class Asked:
    """What is to be replayed.

    Attributes:
        use_case: its name.
        sundays: days on which models are trained in any case.
        until: last day whose rows are answered.
        candidates: candidates and networks that are tried.
        policies: files of further policies.
        incidents: file of what goes wrong.
        env: environment of the configuration.
        jobs: trainings at the same time.
    """

    use_case: str
    sundays: tuple[pd.Timestamp, ...]
    until: pd.Timestamp
    candidates: tuple[str, ...]
    policies: tuple[Path, ...]
    incidents: Path | None
    env: str
    jobs: int


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
@click.option("--candidates", help=f"What is trained; {','.join(CANDIDATES)} by default.")
@click.option("--incidents", type=_file, help="YAML of what goes wrong.")
@click.option("--env", "-e", default=ENV, show_default=True, help="Environment: small grids.")
@click.option("--jobs", type=click.IntRange(min=1), help="Trainings at a time; a core each.")
def replay(
    use_case: str,
    first: str,
    last: str,
    every: str,
    files: tuple[Path, ...],
    candidates: str | None,
    incidents: Path | None,
    env: str,
    jobs: int | None,
) -> None:
    """Walk through past Sundays: train as of that day, gate, serve, watch, roll back.

    The configured policy is compared with those of the files, with never and always taking the new
    model, with bare thresholds, and with the best in hindsight. The report goes to
    data/replay/<use case>/report.html and .json. What was trained is kept: the same command goes
    on where it was stopped, and another policy trains nothing.
    """
    sundays, until = read_days(first, last, every)
    names = tuple(part.strip() for part in (candidates or "").split(",") if part.strip())
    asked = Asked(
        use_case=use_case,
        sundays=sundays,
        until=until,
        candidates=names,
        policies=files,
        incidents=incidents,
        env=env,
        jobs=jobs or os.cpu_count() or 1,
    )
    try:
        page = run(asked)
    except KeyboardInterrupt:
        progress.stop()
        click.echo("Interrupted; run the same command again to continue", err=True)
        raise SystemExit(130) from None
    click.echo(f"Report: {os.path.relpath(page)}")


def read_days(first: str, last: str, every: str) -> tuple[tuple[pd.Timestamp, ...], pd.Timestamp]:
    """Sundays from one day on, each with a full week before the last day is over.

    Raises:
        UserError: a day or the distance cannot be read, or there is no week between the days.
    """
    import pandas as pd

    def day(option: str, text: str) -> pd.Timestamp:
        try:
            return pd.Timestamp(dt.date.fromisoformat(text))
        except ValueError:
            raise UserError(f"{option}: expected a date such as 2014-07-06, got {text!r}") from None

    days = re.fullmatch(r"([1-9]\d*)d", every.strip().lower())
    if days is None:
        raise UserError(f"--every: expected whole days such as 7d, got {every!r}")
    step = pd.Timedelta(days=int(days[1]))
    start, end = day("--from", first), day("--to", last)
    sundays = pd.date_range(start, end - step, freq=step)
    if sundays.empty:
        raise UserError(f"--to: {end.date()} is less than {step.days} days after {start.date()}")
    return tuple(sundays), sundays[-1] + step


def run(asked: Asked) -> Path:
    """Replay, write the report, and show it in short.

    Returns:
        The page.

    Raises:
        UserError: something in the arguments or the configuration cannot be used, or nothing could
            be trained at all.
    """
    from ratchet.commands.replay_page import render
    from ratchet.replay import policies, report

    loader, project = config.loader_here(asked.env)
    place, use_case = _place(asked, loader, project)
    others = {path.stem: read_policy(path, asked.use_case, use_case) for path in asked.policies}
    if len(others) < len(asked.policies):
        raise UserError("--policy: two files of the same name cannot be told apart")
    rivals = policies(use_case, others)
    check_names(rivals)
    incidents = _read_incidents(asked.incidents)
    stages = _stages(asked, loader, project, place, use_case, incidents)
    world, walks = walk_through(asked, stages, rivals, incidents)
    found = {
        **{"use_case": asked.use_case, "title": use_case.about.title, "env": asked.env},
        **{"from": str(asked.sundays[0].date()), "to": str(asked.until.date())},
        "trained": sorted({n for t in use_case.targets.values() for n in t.contenders}),
        "files": {path.stem: _read_yaml(path) for path in asked.policies},
        **report(world, walks),
    }
    page = stages.folder / "report.html"
    write_text(page.with_suffix(".json"), json.dumps(found, indent=2) + "\n")
    write_text(page, render(found))
    _show(found)
    return page


def _place(asked: Asked, loader: AbstractConfigLoader, project: Path) -> tuple[Any, UseCase]:
    """Where models are trained, with the parameters that restrict it to some candidates."""
    from ratchet.commands.place import check_environment
    from ratchet.commands.replay_training import Place

    check_environment(loader)
    known = config.read_use_cases(loader["parameters"])
    if asked.use_case not in known:
        raise UserError(f"--use-case: no use case '{asked.use_case}'; there are {', '.join(known)}")
    use_case = known[asked.use_case]
    if use_case.data.time is None:
        raise UserError(f"{asked.use_case}: rows without data.time have no past to be replayed")
    if use_case.release.refit != "none":
        raise UserError(
            f"parameter {asked.use_case}.release.refit: a replay judges models as they were "
            f"trained; set it to none in conf/{asked.env}"
        )
    only = _only(asked.candidates, known, asked.use_case)
    restricted = config.read_use_cases(_merged(loader["parameters"], only))[asked.use_case]
    config.check_functions({asked.use_case: restricted})
    config.check_bundles({asked.use_case: restricted})
    config.check_searches({asked.use_case: restricted})
    threads = {"targets": {name: {"n_jobs": 1} for name in restricted.targets}}
    params = _merged(only, {asked.use_case: threads} if asked.jobs > 1 else {})
    return (
        Place(str(project), asked.env, asked.use_case, json.dumps(params, sort_keys=True)),
        restricted,
    )


def _only(names: Sequence[str], known: Mapping[str, UseCase], use_case: str) -> dict[str, Any]:
    """Parameters that leave out all candidates but some; by default the quick ones."""
    targets = known[use_case].targets.values()
    there = [name for target in targets for name in target.trained_candidates]
    quick = [name for name in CANDIDATES if name in there]
    return config.only_candidates({use_case: known[use_case]}, names or quick or there)


def _merged(first: Any, second: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    merged = OmegaConf.to_container(OmegaConf.merge(first, second))
    assert isinstance(merged, dict)
    return {str(name): value for name, value in merged.items()}


def read_policy(path: Path, name: str, use_case: UseCase) -> UseCase:
    """The parameters of a use case with the policy of a file.

    Args:
        path: YAML with ``release`` and ``monitoring`` as a parameter file has them, of which only
            what differs has to be there.
        name: name of the use case.
        use_case: its parameters.

    Raises:
        ConfigError: the file, or a key in it, cannot be used; names both.
    """
    from pydantic import ValidationError

    from ratchet.params import UseCase

    content = _read_yaml(path)
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"{path}: expected the keys {' and '.join(_POLICY_KEYS)}, or one of them")
    if unknown := [key for key in content if key not in _POLICY_KEYS]:
        raise ConfigError(f"{path}: {unknown}: a policy has the keys {list(_POLICY_KEYS)} alone")
    now = use_case.model_dump(mode="python")
    try:
        found = UseCase.model_validate({**now, **_merged(_part(now), dict(content))})
        config.check_metrics({name: found})
    except ValidationError as error:
        raise ConfigError(f"{path}: {config.explain(name, error)}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if found.release.refit != "none":
        raise ConfigError(f"{path}: release.refit: a replay judges models as they were trained")
    return found


def check_names(policies: Sequence[Policy]) -> None:
    """Make sure that every policy has a name of its own, by which its numbers are kept.

    Raises:
        UserError: a file is named like a policy that is always there.
    """
    names = [policy.name for policy in policies]
    if taken := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--policy: there is a policy named {taken} already: rename the file")


def _part(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: parameters[key] for key in _POLICY_KEYS}


def _read_incidents(path: Path | None) -> tuple[Incident, ...]:
    from ratchet.replay import read_incidents

    return () if path is None else read_incidents(_read_yaml(path), str(path))


def _read_yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML: {' '.join(str(error).split())}") from error


def _stages(
    asked: Asked,
    loader: AbstractConfigLoader,
    project: Path,
    place: Any,
    use_case: UseCase,
    incidents: Sequence[Incident],
) -> Stages:
    """The stages of this past, with the rows as incidents have left them."""
    from kedro.framework.session import KedroSession

    from ratchet.commands.replay_stages import Stages
    from ratchet.preparation import typed_rows
    from ratchet.replay.incidents import changed_rows

    session: Any = KedroSession.create(project, env=asked.env)
    with session:
        raw = session.load_context().catalog.load(f"{asked.use_case}.raw")
    typed = typed_rows(raw, use_case.data, dict(use_case.targets))
    days = typed[use_case.data.time].dt.normalize()
    if not days.min() < asked.sundays[0] < asked.until <= days.max():
        raise DataError(
            f"--from, --to: the rows of {asked.use_case} are from {days.min().date()} to "
            f"{days.max().date()}, and the replay was to be from {asked.sundays[0].date()} to "
            f"{asked.until.date()}"
        )
    seed = int(loader["parameters"]["seed"])
    return Stages(
        place=place,
        use_case=use_case,
        typed=changed_rows(typed, use_case.data, incidents, seed),
        folder=project / loader["globals"]["paths"]["replay"] / asked.use_case,
        seed=seed,
        jobs=asked.jobs,
    )


def walk_through(
    asked: Asked, stages: Stages, policies: Sequence[Policy], incidents: tuple[Incident, ...]
) -> tuple[World, list[Walk]]:
    """Let every policy walk; what one asks for between Sundays is trained, and it begins anew.

    Raises:
        UserError: nothing could be trained on any Sunday.
    """
    from ratchet.replay import MissingStageError, World, walk

    days = set(asked.sundays)
    while True:
        _bring(stages, sorted(days))
        world = World(
            use_case=stages.use_case,
            stages={day: _befallen(stages, day, incidents) for day in sorted(days)},
            sundays=asked.sundays,
            until=asked.until,
            seed=stages.seed,
            incidents=incidents,
        )
        troubles = [stage.trouble for stage in world.stages.values()]
        if all(troubles):
            raise UserError(f"no model could be trained on any day: {troubles[-1]}")
        walks, missing = [], set()
        for policy in policies:
            try:
                walks.append(walk(world, policy))
            except MissingStageError as error:
                missing.add(error.day)
        if not missing:
            return world, walks
        days |= missing


def _befallen(stages: Stages, day: pd.Timestamp, incidents: Sequence[Incident]) -> Any:
    from dataclasses import replace

    from ratchet.replay.incidents import befallen

    stage, targets = stages.load(day), dict(stages.use_case.targets)
    models = tuple(befallen(model, incidents, targets) for model in stage.challengers)
    return replace(stage, challengers=models)


def _bring(stages: Stages, days: Sequence[pd.Timestamp]) -> None:
    """Train what is missing, and say how far it is."""
    bars = progress.start() if progress.wanted() else None
    task = bars.add_task("trainings", total=len(days)) if bars else None
    try:
        for done, total, day in stages.bring(days):
            if bars and task is not None:
                bars.update(task, completed=done)
            elif day:
                click.echo(f"trained as of {day} ({done} of {total})")
    finally:
        progress.stop()


def _show(found: Mapping[str, Any]) -> None:
    from rich import get_console
    from rich.console import Console
    from rich.table import Table

    from ratchet.commands import replay_words as words

    table = Table(*words.columns(found), title=words.title(found))
    for policy in found["policies"]:
        table.add_row(*words.overview(found, policy))
    terminal = get_console()
    # A pipe or a log has no width of its own.
    console = terminal if terminal.is_terminal else Console(width=_LOG_WIDTH)
    console.print(table)
    console.print(words.verdict(found), markup=False, highlight=False)
