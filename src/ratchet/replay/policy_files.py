"""The files of a replay: further policies, and what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.config import loader
from ratchet.config.kedro_loader import deep_merge
from ratchet.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ratchet.config import UseCase
    from ratchet.replay import Incident, Policy
    from ratchet.replay.request import ReplayRequest

_POLICY_KEYS = ("release", "monitoring")


def policies_of(request: ReplayRequest, use_case: UseCase) -> Sequence[Policy]:
    """The configured policy, those of the files, and those that they are compared with.

    Raises:
        UserError: a file cannot be used, or two policies have the same name.
    """
    from ratchet.replay import policies

    others = {path.stem: read_policy(path, request.use_case, use_case) for path in request.policies}
    if len(others) < len(request.policies):
        raise UserError("--policy: two files of the same name cannot be told apart")
    found = policies(use_case, others)
    check_names(found)
    return found


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

    from ratchet.config import UseCase

    content = read_yaml(path)
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"{path}: expected the keys {' and '.join(_POLICY_KEYS)}, or one of them")
    if unknown := [key for key in content if key not in _POLICY_KEYS]:
        raise ConfigError(f"{path}: {unknown}: a policy has the keys {list(_POLICY_KEYS)} alone")
    now = use_case.model_dump(mode="python")
    try:
        found = UseCase.model_validate({**now, **deep_merge(_part(now), dict(content))})
        loader.check_metrics({name: found})
    except ValidationError as error:
        raise ConfigError(f"{path}: {loader.explain(name, error)}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if found.release.refit != "none":
        raise ConfigError(f"{path}: release.refit: a replay judges models as they were trained")
    return found


def _part(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: parameters[key] for key in _POLICY_KEYS}


def check_names(policies: Sequence[Policy]) -> None:
    """Make sure that every policy has a name of its own, by which its numbers are kept.

    Raises:
        UserError: a file is named like a policy that is always there.
    """
    names = [policy.name for policy in policies]
    if taken := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--policy: there is a policy named {taken} already: rename the file")


def incidents_of(request: ReplayRequest) -> tuple[Incident, ...]:
    """What goes wrong; nothing by default.

    Raises:
        ConfigError: the file cannot be used; names the place in it.
    """
    from ratchet.replay import read_incidents

    path = request.incidents
    return () if path is None else read_incidents(read_yaml(path), str(path))


def read_yaml(path: Path) -> Any:
    """What is in a file.

    Raises:
        ConfigError: it is no YAML.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML: {' '.join(str(error).split())}") from error
