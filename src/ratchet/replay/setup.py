"""What is replayed: a use case with the candidates that are trained, and its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.config import loader as config_loader
from ratchet.config.kedro_loader import deep_merge
from ratchet.errors import DataError, UserError
from ratchet.project_context import check_environment
from ratchet.replay.stage_store import Stages
from ratchet.replay.training import Place

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader

    from ratchet.config import UseCase
    from ratchet.replay import Incident
    from ratchet.replay.request import Asked

CANDIDATES = ("ridge", "logistic", "hist_gradient_boosting")
"""What is trained unless others are named: quick, and no worse than most."""


def find_place(asked: Asked, loader: AbstractConfigLoader, project: Path) -> tuple[Place, UseCase]:
    """Where models are trained, with the parameters that restrict it to some candidates.

    Raises:
        UserError: there is no such environment or use case, or the use case cannot be replayed.
    """
    check_environment(loader)
    name, known = asked.use_case, config_loader.read_use_cases(loader["parameters"])
    only = _only(asked, _checked(asked, known))
    restricted = config_loader.read_use_cases(deep_merge(loader["parameters"], only))[name]
    config_loader.check_functions({name: restricted})
    config_loader.check_bundles({name: restricted})
    config_loader.check_searches({name: restricted})
    threads = {"targets": {target: {"n_jobs": 1} for target in restricted.targets}}
    params = deep_merge(only, {name: threads} if asked.jobs > 1 else {})
    return Place(str(project), asked.env, name, json.dumps(params, sort_keys=True)), restricted


def _checked(asked: Asked, known: Mapping[str, UseCase]) -> UseCase:
    """The use case, if it can be replayed."""
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
    return use_case


def _only(asked: Asked, use_case: UseCase) -> dict[str, Any]:
    """Parameters that leave out all candidates but some; by default the quick ones."""
    targets = use_case.targets.values()
    there = [name for target in targets for name in target.trained_candidates]
    quick = [name for name in CANDIDATES if name in there]
    return config_loader.only_candidates(
        {asked.use_case: use_case}, asked.candidates or quick or there
    )


def stages_of(
    asked: Asked,
    loader: AbstractConfigLoader,
    project: Path,
    place: Place,
    use_case: UseCase,
    incidents: Sequence[Incident],
) -> Stages:
    """The stages of this past, with the rows as incidents have left them.

    Raises:
        DataError: the rows do not reach over the days of the replay.
    """
    from kedro.framework.session import KedroSession

    from ratchet.dates import local
    from ratchet.preparation import typed_rows
    from ratchet.replay.incidents import changed_rows

    session: Any = KedroSession.create(project, env=asked.env)
    with session:
        raw = session.load_context().catalog.load(f"{asked.use_case}.raw")
    typed = typed_rows(raw, use_case.data, dict(use_case.targets))
    days = local(typed[use_case.data.time]).dt.normalize()
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
