"""Type aliases for node signatures, and columns of any name.

Kedro reads the type hints of every node when it builds parameters, so the names must exist at run
time; importing pandas for that would slow down commands that touch no data.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame, Index, Series
else:
    DataFrame = Index = Series = Any

__all__ = ["DataFrame", "Index", "Series", "with_columns"]


def with_columns(frame: DataFrame, columns: Mapping[str, Any]) -> DataFrame:
    """The frame with some columns in place of its own: ``assign`` knows none called ``self``."""
    changed = frame.copy(deep=False)
    for name, values in columns.items():
        changed[name] = values
    return changed
