"""What is replayed: days, candidates, policies, incidents, and the rows of a use case."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from kedro.config import AbstractConfigLoader
from pydantic import ValidationError

from ratchet.config import UseCase, checks
from ratchet.config import loader as config_loader
from ratchet.config.kedro_loader import deep_merge
from ratchet.dates import local
from ratchet.errors import ConfigError, DataError, UserError
from ratchet.preparation.contract import typed_rows
from ratchet.project_context import check_environment, find_use_case, open_context
from ratchet.replay import QUICK_CANDIDATES
from ratchet.replay.incidents import Incident, changed_rows, read_incidents
from ratchet.replay.policies import Policy, policies
from ratchet.replay.stages import StageStore
from ratchet.replay.training import TrainingSpec

_POLICY_KEYS = ("release", "monitoring")


@dataclass(frozen=True)
class ReplayRequest:
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


def read_days(first: str, last: str, every: str) -> tuple[tuple[pd.Timestamp, ...], pd.Timestamp]:
    """Sundays from one day on, each with a full week before the last day is over.

    Raises:
        UserError: a day or the distance cannot be read, or there is no week between the days.
    """

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


def policies_of(request: ReplayRequest, use_case: UseCase) -> Sequence[Policy]:
    """The configured policy, those of the files, and those that they are compared with.

    Raises:
        UserError: a file cannot be used, or two policies have the same name.
    """
    others = {path.stem: read_policy(path, request.use_case, use_case) for path in request.policies}
    if len(others) < len(request.policies):
        raise UserError("--policy: two files have the same name, which names the policy")
    compared = policies(use_case, others)
    check_names(compared)
    return compared


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
    content = read_yaml(path)
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"{path}: expected the keys {' and '.join(_POLICY_KEYS)}, or one of them")
    if unknown := [key for key in content if key not in _POLICY_KEYS]:
        raise ConfigError(f"{path}: {unknown}: a policy has the keys {list(_POLICY_KEYS)} alone")
    now = use_case.model_dump(mode="python")
    try:
        changed = UseCase.model_validate({**now, **deep_merge(_policy_part(now), content)})
        checks.check_metrics({name: changed})
    except ValidationError as error:
        raise ConfigError(f"{path}: {config_loader.explain(name, error)}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if changed.release.refit != use_case.release.refit:
        raise ConfigError(
            f"{path}: release.refit: {changed.release.refit}: models are trained once for all "
            f"policies, expected {use_case.release.refit} as in the parameters; change it there"
        )
    return changed


def _policy_part(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: parameters[key] for key in _POLICY_KEYS}


def check_names(policies: Sequence[Policy]) -> None:
    """Make sure that every policy has a name of its own, by which its numbers are kept.

    Raises:
        UserError: a file is named like a policy that is always there.
    """
    names = [policy.name for policy in policies]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--policy: there is a policy named {duplicates} already: rename the file")


def incidents_of(request: ReplayRequest) -> tuple[Incident, ...]:
    """What goes wrong; nothing by default.

    Raises:
        ConfigError: the file cannot be used; names the place in it.
    """
    path = request.incidents
    return () if path is None else read_incidents(read_yaml(path), str(path))


def read_yaml(path: Path) -> Any:
    """What is in a file.

    Raises:
        ConfigError: it is no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML: {' '.join(str(error).split())}") from error


def training_spec(
    request: ReplayRequest, loader: AbstractConfigLoader, project: Path
) -> tuple[TrainingSpec, UseCase]:
    """Where models are trained, with the parameters that restrict it to some candidates.

    Raises:
        UserError: there is no such environment or use case, or the use case cannot be replayed.
    """
    check_environment(loader)
    name, use_cases = request.use_case, config_loader.read_use_cases(loader["parameters"])
    only = _only(request, _checked(request, use_cases))
    restricted = config_loader.read_use_cases(deep_merge(loader["parameters"], only))[name]
    checks.check_functions({name: restricted})
    checks.check_bundles({name: restricted})
    checks.check_searches({name: restricted})
    threads = {"targets": {target: {"n_jobs": 1} for target in restricted.targets}}
    params = deep_merge(only, {name: threads} if request.jobs > 1 else {})
    return TrainingSpec(
        str(project), request.env, name, json.dumps(params, sort_keys=True)
    ), restricted


def _checked(request: ReplayRequest, use_cases: Mapping[str, UseCase]) -> UseCase:
    """The use case, if it can be replayed."""
    use_case = find_use_case(use_cases, request.use_case)
    if use_case.data.time is None:
        raise UserError(f"{request.use_case}: rows without data.time have no past to be replayed")
    return use_case


def _only(request: ReplayRequest, use_case: UseCase) -> Mapping[str, object]:
    """Parameters that leave out all candidates but some; by default the quick ones."""
    targets = use_case.targets.values()
    trained = [name for target in targets for name in target.trained_candidates]
    quick = [name for name in QUICK_CANDIDATES if name in trained]
    return config_loader.candidate_overrides(
        {request.use_case: use_case}, request.candidates or quick or trained
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
    raw = open_context(project, request.env).catalog.load(f"{request.use_case}.raw")
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
