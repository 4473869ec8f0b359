"""What all encoders of columns share: a frame comes out, with names that no other column has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

MARK = "column:"
"""How a name starts that would be taken for one of other columns."""


class Encoder(TransformerMixin, BaseEstimator):
    """What all encoders share: a frame comes out, its columns are known after `fit`.

    Their names are found in `fit` and kept: encoders stored before they were have the plain ones.
    """

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns that `transform` returns."""
        check_is_fitted(self)
        names = getattr(self, "names_", None)
        return np.array(self._names_out() if names is None else names, dtype=object)

    def sources(self) -> list[str]:
        """For each column that `transform` returns, the one that it was made of."""
        raise NotImplementedError

    def _names_out(self) -> list[str]:
        raise NotImplementedError

    def _frame(self, X: Any, values: NDArray[Any]) -> pd.DataFrame:
        index = X.index if isinstance(X, pd.DataFrame) else None
        columns = self.get_feature_names_out()
        numbers = values.astype(np.float32, copy=False)
        return pd.DataFrame(numbers, index=index, columns=columns, copy=False)


def unique_names(
    names: Iterable[str], taken: Iterable[str] = (), reserved: Iterable[str] = ()
) -> list[str]:
    """Names that XGBoost takes, no two alike.

    Args:
        names: What they are called.
        taken: Names of other columns beside them.
        reserved: How none may start; one that does is marked.

    Returns:
        The names in their order: as they are where that can be, else marked or numbered.
    """
    starts = tuple(reserved)
    plain = map(xgboost_safe, names)
    return number_duplicates((f"{MARK}{n}" if n.startswith(starts) else n for n in plain), taken)


def number_duplicates(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Names as they are, with a number where they are taken."""
    used, unique = set(taken), []
    for name in names:
        free, n = name, 1
        while free in used:
            n += 1
            free = f"{name} ({n})"
        used.add(free)
        unique.append(free)
    return unique


def xgboost_safe(category: str) -> str:
    """The name without the three characters that XGBoost refuses in names."""
    return category.replace("[", "(").replace("]", ")").replace("<", "lt ")
