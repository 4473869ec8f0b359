"""Evaluation: same rows for all, a choice that cannot see the test rows, honest judgements."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from ratchet.config import Features, History, Target, Windows
from ratchet.errors import ConfigError
from ratchet.learning.features import feature_encoder
from ratchet.modelling.choice import choose_best, fold_scores
from ratchet.modelling.importance import columns_by_source
from ratchet.pipelines.evaluation import (
    collect_best_scores,
    collect_evaluation,
    collect_metrics,
    collect_predictions,
    explain_best,
    judge_best,
    score_candidates,
)

CANDIDATES = {"dummy": {"estimator": "dummy"}, "good": {"estimator": "ridge"}}
NUMBER = Target(
    column="price",
    task="regression",
    cv=2,
    stack=0,
    weighted_ensemble=0,
    bounds=(0, 10),
    candidates=CANDIDATES,
    objectives={"rmse": {"aim": 0.5, "production": 2.0}, "r2": {"aim": 0.999}},
)
CLASS = Target(
    column="grade",
    task="classification",
    classes=["low", "high"],  # not in the order of the alphabet
    cv=2,
    stack=0,
    weighted_ensemble=0,
    candidates={"dummy": {"estimator": "dummy"}, "good": {"estimator": "logistic"}},
    objectives={"accuracy": {"aim": 0.9}},
)
FEATURES = Features(numeric=["size", "idle"])
HISTORY = History(entities=["cast", "cast_x"], values={}, looked_up="day", available="day")


class Teller(RegressorMixin, BaseEstimator):
    """Tells ``size``, off by ``error``, give or take one."""

    confidence = 0.9

    def __init__(self, error: float = 0.0) -> None:
        self.error = error

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return np.clip(X["size"].to_numpy() + self.error, 0, 10)

    def predict_with_interval(self, X: pd.DataFrame) -> np.ndarray:
        return np.clip(self.predict(X)[:, None] + [0, -1, 1], 0, 10)


class Guesser(ClassifierMixin, BaseEstimator):
    """Says ``high`` with probability ``size`` / 10 to the power of ``sureness``."""

    classes_ = np.array(["high", "low"])

    def __init__(self, sureness: float = 1.0) -> None:
        self.sureness = sureness

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        odds = (X["size"] / (10 - X["size"])) ** self.sureness
        high = (odds / (1 + odds)).to_numpy()
        return np.column_stack([high, 1 - high])


def rows(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.uniform(1, 9, n)
    return pd.DataFrame(
        {
            "size": size,
            "idle": rng.normal(size=n),
            "target_price": np.clip(size + rng.normal(scale=0.3, size=n), 0, 10),
            "target_grade": np.where(rng.uniform(0, 10, n) < size, "high", "low"),
        },
        index=pd.Index(range(seed * 1000, seed * 1000 + n), name="id"),
    )


VALIDATION, TEST = rows(80, 1), rows(120, 2)


def search(*folds: float, scoring: str = NUMBER.scorer) -> pd.DataFrame:
    scores = {f"split{i}_test_score": [score] for i, score in enumerate(folds)}
    return pd.DataFrame({**scores, "mean_test_score": [np.mean(folds)], "scoring": scoring})


def numbers(bad: float = 3.0) -> tuple[list[Any], list[Any], list[Any]]:
    models = [Teller(bad), Teller(0.0)]
    searches = [search(-3.2, -2.8), search(-0.4, -0.2)]
    held_out = [
        pd.DataFrame({"prediction": m.predict(VALIDATION)}, VALIDATION.index) for m in models
    ]
    return models, searches, held_out


def classes() -> tuple[list[Any], list[Any], list[Any]]:
    models = [Guesser(0.0), Guesser(1.0)]
    searches = [search(*folds, scoring=CLASS.scorer) for folds in [(-0.7, -0.7), (-0.5, -0.6)]]
    held_out = [
        pd.DataFrame(m.predict_proba(VALIDATION), VALIDATION.index, m.classes_) for m in models
    ]
    return models, searches, held_out


CASES = pytest.mark.parametrize(("target", "make"), [(NUMBER, numbers), (CLASS, classes)])


def evaluate(target: Target, parts: tuple[list[Any], list[Any], list[Any]], test=TEST):
    fitted = [part for kind in parts for part in kind]
    best, choice, seen = choose_best(VALIDATION, target, FEATURES, 0, *fitted)
    predictions, scores = score_candidates(test, seen, target, FEATURES, 0, *fitted)
    return best, choice, predictions, scores


@CASES
def test_best_is_chosen_by_cross_validation_and_validation(target, make):
    parts = make()
    best, choice, _, scores = evaluate(target, parts)
    metric = choice["metric"]

    assert best is parts[0][1]
    assert choice["best"] == "good"
    assert list(choice["ranking"]) == ["good", "dummy"]
    for name, row in choice["ranking"].items():
        assert row["cv"] == pytest.approx(scores[name]["cv"][metric]["value"])
        assert row["validation"] == pytest.approx(scores[name]["validation"][metric]["value"])
        assert row["mean"] == pytest.approx((row["cv"] + row["validation"]) / 2)
    assert f"{choice['ranking']['good']['mean']:.4f}" in choice["why"]


@CASES
def test_test_rows_have_no_say(target, make):
    """Not even where the other candidate is right on every one of them."""
    parts = make()
    awkward = TEST.assign(
        target_price=parts[0][0].predict(TEST) if target is NUMBER else TEST["target_price"],
        target_grade=np.where(TEST["size"] > 5, "low", "high"),
    )

    _, choice, _, scores = evaluate(target, parts, awkward)

    metric = choice["metric"]
    worse, better = (scores[name]["test"][metric]["value"] for name in ("good", "dummy"))
    assert better < worse
    assert choice["best"] == "good"


@CASES
def test_every_candidate_predicts_the_same_rows(target, make):
    _, _, predictions, _ = evaluate(target, make())

    for split, part in {"validation": VALIDATION, "test": TEST}.items():
        for name in target.candidates:
            own = predictions[(predictions["candidate"] == name) & (predictions["split"] == split)]
            assert own.index.tolist() == part.index.tolist()
            assert own["truth"].tolist() == part[f"target_{target.column}"].tolist()


def test_rows_without_the_target_are_not_scored():
    test = TEST.copy()
    test.loc[test.index[:20], "target_price"] = np.nan

    _, _, predictions, _ = evaluate(NUMBER, numbers(), test)

    assert len(predictions.query("split == 'test' and candidate == 'good'")) == 100


def test_scores_are_those_of_the_predictions():
    _, _, predictions, scores = evaluate(NUMBER, numbers())
    own = predictions.query("split == 'test' and candidate == 'good'")
    rmse = np.sqrt(np.mean((own["truth"] - own["prediction"]) ** 2))

    assert scores["good"]["test"]["rmse"]["value"] == pytest.approx(rmse)
    assert scores["good"]["test"]["rmse"]["low"] < rmse < scores["good"]["test"]["rmse"]["high"]


def test_probabilities_have_a_column_per_class_by_name():
    _, _, predictions, _ = evaluate(CLASS, classes())
    own = predictions.query("split == 'test' and candidate == 'good'")

    np.testing.assert_allclose(own["probability_high"], TEST["size"] / 10)
    np.testing.assert_allclose(own["probability_low"], 1 - TEST["size"] / 10)
    assert own["prediction"].tolist() == ["high" if s > 5 else "low" for s in TEST["size"]]


def test_validation_rows_are_calibrated_by_the_others():
    """A model that is far too sure of itself is not punished for what calibration mends."""
    models, searches, held_out = classes()
    sure = Guesser(6.0)
    held_out[1] = pd.DataFrame(sure.predict_proba(VALIDATION), VALIDATION.index, sure.classes_)

    _, _, predictions, _ = evaluate(CLASS, (models, searches, held_out))

    own = predictions.query("split == 'validation' and candidate == 'good'")
    raw = sure.predict_proba(VALIDATION)[:, 0]
    assert (own["probability_high"] - 0.5).abs().mean() < np.abs(raw - 0.5).mean() - 0.05
    assert ((own["probability_high"] > 0.5) == (raw > 0.5)).all()


def test_fold_scores_have_our_sign_and_the_spread_of_the_folds():
    name, score = fold_scores(search(-0.4, -0.2), NUMBER)

    assert name == "rmse"
    assert score == pytest.approx({"value": 0.3, "low": 0.2, "high": 0.4})


def test_folds_are_those_of_the_search():
    _, score = fold_scores(search(-0.4, -0.2, -0.9), NUMBER)

    assert score["high"] == 0.9


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [("scoring", "r2", "neg_root_mean_squared_error"), ("confidence", 0.8, "0.9")],
)
def test_parameters_that_changed_after_the_search_are_told(name, value, found):
    """Else the scores of an earlier run would be labelled with today's parameters."""
    target = NUMBER.model_copy(update={name: value})

    with pytest.raises(ConfigError) as error:
        evaluate(target, numbers())

    assert f"column 'price'>.{name}: it is {value}" in str(error.value)
    assert f"made with {found}; run the modelling pipelines again" in str(error.value)


