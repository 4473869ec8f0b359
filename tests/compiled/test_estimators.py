"""Programs give what the estimators give that they were compiled from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, is_classifier
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ratchet.compiled import estimators
from ratchet.compiled.estimators import NotCompilable, compile_estimator
from ratchet.compiled.serialization import dumps, loads
from ratchet.config import STEP
from ratchet.learning.baselines import SeasonalNaive
from ratchet.learning.calibration import ConformalRegressor, TemperatureScaling
from ratchet.learning.classical import ESTIMATORS, build_estimator
from ratchet.learning.ensemble_selection import WeightedMeanClassifier, WeightedMeanRegressor
from ratchet.learning.stacking import final_estimator, prediction_columns, stack
from ratchet.learning.trusted import TRUSTED, dump, load
from ratchet.modelling.calibrate_and_refit import refit_estimator

CANDIDATES = [(task, name) for task, table in ESTIMATORS.items() for name in table]
CLASSES = ["Alto", "Bajo", "Medio"]
CLOSE = {"float64": 1e-12, "float32": 2e-6}
"""How close to 0 and by the size of an answer, by the precision that the library computes in."""


def rows(n: int, seed: int, task: str = "regression") -> pd.DataFrame:
    """Rows as candidates of a task see them: with gaps, and rare flags."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 8))
    values[rng.random(values.shape) < 0.1] = np.nan
    X = pd.DataFrame(values, columns=[f"f{i}" for i in range(8)])
    X["flag"] = rng.random(n) < 0.02
    X["often"] = rng.random(n) < 0.5
    if task != "forecasting":
        return X.astype("float32")
    naive = rng.normal(size=(2, n))
    X = X.astype("float64").assign(naive_persistence=naive[0], naive_seasonal=naive[1])
    return X.assign(series_level=2.0, series_scale=0.5)


def truth(X: pd.DataFrame, task: str = "regression") -> np.ndarray:
    rng = np.random.default_rng(1)
    values = X["f0"].fillna(0.5) + X["f1"].fillna(1) ** 2 + X["often"] + rng.normal(size=len(X)) / 5
    if task != "classification":
        return values.to_numpy(float)
    return np.array(CLASSES)[np.digitize(values, [0.5, 2])]


def small(task: str, name: str) -> BaseEstimator:
    model = build_estimator(task, name, 0)
    sizes = {"n_estimators": 12, "max_iter": 12, "n_components": 20}
    if name in ("logistic", "kernel"):
        del sizes["max_iter"]
    allowed = [parameter for parameter in model.get_params() if parameter.split("__")[-1] in sizes]
    return model.set_params(
        **{parameter: sizes[parameter.split("__")[-1]] for parameter in allowed}
    )


@pytest.fixture(scope="module")
def fitted() -> dict[tuple[str, str], Any]:
    """All candidates, fitted when first asked for."""

    class Fitted(dict[tuple[str, str], Any]):
        def __missing__(self, key: tuple[str, str]) -> Any:
            X = rows(250, 0, key[0])
            self[key] = small(*key).fit(X, truth(X, key[0]))
            return self[key]

    return Fitted()


def native(model: Any, X: pd.DataFrame) -> np.ndarray:
    """All that a model says of rows, in the shape of a program's answer."""
    names = getattr(model, "feature_names_in_", None)
    X = X if names is None else X[list(names)]
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    if not hasattr(model, "predict_interval"):
        return model.predict(X)
    return np.column_stack([model.predict(X), model.predict_interval(X)])


def check(model: Any, X: pd.DataFrame) -> Any:
    """Compile, write, read, and compare: rows together, and rows one by one.

    Returns:
        The program.
    """
    run = loads(dumps(compile_estimator(model, list(X.columns))))
    values = X.to_numpy(np.float64)
    expected = native(model, X)
    found = run(values)
    assert found.shape == expected.shape
    close = CLOSE[str(expected.dtype)]
    if "float32" in {str(dtype) for dtype in X.dtypes}:
        close = max(close, CLOSE["float32"])
    assert_allclose(found, expected, rtol=close, atol=close)
    one_by_one = np.concatenate([run(values[i : i + 1]) for i in range(25)])
    assert_allclose(one_by_one, expected[:25], rtol=close, atol=close)
    assert run(values[:0]).shape == expected[:0].shape
    if is_classifier(model):
        assert list(run.classes) == list(model.classes_)
    return run


@pytest.mark.parametrize(("task", "name"), CANDIDATES)
def test_every_candidate(task, name, fitted):
    """A candidate that is added to a table has to compile, too."""
    check(fitted[task, name], rows(60, 2, task))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_trees_answer_as_exactly_as_they_are_asked(task, fitted):
    for name in ("extra_trees", "hist_gradient_boosting"):
        X = rows(60, 3, task)
        run = compile_estimator(fitted[task, name], list(X.columns))
        assert_allclose(run(X.to_numpy(float)), native(fitted[task, name], X), rtol=0, atol=1e-13)


