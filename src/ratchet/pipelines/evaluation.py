"""Evaluation: every candidate scored on the same rows, the choice, and the business objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedro.pipeline import Pipeline, node

from ratchet.config import (
    WEIGHTED_ENSEMBLE,
    Evaluation,
    Features,
    Target,
    UseCase,
    read_targets,
    series_columns,
)
from ratchet.frames import DataFrame
from ratchet.pipelines.dataset_names import candidate_datasets


def choose_best(
    validation: DataFrame, target: Target, features: Features, seed: int, *fitted: Any
) -> tuple[Any, dict[str, Any], DataFrame]:
    """Choose a candidate without a look at the test rows, see ``modelling.choice.choose_best``."""
    from ratchet.modelling import choice

    return choice.choose_best(validation, target, features, seed, *fitted)


def select_ensemble(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    features: Features,
    seed: int,
    search_cache: Any,
    *fitted: Any,
) -> tuple[Any, DataFrame, DataFrame]:
    """Average candidates, see ``modelling.weighted_ensemble.build_weighted_ensemble``."""
    from ratchet.modelling import weighted_ensemble

    return weighted_ensemble.build_weighted_ensemble(
        train, validation, target, features, seed, search_cache, *fitted
    )


def score_candidates(
    test: DataFrame,
    validation_predictions: DataFrame,
    target: Target,
    features: Features,
    seed: int,
    *fitted: Any,
) -> tuple[DataFrame, dict[str, Any]]:
    """Predict the test rows with every candidate and score all of them on the same rows.

    Args:
        test: rows that nothing was learned from or chosen by.
        validation_predictions: as ``choose_best`` gives them.
        target: what to predict.
        features: how far ahead it is predicted.
        seed: seed of the bootstrap.
        fitted: models, searches and held-out predictions of ``target.all_candidates``.

    Returns:
        Predictions, one row per candidate and row of validation and test; and the scores:
        candidate -> ``cv``, ``validation`` or ``test`` -> metric -> value, low, high. For ``cv``
        low and high are the lowest and the highest fold, for the others a 95 % bootstrap interval;
        a candidate without scores by folds, as networks are, has no ``cv``.

    Raises:
        ConfigError: the models were made with another scoring or confidence.
    """
    from ratchet.modelling import choice
    from ratchet.modelling.rolling_origins import predict_rows

    models, searches, _ = choice.by_candidate(target, fitted)
    rows = {name: predict_rows(model, test, target) for name, model in models.items()}
    return _scores(rows, validation_predictions, searches, target, features, seed)


def score_windows(
    test: DataFrame,
    validation_predictions: DataFrame,
    train: DataFrame,
    validation: DataFrame,
    search_cache: Any,
    evaluation: Evaluation,
    target: Target,
    features: Features,
    seed: int,
    *fitted: Any,
) -> tuple[DataFrame, dict[str, Any]]:
    """Predict the windows of the test part with every candidate, fitted again as parameters say.

    Args:
        test: rows that nothing was learned from or chosen by, but for what a candidate that is
            fitted again for a later window learns from the windows before.
        validation_predictions: as ``choose_best`` gives them.
        train: rows of the search.
        validation: later rows, for calibration and choice.
        search_cache: where finished fits are kept.
        evaluation: the windows, and when candidates are fitted again.
        target: what to predict.
        features: how far ahead it is predicted.
        seed: seed of the bootstrap.
        fitted: models, searches and held-out predictions of ``target.all_candidates``.

    Returns:
        As ``score_candidates``; predictions have their ``window``, from 1 in each of both parts.
    """
    import pandas as pd

    from ratchet.modelling import choice
    from ratchet.modelling.rolling_origins import predict_windows, window_numbers
    from ratchet.modelling.weighted_ensemble import ensemble_weights

    models, searches, held_out = choice.by_candidate(target, fitted)
    earlier = pd.concat([train, validation])
    weights = ensemble_weights(searches[WEIGHTED_ENSEMBLE]) if target.ensemble_members else {}
    rows = predict_windows(
        models, held_out, weights, earlier, test, target, features, evaluation, search_cache
    )
    numbers = pd.Series(window_numbers(validation, evaluation) + 1, validation.index)
    validation_predictions = validation_predictions.assign(
        window=numbers.reindex(validation_predictions.index)
    )
    return _scores(rows, validation_predictions, searches, target, features, seed)


def _scores(
    predictions: Mapping[str, DataFrame],
    validation_predictions: DataFrame,
    searches: Mapping[str, DataFrame],
    target: Target,
    features: Features,
    seed: int,
) -> tuple[DataFrame, dict[str, Any]]:
    """Put predictions of validation and test together, and score both, see ``score_candidates``."""
    import pandas as pd

    from ratchet.modelling import choice
    from ratchet.modelling.predictions import score

    frames, scores = [validation_predictions.assign(split="validation")], {}
    for name, rows in predictions.items():
        frames.append(rows.assign(candidate=name, split="test"))
        of_candidate = validation_predictions[validation_predictions["candidate"] == name]
        scores[name] = {
            "validation": score(of_candidate, target, features, seed),
            "test": score(rows, target, features, seed),
        }
        if name in target.cross_validated_candidates:
            metric, cv_score = choice.fold_scores(searches[name], target)
            scores[name] = {"cv": {metric: cv_score}, **scores[name]}
    return pd.concat(frames), scores


def judge_best(
    choice: dict[str, Any], scores: dict[str, Any], predictions: DataFrame, target: Target
) -> dict[str, Any]:
    """Hold the chosen candidate against the baseline and the business objectives, on test rows.

    Returns:
        ``baseline``, ``objectives`` and ``details`` (confusion and confident share, or coverage).
    """
    from ratchet.learning.metrics import is_better

    metric, best = choice["metric"], choice["best"]
    baseline = scores[target.baseline]["test"]
    rows = predictions[(predictions["candidate"] == best) & (predictions["split"] == "test")]
    return {
        "baseline": {
            "candidate": target.baseline,
            "test": baseline,
            "beaten": is_better(
                metric, scores[best]["test"][metric]["value"], baseline[metric]["value"]
            ),
        },
        "objectives": _judge(scores[best]["test"], target),
        "details": _describe(rows, target),
    }


def _judge(scores: dict[str, dict[str, float]], target: Target) -> dict[str, Any]:
    """Business objectives on the test rows: met, and whether the interval leaves a doubt."""
    from ratchet.learning.metrics import greater_is_better

    judged = {}
    for metric, objective in target.objectives.items():
        score = scores[metric]
        sign = 1 if greater_is_better(metric) else -1
        judged[metric] = {
            **score,
            "aim": objective.aim,
            "met": sign * score["value"] >= sign * objective.aim,
            "in_doubt": score["low"] < objective.aim < score["high"],
        }
        if objective.production is not None:
            judged[metric] |= {
                "production": objective.production,
                "fit_for_production": sign * score["value"] >= sign * objective.production,
            }
    return judged


def _describe(rows: DataFrame, target: Target) -> dict[str, Any]:
    """What the winner's predictions on the test rows can be used for."""
    from ratchet.learning.calibration import coverage
    from ratchet.learning.metrics import confusion, expected_calibration_error
    from ratchet.modelling.predictions import CONFIDENT, probabilities

    if not target.is_classes:
        return {
            "confidence": target.confidence,
            "coverage": coverage(rows["truth"], rows["low"], rows["high"]),
            "mean_width": float((rows["high"] - rows["low"]).mean()),
        }
    classes = target.classes or []
    predicted = probabilities(rows, target)
    confident = predicted.max(axis=1) >= CONFIDENT
    right = rows["truth"] == rows["prediction"]
    return {
        "confusion": confusion(rows["truth"], rows["prediction"], classes),
        "calibration_error": expected_calibration_error(rows["truth"], predicted, classes),
        "confident": {
            "threshold": CONFIDENT,
            "share": float(confident.mean()),
            "right": float(right[confident].mean()) if confident.any() else None,
            "right_otherwise": float(right[~confident].mean()) if (~confident).any() else None,
        },
    }


