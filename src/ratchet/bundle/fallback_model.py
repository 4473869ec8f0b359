"""Fallback model of series, for requests without measurements of the past.

It uses only columns of the row to be answered, such as weather and calendar, and so has wider
intervals. It is in the bundle beside the model of the target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ratchet.compiled.derived_columns import FUNCTIONS
from ratchet.config import SERIES_LEVEL, SERIES_SCALE, TARGET_PREFIX, UseCase, apart
from ratchet.preparation.required_columns import source_columns

if TYPE_CHECKING:
    from ratchet.bundle.writer import BundleContents


_PARAMETERS = {"max_iter": 100, "learning_rate": 0.1, "early_stopping": False, "random_state": 0}


def row_only_columns(use_case: UseCase) -> list[str]:
    """Feature columns that depend on their own row only, and on no other step."""
    data = use_case.data
    over_steps = set()
    for name, derived in data.derive.items():
        function, arguments = FUNCTIONS.get(derived.function), derived.arguments
        if function is None or function.back(arguments) or function.ahead(arguments):
            over_steps.add(name)
    return [
        name for name in use_case.features.columns if not source_columns([name], data) & over_steps
    ]


def fit_fallback_models(contents: BundleContents) -> dict[str, Any]:
    """Fit on the training rows, and calibrate the interval on the validation rows.

    Args:
        contents: rows, features and encoder of a version.

    Returns:
        Target -> the model; none where the target is learned as the change from its last value, or
        where rows have no columns of their own, such as the weather, beside time and series.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.frozen import FrozenEstimator

    from ratchet.learning.calibration import ConformalRegressor
    from ratchet.learning.features.encoders import sources_of
    from ratchet.learning.meta_estimators import RelativeRegressor

    use_case, features, data = contents.use_case, contents.features, contents.use_case.data
    if data.series is None:
        return {}
    row_only = row_only_columns(use_case)
    if not source_columns(row_only, data) & data.columns.keys() - {data.time, *data.series.columns}:
        return {}
    ((name, target),) = use_case.targets.items()
    sources = {apart(column) for column in row_only}
    columns = [n for n, source in sources_of(contents.encoder).items() if source in sources]
    if target.learn != "value" or not columns:
        return {}
    truth = features[f"{TARGET_PREFIX}{target.column}"]
    labelled, truth = features[truth.notna()], truth.dropna()
    encoded = contents.encoder.transform(labelled)[columns]
    scaled = truth / labelled[SERIES_SCALE]
    train, validation = (labelled["split"] == split for split in ("train", "validation"))
    model = HistGradientBoostingRegressor(**_PARAMETERS).fit(encoded[train], scaled[train])
    conformal = ConformalRegressor(
        estimator=FrozenEstimator(model), confidence=target.confidence, bounds=None
    )
    conformal = conformal.calibrate(model.predict(encoded[validation]), scaled[validation])
    relative = RelativeRegressor(
        estimator=FrozenEstimator(conformal),
        level=SERIES_LEVEL,
        scale=SERIES_SCALE,
        bounds=target.bounds,
    )
    inputs = encoded.join(labelled[[SERIES_LEVEL, SERIES_SCALE]])
    return {name: relative.fit(inputs[validation], truth[validation])}
