"""Fitted models as skops files, read against a list of the types that may be in them.

A pickle runs whatever its author wrote into it. A skops file names types, and only those are made
that are known: skops' own defaults and ``TRUSTED``.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED

from ratchet.learning.files import atomic_write

TRUSTED = (
    "numpy.dtype",
    "ratchet.learning.calibration.TemperatureScaling",
    "ratchet.learning.classical.WithoutFlags",
    "ratchet.learning.conformal.ConformalRegressor",
    "ratchet.learning.features.encoders.CyclicEncoder",
    "ratchet.learning.features.encoders.MultiHotEncoder",
    "ratchet.learning.features.encoders.NumericEncoder",
    "ratchet.learning.features.encoders.TextEncoder",
    "ratchet.learning.naive.Persistence",
    "ratchet.learning.naive.SeasonalNaive",
    "ratchet.learning.recurrent.regressor.RecurrentRegressor",
    "ratchet.learning.recurrent.scaling.WindowScaler",
    "ratchet.learning.relative.RelativeRegressor",
    "ratchet.learning.residual.ResidualRegressor",
    "ratchet.learning.stacking.Predictions",
    "ratchet.learning.weighting.WeightedClassifier",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
)
"""Types beyond skops' own defaults that our models consist of. Nothing else is ever loaded: the
list stands in the code, not in the file, because a file could vouch for itself."""


def dump(model: Any, path: str | Path) -> None:
    """Write a model, whole or not at all.

    Args:
        model: a fitted estimator, or a list of some.
        path: the file, by convention ``*.skops``; its folder is made.
    """
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

    Args:
        content: what ``dump`` wrote.
        name: how errors call it.

    Raises:
        ValueError: the content is damaged or holds a type that is not trusted.
    """
    import skops.io

    try:
        return skops.io.load(BytesIO(content), trusted=list(TRUSTED))
    except Exception as error:  # whatever the archive, the schema and the types in it raise
        raise ValueError(f"{name} cannot be loaded: {error}") from error
