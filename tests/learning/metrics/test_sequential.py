"""Bounds that hold on all days at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from ratchet.learning.metrics.sequential import (
    LEAST_UNITS,
    _brownian_bound,
    confidence_sequence,
    sample_ratio_p_values,
)

DAYS = 90


def worlds(n: int, gain: float = 0.0) -> list[np.ndarray]:
    """Daily means of twenty differences with heavy tails, in so many worlds."""
    random = np.random.default_rng(0)
    return list(random.standard_t(5, (n, DAYS, 20)).mean(axis=2) + gain)


def decided(planned: int | None, gain: float = 0.0, n: int = 400) -> float:
    result = [confidence_sequence(w, planned=planned).decided_at for w in worlds(n, gain)]
    return float(np.mean([each is not None for each in result]))


@pytest.mark.parametrize("planned", [None, DAYS])
def test_looking_every_day_is_wrong_in_at_most_one_world_of_twenty(planned):
    # 8 % of 400 worlds lie three standard errors above 5 %; a daily t test is wrong in 29 %.
    assert decided(planned) <= 0.08
    assert decided(planned, gain=0.2) >= 0.95


@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=60),
    st.floats(0.01, 0.2),
    st.sampled_from([None, 40]),
)
@settings(max_examples=60, deadline=None)
def test_bounds_hold_the_mean_and_move_with_it(values, alpha, planned):
    result = confidence_sequence(values, alpha=alpha, planned=planned)
    moved = confidence_sequence(np.array(values) + 7, alpha=alpha, planned=planned)

    n = np.arange(1, len(values) + 1)
    np.testing.assert_allclose(result.mean, np.cumsum(values) / n, atol=1e-9)
    assert (result.low <= result.mean).all()
    assert (result.mean <= result.high).all()
    assert np.isinf(result.low[: LEAST_UNITS - 1]).all()
    np.testing.assert_allclose(moved.low, result.low + 7, atol=1e-6)
    np.testing.assert_allclose(moved.high, result.high + 7, atol=1e-6)


def test_planned_bounds_say_nothing_after_the_end_and_more_at_it():
    values = np.random.default_rng(1).normal(size=60)

    planned, always = (confidence_sequence(values, planned=end) for end in (40, None))

    assert np.isinf(planned.high[40:]).all()
    assert planned.high[39] < always.high[39]
    assert planned.high[11] > always.high[11]


def test_the_planned_bound_is_a_little_above_that_of_a_single_test():
    # Of O'Brien and Fleming in continuous time; nearly the quantile at half of alpha.
    assert _brownian_bound(0.05) == pytest.approx(norm.ppf(1 - 0.05 / 4), abs=1e-3)


@pytest.mark.parametrize(
    ("values", "options"),
    [([np.nan], {}), ([[1.0]], {}), ([1.0], {"alpha": 1.0}), ([1.0], {"planned": 3})],
)
def test_what_makes_no_sense_is_refused(values, options):
    with pytest.raises(ValueError, match=r"expected|must"):
        confidence_sequence(values, **options)


def test_a_fair_split_passes_and_an_unfair_one_does_not():
    random = np.random.default_rng(0)
    fair = random.multinomial(200, [0.5, 0.5], size=(300, DAYS))
    unfair = random.multinomial(200, [0.53, 0.47], size=(50, DAYS))

    wrong = np.mean([sample_ratio_p_values(each, [0.5, 0.5])[-1] < 0.01 for each in fair])
    result = np.mean([sample_ratio_p_values(each, [0.5, 0.5])[-1] < 0.01 for each in unfair])

    assert wrong <= 0.01
    assert result >= 0.98


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_p_values_only_fall(counts):
    result = sample_ratio_p_values(counts, [0.7, 0.3])

    assert ((result > 0) | np.isclose(result, 0)).all()
    assert (np.diff(result) <= 0).all()
    assert (result <= 1).all()


@pytest.mark.parametrize("counts", [[[1, 2, 3]], [[-1, 2]], [1, 2]])
def test_counts_that_do_not_fit_are_refused(counts):
    with pytest.raises(ValueError, match="counts must have shape"):
        sample_ratio_p_values(counts, [0.5, 0.5])


def test_shares_add_up_to_one():
    with pytest.raises(ValueError, match="shares must be above 0"):
        sample_ratio_p_values([[1, 2]], [0.5, 0.4])
