"""Nodes of evaluation."""

from __future__ import annotations

from typing import Any

from ratchet.frames import DataFrame
from ratchet.params import Features, Target, read_targets
from ratchet.pipelines.model_input import features_and_target

CONFIDENT = 0.8
"""Probability from which a prediction is called confident in evaluation and report."""


def score_candidates(
    validation: DataFrame,
    test: DataFrame,
    target: Target,
    seed: int,
    *models_and_searches: Any,
) -> tuple[DataFrame, dict[str, Any]]:
    """Predict and score every candidate on the same rows.

    On validation rows, which calibrated the models, every row is predicted by a calibration that
    has not seen it.

    Args:
        validation: rows for the choice.
        test: rows that nothing was learned from or chosen by.
        target: what to predict.
        seed: seed of the bootstrap.
        models_and_searches: models of ``target.contenders``, then their searches.

    Returns:
        Predictions, one row per candidate and row of validation and test; and the scores:
        candidate -> ``cv``, ``validation`` or ``test`` -> metric -> value, low, high. For ``cv``
        low and high are the worst and the best fold, for the others a 95 % bootstrap interval.
    """
    import pandas as pd

    contenders = target.contenders
    models = dict(zip(contenders, models_and_searches[: len(contenders)], strict=True))
    searches = dict(zip(contenders, models_and_searches[len(contenders) :], strict=True))
    frames, scores = [], {}
    for name, model in models.items():
        parts = {
            "validation": _predict(model, validation, target, seed, unseen=False),
            "test": _predict(model, test, target, seed, unseen=True),
        }
        scores[name] = {"cv": _fold_scores(searches[name], target)} | {
            part: _score(rows, target, seed) for part, rows in parts.items()
        }
        frames += [rows.assign(candidate=name, split=part) for part, rows in parts.items()]
    return pd.concat(frames), scores


def _predict(model: Any, frame: DataFrame, target: Target, seed: int, *, unseen: bool) -> DataFrame:
    """Truth and prediction of every row, with probabilities or the interval."""
    import pandas as pd
    from sklearn.model_selection import cross_val_predict

    from ratchet.learning.classical import folds

    X, y = features_and_target(frame, target)
    method = "predict_proba" if target.task == "classification" else "predict"
    if unseen:
        predicted = getattr(model, method)(X)
    else:
        cv = folds(target.task, target.cv, seed)
        predicted = cross_val_predict(model, X, y.to_numpy(), cv=cv, method=method)
    if target.task == "regression":
        rows = pd.DataFrame({"truth": y, "prediction": predicted})
        if unseen:
            rows[["low", "high"]] = model.predict_interval(X)
        return rows
    classes = list(model.classes_)
    rows = pd.DataFrame(predicted, columns=[f"probability_{c}" for c in classes], index=y.index)
    rows.insert(0, "truth", y)
    rows.insert(1, "prediction", [classes[i] for i in predicted.argmax(axis=1)])
    return rows


def _probabilities(rows: DataFrame, target: Target) -> DataFrame:
    return rows[[f"probability_{name}" for name in target.classes or []]]


def _score(rows: DataFrame, target: Target, seed: int) -> dict[str, dict[str, float]]:
    from ratchet.learning.metrics import score_classification, score_regression

    if target.task == "regression":
        return score_regression(rows["truth"], rows["prediction"], seed=seed)
    probabilities = _probabilities(rows, target)
    return score_classification(rows["truth"], probabilities, target.classes or [], seed=seed)


def _fold_scores(search: DataFrame, target: Target) -> dict[str, dict[str, float]]:
    from ratchet.learning.metrics import from_scorer

    best = search.iloc[0]
    per_fold = [
        from_scorer(target.scorer, best[f"split{fold}_test_score"])[1] for fold in range(target.cv)
    ]
    name, value = from_scorer(target.scorer, best["mean_test_score"])
    return {name: {"value": value, "low": min(per_fold), "high": max(per_fold)}}


