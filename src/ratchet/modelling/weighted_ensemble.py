"""Ensemble selection: a weighted mean of the candidates, chosen by their held-out predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold

from ratchet.config import SERIES_PREFIX, Features, Target
from ratchet.frames import DataFrame, Series
from ratchet.learning.ensemble_selection import (
    Round,
    WeightedMeanClassifier,
    WeightedMeanRegressor,
    best_round,
    select_ensemble,
    weighted_mean_of_known,
)
from ratchet.learning.metrics import find_metric, scorers, tidy_rows
from ratchet.modelling.calibrate_and_refit import calibrate, uncalibrated
from ratchet.modelling.candidate_search import fold_predictions
from ratchet.modelling.predictions import tidy
from ratchet.modelling.target_scaling import features_and_target, to_target_units

Array = NDArray[np.float64]
Rows = NDArray[np.bool_]


def build_weighted_ensemble(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    features: Features,
    seed: int,
    search_cache: Any,
    *fitted: Any,
) -> tuple[Any, DataFrame, DataFrame]:
    """Average the candidates with the weights that are best on the rows of folds and validation.

    Every row is predicted by models that were fitted without it. Validation rows alone are few, and
    share a season and a level; folds have more rows, of other times. All rows choose the weights of
    the final model. Its scores by folds and its held-out predictions, which calibrate it and by
    which it is compared with the other candidates, are cross-fitted: each fold, and each part of
    the validation rows, has weights that the other rows chose.

    Args:
        train: rows that the searches cut into folds.
        validation: rows for calibration and choice.
        target: what is predicted, and how many candidates may have a weight.
        features: how far ahead it is predicted.
        seed: seed of the folds, and of the parts, where rows have no order in time.
        search_cache: has the fits of the searches on the folds, see ``learning.search.fold_fits``.
        fitted: models, searches and held-out predictions of ``target.ensemble_members``.

    Returns:
        The calibrated model; the rounds of the selection, the best first, with the weights in
        ``params``; and the held-out predictions of the validation rows, not calibrated.

    Raises:
        DataError: there are too few rows for the calibration.
    """
    names = target.ensemble_members
    models, _, held_out = (
        dict(zip(names, fitted[i : i + len(names)], strict=True))
        for i in range(0, len(fitted), len(names))
    )
    y = features_and_target(validation, target)[1]
    columns = list(held_out[names[0]].columns)
    by_folds, fold = fold_predictions(models, train, target, features, seed, search_cache)
    frame = pd.concat([train.loc[fold.index], validation.loc[y.index]])
    learned = {
        name: np.vstack([by_folds[name], rows.loc[y.index, columns].to_numpy(np.float64)])
        for name, rows in held_out.items()
    }
    compared = {name: _comparable(values, frame, target) for name, values in learned.items()}
    loss = _selection_loss(features_and_target(frame, target)[1], frame, target, columns)

    def select(rows: Rows) -> list[Round]:
        chosen = {name: values[rows] for name, values in compared.items()}
        return select_ensemble(
            chosen, lambda mean: loss(mean, rows), members=target.weighted_ensemble
        )

    parts = np.concatenate([fold, target.cv + _parts(frame.loc[y.index], target, seed)])
    cross_fitted = np.full_like(learned[names[0]], np.nan)
    for part in np.unique(parts[len(fold) if target.is_series else 0 :]):
        rows = parts == part
        weights = best_round(select(~rows)).weights
        cross_fitted[rows] = weighted_mean_of_known(learned, weights)[rows]
    rounds = select(np.ones(len(frame), dtype=bool))
    table = _table(rounds, compared, _comparable(cross_fitted, frame, target), loss, parts, target)
    weights = best_round(rounds).weights
    members = [FrozenEstimator(uncalibrated(models[name], target)) for name in weights]
    kind = WeightedMeanClassifier if target.is_classes else WeightedMeanRegressor
    model = kind(members, list(weights.values()))
    mean = pd.DataFrame(cross_fitted[len(fold) :], index=y.index, columns=columns)
    return calibrate(model, mean, validation, target), table, mean


def ensemble_weights(search: DataFrame) -> dict[str, float]:
    """Weights of the members, from the table of the selection."""
    weights: dict[str, float] = json.loads(search["params"].iloc[0])
    return weights


def _comparable(learned: Array, frame: DataFrame, target: Target) -> Array:
    """Values of a series in units of the target, where a mean is the same; others as they are."""
    if not target.is_series:
        return learned
    values = pd.Series(learned[:, 0], frame.index)
    return to_target_units(values, frame, target).to_numpy(np.float64)[:, None]


def _selection_loss(
    y: Series, frame: DataFrame, target: Target, columns: Sequence[str]
) -> Callable[[Array, Rows], float]:
    """The metric of the choice as a loss, of predictions such as ``_comparable`` gives."""
    metric = find_metric(scorers(target.task)[target.scorer], target.task)
    sign = -1 if metric.greater_is_better else 1
    if target.is_classes:
        same: Array = np.full((len(y), len(columns)), 1 / len(columns))
    else:
        same = np.zeros(len(y))
    order = [columns.index(name) for name in target.classes or []]
    truth, _ = tidy_rows(tidy(same, y, frame, target), target.task, target.classes)

    def loss(predicted: Array, rows: Rows) -> float:
        if np.isnan(predicted).any():
            return np.inf
        if not target.is_classes:
            values: Array = np.exp(predicted[:, 0]) if target.in_logs else predicted[:, 0]
            values = values if target.bounds is None else values.clip(*target.bounds)
        else:
            values = predicted[:, order]
        means = metric.statistics(truth[rows], values).mean(axis=0)
        return sign * float(metric.value(means))

    return loss


def _parts(frame: DataFrame, target: Target, seed: int) -> NDArray[np.intp]:
    """Number of the part of each row: consecutive times where rows have some, else at random."""
    if target.is_series or target.follows_time:
        steps, step = np.unique(frame[f"{SERIES_PREFIX}time"].to_numpy(), return_inverse=True)
        if len(steps) > 1:
            return step * min(target.cv, len(steps)) // len(steps)
    parts = np.zeros(len(frame), dtype=np.intp)
    folds = KFold(min(target.cv, len(frame)), shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(folds.split(parts)):
        parts[rows] = number
    return parts


def _table(
    rounds: Sequence[Round],
    compared: Mapping[str, Array],
    cross_fitted: Array,
    loss: Callable[[Array, Rows], float],
    parts: NDArray[np.intp],
    target: Target,
) -> DataFrame:
    """A row per round, the best first, in the form of a search.

    ``loss`` is that of the rows that chose the weights. Scores of folds (of forecasts, which are
    chosen by the validation rows, of those) are less by as much as cross-fitting changes the best
    round there.

    Args:
        rounds: of the selection, in their order.
        compared: predictions of every candidate, as the loss takes them.
        cross_fitted: cross-fitted predictions, in the same form.
        loss: of predictions for some of the rows.
        parts: number of the fold of each row, from ``target.cv`` on parts of the validation rows.
        target: what is predicted.
    """
    held_out = parts >= target.cv
    scored = {"mean_test_score": held_out}
    if not target.is_series:
        by_fold = {f"split{i}_test_score": parts == i for i in range(target.cv)}
        scored = {name: rows if rows.any() else held_out for name, rows in by_fold.items()}

    def losses(mean: Array) -> NDArray[np.float64]:
        return np.array([loss(mean[rows], rows) for rows in scored.values()])

    best = losses(weighted_mean_of_known(compared, best_round(rounds).weights))
    optimism = losses(cross_fitted) - best
    table = []
    for number, each in enumerate(rounds):
        scores = -losses(weighted_mean_of_known(compared, each.weights)) - optimism
        by_name = {"mean_test_score": scores.mean(), **dict(zip(scored, scores, strict=True))}
        weights = json.dumps(each.weights)
        table.append({"trial": number, "params": weights, "loss": each.loss, **by_name})
    frame = pd.DataFrame(table).sort_values("loss", kind="stable", ignore_index=True)
    ranks = frame["loss"].rank(method="min").astype(np.int32)
    return frame.assign(rank_test_score=ranks, scoring=target.scorer)
