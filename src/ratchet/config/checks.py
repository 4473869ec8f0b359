"""Checks that what parameters name exists: functions, estimators, metrics, architectures."""

from __future__ import annotations

from collections.abc import Mapping

from ratchet.config import Network, Target, UseCase
from ratchet.errors import ConfigError

SEARCHABLE = (
    *("units", "dropout", "activation", "learning_rate", "batch_size", "epochs", "patience"),
)
"""Parameters of networks that a grid may name; the others follow from the use case."""


def check_functions(use_cases: Mapping[str, UseCase]) -> None:
    """Make sure that the functions which prepare raw files and derive columns exist.

    Raises:
        ConfigError: names the key's path and the function.
    """
    from kedro.utils import load_obj

    for name, use_case in use_cases.items():
        for place, derived in use_case.data.functions.items():
            try:
                load_obj(derived.function)
            except (AttributeError, ImportError, ValueError) as error:
                path = f"parameter {name}.data.{place}.function"
                raise ConfigError(
                    f"{path}: no such function '{derived.function}': {error}"
                ) from error


def check_bundles(use_cases: Mapping[str, UseCase]) -> None:
    """Make sure that models which are to be bundled have only functions of ours called.

    Raises:
        ConfigError: names the key's path and the function.
    """
    for name, use_case in use_cases.items():
        for place, derived in use_case.data.functions.items():
            if not derived.is_ours:
                raise ConfigError(
                    f"parameter {name}.data.{place}.function: '{derived.function}' is none of "
                    f"ratchet.use_cases, and a bundle may have no other called "
                    f"(docs/reference/bundle.md): put it into a module there, or run without "
                    f"the phase 'release'"
                )


def check_searches(use_cases: Mapping[str, UseCase]) -> None:
    """Make sure that every search can run: estimators, grids, scorers and objectives are known.

    Apart from ``read_use_cases`` because it has to import scikit-learn.

    Raises:
        ConfigError: names the key's path and what is allowed there.
    """
    check_metrics(use_cases)
    for name, use_case in use_cases.items():
        for target_name, target in use_case.targets.items():
            try:
                _check_grids(target)
                _check_networks(target)
            except ValueError as error:
                raise ConfigError(f"parameter {name}.targets.{target_name}.{error}") from None


def check_engines(use_cases: Mapping[str, UseCase], *, searched: bool, priced: bool) -> None:
    """Make sure that a Dask scheduler answers where one is to be used.

    Args:
        use_cases: those that run.
        searched: whether candidates are searched.
        priced: whether demand of markets is trained.

    Raises:
        ConfigError: names the key's path, the address and where it is set.
    """
    from ratchet.learning.search.engine import check_scheduler

    for name, use_case in use_cases.items():
        targets = use_case.targets.items() if searched else ()
        paths = [f"{name}.targets.{key}" for key, one in targets if one.engine == "dask"]
        if priced and use_case.market and use_case.market.iterations.engine == "dask":
            paths.append(f"{name}.market.iterations")
        for path in paths:
            try:
                check_scheduler()
            except ValueError as error:
                raise ConfigError(f"parameter {path}.{error}") from error


def check_metrics(use_cases: Mapping[str, UseCase]) -> None:
    """Make sure that models can be scored, compared and watched: all metrics are known.

    Raises:
        ConfigError: names the key's path and what is allowed there.
    """
    for name, use_case in use_cases.items():
        for target_name, target in use_case.targets.items():
            try:
                _check_metrics(target)
            except ValueError as error:
                raise ConfigError(f"parameter {name}.targets.{target_name}.{error}") from None
        release = use_case.release
        primary = release.target or next(iter(use_case.targets))
        ranking = _ranking(use_case.targets[primary])
        if release.metric is not None and release.metric not in ranking:
            raise ConfigError(
                f"parameter {name}.release.metric: '{release.metric}' does not rank models of "
                f"'{primary}'; allowed are {ranking}"
            )


def _check_metrics(target: Target) -> None:
    from ratchet.learning.metrics import METRICS, check_class_names

    table = METRICS[target.task]
    scorers = [metric.scorer for metric in table.values() if metric.scorer]
    if target.scorer not in scorers:
        raise ValueError(f"scoring: unknown '{target.scorer}'; allowed are {scorers}")
    try:
        check_class_names(target.classes or [])
    except ValueError as error:
        raise ValueError(f"classes: {error}") from None
    ranking = _ranking(target)
    for metric in target.objectives:
        if metric not in ranking:
            raise ValueError(f"objectives.{metric}: unknown metric; allowed are {ranking}")


def _ranking(target: Target) -> list[str]:
    """Metrics that have a better direction."""
    from ratchet.learning.metrics import METRICS, PER_CLASS

    table = METRICS[target.task]
    ranking = [name for name, metric in table.items() if metric.greater_is_better is not None]
    return ranking + [f"{name}_{label}" for name in PER_CLASS for label in target.classes or []]


def _check_grids(target: Target) -> None:
    from ratchet.learning.classical import check_candidate, check_grid
    from ratchet.learning.stacking import final_estimator

    path = "stack_param_grid"
    try:
        check_grid(final_estimator(classes=target.is_classes), target.stack_param_grid)
        for name, candidate in target.candidates.items():
            path = f"candidates.{name}"
            check_candidate(target.task, candidate.estimator, candidate.param_grid)
    except ValueError as error:
        raise ValueError(f"{path}.{error}") from None


def _check_networks(target: Target) -> None:
    if not target.networks:
        return
    from ratchet.learning.classical import check_base

    for name, network in target.networks.items():
        path = "base"
        try:
            if network.base is not None:
                base = {key: [value] for key, value in network.base_params.items()}
                check_base(target.task, network.base, base)
            path = "architectures"
            _check_architectures(network)
            path = "param_grid"
            _check_space(network)
        except ValueError as error:
            raise ValueError(f"networks.{name}.{path}: {error}") from None


def _check_architectures(network: Network) -> None:
    from ratchet.learning.recurrent.architectures import architecture

    for name in [] if network.architectures == "all" else network.architectures:
        architecture(name)


def _check_space(network: Network) -> None:
    """Make sure that every value of a search among networks can be tried."""
    from ratchet.learning.classical import check_grid
    from ratchet.learning.recurrent.regressor import RecurrentRegressor, check_parameters

    estimator = RecurrentRegressor()
    check_grid(estimator, network.param_grid)
    if misplaced := [name for name in network.param_grid if name not in SEARCHABLE]:
        raise ValueError(f"{misplaced} cannot be searched; allowed are {list(SEARCHABLE)}")
    for name, values in network.param_grid.items():
        for value in values:
            check_parameters({**estimator.get_params(), name: value})
