"""Which columns the errors are broken down by, and the names of the charts of a use case.

The pipeline has to know the names before there is any data.
"""

from __future__ import annotations

import re

from ratchet.params import Data, Features, Target

_MOST_CATEGORIES = 3
_MOST_GROUPS = 4


def group_columns(features: Features) -> list[str]:
    """Columns whose values the errors are broken down by: categories first, then numbers."""
    categories = [*features.lists, *features.categorical][:_MOST_CATEGORIES]
    room = 1 if len(categories) == _MOST_CATEGORIES else _MOST_GROUPS - len(categories)
    return [*categories, *features.numeric[:room]]


def slug(name: str) -> str:
    """A column as part of a file name: letters, digits and underscores."""
    return re.sub(r"\W+", "_", name)


def group_charts(features: Features) -> dict[str, str]:
    """Chart -> column of the errors by group."""
    return {f"error_by_{slug(column)}": column for column in group_columns(features)}


def data_charts(data: Data) -> list[str]:
    """Charts of the data of a use case."""
    return ["missing", *(["rows_over_time"] if data.time else [])]


def target_charts(target: Target, data: Data, features: Features) -> list[str]:
    """Charts of one target."""
    by_task = {
        "classification": ["confusion", "calibration", "confidence"],
        "regression": ["truth", "errors", "calibration"],
    }
    return [
        "distribution",
        "ranking",
        *by_task[target.task],
        *(["error_over_time"] if data.time else []),
        *group_charts(features),
        "importance",
    ]


def plot(chart: str) -> str:
    """Name of the data set that holds a chart."""
    return f"{chart}_plot"
