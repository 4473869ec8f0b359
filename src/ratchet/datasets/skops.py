"""Fitted scikit-learn objects in a format that runs no code when loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED

from kedro.io import AbstractDataset, DatasetError

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


class SkopsDataset(AbstractDataset[Any, Any]):
    """A fitted estimator as a skops file, written whole or not at all.

    Args:
        filepath: the file, by convention ``*.skops``.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Any:
        """Read the estimator.

        Raises:
            DatasetError: the file is missing, damaged or holds a type that is not trusted.
        """
        import skops.io

        try:
            return skops.io.load(self._filepath, trusted=list(TRUSTED))
        except Exception as error:
            raise DatasetError(f"{self._filepath} cannot be loaded: {error}") from error

    def save(self, data: Any) -> None:
        """Write the estimator next to its place, then move it there."""
        import skops.io

        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        partial = self._filepath.with_name(f".{self._filepath.name}.partial")
        skops.io.dump(data, partial, compression=ZIP_DEFLATED, compresslevel=1)
        partial.replace(self._filepath)

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
