"""Chunks of the reference, and what a window may exceed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.monitoring.drift.null_distribution import (
    NullDistribution,
    draw_chunks,
    run_chunks,
    standardise,
)


def days(start, periods, frequency="D"):
    return pd.Series(pd.date_range(start, periods=periods, freq=frequency))


def rows_of(chunks, number):
    """Rows of a chunk; 0 is the window."""
    return chunks.members[number].indices


def test_draws_are_as_large_as_the_window_and_all_different():
    chunks = draw_chunks(50, 10, 30, seed=1)

    assert rows_of(chunks, 0).tolist() == list(range(50, 60))
    drawn = [tuple(sorted(rows_of(chunks, i))) for i in range(1, 31)]
    assert {len(set(rows)) for rows in drawn} == {10}
    assert len(set(drawn)) == 30
    assert draw_chunks(50, 10, 30, seed=1).members.toarray().tolist() == (
        chunks.members.toarray().tolist()
    )


def test_draws_are_compared_with_all_other_rows_and_the_window_with_the_reference():
    chunks = draw_chunks(50, 10, 20, seed=0)

    inside, outside = chunks.split(np.ones((60, 1)))

    assert inside.ravel().tolist() == [10] * 21
    assert outside.ravel().tolist() == [50] * 21
    marked, rest = chunks.split(np.eye(60))
    assert not (marked * rest).any()


def test_runs_follow_each_other_inside_the_reference():
    chunks = run_chunks(days("2020-01-01", 100), days("2020-06-01", 7), 50)

    runs = [rows_of(chunks, i) for i in range(1, len(chunks) + 1)]
    assert len(runs) == 50
    assert all((np.diff(run) == 1).all() and len(run) == 7 for run in runs)
    assert runs[0][0] == 0
    assert runs[-1][-1] == 99
    assert chunks.independent == 100 // 7
    inside, outside = chunks.split(np.ones((107, 1)))
    assert outside.ravel().tolist() == [100] + [93] * 50  # without their own rows
    assert inside.ravel().tolist() == [7] * 51


def test_a_long_window_is_compared_with_shorter_runs():
    chunks = run_chunks(days("2020-01-01", 80), days("2021-01-01", 60), 200)

    assert chunks.size == 10
    assert chunks.independent == 8
    assert len(rows_of(chunks, 0)) == 60


def test_runs_of_several_series_begin_with_a_time():
    times = days("2020-01-01", 40).repeat(3).reset_index(drop=True)

    chunks = run_chunks(times, days("2020-03-01", 2).repeat(3).reset_index(drop=True), 200)

    assert len(chunks) == 39
    assert all(rows_of(chunks, i)[0] % 3 == 0 for i in range(1, 40))


def test_runs_of_a_series_begin_at_the_phase_of_the_window():
    times = days("2020-01-06", 140)  # a Monday
    window = days("2020-08-05", 3)  # a Wednesday

    chunks = run_chunks(times, window, 200, period="7D")

    assert {rows_of(chunks, i)[0] % 7 for i in range(1, len(chunks) + 1)} == {2}
    assert len(chunks) == chunks.independent == 20
    assert "phase of the window" in chunks.season
    assert "no season of the year twice" in chunks.season


def test_runs_begin_anywhere_where_too_few_have_the_phase():
    chunks = run_chunks(days("2020-01-06", 40), days("2020-08-05", 3), 200, period="7D")

    assert len({rows_of(chunks, i)[0] % 7 for i in range(1, len(chunks) + 1)}) == 7
    assert "any phase" in chunks.season


def test_years_of_reference_are_compared_in_the_season_of_the_window():
    times = days("2015-01-01", 5 * 365)
    window = days("2020-01-05", 7)

    chunks = run_chunks(times, window, 200, period="7D")

    compared = times[chunks.base[: len(times)]]
    assert set(compared.dt.month) == {11, 12, 1, 2}
    for i in range(1, len(chunks) + 1):
        run = times.iloc[rows_of(chunks, i)]
        assert set(run.dt.month) <= {11, 12, 1, 2}
        assert (run.diff().dropna() == pd.Timedelta("1D")).all()  # no run leaps over a summer
    assert "same season" in chunks.season
    inside, outside = chunks.split(np.ones((len(times) + 7, 1)))
    assert outside[0, 0] == len(compared)
    assert (outside[1:, 0] == len(compared) - 7).all()
    assert (inside == 7).all()


def test_a_window_longer_than_a_season_has_none():
    chunks = run_chunks(days("2015-01-01", 5 * 365), days("2020-01-01", 200), 200, period="7D")

    assert chunks.base[: 5 * 365].all()
    assert "longer than a season" in chunks.season


@given(
    st.integers(2, 60),
    st.sampled_from([0.01, 0.05, 0.2]),
    st.integers(0, 1000),
)
def test_nothing_at_the_threshold_alarms_and_everything_above_does(independent, level, seed):
    largest = np.random.default_rng(seed).gumbel(size=independent * 3)
    usual = NullDistribution(largest, independent, level)

    assert usual.p_value(usual.threshold + 1e-6) <= level
    assert usual.p_value(usual.threshold - 1e-6) > level


@given(st.integers(2, 60), st.integers(0, 1000))
def test_p_values_fall_and_stay_between_0_and_1(independent, seed):
    usual = NullDistribution(np.random.default_rng(seed).gumbel(size=40), independent, 0.05)

    p_values = [usual.p_value(z) for z in np.linspace(-3, 20, 50)]

    assert all(0 < p <= 1 for p in p_values)
    assert np.diff(p_values).max() <= 0


def test_ranks_count_the_window_in():
    usual = NullDistribution(np.arange(19.0), 19, 0.05)

    assert usual.by_rank
    assert usual.p_value(18.5) == pytest.approx(1 / 20)
    assert usual.p_value(17.5) == pytest.approx(2 / 20)
    assert usual.p_value(-1) == 1


def test_runs_that_overlap_do_not_count_twice():
    largest = np.arange(190.0)

    assert NullDistribution(largest, 19, 0.05).p_value(180) == pytest.approx((1 + 1) / 20)
    assert NullDistribution(largest, 190, 0.05).p_value(180) == pytest.approx(11 / 191)


def test_too_few_chunks_have_a_tail():
    largest = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])

    usual = NullDistribution(largest, 8, 0.05)

    assert not usual.by_rank
    assert usual.p_value(4.5) == pytest.approx(0.5)
    # Prediction interval of a normal sample: mean + t * deviation * sqrt(1 + 1/8).
    assert usual.threshold == pytest.approx(4.5 + 1.894579 * 2.449490 * 1.060660, rel=1e-5)


def test_a_tail_without_any_width_still_decides():
    usual = NullDistribution(np.zeros(8), 8, 0.05)

    assert usual.p_value(1.0) < 0.05
    assert usual.p_value(0.0) == pytest.approx(0.5)


def test_one_scale_for_all_statistics():
    statistic = np.linspace(0, 1, 101)

    z, centre, width = standardise(statistic, floor=0.01)

    assert (centre, width) == pytest.approx((0.5, 0.45))
    assert z[-1] == pytest.approx(0.5 / 0.45)
    assert standardise(np.zeros(5), floor=0.3)[0].tolist() == [0] * 5


def test_a_run_is_judged_by_those_that_it_shares_no_row_with():
    statistic = np.array([9.0, 5.0, 4.0, 1.0, 2.0, 3.0])  # of the window, then of five runs
    apart = np.array([[abs(i - j) > 1 for j in range(5)] for i in range(5)])

    z, centre, width = standardise(statistic, 0.01, apart)

    assert centre == 3  # of all five runs, without the window
    assert width == pytest.approx(np.quantile(statistic[1:], 0.95) - 3)
    assert z[0] == pytest.approx(6 / width)
    others = statistic[3:]  # of the first run: neither itself nor its neighbour
    assert z[1] == pytest.approx((5 - 2) / (np.quantile(others, 0.95) - 2))
