"""From fitted estimators to programs of NumPy.

Every estimator that a bundle may hold has a line in ``_COMPILERS``; what has none, or was fitted in
a way that none of ours is, raises ``NotCompilable``. Names of columns are followed from step to
step, as estimators pick theirs by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ratchet.compiled import demand, models, trees
from ratchet.compiled.models import Array, Program
from ratchet.compiled.serialization import NotCompilable, require
from ratchet.compiled.trees import Tree

Names = Sequence[str] | None
"""Columns of the rows that a program will get; ``None`` where they have no names any more."""

__all__ = ["NotCompilable", "compile_estimator"]


@dataclass(frozen=True)
class Compiled:
    """A program, and what its columns are called where they have names."""

    program: Program
    names: Names = None


def compile_estimator(model: Any, columns: Sequence[str]) -> Program:
    """Compile a fitted model.

    Args:
        model: a classifier, or a regressor with or without intervals.
        columns: of the rows that the program will be called with, in their order: all that the
            model knows, maybe among others.

    Returns:
        A program: from rows of shape (n, columns) to (n,), to (n, 3) of a regressor with intervals
        (value, lower and upper end), or to probabilities (n, classes); a classifier's has
        ``classes``.

    Raises:
        NotCompilable: the model, or a part of it, has no compiled form.
    """
    try:
        compiled = _compile(model, list(columns)).program
    except (AttributeError, KeyError) as error:
        # The fitted state is in attributes that the libraries do not promise to keep.
        raise NotCompilable(
            f"{type(model).__name__} is not fitted, or by another version: {error}"
        ) from error
    if not hasattr(model, "predict_proba"):
        return compiled
    return models.Classifier(compiled, tuple(str(name) for name in model.classes_))


def _compile(model: Any, names: Names) -> Compiled:
    compiler = _COMPILERS.get(_full_name(model))
    if compiler is None:
        raise NotCompilable(f"{_full_name(model)} has no compiled form")
    fitted_names = getattr(model, "feature_names_in_", None)
    if fitted_names is None or names is None or list(fitted_names) == list(names):
        return compiler(model, names)
    try:
        pick = models.Pick(models.places(list(fitted_names), names))
    except ValueError as error:
        raise NotCompilable(f"{type(model).__name__}: {error}") from error
    inner = compiler(model, list(fitted_names))
    return Compiled(_chain(pick, inner.program), inner.names)


def _full_name(model: Any) -> str:
    return f"{type(model).__module__.split('.')[0]}.{type(model).__name__}"


def _chain(*steps: Program) -> Program:
    flat: list[Program] = []
    for step in steps:
        flat += step.steps if isinstance(step, models.Chain) else [step]
    return flat[0] if len(flat) == 1 else models.Chain(tuple(flat))


def _named(names: Names, model: Any) -> Sequence[str]:
    if names is None:
        raise NotCompilable(f"{type(model).__name__} picks from columns that have no names")
    return names


# ------------------------------------------------------------------------------------ composition


def _frozen(model: Any, names: Names) -> Compiled:
    return _compile(model.estimator, names)


def _pipeline(model: Any, names: Names) -> Compiled:
    steps: list[Program] = []
    for _, step in model.steps:
        if step is None or step == "passthrough":
            continue
        compiled = _compile(step, names)
        steps.append(compiled.program)
        names = compiled.names
    require(steps, model, "has no steps")
    return Compiled(_chain(*steps), names)


def _column_transformer(model: Any, names: Names) -> Compiled:
    names = _named(names, model)
    parts: list[Program] = []
    out_names: list[str] | None = []
    for _, step, columns in model.transformers_:
        if step == "drop" or not len(columns):
            continue
        in_names = [column if isinstance(column, str) else names[column] for column in columns]
        pick = models.Pick(models.places(in_names, names))
        compiled = Compiled(models.Chain(()), in_names)
        if step != "passthrough":
            compiled = _compile(step, in_names)
        parts.append(_chain(pick, compiled.program))
        # Names that it invents where two parts have the same ones are not used.
        out_names = (
            None if out_names is None or compiled.names is None else [*out_names, *compiled.names]
        )
    return Compiled(parts[0] if len(parts) == 1 else models.Beside(tuple(parts)), out_names)


def _voting(model: Any, names: Names) -> Compiled:
    parts = tuple(_compile(part, names).program for part in model.estimators_)
    weights = model._weights_not_none
    return Compiled(models.Mean(parts, None if weights is None else np.asarray(weights, float)))


def _weighted_mean(model: Any, names: Names) -> Compiled:
    parts = tuple(_compile(part, names).program for part in model.models)
    return Compiled(models.Mean(parts, np.asarray(model.weights, float)))


def _residual(model: Any, names: Names) -> Compiled:
    base = _compile(model.base_, names).program
    if model.change_from is None:
        return Compiled(models.Sum((base, _compile(model.estimator_, names).program)))
    names = _named(names, model)
    (place,) = models.places([model.change_from], names)
    residual = _compile(model.estimator_, [*names, "base_change"]).program
    return Compiled(models.SumWithChange(base, residual, int(place)))


def _path(model: Any, names: Names) -> Compiled:
    base = _compile(model.base_, names).program
    if model.near_ is None:
        return Compiled(base)
    [column] = models.places([model.column], _named(names, model))
    near = np.asarray(model.near_)
    linear = models.Linear(np.ascontiguousarray(near[:, :-1].T), near[:, -1])
    inputs = _compile(model.base_[:-1], names).program
    decays = np.asarray(model.decays, np.float64)
    near_origin = models.NearOrigin(_chain(inputs, linear), int(column), decays)
    return Compiled(models.Sum((base, near_origin)))


def _weighted(model: Any, names: Names) -> Compiled:
    return _compile(model.estimator_, names)


def _predictions(model: Any, names: Names) -> Compiled:
    from sklearn.base import is_classifier

    from ratchet.learning.stacking import SMALLEST

    parts = tuple(_compile(part, names).program for part in model.models)
    return Compiled(models.Stacked(parts, SMALLEST if is_classifier(model.models[0]) else None))


def _conformal(model: Any, names: Names) -> Compiled:
    inner = _compile(model.estimator_, names).program
    return Compiled(models.Interval(inner, float(model.quantile_), *_ends(model)))


def _step_conformal(model: Any, names: Names) -> Compiled:
    column = list(_named(names, model)).index(model.column)
    inner = _compile(model.estimator_, names).program
    steps, halves = np.asarray(model.steps_), np.asarray(model.widths_)
    return Compiled(models.StepInterval(inner, column, steps, halves, *_ends(model)))


def _logs(model: Any, names: Names) -> Compiled:
    return Compiled(models.Exponential(_compile(model.estimator_, names).program, *_ends(model)))


def _unscaled(model: Any, names: Names) -> Compiled:
    names = _named(names, model)
    level, scale = models.places([model.level, model.scale], names)
    return Compiled(
        models.Unscaled(
            _compile(model.estimator_, names).program,
            int(level),
            int(scale),
            models.places(list(model.by_level), names),
            models.places(list(model.by_scale), names),
        )
    )


def _ends(model: Any) -> tuple[float, float]:
    low, high = model.bounds or (None, None)
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)


def _temperature(model: Any, names: Names) -> Compiled:
    return Compiled(models.Softmax(temperature=float(model.temperature_)))


# ---------------------------------------------------------------------------------------- columns


def _without_flags(model: Any, names: Names) -> Compiled:
    names = _named(names, model)
    return Compiled(models.Pick(models.places(model.kept_, names)), list(model.kept_))


def _function(model: Any, names: Names) -> Compiled:
    require(model.func is None, model, "calls a function")  # without, it passes columns through
    return Compiled(models.Chain(()), names)


def _imputer(model: Any, names: Names) -> Compiled:
    missing = model.missing_values
    require(isinstance(missing, float) and np.isnan(missing), model, f"fills {missing!r}")
    require(not model.add_indicator, model, "adds columns that say what is missing")
    dtype = model._fit_dtype if model._fit_dtype.kind == "f" else np.dtype(np.float64)
    values = np.asarray(model.statistics_, dtype)
    columns = np.flatnonzero(~np.isnan(values))
    fill = models.Fill(values[columns])
    if len(columns) == len(values):
        return Compiled(fill, names)
    out_names = None if names is None else [names[int(column)] for column in columns]
    return Compiled(_chain(models.Pick(columns.astype(np.intp)), fill), out_names)


def _scaler(model: Any, names: Names) -> Compiled:
    return Compiled(models.Scale(model.mean_ if model.with_mean else None, model.scale_), names)


def _nystroem(model: Any, names: Names) -> Compiled:
    require(model.kernel == "rbf" and not model.kernel_params, model, "has another kernel than rbf")
    components = np.asarray(model.components_, np.float64)
    gamma = 1 / components.shape[1] if model.gamma is None else float(model.gamma)
    return Compiled(
        models.RadialBasis(
            centres=components,
            squares=(components * components).sum(axis=1),
            mixing=np.ascontiguousarray(model.normalization_.T),
            gamma=gamma,
            dtype=model.components_.dtype.str,
        )
    )


# ---------------------------------------------------------------------------------- simple models


def _ridge(model: Any, names: Names) -> Compiled:
    weights, intercept = np.asarray(model.coef_), np.asarray(model.intercept_)
    require(weights.ndim == 1 or len(weights) == 1, model, "has several targets")
    return Compiled(models.Linear(weights.reshape(-1), intercept.reshape(())))


def _logistic(model: Any, names: Names) -> Compiled:
    weights, intercept = np.asarray(model.coef_), np.asarray(model.intercept_)
    linear = models.Linear(np.ascontiguousarray(weights.T), intercept)
    return Compiled(models.Odds(linear) if len(weights) == 1 else models.Softmax(linear))


def _dummy_classifier(model: Any, names: Names) -> Compiled:
    require(model.n_outputs_ == 1, model, "has several targets")
    require(model._strategy != "stratified", model, "answers at random")
    return Compiled(models.Constant(np.asarray(model.predict_proba(np.zeros((1, 1))))[0]))


def _dummy_regressor(model: Any, names: Names) -> Compiled:
    require(model.n_outputs_ == 1, model, "has several targets")
    return Compiled(models.Constant(np.asarray(model.constant_, float).reshape(())))


def _naive(model: Any, names: Names) -> Compiled:
    names = _named(names, model)
    [position] = models.places([model.column()], names)
    return Compiled(models.PickOne(int(position)))


# --------------------------------------------------------------------------------------- segments


def _of_segment(model: Any, names: Names) -> Compiled:
    names = _named(names, model)
    segment, step = models.places(["segment", "step"], names)
    table = model.table_ if hasattr(model, "table_") else model.values_[:, None]
    return Compiled(demand.OfSegment(int(segment), int(step), np.asarray(table, np.float64)))


def _segment_columns(model: Any, names: Names) -> Compiled:
    from ratchet.learning.features.market import market_columns

    names = _named(names, model)
    segment, step, price = models.places(["segment", "step", "log_price"], names)
    own = (int(segment), int(step), int(price))
    stay = [position for position in range(len(names)) if model.steps or position != own[1]]
    covariates = [n for n, name in enumerate(names) if name not in market_columns(())]
    return Compiled(
        demand.SegmentColumns(
            tuple(stay),
            *own,
            max(int(model.period), 1),
            model.centre_,
            tuple(covariates),
            model.covariate_centre_,
        )
    )


def _demand(model: Any, names: Names) -> Compiled:
    from ratchet.learning.demand.regressor import COLUMNS

    names = _named(names, model)
    positions = models.places(COLUMNS, names)
    covariates = models.places([name for name in names if name not in COLUMNS], names)
    return Compiled(
        demand.compile_demand(model, tuple(positions.tolist()), tuple(covariates.tolist()))
    )


# ------------------------------------------------------------------------------------------ trees


def _forest(model: Any, names: Names) -> Compiled:
    require(model.n_outputs_ == 1, model, "has several targets")
    fitted = [estimator.tree_ for estimator in model.estimators_]
    parts = [
        Tree(
            feature=tree.feature,
            threshold=tree.threshold,
            left=tree.children_left,
            right=tree.children_right,
            missing_left=np.asarray(tree.missing_go_to_left, bool),
        )
        for tree in fitted
    ]
    leaves, nodes = trees.compile_trees(parts, model.n_features_in_, dtype=np.float32)
    values = np.concatenate([tree.value[:, 0, :] for tree in fitted])[nodes]
    classes = hasattr(model, "classes_")
    return Compiled(trees.Forest(leaves, np.ascontiguousarray(values if classes else values[:, 0])))


def _histogram_boosting(model: Any, names: Names) -> Compiled:
    raw = _histogram_trees(model)
    if not hasattr(model, "classes_"):
        link = type(model._loss.link).__name__
        functions = {"IdentityLink": "identity", "LogLink": "exp"}
        require(link in functions, model, f"has the link {link}")
        return Compiled(models.Value(raw, functions[link]))
    one = model.n_trees_per_iteration_ == 1
    return Compiled(models.Odds(raw) if one else models.Softmax(raw))


def _histogram_trees(model: Any) -> Program:
    require(model._preprocessor is None, model, "recodes categories")
    fitted = [tree.nodes for round_ in model._predictors for tree in round_]
    categories = any(nodes["is_categorical"].any() for nodes in fitted)
    require(not categories, model, "sorts by categories")
    start = np.asarray(model._baseline_prediction, np.float64).reshape(-1)
    if not fitted:
        return models.Constant(start)
    parts = []
    for nodes in fitted:
        leaf = nodes["is_leaf"].astype(bool)
        parts.append(
            Tree(
                feature=nodes["feature_idx"].astype(np.intp),
                threshold=nodes["num_threshold"],
                left=np.where(leaf, -1, nodes["left"].astype(np.intp)),
                right=np.where(leaf, -1, nodes["right"].astype(np.intp)),
                missing_left=nodes["missing_go_to_left"].astype(bool),
            )
        )
    leaves, nodes = trees.compile_trees(parts, model.n_features_in_)
    values = np.concatenate([nodes["value"] for nodes in fitted])[nodes]
    return trees.Boosting(leaves, values.astype(np.float64), start)


_LINKS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "reg:squarederror": ("identity", lambda base: base),
    "reg:absoluteerror": ("identity", lambda base: base),
    "reg:pseudohubererror": ("identity", lambda base: base),
    "reg:quantileerror": ("identity", lambda base: base),
    "reg:tweedie": ("exp", np.log),
    "reg:gamma": ("exp", np.log),
    "count:poisson": ("exp", np.log),
    "binary:logistic": ("odds", lambda base: -np.log(1 / base - 1)),
    "multi:softprob": ("softmax", lambda base: base),
}
"""Objective of XGBoost -> what makes predictions of sums, and what makes a start of its score."""


def _xgboost(model: Any, names: Names) -> Compiled:
    missing = model.missing
    require(missing is None or np.isnan(missing), model, f"takes {missing!r} for missing")
    booster = model.get_booster()
    if (best := booster.attr("best_iteration")) is not None:
        booster = booster[: int(best) + 1]
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    objective = learner["objective"]["name"]
    require(objective in _LINKS, model, f"has the objective {objective}")
    link, to_start = _LINKS[objective]
    raw = _boosted_trees(model, learner, to_start)
    if link == "softmax":
        return Compiled(models.Softmax(raw))
    return Compiled(models.Odds(raw) if link == "odds" else models.Value(raw, link))


def _boosted_trees(model: Any, learner: Any, to_start: Callable[[Array], Array]) -> Program:
    kind, fitted = learner["gradient_booster"]["name"], learner["gradient_booster"].get("model")
    require(kind == "gbtree", model, f"boosts {kind}")
    sizes = learner["learner_model_param"]
    outputs = max(1, int(sizes["num_class"]))
    require(int(sizes["num_target"]) <= 1, model, "has several targets")
    base = np.asarray(json.loads(sizes["base_score"]), np.float64).reshape(-1)
    start = np.broadcast_to(to_start(base), outputs).astype(np.float32)
    order = np.argsort(fitted["tree_info"], kind="stable").reshape(outputs, -1).T.ravel()
    in_order = [fitted["trees"][position] for position in order]
    require(
        not any(tree["categories"] or any(tree["split_type"]) for tree in in_order),
        model,
        "sorts by categories",
    )
    if not in_order:
        return models.Constant(start)
    parts = [
        Tree(
            feature=np.array(tree["split_indices"], np.intp),
            threshold=np.array(tree["split_conditions"], np.float32),
            left=np.array(tree["left_children"], np.intp),
            right=np.array(tree["right_children"], np.intp),
            missing_left=np.array(tree["default_left"], bool),
        )
        for tree in in_order
    ]
    width = int(sizes["num_feature"])
    leaves, nodes = trees.compile_trees(parts, width, strict=True, dtype=np.float32)
    # A leaf keeps its value where other nodes keep their threshold.
    return trees.Boosting(leaves, np.concatenate([tree.threshold for tree in parts])[nodes], start)


def _recurrent(model: Any, names: Names) -> Compiled:
    from ratchet.compiled.network_compiler import compile_network

    return Compiled(compile_network(model))


_COMPILERS: dict[str, Callable[[Any, Names], Compiled]] = {
    "ratchet.ConformalRegressor": _conformal,
    "ratchet.DemandRegressor": _demand,
    "ratchet.LastValue": _of_segment,
    "ratchet.LogRegressor": _logs,
    "ratchet.Persistence": _naive,
    "ratchet.Predictions": _predictions,
    "ratchet.RecurrentRegressor": _recurrent,
    "ratchet.PathRegressor": _path,
    "ratchet.ResidualRegressor": _residual,
    "ratchet.SeasonalNaive": _naive,
    "ratchet.SeasonalValue": _of_segment,
    "ratchet.SegmentColumns": _segment_columns,
    "ratchet.SegmentMean": _of_segment,
    "ratchet.StepConformalRegressor": _step_conformal,
    "ratchet.TemperatureScaling": _temperature,
    "ratchet.UnscaledRegressor": _unscaled,
    "ratchet.WeightedClassifier": _weighted,
    "ratchet.WeightedMeanClassifier": _weighted_mean,
    "ratchet.WeightedMeanRegressor": _weighted_mean,
    "ratchet.WithoutFlags": _without_flags,
    "sklearn.ColumnTransformer": _column_transformer,
    "sklearn.DummyClassifier": _dummy_classifier,
    "sklearn.DummyRegressor": _dummy_regressor,
    "sklearn.ExtraTreesClassifier": _forest,
    "sklearn.ExtraTreesRegressor": _forest,
    "sklearn.FrozenEstimator": _frozen,
    "sklearn.FunctionTransformer": _function,
    "sklearn.HistGradientBoostingClassifier": _histogram_boosting,
    "sklearn.HistGradientBoostingRegressor": _histogram_boosting,
    "sklearn.LogisticRegression": _logistic,
    "sklearn.Nystroem": _nystroem,
    "sklearn.Pipeline": _pipeline,
    "sklearn.RandomForestClassifier": _forest,
    "sklearn.RandomForestRegressor": _forest,
    "sklearn.Ridge": _ridge,
    "sklearn.SimpleImputer": _imputer,
    "sklearn.StandardScaler": _scaler,
    "sklearn.VotingRegressor": _voting,
    "xgboost.XGBClassifier": _xgboost,
    "xgboost.XGBRegressor": _xgboost,
}
"""Library and name of a class -> what compiles it."""
