"""Nodes of evaluation."""

from __future__ import annotations

from typing import Any

from ratchet.errors import ConfigError
from ratchet.frames import DataFrame, Series
from ratchet.params import HISTORY_PREFIX, Features, Target, read_targets
from ratchet.pipelines.model_input import features_and_target

CONFIDENT = 0.8
"""Probability from which a prediction is called confident in evaluation and report."""


def choose_best(
    validation: DataFrame, target: Target, seed: int, *fitted: Any
) -> tuple[Any, dict[str, Any], DataFrame]:
    """Choose the candidate with the best mean of cross-validated and validation score.

    Cross-validation has the many rows, validation the later ones. The test rows are no input, so
    they have no say. On the validation rows the models that were fitted without them are scored,
    every row calibrated on the others.

    Args:
        validation: rows for the choice.
        target: what to predict.
        seed: seed of the folds of the calibration.
        fitted: models, searches and held-out predictions of ``target.contenders``.

    Returns:
        The chosen model; the choice: ``best``, ``why``, ``metric`` and ``ranking``; and the
        predictions on the validation rows, one per candidate and row.

    Raises:
        ConfigError: the searches were made with another scoring.
    """
    import pandas as pd

    models, searches, held_out = _by_candidate(target, fitted)
    y = features_and_target(validation, target)[1]
    frames = {
        name: _tidy(_calibrate_by_folds(rows, y, target, seed), y, target)
        for name, rows in held_out.items()
    }
    metric = fold_scores(searches[target.baseline], target)[0]
    ranking = {
        name: {
            "cv": fold_scores(searches[name], target)[1]["value"],
            "validation": _score(rows, target, seed)[metric]["value"],
        }
        for name, rows in frames.items()
    }
    choice = {"metric": metric, **_rank(ranking, metric)}
    return models[choice["best"]], choice, pd.concat(frames, names=["candidate"]).reset_index(0)


def _by_candidate(target: Target, fitted: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Models, searches and held-out predictions, each by candidate."""
    names = target.contenders
    starts = range(0, len(fitted), len(names))
    return [dict(zip(names, fitted[i : i + len(names)], strict=True)) for i in starts]


def _calibrate_by_folds(held_out: DataFrame, y: Series, target: Target, seed: int) -> Any:
    """Held-out predictions, calibrated as the final models are."""
    import numpy as np
    from sklearn.model_selection import KFold

    from ratchet.learning.calibration import TemperatureScaling
    from ratchet.learning.stacking import as_columns

    if target.task == "regression":
        return held_out["prediction"].clip(*(target.bounds or (None, None)))
    # Not cross_val_predict: it hands the scaling numbers for the names of the classes.
    scaling, logs = TemperatureScaling(list(held_out.columns)), as_columns(held_out, classes=True)
    calibrated = np.empty_like(logs)
    for others, rows in KFold(target.cv, shuffle=True, random_state=seed).split(logs):
        scaling.fit(logs[others], y.iloc[others])
        calibrated[rows] = scaling.predict_proba(logs[rows])
    return calibrated


def _rank(ranking: dict[str, dict[str, float]], metric: str) -> dict[str, Any]:
    """Order the candidates by the mean of both scores and say why the first one won."""
    from ratchet.learning.metrics import greater_is_better

    for row in ranking.values():
        row["mean"] = (row["cv"] + row["validation"]) / 2
    names = sorted(
        ranking, key=lambda name: ranking[name]["mean"], reverse=greater_is_better(metric)
    )
    best, second = names[0], names[1]
    why = (
        f"mean {metric} of cross-validation and validation: {best} {ranking[best]['mean']:.4f}, "
        f"next {second} {ranking[second]['mean']:.4f}"
    )
    return {"best": best, "why": why, "ranking": {name: ranking[name] for name in names}}


def score_candidates(
    test: DataFrame,
    validation_predictions: DataFrame,
    target: Target,
    seed: int,
    *fitted: Any,
) -> tuple[DataFrame, dict[str, Any]]:
    """Predict the test rows with every candidate and score all of them on the same rows.

    Args:
        test: rows that nothing was learned from or chosen by.
        validation_predictions: as ``choose_best`` gives them.
        target: what to predict.
        seed: seed of the bootstrap.
        fitted: models, searches and held-out predictions of ``target.contenders``.

    Returns:
        Predictions, one row per candidate and row of validation and test; and the scores:
        candidate -> ``cv``, ``validation`` or ``test`` -> metric -> value, low, high. For ``cv``
        low and high are the lowest and the highest fold, for the others a 95 % bootstrap interval.

    Raises:
        ConfigError: the models were made with another scoring or confidence.
    """
    import pandas as pd

    models, searches, _ = _by_candidate(target, fitted)
    X, y = features_and_target(test, target)
    frames, scores = [validation_predictions.assign(split="validation")], {}
    for name, model in models.items():
        rows = _tidy(getattr(model, _method(target))(X), y, target)
        if target.task == "regression":
            _check_unchanged(target, "confidence", found=model.confidence, asked=target.confidence)
            rows[["low", "high"]] = model.predict_interval(X)
        frames.append(rows.assign(candidate=name, split="test"))
        metric, cv_score = fold_scores(searches[name], target)
        of_candidate = validation_predictions[validation_predictions["candidate"] == name]
        scores[name] = {
            "cv": {metric: cv_score},
            "validation": _score(of_candidate, target, seed),
            "test": _score(rows, target, seed),
        }
    return pd.concat(frames), scores


def _method(target: Target) -> str:
    return "predict_proba" if target.task == "classification" else "predict"


def _tidy(predicted: Any, y: Series, target: Target) -> DataFrame:
    """Truth and prediction of every row, and for classes the probability of each."""
    import pandas as pd

    if target.task == "regression":
        return pd.DataFrame({"truth": y, "prediction": predicted})
    classes = sorted(target.classes or [])  # the order of scikit-learn's classes_
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


def fold_scores(search: DataFrame, target: Target) -> tuple[str, dict[str, float]]:
    """Our name of the search's metric, and its mean with the lowest and the highest fold.

    Raises:
        ConfigError: the search was made with another scoring.
    """
    from ratchet.learning.metrics import from_scorer

    best = search.iloc[0]
    _check_unchanged(target, "scoring", found=best.get("scoring"), asked=target.scorer)
    folds = best[search.columns.str.fullmatch(r"split\d+_test_score")]
    values = [from_scorer(target.scorer, score)[1] for score in folds]
    name, mean = from_scorer(target.scorer, best["mean_test_score"])
    return name, {"value": mean, "low": min(values), "high": max(values)}


def _check_unchanged(target: Target, name: str, *, found: Any, asked: Any) -> None:
    """Make sure that what was fitted, maybe in an earlier run, was fitted with a parameter."""
    if found != asked:
        raise ConfigError(
            f"parameter targets.<target of column '{target.column}'>.{name}: it is {asked}, but "
            f"the candidates were made with {found}; run the classical pipeline again"
        )


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


def collect_evaluation(
    targets: dict[str, Any], *choices_and_judgements: dict[str, Any]
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
