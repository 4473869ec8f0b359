"""Bad parameters of a search are named before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any

from ratchet.learning.search import strategies
from ratchet.learning.search.engine import ENGINES, address
from ratchet.learning.search.groups import at_point, is_groupable


def check_search(search: Any, n_features: int) -> None:
    """Make sure that a search can be run.

    Args:
        search: the object, unfitted.
        n_features: columns of ``X``.

    Raises:
        ValueError: names the parameter, what it is, and what is allowed.
    """
    if search.strategy not in strategies.STRATEGIES:
        raise ValueError(
            f"strategy: unknown {search.strategy!r}; known are {list(strategies.STRATEGIES)}"
        )
    if not is_groupable(search.estimator):
        kind = type(search.estimator).__name__
        if search.strategy == "halving":
            raise ValueError(
                f"strategy: 'halving' takes estimators that train in epochs, which {kind} does "
                "not; use grid, random or bayesian"
            )
        if search.engine == "dask":
            raise ValueError(
                f"engine: 'dask' takes recurrent estimators, and {kind} is none; use local"
            )
    if search.strategy in strategies.DRAWN:
        _at_least_1("n_trials", search.n_trials)
    _at_least_1("group_size", search.group_size)
    if search.top_k != "all":
        _at_least_1("top_k", search.top_k)
    if search.engine not in ENGINES:
        raise ValueError(f"engine: unknown {search.engine!r}; known are {list(ENGINES)}")
    if search.engine == "dask":
        address()
    _check_options(search)
    drawn = search.strategy == "random"
    for name, value in _values(search.estimator, search.param_grid, distributions=drawn):
        _check_value(search.estimator, name, value, n_features)


def _check_options(search: Any) -> None:
    taken = signature(strategies.STRATEGIES[search.strategy]).parameters
    allowed = sorted(set(taken) - {"param_grid", "n_trials", "seed"})
    for name in search.strategy_options or {}:
        if name not in allowed:
            raise ValueError(
                f"strategy_options.{name}: no such option; {search.strategy} takes {allowed}"
            )


def _at_least_1(name: str, value: Any) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")


def _values(estimator: Any, param_grid: Any, *, distributions: bool) -> Iterator[tuple[str, Any]]:
    """Names with each of their values, all of them known and none without."""
    allowed = estimator.get_params()
    for part in [param_grid] if isinstance(param_grid, Mapping) else param_grid:
        for name, values in part.items():
            if name not in allowed:
                raise ValueError(
                    f"param_grid.{name}: no such parameter; allowed are {sorted(allowed)}"
                )
            if distributions and hasattr(values, "rvs"):
                continue
            if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
                raise ValueError(f"param_grid.{name}: expected a list of values, got {values!r}")
            if not len(values):
                raise ValueError(f"param_grid.{name}: expected at least one value, got {values!r}")
            yield from ((name, value) for value in values)


def _check_value(estimator: Any, name: str, value: Any, n_features: int) -> None:
    """Have the estimator itself, or the part of it that the name leads to, judge a value."""
    model = at_point(estimator, {name: value})
    try:
        if is_groupable(model):
            model.program_spec(n_features)
            model.trial_params()
            return
        path = name.rpartition("__")[0]
        owner = model.get_params()[path] if path else model
        if hasattr(owner, "_parameter_constraints"):
            owner._validate_params()
    except ValueError as error:
        raise ValueError(f"param_grid.{name}: {value!r}: {error}") from error
