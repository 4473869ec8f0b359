"""Fitted models as skops files, read against a list of the types that may be in them.

A pickle runs whatever its author wrote into it. A skops file names types, and only those are made
that are known: skops' own defaults and ``TRUSTED``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import ArrayLike

from ratchet.learning.atomic_files import atomic_write
from ratchet.learning.private_api import has_histogram_trees, histogram_trees, is_tree

TRUSTED = (
    "numpy.dtype",
    "ratchet.learning.baselines.LastValue",
    "ratchet.learning.baselines.Persistence",
    "ratchet.learning.baselines.SeasonalNaive",
    "ratchet.learning.baselines.SeasonalValue",
    "ratchet.learning.baselines.SegmentColumns",
    "ratchet.learning.baselines.SegmentMean",
    "ratchet.learning.calibration.ConformalRegressor",
    "ratchet.learning.calibration.StepConformalRegressor",
    "ratchet.learning.calibration.TemperatureScaling",
    "ratchet.learning.classical.WithoutFlags",
    "ratchet.learning.demand.hierarchy.Hierarchy",
    "ratchet.learning.demand.panel.Layout",
    "ratchet.learning.demand.panel.Segments",
    "ratchet.learning.demand.regressor.DemandModel",
    "ratchet.learning.demand.regressor.DemandRegressor",
    "ratchet.learning.demand.regressor.ForecastSettings",
    "ratchet.learning.ensemble_selection.WeightedMeanClassifier",
    "ratchet.learning.ensemble_selection.WeightedMeanRegressor",
    "ratchet.learning.features.encoders.CyclicEncoder",
    "ratchet.learning.features.encoders.MultiHotEncoder",
    "ratchet.learning.features.encoders.NumericEncoder",
    "ratchet.learning.features.encoders.TextEncoder",
    "ratchet.learning.features.market.MarketEncoder",
    "ratchet.learning.meta_estimators.LogRegressor",
    "ratchet.learning.meta_estimators.PathRegressor",
    "ratchet.learning.meta_estimators.RelativeRegressor",
    "ratchet.learning.meta_estimators.ResidualRegressor",
    "ratchet.learning.meta_estimators.UnscaledRegressor",
    "ratchet.learning.meta_estimators.WeightedClassifier",
    "ratchet.learning.recurrent.regressor.RecurrentRegressor",
    "ratchet.learning.recurrent.scaling.WindowScaler",
    "ratchet.learning.stacking.Predictions",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
)
"""Types beyond skops' own defaults that our models consist of. Nothing else is ever loaded: the
list is in the code, not in the file, because a file could vouch for itself."""

MOVED = {
    "ratchet.learning.conformal": "ratchet.learning.calibration",
    "ratchet.learning.naive": "ratchet.learning.baselines",
    "ratchet.learning.relative": "ratchet.learning.meta_estimators",
    "ratchet.learning.residual": "ratchet.learning.meta_estimators",
    "ratchet.learning.segments": "ratchet.learning.baselines",
    "ratchet.learning.weighting": "ratchet.learning.meta_estimators",
}
"""Former module of trusted types -> their module now. Files name the module that they were written
from, and have to stay readable."""

FORMERLY_TRUSTED = tuple(
    f"{former}.{name.rpartition('.')[2]}"
    for former, module in MOVED.items()
    for name in TRUSTED
    if name.rpartition(".")[0] == module
)

UNPACKED_MB = 2_000
"""Size that the parts of a file may have, unpacked; a forest of 500 MB is one of few."""

RATIO, _SMALL_MB = 200, 50
"""How much smaller a file may be than its parts, once these are not small: trees give 3 to 10."""

PARTS = 200_000
"""Parts that a file may have: each array of each tree is one."""


def dump(model: Any, path: str | Path) -> None:
    """Write a model atomically."""
    import skops.io

    with atomic_write(path) as partial:
        skops.io.dump(model, partial, compression=ZIP_DEFLATED, compresslevel=1)


def load(path: str | Path) -> Any:
    """Read a model.

    Raises:
        ValueError: the file is missing, damaged or holds a type that is not trusted.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error
    return loads(content, str(path))


def loads(content: bytes, name: str) -> Any:
    """Read a model from the content of its file.

    Raises:
        ValueError: the content is damaged or holds a type that is not trusted.
    """
    import skops.io

    check_sizes(content, name)
    try:
        _import_moved(content)
        return skops.io.load(BytesIO(content), trusted=[*TRUSTED, *FORMERLY_TRUSTED])
    except Exception as error:  # whatever the archive, the schema and the types in it raise
        # XGBoost adds a trace of its own to what it says.
        reason = str(error).partition("Stack trace")[0]
        raise ValueError(f"{name} cannot be loaded: {reason}") from error


def _import_moved(content: bytes) -> None:
    """Make the former module names that a file uses importable."""
    with ZipFile(BytesIO(content)) as archive:
        schema = archive.read("schema.json").decode()
    for former, module in MOVED.items():
        if f'"{former}"' in schema:
            sys.modules.setdefault(former, import_module(module))


