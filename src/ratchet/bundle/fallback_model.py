"""A second, small model of series, for questions that nothing was measured for.

It sees the columns of the row to be answered alone, such as weather and calendar, and says less:
its interval is wider. It stands beside the model of the target in the bundle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ratchet.compiled.columns import FUNCTIONS
from ratchet.config import SERIES_LEVEL, SERIES_SCALE, TARGET_PREFIX, UseCase, apart
from ratchet.preparation.required_columns import source_columns

if TYPE_CHECKING:
    from ratchet.bundle.writer import BundleContents


_SETTINGS = {"max_iter": 100, "learning_rate": 0.1, "early_stopping": False, "random_state": 0}


def row_only_columns(use_case: UseCase) -> list[str]:
    """Columns of the features that are known by their row alone: no other step is looked at."""
    data = use_case.data
    over_steps = set()
    for name, derived in data.derive.items():
        function = FUNCTIONS.get(derived.function)
        if (
            function is None
            or function.back(derived.arguments)
            or function.ahead(derived.arguments)
        ):
            over_steps.add(name)
    return [
        name for name in use_case.features.columns if not source_columns([name], data) & over_steps
    ]


def _has_own(use_case: UseCase) -> bool:
    """Whether rows say more of themselves than their time and series, such as the weather."""
    data = use_case.data
    named = {data.time, data.series.id if data.series else None}
    own = source_columns(row_only_columns(use_case), data) & data.columns.keys()
    return bool(own - named)


def fit_fallback_models(contents: BundleContents) -> dict[str, Any]:
    """Fit it on the training rows, and calibrate its interval on the validation rows.

    Args:
        contents: rows, features and encoder of a version.

    Returns:
        Target -> the model; none where the target is learned as the change from its last value, or
        where rows say nothing of themselves but their time and series.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.frozen import FrozenEstimator

    from ratchet.learning.calibration import ConformalRegressor
    from ratchet.learning.features.encoders import sources_of
    from ratchet.learning.meta_estimators import RelativeRegressor

    use_case, features = contents.use_case, contents.features
    if use_case.data.series is None or not _has_own(use_case):
        return {}
    ((name, target),) = use_case.targets.items()
    of_the_row = {apart(column) for column in row_only_columns(use_case)}
    columns = [n for n, source in sources_of(contents.encoder).items() if source in of_the_row]
    if target.learn != "value" or not columns:
        return {}
    truth = features[f"{TARGET_PREFIX}{target.column}"]
    labelled, truth = features[truth.notna()], truth.dropna()
    encoded = contents.encoder.transform(labelled)[columns]
    scaled = truth / labelled[SERIES_SCALE]
    train, validation = (labelled["split"] == split for split in ("train", "validation"))
    model = HistGradientBoostingRegressor(**_SETTINGS).fit(encoded[train], scaled[train])
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
    with_terms = encoded.join(labelled[[SERIES_LEVEL, SERIES_SCALE]])
    return {name: relative.fit(with_terms[validation], truth[validation])}
