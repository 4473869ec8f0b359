"""How often an alarm is raised, without drift and with one, by simulation."""

from __future__ import annotations

from itertools import count
from math import log

import numpy as np
import pandas as pd
import pytest

from ratchet.config import Drift
from ratchet.monitoring.drift import detect


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


def alarm(make, n, m, seed, drift, change=lambda rows: rows, **options):
    """Whether a window of ``m`` rows raises an alarm against ``n`` rows."""
    rng = np.random.default_rng(seed)
    before, now = make(rng, n), change(make(rng, m))
    return detect(before, now, drift, seed=seed, **options).alarm


def assert_at_most(share, make, n, m, drift, **options):
    """Look at windows until it is plain whether at most ``share`` of them alarm, or too many do.

    A test for one share against three times as much, which errs once in a thousand times where the
    share holds and in 2 % where it is three times as high (Wald 1945, Sequential tests of
    statistical hypotheses). No test of a fixed number of windows needs as few for that: 200 of
    them find twice the share in 35 of 100 cases, and three times in 96; this one, which mostly
    looks at 60 to 80, in 56 and 98.
    """
    more = 3 * share
    evidence, found = 0.0, 0  # log of how many times as likely the windows are under ``more``
    for seed in count():
        alarmed = alarm(make, n, m, seed, drift, **options)
        found += alarmed
        evidence += log(more / share) if alarmed else log((1 - more) / (1 - share))
        if evidence <= log(0.02 / 0.999):
            return
        assert evidence < log(0.98 / 0.001), f"{found} alarms in {seed + 1} windows"


@pytest.mark.parametrize(("n", "m"), [(150, 20), (40, 120)])
def test_false_alarms_on_small_samples(n, m):
    drift = Drift(chunks=39, false_alarms=0.1)

    assert_at_most(0.1, lambda rng, k: mixed(rng, k, 5), n, m, drift)


@pytest.mark.slow
@pytest.mark.parametrize("make", [normal, mixed])
@pytest.mark.parametrize(("n", "m"), [(5000, 100), (900, 100), (5000, 5000)])
def test_at_most_5_percent_of_windows_alarm_without_drift(make, n, m):
    assert_at_most(0.05, make, n, m, Drift(chunks=100))


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
    # Not exact: runs overlap and are few; the last ones are shorter than the window.
    make = in_time(lambda rng, k: mixed(rng, k, 10))

    assert_at_most(share, make, n, m, Drift(), time="time")


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
    # 39 chunks are enough to rank in the last 5 %, and 50,000 rows take long.
    windows, chunks = (4, 39) if n > 5000 else (20, 100)

    found = sum(alarm(normal, n, m, seed, Drift(chunks=chunks), change) for seed in range(windows))

    assert found >= 0.9 * windows


def with_category(rng, n):
    return normal(rng, n).assign(kind=rng.choice(["a", "b", "c"], n))


@pytest.mark.slow
def test_a_new_category_of_5_percent_is_found():
    def change(rows):
        return rows.assign(kind=rows["kind"].mask(rows.index % 20 == 0, "new"))

    for seed in range(20):
        assert alarm(with_category, 5000, 500, seed, Drift(chunks=100), change)
