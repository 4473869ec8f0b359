"""From features to answers: columns in order, and tidy rows of what a model says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import SERIES_PREFIX, Target
from ratchet.frames import with_columns

_TERMS = {"id": "series", "time": "time", "scale": "scale", "rms": "rms"}


def in_order(features: pd.DataFrame, expected: Mapping[str, str]) -> pd.DataFrame:
    """Put features as they were in training: its columns in its order, numbers in its types.

    Whether whole numbers were read as such depends on gaps in other rows, and categories are told
    by how they are written: 1 is not 1.0.

    Args:
        features: frame with all expected columns, maybe among others.
        expected: column -> type, as the training rows had them.
    """
    rows = features[list(expected)]
    kinds = [dtype.kind for dtype in rows.dtypes]  # there are hundreds of columns to a series
    mended = {
        name: rows[name].astype(dtype)  # type: ignore[call-overload]
        for (name, dtype), kind in zip(expected.items(), kinds, strict=True)
        if _is_other_number(rows, name, kind, dtype)
    }
    return with_columns(rows, mended) if mended else rows


def _is_other_number(rows: pd.DataFrame, name: str, kind: str, dtype: str) -> bool:
    """Whether values can be told as another kind of number without loss."""
    if kind == "i":
        return dtype.startswith("float")
    if kind != "f" or not dtype.startswith("int"):
        return False
    values = rows[name]
    return bool((np.isfinite(values) & (values % 1 == 0)).all())


def tidy_answers(model: Any, inputs: pd.DataFrame, target: Target) -> pd.DataFrame:
    """Predict rows.

    Args:
        model: the fitted model of the target.
        inputs: the columns it knows.
        target: what is predicted.

    Returns:
        ``prediction``, and ``low`` and ``high`` of a number or ``probability_<class>`` of classes.
    """
    if not target.is_classes:
        told = model.predict_with_interval(inputs)
        return pd.DataFrame(told, columns=["prediction", "low", "high"], index=inputs.index)
    classes, probabilities = list(model.classes_), model.predict_proba(inputs)
    names = [f"probability_{name}" for name in classes]
    rows = pd.DataFrame(probabilities, columns=names, index=inputs.index)
    rows.insert(0, "prediction", [classes[place] for place in probabilities.argmax(axis=1)])
    return rows


def no_answers(target: Target) -> pd.DataFrame:
    """Give an answer without rows."""
    ends = [f"probability_{name}" for name in sorted(target.classes or [])] or ["low", "high"]
    terms = list(_TERMS.values()) if target.is_series else []
    return pd.DataFrame(columns=["prediction", *ends, *terms])


def series_terms(features: pd.DataFrame) -> pd.DataFrame:
    """Give what scores of a series need of every row: ``series``, ``time``, ``scale``, ``rms``."""
    terms = features[[f"{SERIES_PREFIX}{name}" for name in _TERMS]]
    return terms.set_axis(list(_TERMS.values()), axis=1)
