"""Networks: what a search among them tries, their residuals, and their mean as one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from joblib import effective_n_jobs
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from ratchet.config import ONE_WINDOW, SERIES_PREFIX, Evaluation, Network, Target, Windows
from ratchet.errors import DataError
from ratchet.frames import DataFrame, Series
from ratchet.learning.classical import build_estimator
from ratchet.learning.meta_estimators import ResidualRegressor
from ratchet.learning.search import Search, table
from ratchet.learning.search.engine import open_worker_pool
from ratchet.learning.search.worker_pool import Task
from ratchet.modelling.calibrate_and_refit import (
    CONTINUED,
    calibrate,
    predict_held_out,
    refit_network,
)
from ratchet.modelling.rolling_origins import fits
from ratchet.modelling.target_scaling import features_and_scaled_target
from ratchet.progress import search_progress

LOSS = "neg_mean_squared_error"
"""Score of the trials: of targets that are scaled 0-1."""

_SHORT = 4
"""Epochs of a training that takes less time than compiling it would."""


def search_networks(
    train: DataFrame, target: Target, network: Network, windows: Windows, seed: int, trials: Any
) -> tuple[list[Any], DataFrame, DataFrame]:
    """Search networks on the training rows, of which the last part stops and ranks the trials.

    With a base, the networks learn its residuals.

    Args:
        train: rows for the search.
        target: what to predict.
        network: what is searched, and how.
        windows: look-back and horizon.
        seed: the only source of randomness.
        trials: folder of finished trials, from which a search that was killed goes on.

    Returns:
        The best networks, best first; the table of the trials; and their losses by epoch.

    Raises:
        DataError: there are too few rows to hold some out.
    """
    X, _ = features_and_scaled_target(train, target, "recurrent")
    fitting, holding = holdout_split(train.loc[X.index], target, network.holdout, windows.last)
    # The base of the search has not seen the rows that stop and rank either.
    base = fit_base(train.loc[X.index[fitting]], target, network, seed)
    with search_progress(f"{target.column}: networks", "validation loss") as on_progress:
        search = Search(
            network_estimator(network, windows, seed),
            param_grids(network),
            strategy=network.strategy if network.mode == "optimized" else "grid",
            n_trials=network.n_trials,
            cv=[(fitting, holding)],
            n_jobs=target.n_jobs,
            engine=target.engine,
            random_state=seed,
            folder=trials,
            top_k=network.top_k,
            group_size=network.group_size,
            refit=False,
            on_progress=_as_losses(on_progress),
        ).fit(X, residuals(base, train, target))
    results = table(search).rename(columns={"epochs": "n_epochs"})
    return search.top_estimators_, results.assign(scoring=LOSS), search.curves_


def fit_networks(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    network: Network,
    seed: int,
    top: list[Any],
    search: DataFrame,
    *,
    horizon: int = 1,
    evaluation: Evaluation = ONE_WINDOW,
) -> tuple[Any, ...]:
    """Let the best networks predict the validation rows, then fit them with these and calibrate.

    Args:
        train: rows of the search.
        validation: later rows, for calibration and choice.
        target: what to predict.
        network: as in ``search_networks``.
        seed: the only source of randomness.
        top: the best networks, best first.
        search: table of the trials.
        horizon: steps from the origin of a forecast to its row.
        evaluation: the windows of the validation rows, and when networks are trained again.

    Returns:
        The model of the best network, fitted on train and validation; the predictions for the
        validation rows by networks that saw earlier rows alone, not calibrated. With an
        ensemble also the mean of the best few as a model, the trials it is made of, and its
        predictions for the validation rows.
    """
    used = top[: max(1, network.ensemble)]

    first, *later = fits(train, validation, target, horizon, evaluation)
    both = pd.concat([train, validation])
    learned = [train, *(fit.known for fit in later), both]
    bases = [fit_base(rows, target, network, seed) for rows in learned]
    samples = [
        Sample(
            features_and_scaled_target(rows, target, "recurrent")[0],
            residuals(base, rows, target),
            continued=rows is not both,
        )
        for base, rows in zip(bases[1:], learned[1:], strict=True)
    ]
    fitted = [used, *refit_networks(used, samples, target.n_jobs)]

    def finished(n: int) -> tuple[Any, DataFrame]:
        *models, model = (
            assemble(base, networks[:n], rows, target)
            for base, networks, rows in zip(bases, fitted, learned, strict=True)
        )
        held_out = pd.concat(
            predict_held_out(earlier, fit.rows, target)
            for earlier, fit in zip(models, [first, *later], strict=True)
        )
        return calibrate(model, held_out, validation, target), held_out

    best = finished(1)
    if not network.ensemble:
        return best
    model, held_out = finished(network.ensemble)
    return (*best, model, search.head(len(used)), held_out)


def _as_losses(on_progress: Any) -> Any:
    """The search reports scores, of which the best is the greatest; people compare losses."""
    if on_progress is None:
        return None

    def report(done: int, total: int, best: float, members: int = 1, finished: Any = (), /) -> None:
        losses = [(point, -score) for point, score in finished]
        on_progress(done, total, -best, members, losses)

    return report


def network_estimator(network: Network, windows: Windows, seed: int) -> Any:
    """The estimator whose parameters are searched."""
    from ratchet.learning.recurrent.regressor import RecurrentRegressor

    fast = network.mode == "fast"
    longest = 1 if fast else max([network.epochs, *network.param_grid.get("epochs", [])])
    return RecurrentRegressor(
        lookback=windows.lookback,
        epochs=1 if fast else network.epochs,
        patience=network.patience,
        compiled=longest > _SHORT,
        random_state=seed,
    )


def param_grids(network: Network) -> list[dict[str, list[Any]]]:
    """One grid per architecture; that of mode ``fast`` has one point, made of the first values."""
    from ratchet.learning.recurrent.architectures import ARCHITECTURES

    names = ARCHITECTURES if network.architectures == "all" else network.architectures
    values = network.param_grid
    if network.mode == "fast":
        values = {name: options[:1] for name, options in values.items() if name != "epochs"}
    return [{"architecture": [name], **values} for name in names]


def holdout_split(rows: DataFrame, target: Target, share: float, horizon: int) -> tuple[Any, Any]:
    """Places of the rows that fit and of the last rows, which stop and rank.

    The cut is between two time stamps. The rows whose target is after the origin of the first
    row held out are left out.

    Raises:
        DataError: one of the parts is empty.
    """
    _, step = np.unique(rows[f"{SERIES_PREFIX}time"].to_numpy(), return_inverse=True)
    n_steps = int(step.max()) + 1 if len(step) else 0
    first = int(n_steps * (1 - share))
    fitting, holding = np.flatnonzero(step <= first - horizon), np.flatnonzero(step >= first)
    if not len(fitting) or not len(holding):
        raise DataError(
            f"column '{target.column}': {len(rows)} training rows at {n_steps} times are too few "
            f"to hold out a share of {share:g} with a horizon of {horizon}"
        )
    return fitting, holding


def fit_base(rows: DataFrame, target: Target, network: Network, seed: int) -> Any:
    """The base fitted on some rows; ``None`` where the search names none."""
    if network.base is None:
        return None
    base = build_estimator(target.task, network.base, seed).set_params(**network.base_params)
    return base.fit(*features_and_scaled_target(rows, target))


def residuals(base: Any, rows: DataFrame, target: Target) -> Series:
    """What the base leaves for the networks to learn: without one, the target."""
    X, y = features_and_scaled_target(rows, target)
    return y if base is None else y - base.predict(X)


@dataclass(frozen=True)
class Sample:
    """Rows that networks are fitted on again.

    Attributes:
        X: rows.
        y: targets.
        continued: whether training goes on from the fitted weights, see ``refit_network``.
    """

    X: DataFrame
    y: Series
    continued: bool


@dataclass(frozen=True)
class _RefitNetwork:
    """Trains a copy of a fitted network on one of several samples.

    Attributes:
        samples: the samples.
        uses_tensorflow: see ``TrainGroups``.
    """

    samples: list[Sample]
    uses_tensorflow: ClassVar[bool] = True

    def __call__(self, content: tuple[int, Any]) -> Any:
        number, network = content
        sample = self.samples[number]
        return refit_network(network, sample.X, sample.y, continued=sample.continued)


def refit_networks(networks: list[Any], samples: list[Sample], n_jobs: int) -> list[list[Any]]:
    """Copies of fitted networks, trained on each of several samples."""
    workers = min(len(networks) * len(samples), effective_n_jobs(n_jobs))
    tasks = [
        Task(
            name=f"{number}.{place}",
            # Samples of similar length share a program, see `learning.recurrent.schedule.pad`.
            program=network.program_spec(sample.X.shape[1]),
            cost=network.best_epoch_ * len(sample.X) * (CONTINUED if sample.continued else 1),
            content=(number, network),
        )
        for number, sample in enumerate(samples)
        for place, network in enumerate(networks)
    ]
    with open_worker_pool("local", _RefitNetwork(samples), workers) as pool:
        results = {task.name: again for task, again in pool.run(tasks)}
    return [
        [results[f"{number}.{place}"] for place in range(len(networks))]
        for number in range(len(samples))
    ]


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
    names = list(model.feature_names_in_)
    picked = ColumnTransformer([("seen", "passthrough", names)], verbose_feature_names_out=False)
    return make_pipeline(picked.set_output(transform="pandas"), FrozenEstimator(model))
