"""Type aliases for node signatures.

Kedro reads the type hints of every node when it builds parameters, so the names must exist at run
time; importing pandas for that would slow down commands that touch no data.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame, Index, Series
else:
    DataFrame = Index = Series = Any

__all__ = ["DataFrame", "Index", "Series"]