def test_columns_are_found_by_name(fitted):
    model = fitted["regression", "ridge"]
    X = rows(30, 2)
    others = X.assign(other=1.0)[[*reversed(X.columns), "other"]]
    check(model, others)
    with pytest.raises(NotCompilable, match=r"\['f1'\] are not among"):
        compile_estimator(model, [name for name in X.columns if name != "f1"])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_stack_with_its_calibration(task, fitted):
    """As ``finish`` makes it of the best candidates."""
    classes = task == "classification"
    names = [name for name in ESTIMATORS[task] if name != "dummy"]
    models = [fitted[task, name] for name in names]
    X = rows(120, 4, task)
    y = truth(X, task)
    columns = np.hstack([prediction_columns(native(model, X), classes=classes) for model in models])
    stacked = stack(models, final_estimator(classes=classes).fit(columns, y))
    if classes:
        scaling = TemperatureScaling(CLASSES).fit(
            prediction_columns(native(stacked, X), classes=True), y
        )
        check(stack([stacked], scaling), rows(60, 5, task))
    else:
        conformal = ConformalRegressor(estimator=FrozenEstimator(stacked), bounds=(0, 5))
        check(conformal.calibrate(stacked.predict(X).clip(0, 5), y.clip(0, 5)), rows(60, 5, task))


@pytest.mark.parametrize("task", list(ESTIMATORS))
def test_a_weighted_mean(task, fitted):
    """As ensemble selection makes it, of members that know other columns each."""
    names = [name for name in ESTIMATORS[task] if name not in ("dummy", "kernel")]
    X = rows(60, 4, task)
    part = ["f3", "f0"]
    known = rows(250, 0, task)[part]
    narrow = small(task, "extra_trees").fit(known, truth(rows(250, 0, task), task))
    members = [*(fitted[task, name] for name in names), narrow]
    weights = np.arange(1, len(members) + 1) / sum(range(1, len(members) + 1))
    kind = WeightedMeanClassifier if task == "classification" else WeightedMeanRegressor
    check(kind([FrozenEstimator(member) for member in members], list(weights)), X)


@pytest.mark.parametrize("name", ["seasonal", "mixture", "ridge"])
def test_a_forecast_with_its_interval(name, fitted):
    model = fitted["forecasting", name]
    X = rows(120, 6, "forecasting")
    conformal = ConformalRegressor(estimator=FrozenEstimator(model))
    check(conformal.calibrate(model.predict(X), truth(X)), X)


@pytest.mark.parametrize("name", ["ridge", "mixture"])
def test_a_path_with_other_weights_near_its_origin(name):
    train, new = (
        rows(n, seed, "forecasting").assign(
            **{STEP: np.random.default_rng(seed).integers(1, 9, n).astype(float)}
        )
        for n, seed in ((250, 0), (60, 2))
    )
    check(small("forecasting", name).fit(train, truth(train) / train[STEP]), new)


def test_what_was_fitted_again(fitted):
    X = rows(120, 7, "forecasting")
    for name in ("mixture", "boosted_ridge", "kernel"):
        check(refit_estimator(fitted["forecasting", name], X, truth(X)), rows(40, 8, "forecasting"))


def test_what_was_read_from_a_file(tmp_path, fitted):
    for key in [("classification", "xgboost"), ("forecasting", "mixture")]:
        dump(fitted[key], tmp_path / "model.skops")
        check(load(tmp_path / "model.skops"), rows(40, 8, key[0]))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", [name for name in ESTIMATORS["classification"] if name != "dummy"])
def test_two_classes(name, n_classes):
    X = rows(200, 0)
    y = truth(X, "classification")
    y = np.where(y == "Medio", "Alto", y) if n_classes == 2 else y
    check(small("classification", name).fit(X, y), rows(40, 1))


OBJECTIVES = [
    *("reg:squarederror", "reg:absoluteerror", "reg:tweedie", "reg:gamma", "count:poisson"),
    *("reg:pseudohubererror", "reg:quantileerror"),
]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_of_xgboost(objective):
    from xgboost import XGBRegressor

    options = {"quantile_alpha": 0.3} if "quantile" in objective else {}
    X = rows(200, 0)
    y = np.abs(truth(X)) + 0.1
    model = XGBRegressor(n_estimators=15, max_depth=7, objective=objective, **options)
    check(model.fit(X, y), rows(40, 1))


def test_xgboost_that_stopped_early():
    from xgboost import XGBRegressor

    X, X_new = rows(200, 0), rows(40, 1)
    model = XGBRegressor(n_estimators=200, early_stopping_rounds=3, num_parallel_tree=2)
    model.fit(X, truth(X), eval_set=[(X_new, truth(X_new))], verbose=False)
    assert model.best_iteration < 190
    check(model, X_new)


@pytest.mark.parametrize("loss", ["poisson", "gamma", "absolute_error", "quantile"])
def test_losses_of_boosting(loss):
    options = {"quantile": 0.7} if loss == "quantile" else {}
    X = rows(200, 0)
    model = HistGradientBoostingRegressor(max_iter=12, loss=loss, **options)
    check(model.fit(X, np.abs(truth(X)) + 0.1), rows(40, 1))


