"""Naive forecasts are columns of the rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from ratchet.learning.baselines import Persistence, SeasonalNaive

X = pd.DataFrame(
    {
        "lag_1": [9.0, 9.0],
        "naive_persistence": np.float32([1, 2]),
        "naive_seasonal": [3.0, 4.0],
        "naive_seasonal_336": [5.0, 6.0],
    },
    index=["a", "b"],
)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Persistence(), [1, 2]),
        (SeasonalNaive(), [3, 4]),
        (SeasonalNaive(season=336), [5, 6]),
    ],
)
def test_each_picks_its_column(model, expected):
    fitted = clone(model).fit(X, [0, 0])

    assert fitted.predict(X).tolist() == expected
    assert fitted.predict(X).dtype == np.float64
    assert fitted.predict(X[::-1]).tolist() == expected[::-1]
    assert list(fitted.feature_names_in_) == list(X)


def test_a_season_that_is_not_there():
    with pytest.raises(ValueError, match=r"no naive forecast 'naive_seasonal_7'; .*_seasonal_336"):
        SeasonalNaive(season=7).fit(X, [0, 0])


def test_rows_without_names():
    with pytest.raises(ValueError, match="must be a DataFrame"):
        Persistence().fit(X.to_numpy(), [0, 0])


def test_not_fitted():
    with pytest.raises(NotFittedError):
        Persistence().predict(X)


def test_other_columns_than_in_fit():
    with pytest.raises(ValueError, match="feature names should match"):
        Persistence().fit(X, [0, 0]).predict(X.drop(columns="lag_1"))