def explain_best(
    best_model: Any, test: DataFrame, encoder: Any, target: Target, features: Features, seed: int
) -> DataFrame:
    """Permutation importance of every source of features for the chosen model, on test rows.

    Args:
        best_model: the chosen model.
        test: rows that nothing was learned from or chosen by.
        encoder: tells which column of the rows a feature was made of.
        target: what is predicted.
        features: what the features were made of.
        seed: seed of the shuffles.

    Returns:
        ``source``, ``importance`` (added log loss, RMSE or, for series, MASE) and ``spread``,
        largest first.
    """
    from sklearn.metrics import log_loss, root_mean_squared_error

    from ratchet.learning.features.encoders import sources_of
    from ratchet.modelling import calibrate_and_refit, target_scaling
    from ratchet.modelling.importance import columns_by_source, grouped_permutation_importance

    X, y = target_scaling.features_and_target(test, target)
    inputs = calibrate_and_refit.select_inputs(best_model, X)

    def loss(rows: DataFrame) -> float:
        if target.is_classes:
            predicted = best_model.predict_proba(rows)
            return float(log_loss(y, predicted, labels=list(best_model.classes_)))
        errors = y - best_model.predict(rows)
        if target.is_series:
            return float((errors.abs() / series_columns(test)["scale"]).mean())
        return float(root_mean_squared_error(y, y - errors))

    groups = columns_by_source(list(inputs.columns), sources_of(encoder), features, target)
    return grouped_permutation_importance(loss, inputs, groups, seed=seed)


