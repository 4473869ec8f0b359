"""Rows laid out as segments by time steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.learning.demand.panel import (
    Rows,
    Unusable,
    build_panel,
    check_rows,
    residual_price_variation,
)


def rows(segment, step, *, product=None, log_price=None, covariates=None, log_quantity=None):
    n = len(segment)
    return Rows(
        segment=np.asarray(segment, dtype=np.int64),
        product=np.zeros(n, np.int64) if product is None else np.asarray(product, np.int64),
        step=np.asarray(step, dtype=float),
        log_price=np.zeros(n) if log_price is None else np.asarray(log_price, dtype=float),
        covariates=np.empty((n, 0)) if covariates is None else np.asarray(covariates, dtype=float),
        log_quantity=np.zeros(n) if log_quantity is None else np.asarray(log_quantity, float),
    )


def test_rows_without_logarithms_are_excluded_with_the_first_reason():
    check = check_rows([1, 0, -2, np.nan, 3, 4, 0], [1, 1, 1, 1, 0, np.inf, -1])

    assert check.usable.tolist() == [True] + [False] * 6
    assert check.counts == {
        Unusable.MISSING_QUANTITY: 1,
        Unusable.NEGATIVE_QUANTITY: 1,
        Unusable.ZERO_QUANTITY: 2,
        Unusable.MISSING_PRICE: 1,
        Unusable.PRICE_NOT_POSITIVE: 1,
    }


number = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(number, number)))
def test_each_row_is_usable_or_has_one_reason(pairs):
    quantity, price = np.array(pairs, dtype=float).reshape(-1, 2).T
    check = check_rows(quantity, price)

    assert check.usable.sum() + sum(check.counts.values()) == len(pairs)
    with np.errstate(all="raise"):
        assert np.isfinite(np.log(quantity[check.usable])).all()
        assert np.isfinite(np.log(price[check.usable])).all()


def test_rows_land_in_their_cells_whatever_their_order():
    panel = build_panel(
        rows([7, 2, 7], [3, 1, 1], product=[5, 4, 5], log_price=[2, 9, 4], log_quantity=[1, 2, 3])
    )

    assert panel.segments.codes.tolist() == [2, 7]
    assert panel.segments.products[panel.product_of].tolist() == [4, 5]
    assert panel.steps.tolist() == [1, 3]
    assert panel.mask.tolist() == [[1, 0], [1, 1]]
    assert panel.log_quantity.tolist() == [[2, 0], [3, 1]]
    assert panel.log_price.tolist() == [[0, 0], [1, -1]]
    assert panel.segments.price_centre.tolist() == [9, 3]


def test_covariates_are_scaled_and_those_without_variance_stay_zero():
    covariates = np.column_stack([[1e6, 3e6, 5e6], [4, 4, 4]])
    panel = build_panel(rows([0, 0, 0], [0, 1, 2], covariates=covariates))

    np.testing.assert_allclose(panel.covariates[0, :, 0], np.array([-1, 0, 1]) * 1.5**0.5)
    assert (panel.covariates[..., 1] == 0).all()


def test_the_design_is_zero_where_there_is_no_row():
    panel = build_panel(rows([0, 0, 1], [0, 1, 1], log_price=[0, 1, 0], covariates=[[1], [2], [3]]))
    layout = panel.layout(harmonics=2, trend=True, period=4)
    design = panel.design(layout)

    assert design.shape == (2, 2, 3 + len(layout.names))
    assert layout.names == ("sin_1", "cos_1", "sin_2", "cos_2", "trend")
    assert (design[1, 0] == 0).all()
    np.testing.assert_allclose(design[0, 1, 3:], [1, 0, 0, -1, 0.5], atol=1e-12)


def test_there_is_no_season_without_a_period():
    assert build_panel(rows([0], [0])).layout(harmonics=2, trend=False, period=0).names == ()


@pytest.mark.parametrize(
    ("given_rows", "message"),
    [
        (rows([], []), "no rows"),
        (rows([0, 1, 1], [2, 5, 5]), r"segment 1 at step 5"),
        (rows([3, 3], [0, 1], product=[0, 1]), r"segment 3 has rows of several products"),
    ],
)
def test_rows_that_are_no_panel_are_refused(given_rows, message):
    with pytest.raises(ValueError, match=message):
        build_panel(given_rows)


@given(st.integers(1, 5), st.integers(2, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_common_prices_leave_nothing_and_own_prices_most(n_segments, n_steps, seed):
    rng = np.random.default_rng(seed)
    segment = np.repeat(np.arange(n_segments), n_steps)
    step = np.tile(np.arange(n_steps), n_segments)
    common = build_panel(rows(segment, step, log_price=rng.normal(size=n_steps)[step]))
    own = build_panel(rows(segment, step, log_price=rng.normal(size=len(step))))
    together, apart = np.zeros(n_segments, dtype=int), np.arange(n_segments)

    assert residual_price_variation(common, together) == pytest.approx(0, abs=1e-9)
    assert 0 <= residual_price_variation(own, together) <= 1
    assert residual_price_variation(own, apart) == pytest.approx(0, abs=1e-9)


def test_constant_prices_leave_nothing():
    assert residual_price_variation(build_panel(rows([0, 0], [0, 1])), [0]) == 0
