"""How often an alarm is raised, without drift and with one, by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ratchet.monitoring.drift import detect
from ratchet.params import Drift


def mixed(rng, n, columns=20):
    """A fifth each: normal, heavy tails, ties, categories with rare levels, missing values."""
    share = columns // 5
    frame = {}
    for i in range(share):
        frame[f"normal{i}"] = rng.standard_normal(n)
        frame[f"heavy{i}"] = rng.standard_t(1.5, n)
        frame[f"ties{i}"] = rng.poisson(0.7, n).astype(float)
        frame[f"category{i}"] = rng.zipf(1.7, n).astype(str)  # rare levels without end
        values = rng.standard_normal(n)
        frame[f"missing{i}"] = np.where(rng.random(n) < 0.1, np.nan, values)
    return pd.DataFrame(frame)


def normal(rng, n, columns=20):
    return pd.DataFrame(
        rng.standard_normal((n, columns)), columns=[f"x{i}" for i in range(columns)]
    )


def alarms(make, n, m, windows, drift, change=lambda rows: rows, **options):
    """Windows of ``m`` rows that raise an alarm against ``n`` rows, each with rows of its own."""
    found = 0
    for seed in range(windows):
        rng = np.random.default_rng(seed)
        before, now = make(rng, n), change(make(rng, m))
        found += detect(before, now, drift, seed=seed, **options).alarm
    return found


def at_most(share, windows):
    """Alarms that a true share exceeds once in a thousand times."""
    return stats.binom.ppf(0.999, windows, share)


@pytest.mark.parametrize(("n", "m"), [(150, 20), (40, 120)])
def test_false_alarms_on_small_samples(n, m):
    drift = Drift(chunks=39, false_alarms=0.1)

    found = alarms(lambda rng, k: mixed(rng, k, 5), n, m, 80, drift)

    assert found <= at_most(0.1, 80)


@pytest.mark.slow
@pytest.mark.parametrize("make", [normal, mixed])
@pytest.mark.parametrize(
    ("n", "m", "windows"), [(5000, 100, 150), (900, 100, 200), (5000, 5000, 60)]
)
def test_at_most_5_percent_of_windows_alarm_without_drift(make, n, m, windows):
    found = alarms(make, n, m, windows, Drift(chunks=100))

    assert found <= at_most(0.05, windows)


def in_time(make):
    def timed(rng, n):
        return make(rng, n).assign(time=pd.date_range("2020-01-01", periods=n, freq="h"))

    return timed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "m", "share"),
    [(4000, 100, 0.08), (1200, 100, 0.08), (400, 100, 0.15)],
    ids=["ranks", "tail", "short"],
)
def test_few_windows_alarm_where_independent_rows_have_time(n, m, share):
    found = alarms(in_time(lambda rng, k: mixed(rng, k, 10)), n, m, 60, Drift(), time="time")

    # Not exact: runs overlap and are few; the last ones are shorter than the window.
    assert found <= at_most(share, 60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "m", "change"),
    [
        (50_000, 50_000, lambda rows: rows.assign(x3=rows["x3"] + 0.09)),
        (5000, 500, lambda rows: rows.assign(x3=rows["x3"] + 0.3)),
        (5000, 100, lambda rows: rows.assign(x3=rows["x3"].where(rows.index % 10 < 4))),
    ],
    ids=["0.09 sd at 50,000", "0.3 sd at 500", "60 % missing at 100"],
)
def test_drifts_are_found(n, m, change):
    windows = 4 if n > 5000 else 20

    assert alarms(normal, n, m, windows, Drift(chunks=100), change) >= 0.9 * windows


def with_category(rng, n):
    return normal(rng, n).assign(kind=rng.choice(["a", "b", "c"], n))


@pytest.mark.slow
def test_a_new_category_of_5_percent_is_found():
    def change(rows):
        return rows.assign(kind=rows["kind"].mask(rows.index % 20 == 0, "new"))

    assert alarms(with_category, 5000, 500, 20, Drift(chunks=100), change) == 20
