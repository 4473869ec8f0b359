"""Networks, alone or several, with or without a base, as one model that picks its columns."""

from __future__ import annotations

import os
from typing import Any

from ratchet.config import Network, Target
from ratchet.frames import DataFrame, Series
from ratchet.modelling.target_scaling import features_and_scaled_target


def fit_base(rows: DataFrame, target: Target, network: Network, seed: int) -> Any:
    """The base fitted on some rows; ``None`` where the search names none."""
    from ratchet.learning.classical import build_estimator

    if network.base is None:
        return None
    base = build_estimator(target.task, network.base, seed).set_params(**network.base_params)
    return base.fit(*features_and_scaled_target(rows, target))


def residuals(base: Any, rows: DataFrame, target: Target) -> Series:
    """What the base leaves for the networks to learn: without one, the target."""
    X, y = features_and_scaled_target(rows, target)
    return y if base is None else y - base.predict(X)


def refit_networks(networks: list[Any], X: DataFrame, y: Series, n_jobs: int) -> list[Any]:
    """Copies of fitted networks, trained on these rows for as many epochs as were best."""
    from joblib import Parallel, delayed, effective_n_jobs

    from ratchet.learning.processes import joblib_ends_with_parent

    workers = min(len(networks), effective_n_jobs(n_jobs))
    with joblib_ends_with_parent():
        return Parallel(n_jobs=workers)(
            delayed(_fit_again)(network, X, y, alone=workers == 1) for network in networks
        )


def _fit_again(network: Any, X: DataFrame, y: Series, *, alone: bool) -> Any:
    from sklearn.base import clone

    from ratchet.learning.search.worker_pool import ONE_THREAD

    if not alone:  # TensorFlow, which the worker has not loaded yet, reads them
        os.environ.update(ONE_THREAD)
    rates = network.history_["learning_rate"][: network.best_epoch_]
    return clone(network).fit_epochs(X, y, rates)


def assemble(base: Any, networks: list[Any], rows: DataFrame, target: Target) -> Any:
    """One fitted model: the mean of the networks, on top of the base if there is one.

    Args:
        base: fitted, or ``None``.
        networks: fitted.
        rows: rows with the columns that they know.
        target: what is predicted.

    Returns:
        A regressor of all columns that one of its parts sees.
    """
    from sklearn.ensemble import VotingRegressor

    from ratchet.learning.residual import ResidualRegressor

    X, y = features_and_scaled_target(rows, target, "recurrent")
    parts = [(f"network_{i}", _picking(network)) for i, network in enumerate(networks)]
    mean = VotingRegressor(parts) if len(parts) > 1 else parts[0][1]
    if base is None:
        return mean.fit(X, y)
    others, _ = features_and_scaled_target(rows, target)
    wide = others.join(X[X.columns.difference(others.columns, sort=False)])
    return ResidualRegressor(base=_picking(base), estimator=mean).fit(wide, y)


def _picking(model: Any) -> Any:
    """A fitted model that takes its columns out of more."""
    from sklearn.compose import ColumnTransformer
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import make_pipeline

    names = list(model.feature_names_in_)
    picked = ColumnTransformer([("seen", "passthrough", names)], verbose_feature_names_out=False)
    return make_pipeline(picked.set_output(transform="pandas"), FrozenEstimator(model))
