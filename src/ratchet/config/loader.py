"""The configuration of a session, and the use cases that its parameters name."""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from kedro.config import AbstractConfigLoader
from kedro.framework import project
from pydantic import ValidationError

from ratchet.config import UseCase, with_market
from ratchet.config.base import explain_errors
from ratchet.config.kedro_loader import RUN_PARAMETERS
from ratchet.config.names import check_chosen, check_use_case
from ratchet.errors import ConfigError

_config_loader: AbstractConfigLoader | None = None
_project_path = Path()


def remember(config_loader: AbstractConfigLoader, project_path: Path) -> None:
    """Keep the loader of the running session: it knows the environment and ``--params``.

    A loader reads and merges all parameter files each time it is asked, which is several times per
    run: this one keeps the parameters that it has read. All callers share the nested mappings.

    Kedro keeps the pipelines that an earlier session of this process made, maybe from other use
    cases: they are created again.

    Raises:
        ConfigError: ``--params`` puts a single value in the place of a use case.
    """
    global _config_loader, _project_path  # Kedro calls register_pipelines() without arguments
    _check_replaced(config_loader)
    config_loader["parameters"] = _complete(config_loader["parameters"], project_path)
    _config_loader, _project_path = config_loader, project_path
    project.pipelines.configure("ratchet.pipeline_registry")


def _complete(parameters: Mapping[str, Any], project_path: Path) -> dict[str, Any]:
    """All parameters with what follows from those of markets, for the nodes that get a part.

    Of a file of holidays that is its dates: the nodes, and the bundle, read no file.
    """
    return {
        name: _with_holidays(name, with_market(value), project_path)
        if isinstance(value, Mapping)
        else value
        for name, value in parameters.items()
    }


def _with_holidays(
    name: str, given: Mapping[str, Any], project_path: Path | None = None
) -> Mapping[str, Any]:
    """Parameters of a use case with the dates that the file of its holidays lists.

    Args:
        name: name of the use case.
        given: its parameters.
        project_path: folder of the project; by default that of the session, or we stand in.
    """
    data = given.get("data")
    data = data if isinstance(data, Mapping) else {}
    series = data.get("series")
    series = series if isinstance(series, Mapping) else {}
    path = series.get("holidays")
    if not isinstance(path, str) or path == "US":
        return given
    from kedro.utils import find_kedro_project

    folder = project_path or (_project_path if _config_loader else None)
    place = f"parameter {name}.data.series.holidays: {path}"
    try:
        file = (folder or find_kedro_project(Path.cwd()) or Path.cwd()) / path
        rows = [*csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig")))]
    except (OSError, UnicodeError, csv.Error) as error:
        raise ConfigError(
            f"{place}: expected US, or the path of a CSV file from the folder of the project; it "
            f"cannot be read: {error}"
        ) from None
    dates = []
    for line, row in enumerate(rows, start=2):
        try:
            dates.append(dt.date.fromisoformat((row.get("date") or "").strip()).isoformat())
        except ValueError:
            raise ConfigError(
                f"{place}: expected a date such as 2026-04-03 in the column 'date' of every line, "
                f"got {row.get('date')!r} in line {line}"
            ) from None
    if not dates:
        raise ConfigError(f"{place}: expected a column 'date' with a day in every line, got none")
    return {**given, "data": {**data, "series": {**series, "holidays": sorted({*dates})}}}


def _check_replaced(loader: AbstractConfigLoader) -> None:
    """Make sure that every use case of the files is one still after ``--params``.

    One that became a number or nothing would be no use case, and a run of it would do nothing.
    """
    runtime = loader.runtime_params or {}
    single = [
        name
        for name, value in runtime.items()
        if not isinstance(value, Mapping) and name not in RUN_PARAMETERS
    ]
    if not single:
        return  # reading the files a second time takes a while
    files = type(loader)(
        conf_source=loader.conf_source, env=loader.env, **project.settings.CONFIG_LOADER_ARGS
    )["parameters"]
    for name in single:
        if isinstance(files.get(name), Mapping):
            value = "nothing" if runtime[name] is None else repr(runtime[name])
            raise ConfigError(
                f"--params: '{name}' is a use case, and {value} cannot take the place of all its "
                f"parameters; set one of them, such as --params {name}.release.min_rows=50, or "
                f"leave the use case out of the run: --namespaces names those that run"
            )


def like_this_session() -> dict[str, Any]:
    """Arguments of ``KedroSession.create`` for another session like the running one."""
    loader = _config_loader
    assert loader is not None
    return {
        "project_path": _project_path,
        "conf_source": loader.conf_source,
        "env": loader.env,
        "runtime_params": loader.runtime_params,
    }


def project_loader(env: str | None = None) -> tuple[AbstractConfigLoader, Path]:
    """Loader of the project we stand in, and its folder."""
    from kedro.utils import find_kedro_project

    settings = project.settings
    folder = find_kedro_project(Path.cwd()) or Path.cwd()
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(folder / settings.CONF_SOURCE),
        env=env or os.environ.get("KEDRO_ENV"),
        **settings.CONFIG_LOADER_ARGS,
    )
    return loader, folder