def collect_predictions(targets: Mapping[str, Any], *predictions: DataFrame) -> DataFrame:
    """Put the predictions of all targets into one table.

    Returns:
        Row key, ``target``, ``candidate``, ``split``; ``truth`` and ``prediction`` as numbers (for
        classes their place in ``classes``) and as ``truth_class``, ``prediction_class``;
        probabilities or interval.
    """
    import pandas as pd

    frames = []
    for (name, target), rows in zip(read_targets(targets).items(), predictions, strict=True):
        labelled = rows.reset_index().assign(target=name)
        if target.is_classes:
            for column in ("truth", "prediction"):
                labelled[f"{column}_class"] = labelled[column]
                labelled[column] = labelled[column].map((target.classes or []).index).astype(float)
        frames.append(labelled)
    return pd.concat(frames, ignore_index=True)


def collect_metrics(targets: Mapping[str, Any], *scores: dict[str, Any]) -> dict[str, Any]:
    """Scores of all targets: target -> candidate -> split -> metric -> value, low, high."""
    return dict(zip(targets, scores, strict=True))


def collect_evaluation(
    targets: Mapping[str, Any], *choices_and_judgements: dict[str, Any]
) -> dict[str, Any]:
    """Choices and judgements of all targets, by subject.

    Args:
        targets: the targets.
        choices_and_judgements: the choice of every target, then the judgement of every target.

    Returns:
        ``best``, ``why``, ``metric``, ``ranking``, ``baseline``, ``objectives``, ``details``:
        each a mapping from target.
    """
    half = len(targets)
    pairs = zip(choices_and_judgements[:half], choices_and_judgements[half:], strict=True)
    merged = [choice | judgement for choice, judgement in pairs]
    return {
        subject: {name: each[subject] for name, each in zip(targets, merged, strict=True)}
        for subject in merged[0]
    }


