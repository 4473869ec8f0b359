"""Rolling origins: rows in windows of time, each predicted by what was fitted before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import parallel_config

from ratchet.config import (
    SERIES_PREFIX,
    TARGET_PREFIX,
    WEIGHTED_ENSEMBLE,
    Evaluation,
    Features,
    Target,
    ensemble_of,
)
from ratchet.frames import DataFrame, Series
from ratchet.learning.search import remember
from ratchet.modelling.calibrate_and_refit import (
    around_predictions,
    interval_confidence,
    predict_uncalibrated,
    refit,
    refit_mean_and_first,
    select_inputs,
)
from ratchet.modelling.choice import check_unchanged
from ratchet.modelling.predictions import tidy
from ratchet.modelling.target_scaling import features_and_target

TIME = f"{SERIES_PREFIX}time"


@dataclass(frozen=True, eq=False)
class Fit:
    """Rows that one fit of a candidate learns from, and those that it then predicts.

    Attributes:
        known: rows whose truth was known at the cutoff.
        rows: rows from the cutoff up to the next fit.
    """

    known: DataFrame
    rows: DataFrame


def window_numbers(rows: DataFrame, evaluation: Evaluation) -> npt.NDArray[np.intp]:
    """Window of each row of the validation or the test part, from 0.

    Args:
        rows: the rows of one part, with their times.
        evaluation: how many steps a window has.

    Returns:
        Shape (n,). The validation part may have other windows in number than the test part.
    """
    if evaluation.windows == 1:
        return np.zeros(len(rows), dtype=np.intp)
    _, place = np.unique(rows[TIME].to_numpy(), return_inverse=True)
    steps = int(place.max()) + 1 if len(place) else 0
    step = evaluation.step or max(-(-steps // evaluation.windows), 1)
    return np.asarray(place // step, dtype=np.intp)


def fits(
    earlier: DataFrame, rows: DataFrame, target: Target, horizon: int, evaluation: Evaluation
) -> Iterator[Fit]:
    """Say what each fit of a candidate learns from, and what it predicts.

    The first one is the model as it is: it knows the earlier rows. Each later one knows all rows
    whose truth was known at the origin of the first forecast that it makes: those up to ``horizon``
    steps before it, of a path its last step; of other rows those whose truth had come before the
    first row that is predicted, see ``Evaluation.delay``.

    Args:
        earlier: rows before the part that is predicted.
        rows: the rows of that part; those with the truth, at least one, are predicted. A window
            without any, as where the truth of several targets comes at different times, has no fit.
        target: what is predicted.
        horizon: steps from the origin of a forecast to its row.
        evaluation: the windows, and when candidates are fitted again.
    """
    every = int(evaluation.refit) if evaluation.refits else 0
    number = window_numbers(rows, evaluation)
    number = number // every if every else np.zeros_like(number)
    has_truth = rows[f"{TARGET_PREFIX}{target.column}"].notna().to_numpy()
    given, rows, number = rows, rows[has_truth], number[has_truth]
    first, *later = np.unique(number)
    yield Fit(earlier, rows[number == first])
    if not later:
        return
    both = pd.concat([earlier, given])
    times = both[TIME].to_numpy()
    steps = np.unique(times)
    for window in later:
        predicted = rows[number == window]
        if evaluation.delay:
            has_come = both[TIME] + pd.Timedelta(evaluation.delay) < predicted[TIME].min()
            yield Fit(both[has_come], predicted)
            continue
        start = int(np.searchsorted(steps, predicted[TIME].to_numpy().min()))
        cutoff = steps[max(start - horizon, 0)]
        yield Fit(both[times <= cutoff], predicted)


def predict_rows(model: Any, rows: DataFrame, target: Target) -> DataFrame:
    """Predictions of a finished model for rows with truth, with the interval of a number.

    Raises:
        ConfigError: the model was made with another confidence.
    """
    X, y = features_and_target(rows, target)
    inputs = select_inputs(model, X)
    if target.is_classes:
        return tidy(model.predict_proba(inputs), y, rows, target)
    confidence = interval_confidence(model)
    check_unchanged(target, "confidence", fitted=confidence, configured=target.confidence)
    prediction, low, high = model.predict_with_interval(inputs).T
    return tidy(prediction, y, rows, target).assign(low=low, high=high)


def predict_windows(
    models: Mapping[str, Any],
    held_out: Mapping[str, DataFrame],
    weights: Mapping[str, float],
    earlier: DataFrame,
    rows: DataFrame,
    target: Target,
    features: Features,
    evaluation: Evaluation,
    search_cache: Any,
) -> dict[str, DataFrame]:
    """Let every candidate predict the test windows, fitted again at the cutoffs between them.

    Args:
        models: candidate -> finished model, fitted on the earlier rows.
        held_out: candidate -> its predictions of the validation rows, by which the cache knows it.
        weights: candidate -> its weight in the weighted ensemble, which is the mean of what its
            members predict and is not fitted beside them; empty where there is none.
        earlier: train and validation.
        rows: the test rows.
        target: what is predicted.
        features: how far ahead.
        evaluation: the windows, and when candidates are fitted again.
        search_cache: where finished fits are kept: what was killed goes on where it was.

    Returns:
        Candidate -> tidy rows with ``window``, from 1.
    """
    first, *later = fits(earlier, rows, target, features.horizon, evaluation)
    parts = {name: [predict_rows(model, first.rows, target)] for name, model in models.items()}
    again = remember(search_cache, _refit_and_predict)
    recipe = [target.column, target.learn, target.bounds, target.confidence]
    for fit in later:
        learned = {}
        for names in _fitted_together(target):
            fitted = [models[name] for name in names]
            known_by = [held_out[name] for name in names]
            # The cache does not know frames again that pandas has taken notes in since: copies.
            frames = fit.known.copy(), fit.rows.copy()
            predicted = again(names, known_by, recipe, *frames, fitted=fitted, target=target)
            for name, (one, values) in zip(names, predicted, strict=True):
                parts[name].append(one)
                learned[name] = values
        if weights:
            mean = sum(weight * learned[name] for name, weight in weights.items())
            ensemble = around_predictions(models[WEIGHTED_ENSEMBLE], mean, target)
            parts[WEIGHTED_ENSEMBLE].append(predict_rows(ensemble, fit.rows, target))
    windows = pd.Series(window_numbers(rows, evaluation) + 1, rows.index)
    return {
        name: pd.concat(frames).assign(window=lambda part: windows.reindex(part.index))
        for name, frames in parts.items()
    }


def _fitted_together(target: Target) -> list[list[str]]:
    """Candidates that share a fit: the mean of the best networks of a search, and the best one."""
    ensembles = {ensemble_of(name): name for name, one in target.networks.items() if one.ensemble}
    others = {*ensembles.values(), WEIGHTED_ENSEMBLE}
    alone = [name for name in target.all_candidates if name not in others]
    return [[name, ensembles[name]] if name in ensembles else [name] for name in alone]


def _refit_and_predict(
    names: Sequence[str],
    held_out: Sequence[DataFrame],
    recipe: Sequence[Any],
    known: DataFrame,
    rows: DataFrame,
    *,
    fitted: Sequence[Any],
    target: Target,
) -> list[tuple[DataFrame, Series]]:
    """Fit a candidate again, and the one that is part of it, and predict a window with both.

    The cache goes by the names, the held-out predictions, and the target and how it is learned:
    these tell which model it was.
    """
    with parallel_config(backend="threading", n_jobs=target.n_jobs):
        if len(fitted) == 1:
            models = [refit(fitted[0], known, target, continued=True)]
        else:
            models = [*refit_mean_and_first(fitted[0], fitted[1], known, target)]
    return [
        (predict_rows(model, rows, target), predict_uncalibrated(model, rows, target))
        for model in models
    ]