@pytest.mark.parametrize("strategy", ["prior", "most_frequent", "uniform", "constant"])
def test_baselines(strategy):
    X = rows(40, 0)
    model = DummyClassifier(strategy=strategy, constant="Bajo")
    check(model.fit(X, truth(X, "classification")), X)


def test_composition_of_columns():
    X = rows(200, 0).drop(columns="flag").assign(empty=np.float32("nan"))
    picked = ColumnTransformer(
        [
            ("left", "drop", ["f7"]),
            ("scaled", make_pipeline(SimpleImputer(), StandardScaler()), ["f1", "f0"]),
            ("plain", "passthrough", make_column_selector("often")),
            ("half", StandardScaler(with_mean=False), ["f2"]),
        ],
        remainder=SimpleImputer(strategy="constant", fill_value=-1, keep_empty_features=True),
    )
    model = make_pipeline(picked, SimpleImputer(), None, "passthrough", Ridge())
    model.set_params(ridge__alpha=0.1)
    check(model.fit(X, truth(X)), X)


def test_weighted_means_and_kernels_of_default_width():
    X = rows(150, 0)
    filled = make_pipeline(SimpleImputer(), Nystroem(n_components=10, random_state=0), Ridge())
    parts = [("one", filled), ("other", HistGradientBoostingRegressor(max_iter=5))]
    check(VotingRegressor(parts, weights=[0.2, 0.7]).fit(X, truth(X)), rows(30, 1))


def test_seasonal_forecasts_of_another_season():
    X = rows(40, 0, "forecasting").assign(naive_seasonal_7=2.0)
    run = check(SeasonalNaive(season=7).fit(X, truth(X)), X)
    assert run(X.to_numpy(float)).tolist() == [2.0] * 40


def test_what_a_file_may_hold_compiles():
    """All types on the allow-list, but for parts of others, and what is not asked through HTTP."""
    parts = {"dtype", "WindowScaler", "make_column_selector", "TreePredictor", "Tree", "Bunch"}
    parts |= {"RelativeRegressor"}
    models = {
        f"{name.partition('.')[0]}.{name.rpartition('.')[2]}"
        for name in TRUSTED
        if not {"features", "demand"} & {*name.split(".")}
        and name.rpartition(".")[2] not in {*parts, "Booster"}
    }
    assert models <= set(estimators._COMPILERS)


def test_what_is_not_fitted_does_not_compile():
    for model in (Ridge(), ConformalRegressor(estimator=Ridge()), SimpleImputer()):
        with pytest.raises(NotCompilable, match="is not fitted"):
            compile_estimator(model, ["a"])


def _categorical() -> Any:
    X = rows(120, 0).assign(kind=np.arange(120) % 5)
    return HistGradientBoostingClassifier(max_iter=3, categorical_features=["kind"]), X


def _dart() -> Any:
    from xgboost import XGBRegressor

    return XGBRegressor(booster="dart", n_estimators=3), rows(80, 0)


REFUSED = {
    "categories": (_categorical, "categories"),
    "dart": (_dart, "boosts dart"),
    "unknown": (lambda: (LinearRegression(), rows(80, 0).fillna(0)), "LinearRegression has no"),
    "random": (lambda: (DummyClassifier(strategy="stratified"), rows(80, 0)), "at random"),
    "indicator": (
        lambda: (make_pipeline(SimpleImputer(add_indicator=True), Ridge()), rows(80, 0)),
        "adds columns",
    ),
    "sentinel": (
        lambda: (make_pipeline(SimpleImputer(missing_values=-1.0), Ridge()), rows(80, 0).fillna(0)),
        "fills -1.0",
    ),
    "kernel": (
        lambda: (make_pipeline(Nystroem(kernel="cosine"), Ridge()), rows(120, 0).fillna(0)),
        "another kernel",
    ),
    "inside": (
        lambda: (
            VotingRegressor([("a", Ridge()), ("b", LinearRegression())]),
            rows(80, 0).fillna(0),
        ),
        "LinearRegression",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_compiled_form_says_so(kind):
    make, message = REFUSED[kind]
    model, X = make()
    model.fit(X, truth(X, "classification" if is_classifier(model) else "regression"))
    with pytest.raises(NotCompilable, match=message):
        compile_estimator(model, list(X.columns))


def test_several_targets_have_no_compiled_form():
    X = rows(60, 0).fillna(0)
    y = np.column_stack([truth(X), truth(X)])
    for model in (Ridge(), ExtraTreesRegressor(n_estimators=2)):
        with pytest.raises(NotCompilable, match="several targets"):
            compile_estimator(model.fit(X, y), list(X.columns))


def test_deep_forests_and_logistic_regression_without_a_pipeline():
    X = rows(300, 0).fillna(0)
    y = truth(X, "classification")
    check(RandomForestClassifier(n_estimators=8, random_state=0).fit(X, y), rows(50, 1).fillna(0))
    check(LogisticRegression().fit(X, y), rows(50, 1).fillna(0))
