"""Models of segments: what they predict, for new segments too; written, refitted, compiled."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.pipeline import Pipeline

from ratchet.compiled.estimators import compile_estimator
from ratchet.compiled.serialization import dumps, loads
from ratchet.config.market import MARKET_ESTIMATORS
from ratchet.learning import trusted
from ratchet.learning.baselines import LastValue, SeasonalValue, SegmentColumns, SegmentMean
from ratchet.learning.classical import MARKET, build_estimator
from ratchet.learning.features.market import MarketEncoder, step_length
from ratchet.modelling.calibrate_and_refit import refit_estimator

N_SEGMENTS, STEPS = 6, 60


def sales(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows as the encoder makes them, with a covariate, and log quantities."""
    rng = np.random.default_rng(seed)
    segment, step = (part.ravel() for part in np.mgrid[:N_SEGMENTS, :STEPS])
    price = rng.normal(0, 0.3, len(segment)) + 0.1 * segment
    promoted = rng.random(len(segment)) < 0.2
    y = 5 + segment - 2 * price + 0.5 * promoted + np.sin(2 * np.pi * step / 12) / 3
    columns = {"segment": segment, "product": segment % 2, "step": step, "log_price": price}
    X = pd.DataFrame({**columns, "promoted": promoted}).astype("float32")
    kept = rng.random(len(X)) < 0.9
    return X[kept], (y + rng.normal(0, 0.1, len(X)))[kept]


def small(name: str):
    model = build_estimator("regression", name, 0)
    sizes = {"max_iter": 12, "search": False, "period": 12, "season": 12}
    names = {key: key.split("__")[-1] for key in model.get_params()}
    return model.set_params(**{k: sizes[last] for k, last in names.items() if last in sizes})


def later() -> pd.DataFrame:
    """Rows after those of training, of known and of new segments and products."""
    X, _ = sales(1)
    X = X.assign(step=X["step"] + STEPS).reset_index(drop=True)
    X.loc[::7, "segment"] = -1
    X.loc[::14, "product"] = -1
    return X


def test_parameters_know_the_estimators():
    assert tuple(MARKET) == MARKET_ESTIMATORS


@pytest.mark.parametrize("name", MARKET)
def test_written_refitted_and_compiled_it_says_the_same(name, tmp_path):
    (X, y), new = sales(), later()
    model = small(name).fit(X, y)
    expected = model.predict(new)

    trusted.dump(model, tmp_path / "model.skops")
    read = trusted.load(tmp_path / "model.skops")
    run = loads(dumps(compile_estimator(model, list(X.columns))))

    assert np.isfinite(expected).all()
    assert_allclose(read.predict(new), expected, rtol=1e-12)
    assert_allclose(run(new.to_numpy()), expected, rtol=1e-9)
    alone = np.concatenate([run(row[None]) for row in new.to_numpy()])
    assert_allclose(alone, expected, rtol=1e-9)
    assert_allclose(refit_estimator(model, X, y).predict(new), expected, rtol=1e-9)


def test_last_and_seasonal_values_are_those_of_the_segment():
    X = pd.DataFrame(
        {"segment": [0, 0, 0, 1], "product": 0, "step": [2, 0, 1, 0], "log_price": 0.0}
    )
    y = np.array([3.0, 1.0, 2.0, 7.0])
    ahead = pd.DataFrame({"segment": [0, 0, 1, -1, 9], "product": 0, "step": [4, 5, 4, 3, 3]})
    ahead["log_price"] = 0.0

    assert SegmentMean().fit(X, y).predict(ahead).tolist() == [2, 2, 7, 3.25, 3.25]
    assert LastValue().fit(X, y).predict(ahead).tolist() == [3, 3, 7, 5, 5]
    assert SeasonalValue(season=4).fit(X, y).predict(ahead).tolist() == [1, 2, 7, 5, 5]
    assert SeasonalValue(season=0).fit(X, y).predict(ahead).tolist() == [3, 3, 7, 5, 5]


@pytest.mark.parametrize("left_out", [[], ["promoted"]])
def test_trees_see_season_and_relative_price(left_out):
    X = sales()[0].drop(columns=left_out)
    columns = SegmentColumns(period=12).fit(X)

    seen = columns.transform(X)

    assert seen[:, -3].tolist() == (X["step"] % 12).tolist()
    means = pd.Series(seen[:, -1]).groupby(X["segment"].to_numpy()).mean()
    assert_allclose(means, 0, atol=1e-6)
    assert isinstance(small("segment_boosting").estimator, Pipeline)