def project_parameters() -> dict[str, Any]:
    """Parameters of the running session; without one, those of the project we stand in."""
    loader = project_loader()[0] if _config_loader is None else _config_loader
    return dict(loader["parameters"])


def read_use_cases(parameters: Mapping[str, Any]) -> dict[str, UseCase]:
    """Every top-level mapping of the parameters is a use case.

    Args:
        parameters: all parameters of the project.

    Returns:
        Name of the use case -> its parameters, in the order of the files.

    Raises:
        ConfigError: a key is unknown, a value has the wrong type, or a name cannot be used; names
            the key's path.
    """
    use_cases = {}
    named = {name: value for name, value in parameters.items() if isinstance(value, Mapping)}
    for name, value in named.items():
        try:
            check_use_case(name, named)
            use_cases[name] = UseCase.model_validate(_with_holidays(name, value))
            _check_names(use_cases[name])
        except ValidationError as error:
            raise ConfigError(explain(name, error)) from None
        except ValueError as error:
            raise ConfigError(f"parameter {name}: {error}") from None
    return use_cases


def _check_names(use_case: UseCase) -> None:
    """Make sure that names which were chosen can be folders, catalog entries, tasks and tags.

    Not a part of the model: bundles of other versions keep the names that they were made with.
    """
    if clashing := [name for name in use_case.data.calendar if name in use_case.data.columns]:
        raise ValueError(
            f"data.calendar: {clashing} would take the place of the columns of the file that are "
            f"called so; leave one of the two out"
        )
    classes = [label for target in use_case.targets.values() for label in target.classes or []]
    if unfit := [name for name in [*use_case.data.known_columns, *classes] if "\0" in name]:
        raise ValueError(f"{unfit}: no name of a column or class may hold the character of code 0")
    if history := use_case.features.history:
        pairs = [f"{entity}_{value}" for entity in history.entities for value in history.values]
        if len(set(pairs)) < len(pairs):
            raise ValueError(f"features.history: of the columns {pairs} two are called the same")
    check_chosen("targets", use_case.targets)
    for name, target in use_case.targets.items():
        check_chosen(f"targets.{name}: candidate", target.all_candidates)
    check_chosen("monitoring.drift.scenarios", use_case.monitoring.drift.scenarios)


def candidate_overrides(use_cases: Mapping[str, UseCase], names: Collection[str]) -> dict[str, Any]:
    """Parameters that leave out every candidate and network but some.

    Naive ones and the baseline always stay: they are what the others have to beat.
    A target that has none of those named keeps all of its own.

    Args:
        use_cases: name -> parameters.
        names: candidates and networks that are tried.

    Returns:
        Nested parameters for ``kedro run --params`` and ``KedroSession.create``.

    Raises:
        ConfigError: no target has a candidate of that name; says which there are.
    """
    targets = [
        (use_case, target, parameters, {*parameters.trained_candidates, *parameters.networks})
        for use_case, each in use_cases.items()
        for target, parameters in each.targets.items()
    ]
    existing = sorted({name for *_, trained in targets for name in trained})
    if unknown := [name for name in names if name not in existing]:
        baselines = {n for _, _, each, _ in targets for n in each.candidates} - {*existing}
        named = sorted(baselines.intersection(unknown))
        hint = f"; {named} take part in any case: leave them out" if named else ""
        raise ConfigError(f"--candidates: unknown {unknown}; there are {existing}{hint}")
    only: dict[str, Any] = {}
    for use_case, target, parameters, trained in targets:
        if trained.isdisjoint(names):
            continue
        out = trained.difference(names)
        only.setdefault(use_case, {}).setdefault("targets", {})[target] = {
            "candidates": {name: None for name in parameters.candidates if name in out},
            "networks": {name: None for name in parameters.networks if name in out},
        }
    return only


def explain(name: str, error: ValidationError) -> str:
    """Say what is wrong with the parameters of one use case, one line per key."""
    return "\n".join(f"parameter {line}" for line in explain_errors(error, UseCase, name))
