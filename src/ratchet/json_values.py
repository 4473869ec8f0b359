"""Values in types that JSON has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any


def json_value(value: Any, *, not_finite: Callable[[float], Any] = str) -> Any:
    """A copy in JSON types: keys as text, sets in order, NumPy values as numbers and lists.

    Args:
        value: times become ISO 8601; what has no type of JSON becomes its text.
        not_finite: what NaN and infinity, which JSON lacks, become; by default their names.
    """
    if isinstance(value, Mapping):
        return {str(key): json_value(item, not_finite=not_finite) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, list | tuple):
        return [json_value(item, not_finite=not_finite) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else not_finite(float(value))
    if hasattr(value, "tolist"):  # NumPy
        return json_value(value.tolist(), not_finite=not_finite)
    text = value.isoformat() if isinstance(value, date) else str(value)
    return not_finite(math.nan) if text == "NaT" else text  # a missing time of pandas


def json_or_null(value: Any) -> Any:
    """As ``json_value``; null for NaN, infinity and missing times."""
    return json_value(value, not_finite=lambda _: None)