def collect_best_scores(
    metrics: dict[str, Any], evaluation: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Scores of the best candidates on the test rows, few enough to be compared at a glance.

    Args:
        metrics: as ``collect_metrics`` gives them.
        evaluation: as ``collect_evaluation`` gives it.

    Returns:
        Target -> metric -> value.
    """
    return {
        target: {metric: score["value"] for metric, score in metrics[target][best]["test"].items()}
        for target, best in evaluation["best"].items()
    }


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    targets = use_case.targets.items()
    ensembles = [_ensemble_pipeline(name, *item) for item in targets if item[1].ensemble_members]
    by_target = [_target_pipeline(name, use_case.evaluation, *item) for item in targets]
    collect = Pipeline(
        [
            node(
                collect_predictions,
                inputs=["params:targets", *_per_target(use_case, "predictions")],
                outputs="predictions",
                name="collect_predictions",
            ),
            node(
                collect_metrics,
                inputs=["params:targets", *_per_target(use_case, "scores")],
                outputs="metrics",
                name="collect_metrics",
            ),
            node(
                collect_evaluation,
                inputs=[
                    "params:targets",
                    *_per_target(use_case, "choice"),
                    *_per_target(use_case, "judgement"),
                ],
                outputs="evaluation",
                name="collect_evaluation",
            ),
            node(
                collect_best_scores,
                inputs=["metrics", "evaluation"],
                outputs="best_scores",
                name="collect_best_scores",
            ),
        ],
        namespace=name,
        inputs={
            inside: f"{name}.{target}.{noun}"
            for noun in ("predictions", "scores", "choice", "judgement")
            for inside, target in zip(_per_target(use_case, noun), use_case.targets, strict=True)
        },
        tags="evaluation",
    )
    return Pipeline([*ensembles, *by_target, collect])


def _per_target(use_case: UseCase, noun: str) -> list[str]:
    return [f"{target}/{noun}" for target in use_case.targets]


def _ensemble_pipeline(use_case: str, name: str, target: Target) -> Pipeline:
    fitted = candidate_datasets(use_case, name, target.ensemble_members)
    select = node(
        select_ensemble,
        inputs=[
            "train",
            "validation",
            "params:target",
            "params:features",
            "params:seed",
            "search_cache",
            *fitted,
        ],
        outputs=["model", "search", "held_out"],
        name="select_ensemble",
    )
    return Pipeline(
        [select],
        namespace=f"{use_case}.{name}.{WEIGHTED_ENSEMBLE}",
        inputs={
            "train": f"{use_case}.train",
            "validation": f"{use_case}.validation",
            "search_cache": "search_cache",
            **fitted,
        },
        parameters={
            "params:seed": "params:seed",
            "params:features": f"params:{use_case}.features",
            "params:target": f"params:{use_case}.targets.{name}",
        },
        tags="evaluation",
    )


def _target_pipeline(use_case: str, evaluation: Evaluation, name: str, target: Target) -> Pipeline:
    fitted = candidate_datasets(use_case, name, target.all_candidates)
    parameters = ["params:target", "params:features", "params:seed"]
    parts = ["train", "validation", "test", "encoder"]
    rolling = []
    if evaluation.windows > 1:
        rolling = ["train", "validation", "search_cache", "params:evaluation"]
    return Pipeline(
        [
            node(
                choose_best,
                inputs=["validation", *parameters, *fitted],
                outputs=["best_model", "choice", "validation_predictions"],
                name="choose_best",
            ),
            node(
                score_windows if rolling else score_candidates,
                inputs=["test", "validation_predictions", *rolling, *parameters, *fitted],
                outputs=["predictions", "scores"],
                name="score_candidates",
            ),
            node(
                judge_best,
                inputs=["choice", "scores", "predictions", "params:target"],
                outputs="judgement",
                name="judge_best",
            ),
            node(
                explain_best,
                inputs=["best_model", "test", "encoder", *parameters],
                outputs="importance",
                name="explain_best",
            ),
        ],
        namespace=f"{use_case}.{name}",
        inputs={
            **fitted,
            **{part: f"{use_case}.{part}" for part in parts if rolling or part != "train"},
            **({"search_cache": "search_cache"} if rolling else {}),
        },
        parameters={
            "params:seed": "params:seed",
            **({"params:evaluation": f"params:{use_case}.evaluation"} if rolling else {}),
            "params:target": f"params:{use_case}.targets.{name}",
            "params:features": f"params:{use_case}.features",
        },
        tags="evaluation",
    )
