"""Choosing a candidate, without a look at the test rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

from ratchet.config import Features, Target
from ratchet.errors import ConfigError
from ratchet.frames import DataFrame, Series
from ratchet.learning.calibration import TemperatureScaling
from ratchet.learning.metrics import from_scorer, greater_is_better
from ratchet.learning.stacking import prediction_columns
from ratchet.modelling.predictions import held_out_values, score, tidy
from ratchet.modelling.target_scaling import features_and_target


def choose_best(
    validation: DataFrame, target: Target, features: Features, seed: int, *fitted: Any
) -> tuple[Any, dict[str, Any], DataFrame]:
    """Choose the candidate with the best mean of cross-validated and validation score.

    Cross-validation has the many rows, validation the later ones. The test rows are no input, so
    they have no say. On the validation rows the models that were fitted without them are scored,
    every row calibrated on the others. Among forecasts the validation rows decide alone: each
    family searches on rows of its own, and only these are the same for all.

    Args:
        validation: rows for the choice.
        target: what to predict.
        features: how far ahead it is predicted.
        seed: seed of the folds of the calibration.
        fitted: models, searches and held-out predictions of ``target.all_candidates``.

    Returns:
        The chosen model; the choice: ``best``, ``why``, ``metric`` and ``ranking``; and the
        predictions on the validation rows, one per candidate and row.

    Raises:
        ConfigError: the searches were made with another scoring.
    """
    models, searches, held_out = by_candidate(target, fitted)
    y = features_and_target(validation, target)[1]
    frames = {
        name: tidy(_calibrated(rows, y, validation, target, seed), y, validation, target)
        for name, rows in held_out.items()
    }
    metric = fold_scores(searches[target.baseline], target)[0]
    ranking = {
        name: _scores_for_choice(
            searches[name], score(rows, target, features, seed), metric, target
        )
        for name, rows in frames.items()
    }
    choice = {"metric": metric, **_rank(ranking, metric)}
    return models[choice["best"]], choice, pd.concat(frames, names=["candidate"]).reset_index(0)


def _calibrated(held_out: DataFrame, y: Series, frame: DataFrame, target: Target, seed: int) -> Any:
    """Held-out predictions, calibrated as the final models are."""
    if not target.is_classes:
        return held_out_values(held_out, frame, target)
    # Not cross_val_predict: it hands the scaling numbers for the names of the classes.
    scaling, logs = (
        TemperatureScaling(list(held_out.columns)),
        prediction_columns(held_out, classes=True),
    )
    calibrated = np.empty_like(logs)
    for others, rows in KFold(target.cv, shuffle=True, random_state=seed).split(logs):
        scaling.fit(logs[others], y.iloc[others])
        calibrated[rows] = scaling.predict_proba(logs[rows])
    return calibrated


def _scores_for_choice(
    search: DataFrame, scores: dict[str, dict[str, float]], metric: str, target: Target
) -> dict[str, float]:
    parts = {"validation": scores[metric]["value"]}
    if not target.is_series:
        parts = {"cv": fold_scores(search, target)[1]["value"], **parts}
    return {**parts, "mean": sum(parts.values()) / len(parts)}


def _rank(ranking: dict[str, dict[str, float]], metric: str) -> dict[str, Any]:
    """Order the candidates by the mean of their scores and say why the first one won."""
    names = sorted(
        ranking, key=lambda name: ranking[name]["mean"], reverse=greater_is_better(metric)
    )
    best, second = names[0], names[1]
    what = (
        f"mean {metric} of cross-validation and validation"
        if "cv" in ranking[best]
        else f"{metric} on the validation rows"
    )
    values = [ranking[name]["mean"] for name in (best, second)]
    why = f"{what}: {best} {values[0]:.4f}, next {second} {values[1]:.4f}"
    return {"best": best, "why": why, "ranking": {name: ranking[name] for name in names}}


def best_naive(target: Target, choice: Mapping[str, Any]) -> str:
    """The naive candidate that ranks best, by the rows that the choice was made by.

    The gate compares challengers with it, and the report names it.
    """
    return next(name for name in choice["ranking"] if name in target.naive_candidates)


def by_candidate(target: Target, fitted: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Models, searches and held-out predictions, each by candidate."""
    names = target.all_candidates
    starts = range(0, len(fitted), len(names))
    return [dict(zip(names, fitted[i : i + len(names)], strict=True)) for i in starts]


def fold_scores(search: DataFrame, target: Target) -> tuple[str, dict[str, float]]:
    """Our name of the search's metric, and its mean with the lowest and the highest fold.

    Raises:
        ConfigError: the search was made with another scoring.
    """
    best = search.iloc[0]
    check_unchanged(target, "scoring", fitted=best.get("scoring"), configured=target.scorer)
    folds = best[search.columns.str.fullmatch(r"split\d+_test_score")]
    values = [from_scorer(target.scorer, score, target.task)[1] for score in folds]
    name, mean = from_scorer(target.scorer, best["mean_test_score"], target.task)
    return name, {"value": mean, "low": min(values), "high": max(values)}


def check_unchanged(target: Target, name: str, *, fitted: Any, configured: Any) -> None:
    """Make sure that a model, maybe of an earlier run, was fitted with the configured value."""
    if fitted != configured:
        raise ConfigError(
            f"parameter targets.<target of column '{target.column}'>.{name}: it is {configured}, "
            f"but the candidates were made with {fitted}; run the modelling pipelines again"
        )