def check_sizes(content: bytes, name: str) -> None:
    """Check the unpacked size of a file before it is unpacked.

    The directory of the archive gives the unpacked size of its parts, and Python's reader reads no
    part beyond that size.

    Raises:
        ValueError: it is no archive, or has too many parts, or too large ones.
    """
    try:
        with ZipFile(BytesIO(content)) as archive:
            sizes = [part.file_size for part in archive.infolist()]
    except (BadZipFile, ValueError, NotImplementedError) as error:
        raise ValueError(f"{name} cannot be loaded: {error}") from error
    unpacked = sum(sizes) / 1e6
    if len(sizes) > PARTS:
        raise ValueError(f"{name} cannot be loaded: {len(sizes)} parts; {PARTS} are allowed")
    if unpacked > UNPACKED_MB:
        raise ValueError(
            f"{name} cannot be loaded: {unpacked:.0f} MB unpacked; {UNPACKED_MB} are allowed"
        )
    if unpacked > _SMALL_MB and unpacked * 1e6 > RATIO * len(content):
        raise ValueError(
            f"{name} cannot be loaded: it unpacks to {unpacked:.0f} MB, more than {RATIO} times "
            f"its own size"
        )


def check_trees(model: Any) -> None:
    """Check that the nodes of every tree in a fitted model are valid and form a tree.

    Compiled code follows the numbers without looking. Trees of scikit-learn, of its histogram
    boosting, and of XGBoost are looked at, wherever in the model they are.

    Raises:
        ValueError: a node has a child that is not there or is another node's, or asks for a
            feature that is not there.
    """
    for part in _parts_of(model):
        if is_tree(part):
            _check_tree(part)
        elif type(part).__name__ == "Booster" and type(part).__module__.startswith("xgboost"):
            _check_booster(part)
        elif hasattr(part, "tree_") and part.tree_.n_features != part.n_features_in_:
            raise ValueError(f"a tree of {part.tree_.n_features} features, not of those it gets")
        elif has_histogram_trees(part):
            _check_histogram_trees(part)


def _parts_of(model: Any) -> Iterator[Any]:
    """A model and all objects in it, each once."""
    visited, to_visit = set(), [model]
    while to_visit:
        part = to_visit.pop()
        if id(part) in visited or isinstance(part, str | bytes | int | float | type(None)):
            continue
        visited.add(id(part))
        yield part
        if isinstance(part, np.ndarray):
            to_visit += list(part.flat) if part.dtype == object else []
        elif isinstance(part, Mapping):
            to_visit += part.values()
        elif isinstance(part, list | tuple | set | frozenset):
            to_visit += part
        elif type(part).__module__.startswith(("sklearn", "ratchet", "xgboost")):
            to_visit += getattr(part, "__dict__", {}).values()


def _check_nodes(
    left: ArrayLike, right: ArrayLike, leaf: ArrayLike, feature: ArrayLike, n_features: int
) -> None:
    """The children of a tree are nodes of it, and no node is a child twice."""
    inner = ~np.asarray(leaf, bool)
    children = np.concatenate([np.asarray(left)[inner], np.asarray(right)[inner]]).astype(np.int64)
    used = np.asarray(feature)[inner].astype(np.int64)
    if ((children < 1) | (children >= len(inner))).any():
        raise ValueError("a node of a tree has a child that is not there")
    if len(np.unique(children)) != len(children):
        raise ValueError("a node of a tree is the child of two")
    if ((used < 0) | (used >= n_features)).any():
        raise ValueError("a node of a tree asks for a feature that is not there")


def _check_tree(tree: Any) -> None:
    if not 0 < tree.node_count <= tree.capacity:
        raise ValueError(f"a tree of {tree.node_count} nodes has {tree.capacity}")
    left, right = tree.children_left, tree.children_right
    if ((left == -1) != (right == -1)).any():
        raise ValueError("a node of a tree has one child only")
    _check_nodes(left, right, left == -1, tree.feature, tree.n_features)


def _check_histogram_trees(model: Any) -> None:
    for tree in histogram_trees(model):
        nodes, sets = tree.nodes, tree.raw_left_cat_bitsets
        if not len(nodes):
            raise ValueError("a tree has no nodes")
        leaf = nodes["is_leaf"] != 0
        _check_nodes(
            nodes["left"], nodes["right"], leaf, nodes["feature_idx"], model.n_features_in_
        )
        sorted_by_set = nodes[(nodes["is_categorical"] != 0) & ~leaf]
        if sets.ndim != 2 or (sorted_by_set["bitset_idx"] >= len(sets)).any():
            raise ValueError("a node of a tree asks for a set of categories that is not there")


def _check_booster(booster: Any) -> None:
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    n_features = int(learner["learner_model_param"]["num_feature"])
    model = learner["gradient_booster"].get("model", {})
    for tree in model.get("trees", []):
        left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
        sizes = {len(tree[name]) for name in ("split_indices", "split_conditions", "default_left")}
        if not len(left) or sizes != {len(left)} or len(right) != len(left):
            raise ValueError("a tree of XGBoost has arrays of several lengths")
        if tree["categories"] or any(tree["split_type"]):
            raise ValueError("a tree of XGBoost sorts by categories, which none of ours does")
        _check_nodes(left, right, left == -1, tree["split_indices"], n_features)