@pytest.mark.parametrize("name", MARKET)
def test_segments_that_begin_after_the_encoder_was_fitted_stop_no_fit(name):
    (X, y), new = sales(), later()
    late = new[new["segment"] < 0]
    model = small(name).fit(pd.concat([X, late]), np.append(y, np.full(len(late), 50.0)))

    predicted = model.predict(new)

    assert np.isfinite(predicted).all()
    if "boosting" not in name:  # trees learn what segments without a code have in common
        assert_allclose(predicted, small(name).fit(X, y).predict(new), rtol=1e-12)


@pytest.mark.parametrize("name", MARKET)
def test_rows_of_which_no_segment_has_a_code_are_refused(name):
    X, y = sales()
    with pytest.raises(ValueError, match="must hold codes from 0 in training: all are below"):
        small(name).fit(X.assign(segment=-1), y)


def test_columns_of_trees_say_what_is_unusual_and_may_lack_the_step():
    X, _ = sales()
    new = later()
    columns = SegmentColumns(period=12, steps=False).fit(X)

    seen = columns.transform(new)
    run = loads(dumps(compile_estimator(columns, list(X.columns))))

    assert seen.shape == (len(new), 4 + 4)
    known, usual = new["segment"] >= 0, X.groupby("segment")["promoted"].mean()
    unusual = new["promoted"] - usual.reindex(new["segment"]).to_numpy()
    assert_allclose(seen[known, 4], unusual[known], atol=1e-6)
    assert_allclose(run(new.to_numpy()), seen, rtol=1e-12)


def test_rows_without_a_segment_are_refused():
    with pytest.raises(ValueError, match="columns 'segment' and 'step' of a market"):
        LastValue().fit(pd.DataFrame({"x": [1.0]}), [1.0])


# ---------------------------------------------------------------------------------- the encoder


def raw(**columns) -> pd.DataFrame:
    plain = {
        "shop": ["b", "a", "a"],
        "sort": ["x", "x", "y"],
        "week": pd.to_datetime(["2020-01-12", "2020-01-05", "2020-01-19"]),
        "price": [1.0, 2.0, np.e],
        "promoted": [1.0, np.nan, 0.0],
    }
    return pd.DataFrame(plain | columns)


def encoder(**options) -> MarketEncoder:
    named = {"merchant": "shop", "product": "sort", "price": "price", "time": "week"}
    return MarketEncoder(**{**named, "covariates": ["promoted"], **options})


def test_codes_steps_and_log_prices():
    seen = encoder().fit(raw()).transform(raw())

    assert list(seen) == ["segment", "product", "step", "log_price", "promoted"]
    assert seen["segment"].tolist() == [2, 0, 1]
    assert seen["product"].tolist() == [0, 0, 1]
    assert seen["step"].tolist() == [1, 0, 2]
    assert_allclose(seen["log_price"], [0, np.log(2), 1], rtol=1e-6)
    assert seen["promoted"].tolist() == [1, 0.5, 0]


def test_what_was_not_there_has_no_code():
    new = encoder().fit(raw()).transform(raw(shop=["b", "c", "b"], sort=["y", "x", "z"]))

    assert new["segment"].tolist() == [-1, -1, -1]
    assert new["product"].tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("options", "segments", "products"),
    [
        ({"product": None}, [1, 0, 0], [0, 0, 0]),
        ({"merchant": None}, [0, 0, 1], [0, 0, 1]),
        ({"merchant": None, "product": None}, [0, 0, 0], [0, 0, 0]),
    ],
)
def test_one_merchant_or_one_product(options, segments, products):
    seen = encoder(**options).fit(raw()).transform(raw())

    assert seen["segment"].tolist() == segments
    assert seen["product"].tolist() == products


def test_columns_called_like_those_that_are_made_keep_apart():
    frame = raw().rename(columns={"promoted": "step"})
    model = encoder(covariates=["step"]).fit(frame)

    assert model.get_feature_names_out().tolist() == [
        *("segment", "product", "step", "log_price", "step (2)")
    ]
    assert model.sources() == ["shop", "sort", "week", "price", "step"]


@pytest.mark.parametrize(("frequency", "days"), [("W", 7), ("7D", 7), ("D", 1), ("MS", 30.4375)])
def test_lengths_of_steps(frequency, days):
    assert step_length(frequency) == pytest.approx(days * 86_400e6)


def test_months_are_steps_of_one():
    months = pd.date_range("2019-01-01", periods=50, freq="MS")
    frame = raw().iloc[[0] * 50].assign(week=months)

    seen = encoder(frequency="MS").fit(frame).transform(frame)

    assert seen["step"].tolist() == list(range(50))