def test_a_table_without_its_scorer_is_of_an_earlier_version():
    with pytest.raises(ConfigError, match="made with None; run the modelling pipelines again"):
        fold_scores(search(-0.4, -0.2).drop(columns="scoring"), NUMBER)


def test_objectives_are_judged_by_their_direction():
    _, choice, predictions, scores = evaluate(NUMBER, numbers())

    judged = judge_best(choice, scores, predictions, NUMBER)

    rmse, r2 = judged["objectives"]["rmse"], judged["objectives"]["r2"]
    assert rmse["met"]
    assert rmse["fit_for_production"]
    assert not rmse["in_doubt"]
    assert not r2["met"]
    assert "fit_for_production" not in r2
    assert judged["baseline"]["candidate"] == "dummy"
    assert judged["baseline"]["beaten"]
    assert judged["baseline"]["test"] == scores["dummy"]["test"]


def test_an_aim_inside_of_the_interval_is_in_doubt():
    _, choice, predictions, scores = evaluate(NUMBER, numbers())
    value = scores["good"]["test"]["rmse"]["value"]
    target = NUMBER.model_copy(
        update={
            "objectives": Target.model_validate(
                {**NUMBER.model_dump(), "objectives": {"rmse": {"aim": value + 1e-6}}}
            ).objectives
        }
    )

    judged = judge_best(choice, scores, predictions, target)["objectives"]["rmse"]

    assert judged["met"]
    assert judged["in_doubt"]


