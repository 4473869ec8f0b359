"""Search of classical candidates: grids in cross-validation, calibration, stacking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.metrics import get_scorer

from ratchet.config import (
    ONE_WINDOW,
    SERIES_LEVEL,
    SERIES_PREFIX,
    SERIES_SCALE,
    Candidate,
    Evaluation,
    Features,
    Target,
)
from ratchet.errors import DataError
from ratchet.frames import DataFrame, Index, Series
from ratchet.learning.classical import build_estimator, folds
from ratchet.learning.meta_estimators import UnscaledRegressor
from ratchet.learning.metrics import scorer_of
from ratchet.learning.search import FoldFits, fit_in_threads, remember, run_search
from ratchet.learning.stacking import (
    fit_final_estimator,
    out_of_fold_predictions,
    prediction_columns,
    stack,
)
from ratchet.modelling.calibrate_and_refit import calibrate, uncalibrated
from ratchet.modelling.rolling_origins import fits
from ratchet.modelling.target_scaling import (
    Family,
    features_and_scaled_target,
    scaled_columns,
    scored_features,
)
from ratchet.progress import search_progress

Array = NDArray[np.float64]


def search_candidate(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    features: Features,
    candidate: Candidate,
    seed: int,
    search_cache: Any,
    evaluation: Evaluation = ONE_WINDOW,
) -> tuple[Any, DataFrame, DataFrame]:
    """Search the grid of one candidate on the training rows, then fit it with the validation rows.

    The best point predicts the validation rows before it is fitted with them: these predictions
    calibrate the final model and are what the choice between candidates goes by. Where it is fitted
    again at cutoffs between the validation rows, it learns only from those before each.

    Args:
        train: rows for the search.
        validation: later rows, for calibration and choice.
        target: what to predict.
        features: how far ahead it is predicted.
        candidate: estimator and grid.
        seed: the only source of randomness.
        search_cache: where finished searches are kept.
        evaluation: the windows, and when candidates are fitted again.

    Returns:
        The calibrated model, fitted on train and validation; the table of the search; and the
        predictions for the validation rows by models fitted on earlier rows alone, not calibrated.

    Raises:
        DataError: there are too few rows of a class for the folds, or for the calibration.
    """
    estimator, family = _build(target, features, candidate, train.columns, seed)
    X, y = features_and_scaled_target(train, target, family)
    _check_folds(y, target)
    search = remember(search_cache, run_search)
    with search_progress(candidate.estimator, target.scorer) as on_progress:
        model, results = search(
            estimator,
            candidate.param_grid,
            X,
            y,
            scoring=target.scorer,
            logs=target.in_logs,
            cv=_folds(train.loc[y.index], target, features, seed),
            n_jobs=target.n_jobs,
            engine=target.engine,
            cache=search_cache,
            on_progress=on_progress,
        )
    first, *later = fits(train, validation, target, features.horizon, evaluation)
    fit_with = remember(search_cache, _fit_with)
    held_out, final = fit_with(
        model,
        clone(model),
        *(X, y, *features_and_scaled_target(validation, target, family)),
        scored_features(first.rows, target, family),
        n_jobs=target.n_jobs,
    )
    if later:
        fit_and_predict = remember(search_cache, _fit_and_predict)
        predicted = [
            fit_and_predict(
                clone(model),
                *features_and_scaled_target(fit.known, target, family),
                scored_features(fit.rows, target, family),
                n_jobs=target.n_jobs,
            )
            for fit in later
        ]
        held_out = pd.concat([held_out, *predicted])
    return calibrate(final, held_out, validation, target), results, held_out


def _build(
    target: Target, features: Features, candidate: Candidate, columns: Index, seed: int
) -> tuple[Any, Family]:
    """The unfitted estimator, and the family whose columns it sees."""
    estimator = build_estimator(target.task, candidate.estimator, seed)
    if not isinstance(estimator, UnscaledRegressor) or features.windows is None:
        return estimator, "classical"
    scaled = scaled_columns(columns, target, features.windows)
    return estimator.set_params(level=SERIES_LEVEL, scale=SERIES_SCALE, **scaled), "unscaled"


def stack_candidates(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    seed: int,
    search_cache: Any,
    *fitted: Any,
) -> tuple[Any, DataFrame, DataFrame]:
    """Stack the candidates with the best cross-validated scores and calibrate the result.

    Args:
        train: rows for the stacking.
        validation: later rows, for calibration and choice.
        target: what to predict, and how many candidates to stack.
        seed: the only source of randomness.
        search_cache: where finished searches are kept.
        fitted: all models, then all searches, then all held-out predictions in the same order.

    Returns:
        As ``search_candidate``.
    """
    third = len(fitted) // 3
    candidates = zip(fitted[:third], fitted[third:-third], fitted[-third:], strict=True)
    ranked = sorted(candidates, key=lambda parts: -parts[1]["mean_test_score"].max())
    best = ranked[: target.stacked]
    models = [uncalibrated(model, target) for model, _, _ in best]
    learn = remember(search_cache, fit_final_estimator)
    with search_progress("stack", target.scorer) as on_progress:
        combine, results = learn(
            [clone(model) for model in models],
            target.stack_param_grid,
            *features_and_scaled_target(train, target),
            scoring=target.scorer,
            logs=target.in_logs,
            cv=folds(target.task, target.cv, seed),
            n_jobs=target.n_jobs,
            engine=target.engine,
            cache=search_cache,
            on_progress=on_progress,
        )
    held_out = _combine_held_out(combine, [rows for _, _, rows in best], target)
    return calibrate(stack(models, combine), held_out, validation, target), results, held_out


def fold_predictions(
    models: Mapping[str, Any],
    train: DataFrame,
    target: Target,
    features: Features,
    seed: int,
    search_cache: Any,
) -> tuple[dict[str, Array], Series]:
    """What candidates predict for the rows of the folds of their searches, fitted without them.

    Args:
        models: candidate -> finished model.
        train: rows of the searches.
        target: what to predict.
        features: how far ahead it is predicted.
        seed: seed of the folds.
        search_cache: has the fits of the searches.

    Returns:
        Candidate -> predictions of shape (n, classes) or (n, 1), in the terms in which models
        learn; of networks, which are not searched on these folds, they are missing. And the number
        of the fold of each row, by row key; no rows where no candidate has predictions, as for
        folds of more than ``fold_fits.MOST_ROWS``.
    """
    searched = {
        name: uncalibrated(model, target)
        for name, model in models.items()
        if name not in target.network_candidates
    }
    scorer = get_scorer(scorer_of(target.scorer, logs=target.in_logs))
    options = {"cache": search_cache, "engine": target.engine, "n_jobs": target.n_jobs}
    predicted, fold = dict[str, Array](), pd.Series(dtype=np.intp)
    families: tuple[Family, ...] = ("classical", "unscaled")
    for family in families:
        unscaled = family == "unscaled"
        group = {n: m for n, m in searched.items() if isinstance(m, UnscaledRegressor) == unscaled}
        if not group:
            continue
        X, y = features_and_scaled_target(train, target, family)
        cut = list(_folds(train.loc[y.index], target, features, seed).split(X, y))
        rows = np.concatenate([held_out for _, held_out in cut])
        numbers = np.repeat(np.arange(len(cut)), [len(held_out) for _, held_out in cut])
        fold = pd.Series(numbers, y.index[rows])
        with FoldFits(X, y, cut, scorer, **options) as fold_fits:
            for name, model in group.items() if fold_fits.keeps_predictions else ():
                values = out_of_fold_predictions(model, y, cut, fold_fits)
                if values is not None:
                    predicted[name] = values[rows].reshape(len(rows), -1)
    if not predicted:
        fold = fold.iloc[:0]
    shape = (len(fold), len(target.classes or [""]))
    return {name: predicted.get(name, np.full(shape, np.nan)) for name in models}, fold


def _folds(rows: DataFrame, target: Target, features: Features, seed: int) -> Any:
    follow = target.is_series or target.follows_time
    times = rows[f"{SERIES_PREFIX}time"] if follow else None
    return folds(target.task, target.cv, seed, times=times, horizon=features.horizon)


def _check_folds(y: Series, target: Target) -> None:
    """Make sure that every fold has rows, of every class."""
    if target.is_classes:
        counts = {name: int((y == name).sum()) for name in target.classes or []}
    else:
        counts = {"rows": len(y)}
    if few := {name: n for name, n in counts.items() if n < target.cv}:
        raise DataError(
            f"column '{target.column}': {target.cv} folds need as many training rows (of every "
            f"class), found {few} among {len(y)}"
        )


def _fit_with(
    fitted: Any,
    unfitted: Any,
    X: DataFrame,
    y: Series,
    X_new: DataFrame,
    y_new: Series,
    X_scored: DataFrame,
    *,
    n_jobs: int,
) -> tuple[DataFrame, Any]:
    """Predict rows by the fitted model, then fit the unfitted one on old and new rows."""
    X_all, y_all = pd.concat([X, X_new]), pd.concat([y, y_new])
    final = fit_in_threads(unfitted, X_all, y_all, n_jobs=n_jobs)
    return _predict(fitted, X_scored, X_scored.index), final


def _fit_and_predict(
    unfitted: Any, X: DataFrame, y: Series, X_scored: DataFrame, *, n_jobs: int
) -> DataFrame:
    """Predict rows by a model that is fitted on others."""
    return _predict(fit_in_threads(unfitted, X, y, n_jobs=n_jobs), X_scored, X_scored.index)


def _predict(model: Any, X: Any, index: Index) -> DataFrame:
    """Probabilities with a column per class, or values in one column."""
    if is_classifier(model):
        return pd.DataFrame(model.predict_proba(X), index=index, columns=list(model.classes_))
    return pd.DataFrame({"prediction": model.predict(X)}, index=index)


def _combine_held_out(combine: Any, parts: list[DataFrame], target: Target) -> DataFrame:
    """Predictions of the stacking for rows that its models have predicted."""
    classes = target.is_classes
    columns = np.hstack([prediction_columns(part, classes=classes) for part in parts])
    return _predict(combine, columns, parts[0].index)