def choose_best(
    target: Target, scores: dict[str, Any], predictions: DataFrame, *models: Any
) -> tuple[Any, dict[str, Any]]:
    """Choose the candidate with the best mean of cross-validated and validation score.

    Cross-validation has the many rows, validation the later ones; the test rows have no say.

    Returns:
        The chosen model; and ``best``, ``why``, ``ranking``, ``baseline``, ``objectives`` and
        ``details`` (confusion and confident share, or coverage), all but the choice on test rows.
    """
    from ratchet.learning.metrics import SCORERS, greater_is_better, is_better

    metric = SCORERS[target.scorer]
    ranking = {
        name: {part: parts[part][metric]["value"] for part in ("cv", "validation")}
        for name, parts in scores.items()
    }
    for row in ranking.values():
        row["mean"] = (row["cv"] + row["validation"]) / 2
    names = sorted(
        ranking, key=lambda name: ranking[name]["mean"], reverse=greater_is_better(metric)
    )
    best, second = names[0], names[1]
    choice = {
        "best": best,
        "why": (
            f"mean {metric} of cross-validation and validation: {best} "
            f"{ranking[best]['mean']:.4f}, next {second} {ranking[second]['mean']:.4f}"
        ),
        "metric": metric,
        "ranking": {name: ranking[name] for name in names},
        "baseline": {
            "candidate": target.baseline,
            "test": scores[target.baseline]["test"],
            "beaten": is_better(
                metric,
                scores[best]["test"][metric]["value"],
                scores[target.baseline]["test"][metric]["value"],
            ),
        },
        "objectives": _judge(scores[best]["test"], target),
        "details": _describe(predictions.query("candidate == @best and split == 'test'"), target),
    }
    return dict(zip(target.contenders, models, strict=True))[best], choice


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
    from ratchet.learning.conformal import coverage
    from ratchet.learning.metrics import confusion, expected_calibration_error

    if target.task == "regression":
        return {
            "confidence": target.confidence,
            "coverage": coverage(rows["truth"], rows["low"], rows["high"]),
            "mean_width": float((rows["high"] - rows["low"]).mean()),
        }
    classes = target.classes or []
    probabilities = _probabilities(rows, target)
    confident = probabilities.max(axis=1) >= CONFIDENT
    right = rows["truth"] == rows["prediction"]
    return {
        "confusion": confusion(rows["truth"], rows["prediction"], classes),
        "calibration_error": expected_calibration_error(rows["truth"], probabilities, classes),
        "confident": {
            "threshold": CONFIDENT,
            "share": float(confident.mean()),
            "right": float(right[confident].mean()) if confident.any() else None,
            "right_otherwise": float(right[~confident].mean()) if (~confident).any() else None,
        },
    }


def explain_best(
    best_model: Any, test: DataFrame, target: Target, features: Features, seed: int
) -> DataFrame:
    """Permutation importance of every source of features for the chosen model, on test rows.

    Returns:
        ``source``, ``importance`` (added log loss or RMSE) and ``spread``, largest first.
    """
    from sklearn.metrics import log_loss, root_mean_squared_error

    from ratchet.learning.importance import group_by_source, grouped_permutation_importance
    from ratchet.pipelines.preprocessing.nodes import HISTORY_PREFIX

    X, y = features_and_target(test, target)

    def loss(rows: DataFrame) -> float:
        if target.task == "regression":
            return float(root_mean_squared_error(y, best_model.predict(rows)))
        probabilities = best_model.predict_proba(rows)
        return float(log_loss(y, probabilities, labels=list(best_model.classes_)))

    entities = features.history.entities if features.history else []
    sources = [*features.columns, *(f"{HISTORY_PREFIX}{entity}" for entity in entities)]
    groups = group_by_source(list(X.columns), sources)
    return grouped_permutation_importance(loss, X, groups, seed=seed)


def collect_predictions(targets: dict[str, Any], *predictions: DataFrame) -> DataFrame:
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
        if target.task == "classification":
            for column in ("truth", "prediction"):
                labelled[f"{column}_class"] = labelled[column]
                labelled[column] = labelled[column].map((target.classes or []).index).astype(float)
        frames.append(labelled)
    return pd.concat(frames, ignore_index=True)


def collect_metrics(targets: dict[str, Any], *scores: dict[str, Any]) -> dict[str, Any]:
    """Scores of all targets: target -> candidate -> split -> metric -> value, low, high."""
    return dict(zip(targets, scores, strict=True))


def collect_evaluation(targets: dict[str, Any], *choices: dict[str, Any]) -> dict[str, Any]:
    """Choices of all targets, by subject: ``best``, ``why``, ``objectives`` ... -> target."""
    return {
        subject: {name: choice[subject] for name, choice in zip(targets, choices, strict=True)}
        for subject in choices[0]
    }
