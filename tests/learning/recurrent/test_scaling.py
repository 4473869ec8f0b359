"""0 to 1 on the rows it was fitted on, and back; nothing is clipped, constants do no harm."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ratchet.learning.recurrent.scaling import WindowScaler

values = st.floats(-1e9, 1e9, width=32)
dtypes = st.sampled_from([np.float32, np.float64])


@st.composite
def flattened(draw):
    """Windows of some shape, with targets."""
    n, lookback, features, horizon = (draw(st.integers(1, top)) for top in (12, 4, 3, 3))
    X = draw(arrays(draw(dtypes), (n, lookback * features), elements=values))
    return X, draw(arrays(np.float64, (n, horizon), elements=values)), lookback


@given(flattened())
@settings(deadline=None)
def test_every_channel_fills_0_to_1(rows):
    X, y, lookback = rows
    scaler = WindowScaler.fit(X, y, lookback)

    scaled, targets = scaler.windows(X), scaler.targets(y)

    assert scaled.shape == (len(X), lookback, X.shape[1] // lookback)
    assert scaled.dtype == targets.dtype == np.float32
    for part in [*np.moveaxis(scaled, -1, 0), targets]:
        assert part.min() == 0
        assert part.max() in {0, 1}
    constant = np.ptp(X.reshape(-1, scaler.features), axis=0) == 0
    np.testing.assert_array_equal(scaled.max(axis=(0, 1)), np.where(constant, 0, 1))


@given(flattened())
@settings(deadline=None)
def test_the_order_of_values_stays(rows):
    X, y, lookback = rows
    scaled = WindowScaler.fit(X, y, lookback).windows(X)
    for channel in range(scaled.shape[-1]):
        before = X.reshape(len(X), lookback, -1)[..., channel].ravel()
        after = scaled[..., channel].ravel()
        assert (np.diff(after[np.argsort(before, kind="stable")]) >= 0).all()


@given(flattened())
@settings(deadline=None)
def test_targets_come_back(rows):
    X, y, lookback = rows
    scaler = WindowScaler.fit(X, y, lookback)
    back = scaler.restore(scaler.targets(y))
    np.testing.assert_allclose(back, y, rtol=0, atol=max(2e-7 * np.ptp(y), 1e-6))


@given(
    arrays(np.float64, (6, 4), elements=st.integers(-1000, 1000).map(float)),
    st.floats(0.5, 100),
    st.floats(-100, 100),
)
@settings(deadline=None)
def test_units_do_not_matter(X, factor, shift):
    X[0] = X[1] + 1  # rounding makes constants in other units a little less than constant
    other = X * factor + shift

    one = WindowScaler.fit(X, X[:, 0], lookback=2).windows(X)
    two = WindowScaler.fit(other, X[:, 0], lookback=2).windows(other)

    np.testing.assert_allclose(one, two, atol=1e-6)


@given(flattened())
@settings(deadline=None)
def test_its_state_goes_through_json(rows):
    scaler = WindowScaler.fit(*rows)
    loaded = WindowScaler.from_dict(json.loads(json.dumps(scaler.as_dict())))
    np.testing.assert_array_equal(loaded.windows(rows[0]), scaler.windows(rows[0]))
    np.testing.assert_array_equal(loaded.restore(rows[1]), scaler.restore(rows[1]))


def test_by_hand():
    # Two steps of (price, units): the channel counts, not the step.
    X = [[10.0, 0.0, 20.0, 5.0], [30.0, 1.0, 10.0, 4.0]]
    scaler = WindowScaler.fit(X, [[2.0, 4.0], [6.0, 3.0]], lookback=2)

    assert scaler.windows(X).tolist() == [
        [[0, 0], [0.5, 1]],
        [[1, np.float32(0.2)], [0, np.float32(0.8)]],
    ]
    assert scaler.targets([[2.0, 4.0]]).tolist() == [[0, 0.5]]


def test_values_outside_are_not_clipped():
    scaler = WindowScaler.fit([[0.0], [10.0]], [0.0, 10.0], lookback=1)
    assert scaler.windows([[-10.0], [25.0]]).ravel().tolist() == [-1, 2.5]
    assert scaler.targets([-10.0, 25.0]).ravel().tolist() == [-1, 2.5]


def test_a_constant_channel_is_0_and_later_news_of_it_is_seen():
    scaler = WindowScaler.fit([[7.0, 1.0], [7.0, 2.0]], [3.0, 3.0], lookback=1)
    assert scaler.windows([[7.0, 1.0], [9.0, 1.0]])[:, 0, 0].tolist() == [0, 2]
    assert scaler.restore(scaler.targets([3.0])).tolist() == [[3.0]]


def test_large_numbers_keep_their_small_differences():
    X = 1e9 + np.arange(5.0).reshape(-1, 1)
    scaled = WindowScaler.fit(X, X.ravel(), lookback=1).windows(X)
    assert scaled.ravel().tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_more_rows_than_are_scaled_at_a_time():
    X = np.arange(10_000.0).reshape(-1, 2)
    scaled = WindowScaler.fit(X, X[:, 0], lookback=2).windows(pd.DataFrame(X))
    np.testing.assert_allclose(scaled.reshape(-1, 2), X / 9_999, rtol=1e-6)


def test_a_lookback_that_does_not_divide_the_columns():
    with pytest.raises(ValueError, match="X has 7 columns, which lookback=2 does not divide"):
        WindowScaler.fit(np.zeros((3, 7)), np.zeros(3), lookback=2)


@pytest.mark.parametrize("shape", [(3, 5), (3,), (1, 2, 2)])
def test_windows_of_another_shape(shape):
    scaler = WindowScaler.fit(np.zeros((3, 4)), np.zeros(3), lookback=2)
    with pytest.raises(ValueError, match="2 steps x 2 features, that is 4 columns, got shape"):
        scaler.windows(np.zeros(shape))
