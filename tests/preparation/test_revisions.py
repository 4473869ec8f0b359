"""What a new file says otherwise of rows that were known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.config import Data
from ratchet.preparation.revisions import find_revisions

COLUMNS: dict[str, Any] = {
    "id": {"type": "integer"},
    "day": {"type": "date"},
    "size": {"type": "number", "nullable": True},
    "tags": {"type": "list", "nullable": True},
    "price": {"type": "number", "nullable": True},
    "account": {"type": "integer", "nullable": True},
}


def data(**more: Any) -> Data:
    return Data.model_validate({"key": "id", "time": "day", "columns": COLUMNS} | more)


def rows(n: int = 6) -> pd.DataFrame:
    """Ids from 1, a row a day; the price of the last one is not known yet."""
    return pd.DataFrame(
        {
            "id": range(1, n + 1),
            "day": pd.date_range("2020-01-01", periods=n),
            "size": np.arange(n, dtype=float),
            "tags": [["a", "b"]] * n,
            "price": [*np.arange(n - 1.0), np.nan],
            "account": pd.array([2**53] * (n - 1) + [None], dtype="Int64"),
        }
    )


def later(n: int = 2) -> pd.DataFrame:
    """The same rows, the last price known, and some more."""
    new = rows(6 + n)
    return new.assign(price=np.arange(6.0 + n))


def findings(known: pd.DataFrame, new: pd.DataFrame, given: Data | None = None) -> dict[str, str]:
    return find_revisions(known, new, given or data()).findings


def test_a_file_that_has_grown_changes_nothing():
    assert findings(rows(), later()) == {}
    assert findings(rows(), later().sample(frac=1, random_state=1)) == {}  # in any order


def test_rows_that_are_gone_are_counted_and_named():
    told = findings(rows(), later().iloc[2:])

    assert told == {
        "fewer_rows": "2 of 6 known rows are gone, and there are 6 rows now (gone: 1, 2)"
    }


def test_other_values_are_shown_with_their_rows_and_columns():
    new = later()
    new.loc[0, "size"] = 9.5
    new.loc[2, "price"] = np.nan
    new.loc[3, "account"] = 2**53 + 1
    new["tags"] = [["a", "b"], ["a"], *new["tags"].iloc[2:]]

    assert findings(rows(), new) == {
        "changed_rows": (
            "4 of 6 known rows have other values, in size, tags, price, account (1: size 0.0 -> "
            "9.5, 2: tags ['a', 'b'] -> ['a'], 3: price 2.0 -> nan, 4: account 9007199254740992 "
            "-> 9007199254740993)"
        )
    }


def test_keys_that_were_numbered_anew_name_rows_of_another_time():
    new = later().iloc[2:].assign(id=range(1, 7))

    told = findings(rows(), new)

    assert list(told) == ["reused_keys"]  # no value of another row is called a change
    assert told["reused_keys"].startswith(
        "6 of 6 known keys name rows of another time, in day (1: day 2020-01-01 -> 2020-01-03, "
    )


def test_values_that_are_revised_or_written_in_another_way_are_no_change():
    new = later().assign(size=lambda frame: frame["size"] + 1)
    revised = COLUMNS | {"size": COLUMNS["size"] | {"revised": True}}

    assert list(findings(rows(), new)) == ["changed_rows"]
    assert findings(rows(), new, data(columns=revised)) == {}
    assert findings(rows(), later().assign(size=later()["size"] * (1 + 1e-12))) == {}


@pytest.mark.parametrize("shop", [None, "size"])
def test_rows_of_series_are_named_by_series_and_time(shop):
    season = {"season": 2, **({"id": shop} if shop else {})}
    columns = {"day": {"type": "date"}, "size": {"type": "string"}, "price": {"type": "number"}}
    of_series = Data.model_validate({"time": "day", "columns": columns, "series": season})
    known = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=3), "size": "s", "price": 1.0})
    new = known.iloc[1:].assign(price=[1.0, 2.0])
    name = "s at " if shop else ""

    assert findings(known, new, of_series) == {
        "fewer_rows": (
            f"1 of 3 known rows are gone, and there are 2 rows now (gone: {name}2020-01-01)"
        ),
        "changed_rows": (
            f"1 of 3 known rows have other values, in price ({name}2020-01-03: price 1.0 -> 2.0)"
        ),
    }


@pytest.mark.parametrize("shop", [None, "size"])
def test_a_step_within_a_day_does_not_rename_the_days(shop):
    season = {"season": 2, **({"id": shop} if shop else {})}
    columns = {"day": {"type": "date"}, "size": {"type": "string"}, "price": {"type": "number"}}
    of_series = Data.model_validate({"time": "day", "columns": columns, "series": season})
    known = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=3), "size": "s", "price": 1.0})
    new = pd.concat([known, known.tail(1).assign(day=pd.Timestamp("2020-01-03 06:00"))])

    assert findings(known, new, of_series) == {}
    name = "s at " if shop else ""
    assert findings(new, known, of_series)["fewer_rows"].endswith(
        f"(gone: {name}2020-01-03 06:00:00)"
    )


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)))
def test_every_row_is_counted_once(gone, changed):
    new = later()
    new.loc[sorted(changed), "size"] += 1

    found = find_revisions(rows(), new.drop(index=sorted(gone)), data())

    assert set(found.gone) == {place + 1 for place in gone}
    assert set(found.values.index) == {place + 1 for place in changed - gone}
