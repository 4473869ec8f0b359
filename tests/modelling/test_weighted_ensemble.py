"""The weighted ensemble: built from held-out predictions, compared, refitted, stored, compiled."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import Memory
from numpy.testing import assert_allclose

from ratchet.compiled.estimators import compile_estimator
from ratchet.config import Candidate, Features, Target, Windows
from ratchet.learning.trusted import dump, load
from ratchet.modelling.calibrate_and_refit import (
    calibrate,
    predict_held_out,
    refit,
    refit_estimator,
    select_inputs,
    uncalibrated,
)
from ratchet.modelling.candidate_search import search_candidate
from ratchet.modelling.choice import choose_best
from ratchet.modelling.networks import assemble
from ratchet.modelling.target_scaling import features_and_scaled_target, features_and_target
from ratchet.modelling.weighted_ensemble import build_weighted_ensemble, ensemble_weights

LINE = {"classification": "logistic", "regression": "ridge", "forecasting": "ridge"}
NAIVE = {"classification": "dummy", "regression": "dummy", "forecasting": "seasonal"}
FEATURES = Features(numeric=["a", "b"])
AHEAD = Features(numeric=["a", "b"], windows=Windows(lookback=2, horizon=1, past={"y": "value"}))


def target(task: str, **more: Any) -> Target:
    named = {
        "naive": Candidate(estimator=NAIVE[task]),
        "trees": Candidate(
            estimator="hist_gradient_boosting",
            param_grid={"model__max_iter" if task == "forecasting" else "max_iter": [10]},
        ),
        "line": Candidate(estimator=LINE[task]),
    }
    if task == "forecasting":
        named["units"] = Candidate(
            estimator="unscaled_boosting", param_grid={"estimator__model__max_iter": [10]}
        )
    common = {"column": "y", "task": task, "cv": 3, "n_jobs": 1, "baseline": "naive"}
    classes = {"classes": ["no", "yes"]} if task == "classification" else {}
    stack = {} if task == "forecasting" else {"stack": 0}
    return Target(**common, **classes, **stack, candidates=named, **more)


def rows(n: int, seed: int, kind: str) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"])
    frame.index = pd.Index([f"{seed} {i}" for i in range(n)], name="row")
    z = frame["a"] + np.sin(2 * frame["b"]) + 0.3 * rng.normal(size=n)
    if kind == "classification":
        return frame.assign(target_y=np.where(z > 0, "yes", "no"))
    if kind == "regression":
        return frame.assign(target_y=z)
    time = pd.date_range(f"202{seed}", periods=n // 2).repeat(2)
    if kind == "log":
        return frame.assign(target_y=np.exp(z), series_time=time)
    scale = np.tile([1.0, 10.0], n // 2)
    return frame.assign(
        **{f"window_y_0{i}": frame["ab"[i]] for i in range(2)},
        naive_seasonal=rng.normal(size=n),
        series_id=np.tile(["one", "two"], n // 2),
        series_time=time,
        series_level=100.0,
        series_scale=scale,
        series_rms=scale * 2,
        target_y=100 + scale * z,
    )


TARGETS = {
    "classification": target("classification"),
    "regression": target("regression"),
    "log": target("regression", learn="log", scoring="neg_wape"),
    "forecasting": target("forecasting", networks={"net": {"ensemble": 0}}),
}


class Fitted:
    """Candidates of a target, fitted on small rows."""

    def __init__(self, kind: str, cache: Memory) -> None:
        self.target, self.cache = TARGETS[kind], cache
        self.train, self.validation = rows(160, 0, kind), rows(80, 1, kind)
        self.features = AHEAD if self.target.is_series else FEATURES
        parts = {
            name: search_candidate(
                *(self.train, self.validation, self.target, self.features),
                *(candidate, 0, cache),
            )
            for name, candidate in self.target.candidates.items()
        }
        if self.target.is_series:
            parts["net"] = self._network()
        self.parts = parts

    def _network(self) -> tuple[Any, pd.DataFrame, pd.DataFrame]:
        """Stands for a network: a model of the windows, which the others do not see."""
        from sklearn.linear_model import Ridge

        model = Ridge().fit(*features_and_scaled_target(self.train, self.target, "recurrent"))
        one = assemble(None, [model], self.train, self.target)
        held_out = predict_held_out(one, self.validation, self.target)
        search = pd.DataFrame({"params": ["{}"], "mean_test_score": [-1.0]})
        return calibrate(one, held_out, self.validation, self.target), search, held_out

    def by_noun(self, parts: dict[str, Any]) -> list[Any]:
        return [parts[name][place] for place in range(3) for name in parts]

    def ensemble(self, validation: pd.DataFrame | None = None) -> tuple[Any, Any, Any]:
        given = self.validation if validation is None else validation
        members = {name: self.parts[name] for name in self.target.ensemble_members}
        return build_weighted_ensemble(
            *(self.train, given, self.target, self.features, 0, self.cache),
            *self.by_noun(members),
        )


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Memory:
    return Memory(tmp_path_factory.mktemp("fits"), verbose=0)


@pytest.fixture(scope="module", params=list(TARGETS))
def fitted(request, cache) -> Fitted:
    return Fitted(request.param, cache)


@pytest.fixture(scope="module")
def ensemble(fitted) -> tuple[Any, pd.DataFrame, pd.DataFrame]:
    return fitted.ensemble()


def test_it_is_a_candidate_like_the_others(fitted, ensemble):
    parts = fitted.parts | {"weighted_ensemble": ensemble}
    assert list(parts) == fitted.target.all_candidates

    _, choice, _ = choose_best(
        fitted.validation, fitted.target, fitted.features, 0, *fitted.by_noun(parts)
    )

    table = ensemble[1]
    ranking = choice["ranking"]
    weights = ensemble_weights(table)
    assert "naive" not in weights
    assert sum(weights.values()) == pytest.approx(1)
    assert table["loss"].is_monotonic_increasing
    own = ranking["weighted_ensemble"]
    if not fitted.target.is_series:
        others = [ranking[name]["cv"] for name in fitted.target.ensemble_members]
        assert 0.9 * min(others) < own["cv"] < max(others)


def test_a_candidate_that_seems_perfect_on_the_validation_rows_has_to_stand_on_folds(cache):
    fitted = Fitted("regression", cache)
    model, search, held_out = fitted.parts["trees"]  # a line is better on folds
    truth = fitted.validation["target_y"]
    fitted.parts["trees"] = model, search, held_out.assign(prediction=truth)

    assert ensemble_weights(fitted.ensemble()[1])["line"] > 0.2


def test_a_network_without_fits_on_folds_has_a_say_in_the_validation_rows(cache):
    fitted = Fitted("forecasting", cache)
    model, search, held_out = fitted.parts["net"]
    _, z = features_and_scaled_target(fitted.validation, fitted.target)
    fitted.parts["net"] = model, search, held_out.assign(prediction=z)

    _, table, mean = fitted.ensemble()

    assert ensemble_weights(table)["net"] > 0.9
    assert_allclose(mean["prediction"], z, atol=0.3)
    assert table["mean_test_score"].iloc[0] == pytest.approx(-(mean["prediction"] - z).abs().mean())


def test_the_truth_of_a_row_has_no_say_in_its_held_out_prediction(fitted, ensemble):
    column, first = "target_y", fitted.validation.index[:16]
    other = fitted.validation.copy()
    inside = other.index.isin(first)
    if fitted.target.is_classes or "series_time" not in other:
        from sklearn.model_selection import KFold

        _, part = next(iter(KFold(3, shuffle=True, random_state=0).split(other)))
        inside = np.isin(np.arange(len(other)), part)
    values = other.loc[inside, column]
    other.loc[inside, column] = values.to_numpy()[::-1]

    changed = fitted.ensemble(other)[2]

    assert not other.equals(fitted.validation)
    assert_allclose(changed[inside], ensemble[2][inside])


def test_it_is_the_weighted_mean_of_the_final_members(fitted, ensemble):
    model, table, _ = ensemble
    inside = uncalibrated(model, fitted.target)
    X = features_and_target(fitted.validation, fitted.target)[0]
    method = "predict_proba" if fitted.target.is_classes else "predict"
    expected = 0
    for name, weight in ensemble_weights(table).items():
        member = uncalibrated(fitted.parts[name][0], fitted.target)
        expected = expected + weight * getattr(member, method)(select_inputs(member, X))

    assert_allclose(getattr(inside, method)(select_inputs(inside, X)), expected)


def answers(model: Any, X: pd.DataFrame) -> np.ndarray:
    inputs = select_inputs(model, X)
    if hasattr(model, "predict_proba"):
        return model.predict_proba(inputs)
    return model.predict_with_interval(inputs)


def test_stored_and_compiled_it_answers_the_same(fitted, ensemble, tmp_path):
    model = ensemble[0]
    X = features_and_target(fitted.validation, fitted.target)[0]
    expected = answers(model, X)

    dump(model, tmp_path / "model.skops")
    again = load(tmp_path / "model.skops")

    assert_allclose(answers(again, X), expected, rtol=1e-12)
    inside = uncalibrated(again, fitted.target)
    columns = list(getattr(inside, "feature_names_in_", X.columns))
    run = compile_estimator(inside, columns)
    method = inside.predict_proba if fitted.target.is_classes else inside.predict
    assert_allclose(run(X[columns].to_numpy(float)), method(X[columns]), rtol=1e-6, atol=1e-6)


def test_a_refit_keeps_the_weights(fitted, ensemble):
    model, table, _ = ensemble
    both = pd.concat([fitted.train, fitted.validation])

    again = uncalibrated(refit(model, both, fitted.target), fitted.target)

    assert again.weights == list(ensemble_weights(table).values())
    X, y = features_and_scaled_target(both, fitted.target, "unscaled")
    for part, name in zip(again.models, ensemble_weights(table), strict=True):
        if name in fitted.target.candidates:
            member = uncalibrated(fitted.parts[name][0], fitted.target)
            known = select_inputs(member, X)
            expected = refit_estimator(member, known, y)
            method = "predict_proba" if fitted.target.is_classes else "predict"
            assert_allclose(getattr(part, method)(known), getattr(expected, method)(known))


def test_the_same_rows_give_the_same_ensemble(fitted, ensemble):
    _, table, held_out = fitted.ensemble()

    pd.testing.assert_frame_equal(table, ensemble[1])
    pd.testing.assert_frame_equal(held_out, ensemble[2])


def test_a_single_candidate_is_the_ensemble(cache):
    fitted = Fitted("regression", cache)
    best = fitted.ensemble()[1]["loss"].iloc[0]
    fitted.target = fitted.target.model_copy(update={"weighted_ensemble": 1})

    _, table, _ = fitted.ensemble()

    assert len(json.loads(table["params"].iloc[0])) == 1
    assert table["loss"].iloc[0] >= best
