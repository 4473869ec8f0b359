# ruff: noqa: E402 - the clock starts before the imports
"""The fits of the classical pipeline as a plain script: scikit-learn, XGBoost and nothing of ours.

`python bare/classical.py plan.json model_input_folder output_folder`, where the plan holds the seed
and the targets with their candidates and grids. It writes the fitted models, the cross-validated
scores, and what its imports took.
"""

from __future__ import annotations

import time

START = time.perf_counter()

import json
import math
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from xgboost import XGBClassifier, XGBRegressor

PARTS = ("train", "validation")
IMPORTED = {"start_up": [time.process_time(), time.perf_counter() - START]}


class BalancedXGB(ClassifierMixin, BaseEstimator):
    """XGBoost has no class_weight."""

    def __init__(self, estimator, class_weight=None):
        self.estimator = estimator
        self.class_weight = class_weight

    def fit(self, X, y):
        self.classes_, codes = np.unique(y, return_inverse=True)
        weight = compute_sample_weight(self.class_weight, y)
        self.model_ = clone(self.estimator).fit(X, codes, sample_weight=weight)
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def scaled(*steps):
    return Pipeline([("impute", SimpleImputer()), ("scale", StandardScaler()), *steps])


def estimators(task, seed):
    nystroem = Nystroem(n_components=300, random_state=seed)
    if task == "classification":
        logistic = LogisticRegression(max_iter=300, random_state=seed)
        xgboost = XGBClassifier(tree_method="hist", n_jobs=1, random_state=seed)
        return {
            "dummy": DummyClassifier(random_state=seed),
            "logistic": scaled(("model", logistic)),
            "extra_trees": ExtraTreesClassifier(random_state=seed),
            "hist_gradient_boosting": HistGradientBoostingClassifier(random_state=seed),
            "xgboost": BalancedXGB(xgboost),
            "kernel": scaled(("kernel", nystroem), ("model", logistic)),
        }
    ridge = Ridge(random_state=seed)
    return {
        "dummy": DummyRegressor(),
        "ridge": scaled(("model", ridge)),
        "extra_trees": ExtraTreesRegressor(random_state=seed),
        "hist_gradient_boosting": HistGradientBoostingRegressor(random_state=seed),
        "xgboost": XGBRegressor(tree_method="hist", n_jobs=1, random_state=seed),
        "kernel": scaled(("kernel", nystroem), ("model", ridge)),
    }


def rows_with(frame, target):
    column = f"target_{target['column']}"
    frame = frame[frame[column].notna()]
    y = frame[column].astype(str if target["task"] == "classification" else float)
    return frame.loc[:, ~frame.columns.str.startswith("target_")], y.to_numpy()


def columns(predicted, task):
    values = np.asarray(predicted, dtype=float)
    if task == "classification":
        values = np.log(np.clip(values, 1e-6, 1))
    return values.reshape(len(values), -1)


def predict(model, X, task):
    return model.predict_proba(X) if task == "classification" else model.predict(X)


def stacked_columns(X, models, task):
    return np.hstack([columns(predict(model, X, task), task) for model in models])


def grid_search(estimator, grid, X, y, target, cv, n_jobs):
    search = GridSearchCV(
        estimator, grid, scoring=target["scoring"], cv=cv, n_jobs=n_jobs, error_score="raise"
    )
    return search.fit(X, y)


def fit_stack(models, held_out, X, y, target, cv):
    """Combine by a linear model on out-of-fold predictions."""
    task, n_jobs = target["task"], target["n_jobs"]
    method = "predict_proba" if task == "classification" else "predict"
    out_of_fold = [
        columns(cross_val_predict(model, X, y, cv=cv, method=method, n_jobs=n_jobs), task)
        for model in models
    ]
    linear = LogisticRegression(max_iter=300) if task == "classification" else Ridge(positive=True)
    grid = target["stack_param_grid"]
    search = grid_search(linear, grid, np.hstack(out_of_fold), y, target, cv, n_jobs=1)
    first = FunctionTransformer(stacked_columns, kw_args={"models": models, "task": task})
    combined = np.hstack([columns(predicted, task) for predicted in held_out])
    predicted = predict(search.best_estimator_, combined, task)
    return Pipeline([("models", first), ("combine", search.best_estimator_)]), predicted, search


def calibrate(predicted, classes, y, target):
    """Temperature of the probabilities, or half the width of the intervals."""
    if target["task"] == "classification":
        logs = np.log(np.clip(predicted, 1e-6, 1))
        column = np.searchsorted(classes, y)

        def loss(log_temperature):
            scaled = log_softmax(logs / np.exp(log_temperature), axis=1)
            surprise = -scaled[np.arange(len(column)), column].sum()
            return surprise + (log_temperature / 0.5) ** 2 / 2

        return np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)
    errors = np.abs(y - np.clip(predicted, *(target["bounds"] or (None, None))))
    rank = math.ceil((len(errors) + 1) * target["confidence"] - 1e-9)
    return np.sort(errors)[rank - 1]


def fit_target(target, train, validation, seed):
    task = target["task"]
    X, y = rows_with(train, target)
    X_new, y_new = rows_with(validation, target)
    X_all, y_all = pd.concat([X, X_new]), np.concatenate([y, y_new])
    splitter = StratifiedKFold if task == "classification" else KFold
    cv = splitter(target["cv"], shuffle=True, random_state=seed)
    available = estimators(task, seed)
    models, held_out, scores = {}, {}, {}
    for name, candidate in target["candidates"].items():
        estimator, grid = available[candidate["estimator"]], candidate["param_grid"]
        search = grid_search(estimator, grid, X, y, target, cv, target["n_jobs"])
        held_out[name] = predict(search.best_estimator_, X_new, task)
        models[name] = clone(search.best_estimator_).fit(X_all, y_all)
        scores[name] = search.best_score_
    if target["stack"]:
        others = [
            name for name in sorted(scores, key=scores.get)[::-1] if name != target["baseline"]
        ]
        best = others[: target["stack"]]
        parts = [[from_[name] for name in best] for from_ in (models, held_out)]
        models["stack"], held_out["stack"], search = fit_stack(*parts, X, y, target, cv)
        scores["stack"] = search.best_score_
    classes = np.unique(y)
    calibrated = {
        name: (model, calibrate(held_out[name], classes, y_new, target))
        for name, model in models.items()
    }
    return calibrated, scores


def main():
    plan, data, output = map(Path, sys.argv[1:])
    plan = json.loads(plan.read_text(encoding="utf-8"))
    train, validation = (pd.read_parquet(data / f"{part}.parquet") for part in PARTS)
    results = dict(IMPORTED)
    for name, target in plan["targets"].items():
        models, results[name] = fit_target(target, train, validation, plan["seed"])
        for candidate, model in models.items():
            joblib.dump(model, output / f"{name}-{candidate}.joblib")
    (output / "results.json").write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
