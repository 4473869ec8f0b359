"""Linear models of paths: other weights near the origin, and the same ones far from it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import skops.io
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from ratchet.config import STEP
from ratchet.learning.classical import build_estimator, ridge
from ratchet.learning.meta_estimators import PathRegressor
from ratchet.learning.trusted import TRUSTED


def path(n: int = 2_000, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """The next step follows the last value, which is soon forgotten, and all the season."""
    draw = np.random.default_rng(seed)
    step = draw.integers(1, 25, n).astype(float)
    X = pd.DataFrame({"last": draw.normal(size=n), "season": draw.normal(size=n), STEP: step})
    return X, 2 * X["season"].to_numpy() + X["last"].to_numpy() * np.exp(-step / 2)


def test_it_knows_the_column_of_the_step_by_its_name():
    assert PathRegressor(model=Ridge()).column == STEP


@parametrize_with_checks([PathRegressor(model=Ridge())])
def test_manners(estimator, check):
    check(estimator)


def test_weights_are_other_ones_near_the_origin():
    X, y = path()
    new, truth = path(seed=1)

    line, model = (build.fit(X, y) for build in (ridge(), PathRegressor(model=Ridge(alpha=0.1))))

    near, far = new[STEP] <= 2, new[STEP] > 16
    for rows, share in ((near, 0.25), (far, 1.1)):
        errors = [np.abs(one.predict(new[rows]) - truth[rows]).mean() for one in (model, line)]
        assert errors[0] < share * errors[1]


def test_a_forecast_of_one_step_is_the_line_alone():
    X, y = path()
    X = X.drop(columns=STEP)

    model, line = build_estimator("forecasting", "ridge", 0).fit(X, y), ridge().fit(X, y)

    np.testing.assert_array_equal(model.predict(X), line.predict(X))
    assert isinstance(model.base_, Pipeline)


def test_it_is_read_from_a_file():
    X, y = path(200)
    model = PathRegressor(model=Ridge()).fit(X, y)

    again = skops.io.loads(skops.io.dumps(model), trusted=[*TRUSTED])

    np.testing.assert_array_equal(again.predict(X), model.predict(X))
