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

from ratchet.config import SERIES_PREFIX, Target
from ratchet.frames import DataFrame, Series
from ratchet.learning.ensemble_selection import (
    Round,
    WeightedMeanClassifier,
    WeightedMeanRegressor,
    best_round,
    select_ensemble,
    weighted_mean,
)
from ratchet.learning.metrics import find_metric, scorers, tidy_rows
from ratchet.modelling.calibrate_and_refit import calibrate, uncalibrated
from ratchet.modelling.predictions import tidy
from ratchet.modelling.target_scaling import features_and_target, to_target_units

Array = NDArray[np.float64]
Rows = NDArray[np.bool_]


def build_weighted_ensemble(
    validation: DataFrame, target: Target, seed: int, *fitted: Any
) -> tuple[Any, DataFrame, DataFrame]:
    """Average the candidates with the weights that are best on the validation rows.

    The candidates predict these rows by models that were fitted without them. All rows choose the
    weights of the final model. Its held-out predictions, which calibrate it and by which it is
    compared with the other candidates, are cross-fitted: those for each part of the rows have
    weights that the other parts chose.

    Args:
        validation: rows for calibration and choice.
        target: what is predicted, and how many candidates may have a weight.
        seed: seed of the parts, where rows have no order in time.
        fitted: models, searches and held-out predictions of ``target.ensemble_members``.

    Returns:
        The calibrated model; the rounds of the selection, the best first, with the weights in
        ``params``; and the held-out predictions, not calibrated.

    Raises:
        DataError: there are too few rows for the calibration.
    """
    names = target.ensemble_members
    models, searches, held_out = (
        dict(zip(names, fitted[i : i + len(names)], strict=True))
        for i in range(0, len(fitted), len(names))
    )
    y = features_and_target(validation, target)[1]
    frame, columns = validation.loc[y.index], list(held_out[names[0]].columns)
    learned = {
        name: rows.loc[y.index, columns].to_numpy(np.float64) for name, rows in held_out.items()
    }
    compared = {name: _comparable(values, frame, target) for name, values in learned.items()}
    loss = _selection_loss(y, frame, target, columns)

    def select(rows: Rows) -> list[Round]:
        chosen = {name: values[rows] for name, values in compared.items()}
        return select_ensemble(
            chosen, lambda mean: loss(mean, rows), members=target.weighted_ensemble
        )

    parts = _parts(frame, target, seed)
    cross_fitted = np.empty_like(learned[names[0]])
    for part in np.unique(parts):
        weights = best_round(select(parts != part)).weights
        cross_fitted[parts == part] = weighted_mean(learned, weights)[parts == part]
    all_rows = np.ones(len(y), dtype=bool)
    rounds = select(all_rows)
    table = _table(
        rounds,
        searches,
        {name: loss(values, all_rows) for name, values in compared.items()},
        loss(_comparable(cross_fitted, frame, target), all_rows),
        target,
    )
    weights = best_round(rounds).weights
    members = [FrozenEstimator(uncalibrated(models[name], target)) for name in weights]
    kind = WeightedMeanClassifier if target.is_classes else WeightedMeanRegressor
    model = kind(members, list(weights.values()))
    mean = pd.DataFrame(cross_fitted, index=y.index, columns=columns)
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
    searches: Mapping[str, DataFrame],
    losses: Mapping[str, float],
    cross_fitted: float,
    target: Target,
) -> DataFrame:
    """A row per round, the best first, in the form of a search.

    ``loss`` is that of the rows that chose the weights; ``mean_test_score`` corrects it by as much
    as cross-fitting changes the best round. Where candidates have scores by folds, it stands for
    such scores: by Krogh and Vedelsby (1995), "Neural network ensembles, cross validation, and
    active learning", the error of a mean is the mean error of its members less what averaging them
    gains, and that gain is taken from the validation rows.

    Args:
        rounds: of the selection, in their order.
        searches: of every candidate.
        losses: of every candidate, on the validation rows.
        cross_fitted: loss of the cross-fitted predictions.
        target: what is predicted.
    """
    optimism = cross_fitted - best_round(rounds).loss
    folds = [] if target.is_series else [f"split{i}_test_score" for i in range(target.cv)]
    table = []
    for number, each in enumerate(rounds):
        by_name = {"mean_test_score": -each.loss - optimism}
        if folds:
            gain = by_name["mean_test_score"] + _mean_of(losses, each.weights)
            for name in [*folds, "mean_test_score"]:
                scores = {member: searches[member][name].iloc[0] for member in each.weights}
                by_name[name] = _mean_of(scores, each.weights) + gain
        weights = json.dumps(each.weights)
        table.append({"trial": number, "params": weights, "loss": each.loss, **by_name})
    frame = pd.DataFrame(table).sort_values("loss", kind="stable", ignore_index=True)
    ranks = frame["loss"].rank(method="min").astype(np.int32)
    return frame.assign(rank_test_score=ranks, scoring=target.scorer)


def _mean_of(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return float(sum(weight * values[name] for name, weight in weights.items()))