def test_a_baseline_that_wins_is_not_beaten():
    models, searches, held_out = numbers(bad=0.0)
    models[1] = Teller(2.0)
    _, choice, predictions, scores = evaluate(NUMBER, (models, searches, held_out))

    assert not judge_best(choice, scores, predictions, NUMBER)["baseline"]["beaten"]


def test_coverage_is_counted():
    _, choice, predictions, scores = evaluate(NUMBER, numbers())

    details = judge_best(choice, scores, predictions, NUMBER)["details"]

    inside = (TEST["target_price"] - TEST["size"]).abs() <= 1
    assert details["coverage"] == pytest.approx(inside.mean(), abs=0.02)
    assert 1.8 < details["mean_width"] <= 2


def test_confident_predictions_are_counted():
    _, choice, predictions, scores = evaluate(CLASS, classes())

    details = judge_best(choice, scores, predictions, CLASS)["details"]

    sure = (TEST["size"] >= 8) | (TEST["size"] <= 2)
    right = (TEST["size"] > 5) == (TEST["target_grade"] == "high")
    assert details["confident"]["share"] == pytest.approx(sure.mean())
    assert details["confident"]["right"] == pytest.approx(right[sure].mean())
    assert details["confident"]["right_otherwise"] == pytest.approx(right[~sure].mean())
    json.dumps(details)  # ends up in a file


