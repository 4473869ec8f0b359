"""Statistics of drift, against scipy and by their laws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from ratchet.monitoring.drift import statistics
from ratchet.monitoring.drift.columns import encode


def counted(before, now):
    """Counts of the levels of both samples, and the levels."""
    levels = encode(pd.Series(before), pd.Series(now))
    n = len(before)
    dense = levels.counts.toarray()
    return dense[n:].sum(0)[None], dense[:n].sum(0)[None], levels


COUNTS = hnp.arrays(np.float64, (2, 6), elements=st.integers(0, 50).map(float))


def test_few_values_give_what_scipy_gives():
    rng = np.random.default_rng(0)
    before, now = rng.integers(0, 40, 300) / 4, rng.integers(3, 47, 80) / 4

    a, b, levels = counted(before, now)

    assert statistics.kolmogorov_smirnov(a, b)[0] == pytest.approx(
        stats.ks_2samp(before, now).statistic
    )
    assert statistics.wasserstein(a, b, levels.points)[0] == pytest.approx(
        stats.wasserstein_distance(before, now)
    )


@pytest.mark.parametrize("tail", ["normal", "cauchy"])
def test_many_values_give_nearly_what_scipy_gives(tail):
    rng = np.random.default_rng(1)
    draw = rng.standard_normal if tail == "normal" else rng.standard_cauchy
    before, now = draw(5000), draw(400) + 0.3

    a, b, levels = counted(before, now)

    exact = stats.ks_2samp(before, now).statistic
    assert statistics.kolmogorov_smirnov(a, b)[0] == pytest.approx(exact, abs=1 / 200)
    exact = stats.wasserstein_distance(before, now)
    assert statistics.wasserstein(a, b, levels.points)[0] == pytest.approx(exact, rel=0.05)


def test_stability_index_by_hand():
    a, b = np.array([[49.5, 49.5]]), np.array([[24.5, 74.5]])  # with half a row each: 1/2 and 1/4

    assert statistics.psi(a, b)[0] == pytest.approx(
        0.25 * np.log(0.5 / 0.25) - 0.25 * np.log(0.5 / 0.75)
    )


@given(COUNTS)
def test_laws_of_the_stability_index(counts):
    a, b = counts[:1], counts[1:]

    assert statistics.psi(a, a)[0] == 0
    assert statistics.psi(a, b)[0] >= 0
    assert statistics.psi(a, b)[0] == pytest.approx(statistics.psi(b, a)[0])
    assert np.isfinite(statistics.psi(a, b)[0])


@given(COUNTS)
def test_laws_of_the_distances(counts):
    a, b = counts[:1], counts[1:]
    points = np.arange(6.0)

    ks, moved = statistics.kolmogorov_smirnov(a, b)[0], statistics.wasserstein(a, b, points)[0]

    assert 0 <= ks <= 1 + 1e-12
    assert moved <= 5 * ks + 1e-9  # no value is farther than the ends
    assert statistics.wasserstein(a, a, points)[0] == 0


@given(COUNTS)
def test_share_of_new_categories_is_a_share(counts):
    share = statistics.new_category_share(counts[:1], counts[1:])[0]

    assert 0 <= share <= 1
    assert statistics.new_category_share(counts[:1], counts[:1])[0] == 0


def test_share_of_new_categories_by_hand():
    assert statistics.new_category_share(np.array([[3.0, 1.0]]), np.array([[9.0, 0.0]]))[0] == 0.25


def test_a_set_without_values_differs_from_none():
    nothing, something = np.zeros((1, 3)), np.array([[1.0, 2.0, 3.0]])

    assert statistics.psi(nothing, something)[0] == 0
    assert statistics.kolmogorov_smirnov(nothing, something)[0] == 0
    assert statistics.wasserstein(nothing, something, np.arange(3.0))[0] == 0


def test_tenths_of_the_rows_count_together():
    together = statistics.psi_groups(np.full(100, 7.0), ordered=True)

    assert together.shape == (100, 10)
    assert (together.sum(axis=0) == 10).all()
    assert (np.diff(together.argmax(axis=1)) >= 0).all()  # neighbours on the axis


def test_rare_categories_count_together():
    totals = np.array([1.0, 50.0, *[2.0] * 30])

    together = statistics.psi_groups(totals, ordered=False)

    assert together.shape == (32, 20)
    assert together[1].argmax() == 0  # the most frequent one by itself
    assert together[0].argmax() == 19


def test_without_levels_there_is_nothing_to_compare():
    empty = np.zeros((4, 0))

    assert statistics.psi_groups(np.zeros(0), ordered=False).shape == (0, 0)
    for values in (
        statistics.psi(empty, empty),
        statistics.kolmogorov_smirnov(empty, empty),
        statistics.new_category_share(empty, empty),
        statistics.wasserstein(empty, empty, np.zeros(0)),
    ):
        assert values.tolist() == [0, 0, 0, 0]
