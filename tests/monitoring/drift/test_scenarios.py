"""Changes of the inputs, made on purpose."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.config import Scenario
from ratchet.errors import ConfigError
from ratchet.monitoring.drift import scenarios

ROWS = pd.DataFrame(
    {
        "t": pd.date_range("2020-01-01", periods=6),
        "x": [1.0, 2, 3, 4, 5, np.nan],
        "n": [1, 2, 3, 4, 5, 6],
        "flag": [True, False] * 3,
        "kind": ["a", "b", None, "a", "b", "c"],
        "names": [["p"], ["q", "r"], [], None, ["p"], ["s"]],
    }
)


def scenario(kind, *columns, **more):
    return Scenario(kind=kind, columns=list(columns), **more)


@pytest.mark.parametrize(
    "change",
    [
        scenario("shift", "x", "n"),
        scenario("missing", *ROWS.columns[1:], amount=0.5),
        scenario("season", *ROWS.columns[1:], steps=2),
    ],
    ids=lambda change: change.kind,
)
def test_the_rows_that_come_in_stay_as_they_are(change):
    before = ROWS.copy(deep=True)

    changed = scenarios.apply(ROWS, change, seed=0, time="t")

    pd.testing.assert_frame_equal(ROWS, before)
    assert list(changed) == list(ROWS)
    assert changed.index.equals(ROWS.index)
    untouched = [name for name in ROWS if name not in change.columns]
    pd.testing.assert_frame_equal(changed[untouched], ROWS[untouched])


def test_a_shift_is_counted_in_spreads():
    changed = scenarios.apply(ROWS, scenario("shift", "x", amount=-2), seed=0)

    spread = np.std([1, 2, 3, 4, 5])
    assert changed["x"].tolist()[:5] == pytest.approx([x - 2 * spread for x in range(1, 6)])
    assert np.isnan(changed["x"].iloc[5])


def test_the_spread_may_be_that_of_other_rows():
    wide = ROWS.assign(x=ROWS["x"] * 10)

    changed = scenarios.apply(ROWS, scenario("shift", "x"), seed=0, spread=wide)

    assert changed["x"].iloc[0] == pytest.approx(1 + 10 * np.std([1, 2, 3, 4, 5]))


def test_whole_numbers_are_shifted_too():
    changed = scenarios.apply(ROWS, scenario("shift", "n"), seed=0)

    assert changed["n"].iloc[0] == pytest.approx(1 + np.std(ROWS["n"]))


@pytest.mark.parametrize("column", ["kind", "names", "flag", "t"])
def test_only_numbers_can_be_shifted(column):
    with pytest.raises(ConfigError, match=f"'{column}' has no numbers to be shifted"):
        scenarios.apply(ROWS, scenario("shift", column), seed=0)


@pytest.mark.parametrize("column", ROWS.columns)
def test_all_values_go_missing(column):
    changed = scenarios.apply(ROWS, scenario("missing", column, amount=1), seed=0)

    assert changed[column].isna().all()


@given(st.floats(0, 1), st.integers(0, 1000))
def test_the_share_that_goes_missing(amount, seed):
    rows = pd.DataFrame({"x": np.arange(400.0), "y": np.arange(400.0)})
    change = scenario("missing", "x", "y", amount=amount)

    changed = scenarios.apply(rows, change, seed=seed)

    for name in rows:
        assert abs(changed[name].isna().mean() - amount) < 5 * 0.5 / 20
    kept = changed["x"].notna()
    assert (changed["x"][kept] == rows["x"][kept]).all()
    pd.testing.assert_frame_equal(changed, scenarios.apply(rows, change, seed=seed))


def test_columns_go_missing_independently():
    rows = pd.DataFrame({"x": np.arange(400.0), "y": np.arange(400.0)})

    gone = scenarios.apply(rows, scenario("missing", "x", "y", amount=0.5), seed=0).isna()

    assert not gone["x"].equals(gone["y"])


@pytest.mark.parametrize("amount", [-0.1, 1.1])
def test_a_share_lies_between_0_and_1(amount):
    with pytest.raises(ConfigError, match="0 to 1"):
        scenarios.apply(ROWS, scenario("missing", "x", amount=amount), seed=0)


def test_a_season_takes_earlier_values_in_the_order_of_time():
    shuffled = ROWS.sample(frac=1, random_state=1)

    changed = scenarios.apply(shuffled, scenario("season", "n", steps=2), seed=0, time="t")

    assert changed.sort_values("t")["n"].tolist() == [5, 6, 1, 2, 3, 4]
    assert changed.index.equals(shuffled.index)


def test_series_keep_their_own_values():
    two = pd.concat([ROWS.assign(s="one"), ROWS.assign(s="two", n=ROWS["n"] * 10)])
    two = two.sort_values("t", ignore_index=True)

    changed = scenarios.apply(two, scenario("season", "n", steps=1), seed=0, time="t", series="s")

    assert changed[changed["s"] == "one"]["n"].tolist() == [6, 1, 2, 3, 4, 5]
    assert changed[changed["s"] == "two"]["n"].tolist() == [60, 10, 20, 30, 40, 50]


def test_a_season_of_whole_turns_changes_nothing():
    changed = scenarios.apply(ROWS, scenario("season", "x", "names", steps=6), seed=0, time="t")

    pd.testing.assert_frame_equal(changed, ROWS)


def test_an_unknown_column():
    with pytest.raises(ConfigError, match="no column 'q' among"):
        scenarios.apply(ROWS, scenario("missing", "q"), seed=0)
