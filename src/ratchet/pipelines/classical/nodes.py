"""Nodes of classical modelling."""

from __future__ import annotations

from typing import Any

from ratchet.errors import DataError
from ratchet.frames import DataFrame
from ratchet.params import Target
from ratchet.pipelines.model_input import features_and_target


def search_candidate(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    candidate: Any,
    seed: int,
    search_cache: Any,
) -> tuple[Any, DataFrame]:
    """Search the grid of one candidate on the training rows and calibrate the best point.

    Args:
        train: rows for the search.
        validation: rows for the calibration.
        target: what to predict.
        candidate: estimator and grid, a ``params.Candidate``. (Kedro cannot build a model inside of
            one that it builds, so the hint must not say so.)
        seed: the only source of randomness.
        search_cache: where finished searches are kept.

    Returns:
        The calibrated model, and the table of the search.

    Raises:
        DataError: a class has fewer training rows than there are folds.
    """
    from ratchet.learning.classical import build, folds
    from ratchet.learning.search import run_search
    from ratchet.progress import search_progress

    X, y = features_and_target(train, target)
    _check_folds(y, target)
    search = search_cache.cache(run_search, ignore=["n_jobs", "on_progress"])
    with search_progress(candidate.estimator, target.scorer) as on_progress:
        model, results = search(
            build(target.task, candidate.estimator, seed),
            candidate.param_grid,
            X,
            y,
            scoring=target.scorer,
            cv=folds(target.task, target.cv, seed),
            n_jobs=target.n_jobs,
            on_progress=on_progress,
        )
    return _calibrate(model, validation, target), results


def stack_candidates(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    seed: int,
    search_cache: Any,
    *models_and_searches: Any,
) -> tuple[Any, DataFrame]:
    """Stack the candidates with the best cross-validated scores and calibrate the result.

    Args:
        train: rows for the stacking.
        validation: rows for the calibration.
        target: what to predict, and how many candidates to stack.
        seed: the only source of randomness.
        search_cache: where finished searches are kept.
        models_and_searches: all models, then all tables of their searches in the same order.

    Returns:
        The calibrated stacking, and the table of its search.
    """
    from ratchet.learning.classical import folds
    from ratchet.learning.stacking import fit_stack
    from ratchet.progress import search_progress

    half = len(models_and_searches) // 2
    by_score = sorted(
        zip(models_and_searches[:half], models_and_searches[half:], strict=True),
        key=lambda pair: -pair[1]["mean_test_score"].max(),
    )
    X, y = features_and_target(train, target)
    stack = search_cache.cache(fit_stack, ignore=["n_jobs", "on_progress"])
    with search_progress("stack", target.scorer) as on_progress:
        model, results = stack(
            [_uncalibrated(model) for model, _ in by_score[: target.stack]],
            target.stack_param_grid,
            X,
            y,
            scoring=target.scorer,
            cv=folds(target.task, target.cv, seed),
            n_jobs=target.n_jobs,
            on_progress=on_progress,
        )
    return _calibrate(model, validation, target), results


def _check_folds(y: Any, target: Target) -> None:
    if target.task == "classification":
        counts = y.value_counts()
        few = {name: int(n) for name, n in counts.items() if n < target.cv}
        absent = [name for name in target.classes or [] if name not in counts]
        if few or absent:
            raise DataError(
                f"target '{target.column}': every class needs {target.cv} training rows, one for "
                f"each fold; too few: {few}, absent: {absent}"
            )
    elif len(y) < target.cv:
        raise DataError(f"target '{target.column}': {len(y)} training rows for {target.cv} folds")


def _calibrate(model: Any, validation: DataFrame, target: Target) -> Any:
    """Probabilities that mean what they say, or intervals that cover as often as they promise."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    from ratchet.learning.conformal import ConformalRegressor

    X, y = features_and_target(validation, target)
    if target.task == "classification":
        calibrated = CalibratedClassifierCV(FrozenEstimator(model), method=target.calibration)
    else:
        calibrated = ConformalRegressor(
            estimator=FrozenEstimator(model), confidence=target.confidence, bounds=target.bounds
        )
    # CalibratedClassifierCV looks at y[0], which a Series with a row key may not have.
    return calibrated.fit(X, y.to_numpy())


def _uncalibrated(model: Any) -> Any:
    """The fitted model inside the frozen estimator inside the calibration."""
    return model.estimator.estimator
