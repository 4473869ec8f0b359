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
from ratchet.replay.stage_store import StageStore
from ratchet.replay.training import TrainingSpec

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader

    from ratchet.config import UseCase
    from ratchet.replay import Incident
    from ratchet.replay.request import ReplayRequest

CANDIDATES = ("ridge", "logistic", "hist_gradient_boosting")
"""What is trained unless others are named: quick, and no worse than most."""


def training_spec(
    request: ReplayRequest, loader: AbstractConfigLoader, project: Path
) -> tuple[TrainingSpec, UseCase]:
    """Where models are trained, with the parameters that restrict it to some candidates.

    Raises:
        UserError: there is no such environment or use case, or the use case cannot be replayed.
    """
    check_environment(loader)
    name, known = request.use_case, config_loader.read_use_cases(loader["parameters"])
    only = _only(request, _checked(request, known))
    restricted = config_loader.read_use_cases(deep_merge(loader["parameters"], only))[name]
    config_loader.check_functions({name: restricted})
    config_loader.check_bundles({name: restricted})
    config_loader.check_searches({name: restricted})
    threads = {"targets": {target: {"n_jobs": 1} for target in restricted.targets}}
    params = deep_merge(only, {name: threads} if request.jobs > 1 else {})
    return TrainingSpec(
        str(project), request.env, name, json.dumps(params, sort_keys=True)
    ), restricted


def _checked(request: ReplayRequest, known: Mapping[str, UseCase]) -> UseCase:
    """The use case, if it can be replayed."""
    if request.use_case not in known:
        raise UserError(
            f"--use-case: no use case '{request.use_case}'; there are {', '.join(known)}"
        )
    use_case = known[request.use_case]
    if use_case.data.time is None:
        raise UserError(f"{request.use_case}: rows without data.time have no past to be replayed")
    if use_case.release.refit != "none":
        raise UserError(
            f"parameter {request.use_case}.release.refit: a replay judges models as they were "
            f"trained; set it to none in conf/{request.env}"
        )
    return use_case


def _only(request: ReplayRequest, use_case: UseCase) -> dict[str, Any]:
    """Parameters that leave out all candidates but some; by default the quick ones."""
    targets = use_case.targets.values()
    there = [name for target in targets for name in target.trained_candidates]
    quick = [name for name in CANDIDATES if name in there]
    return config_loader.only_candidates(
        {request.use_case: use_case}, request.candidates or quick or there
    )


def stages_of(
    request: ReplayRequest,
    loader: AbstractConfigLoader,
    project: Path,
    spec: TrainingSpec,
    use_case: UseCase,
    incidents: Sequence[Incident],
) -> StageStore:
    """The stages of this past, with the rows as incidents have left them.

    Raises:
        DataError: the rows do not reach over the days of the replay.
    """
    from kedro.framework.session import KedroSession

    from ratchet.dates import local
    from ratchet.preparation.contract import typed_rows
    from ratchet.replay.incidents import changed_rows

    session: Any = KedroSession.create(project, env=request.env)
    with session:
        raw = session.load_context().catalog.load(f"{request.use_case}.raw")
    typed = typed_rows(raw, use_case.data, use_case.targets)
    days = local(typed[use_case.data.time]).dt.normalize()
    if not days.min() < request.sundays[0] < request.until <= days.max():
        raise DataError(
            f"--from, --to: the rows of {request.use_case} are from {days.min().date()} to "
            f"{days.max().date()}, and the replay was to be from {request.sundays[0].date()} to "
            f"{request.until.date()}"
        )
    seed = int(loader["parameters"]["seed"])
    return StageStore(
        spec=spec,
        use_case=use_case,
        typed=changed_rows(typed, use_case.data, incidents, seed),
        folder=project / loader["globals"]["paths"]["replay"] / request.use_case,
        seed=seed,
        jobs=request.jobs,
    )