def test_nobody_confident_is_no_number():
    models, searches, held_out = classes()
    models[1] = Guesser(0.1)
    _, choice, predictions, scores = evaluate(CLASS, (models, searches, held_out))

    confident = judge_best(choice, scores, predictions, CLASS)["details"]["confident"]

    assert confident["share"] == 0
    assert confident["right"] is None


@pytest.mark.parametrize(("target", "model"), [(NUMBER, Teller()), (CLASS, Guesser())])
def test_importance_is_of_sources_on_test_rows(target, model):
    features = Features(numeric=["size", "idle"])

    encoder = feature_encoder(numeric=["size", "idle"]).fit(TEST)
    table = explain_best(model, TEST, encoder, target, features, 0)

    assert table["source"].tolist() == ["size", "idle"]
    assert table["importance"][0] > 0.1
    assert table["importance"][1] == 0


def test_columns_belong_to_what_they_were_made_of():
    features = Features(categorical=["a", "a_b"], numeric=["static_x"], history=HISTORY)
    columns = ["a_b_c", "column:static_x", "history_cast_x_events", "history_cast_mean", "series_a"]
    made_of = dict(zip(columns, ["a", *columns[1:]], strict=True))

    assert columns_by_source(columns, made_of, features, NUMBER) == {
        "a": ["a_b_c"],
        "column:static_x": ["column:static_x"],
        "history_cast_x": ["history_cast_x_events"],
        "history_cast": ["history_cast_mean"],
    }


def test_windows_belong_to_the_column_that_they_follow():
    windows = Windows(lookback=2, past={"load": "value", "a_1": "value"}, known=["hour"])
    features = Features(numeric=["history_x"], cyclic={"hour": 24}, windows=windows)
    load = NUMBER.model_copy(update={"column": "load"})
    columns = ["window_load_00", "lag_7", "naive_seasonal", "ahead_load_season7_01"]
    columns += ["window_a_1_01", "ahead_hour_sin_00", "column:history_x", "static_level"]

    assert columns_by_source(columns, dict(zip(columns, columns, strict=True)), features, load) == {
        "load": columns[:4],
        "a_1": ["window_a_1_01"],
        "hour": ["ahead_hour_sin_00"],
        "column:history_x": ["column:history_x"],
        "static_level": ["static_level"],
    }


def test_tables_of_all_targets_are_put_together():
    targets = {"price": NUMBER.model_dump(), "grade": CLASS.model_dump()}
    parts = [evaluate(NUMBER, numbers()), evaluate(CLASS, classes())]

    predictions = collect_predictions(targets, *(p[2] for p in parts))
    metrics = collect_metrics(targets, *(p[3] for p in parts))
    judged = [judge_best(p[1], p[3], p[2], t) for p, t in zip(parts, (NUMBER, CLASS), strict=True)]
    evaluation = collect_evaluation(targets, *(p[1] for p in parts), *judged)

    assert len(predictions) == 2 * 2 * 200
    assert predictions[["id", "target", "candidate", "split", "truth"]].notna().all(axis=None)
    graded = predictions[predictions["target"] == "grade"]
    assert (graded["truth"] == (graded["truth_class"] == "high")).all()  # place in classes
    assert (graded["prediction"] == (graded["prediction_class"] == "high")).all()
    assert predictions.loc[predictions["target"] == "price", "truth_class"].isna().all()
    assert metrics["price"]["good"] == parts[0][3]["good"]
    assert evaluation["best"] == {"price": "good", "grade": "good"}
    best = collect_best_scores(metrics, evaluation)
    assert best["price"]["rmse"] == metrics["price"]["good"]["test"]["rmse"]["value"]
    assert set(best["grade"]) == set(metrics["grade"]["good"]["test"])
    assert set(evaluation) == {
        *("best", "why", "metric", "ranking", "baseline", "objectives", "details"),
    }
    json.dumps([metrics, evaluation])
