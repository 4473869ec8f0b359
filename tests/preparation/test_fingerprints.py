"""Whether a key still names the row that it named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.config import UseCase
from ratchet.preparation.contract import typed_rows
from ratchet.preparation.fingerprints import row_hashes
from ratchet.values import is_among, is_other


def use_case(numeric: tuple[str, ...] = ("size",), **columns: dict[str, Any]) -> UseCase:
    contract: dict[str, dict[str, Any]] = {
        "id": {"type": "integer"},
        "day": {"type": "date"},
        "size": {"type": "number", "nullable": True},
        "rooms": {"type": "integer", "nullable": True},
        "colour": {"type": "string", "nullable": True},
        "tags": {"type": "list", "nullable": True},
        "price": {"type": "number", "nullable": True},
    }
    candidates = {name: {"estimator": name} for name in ("dummy", "ridge")}
    return UseCase.model_validate(
        {
            "about": {"title": "t", "question": "q", "source": "s"},
            "data": {"key": "id", "time": "day", "columns": contract | columns},
            "features": {
                "numeric": [*numeric, "rooms"],
                "categorical": ["colour"],
                "lists": ["tags"],
            },
            "targets": {
                "price": {"column": "price", "task": "regression"} | {"candidates": candidates}
            },
        }
    )


def rows(**changed: Any) -> pd.DataFrame:
    """Four rows, and a value of the second changed."""
    frame = pd.DataFrame(
        {
            "id": [1, 2, 3, 4],
            "day": ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"],
            "size": [1.0, 2.5, np.nan, 4.0],
            "rooms": [1, 2, 3, 4],
            "colour": ["red", "01", None, "green"],
            "tags": ["a, b", "a", None, ""],
            "price": [1.0, None, 3.0, 4.0],
        }
    )
    for name, value in changed.items():
        frame[name] = frame[name].astype(object)
        frame.loc[1, name] = value
    return frame


def hashes(frame: pd.DataFrame, given: UseCase | None = None) -> pd.Series:
    given = given or use_case()
    return row_hashes(typed_rows(frame, given.data, dict(given.targets)), given)


@pytest.mark.parametrize(
    ("changed", "other"),
    [
        ({"day": "2020-02-02"}, True),
        ({"size": 2.6}, True),
        ({"size": None}, True),
        ({"rooms": 3}, True),
        ({"colour": "1"}, True),
        ({"tags": "a, c"}, True),
        ({"price": 2.0}, False),  # truth comes later
        ({"size": "2.50"}, False),
        ({"size": 2.5 * (1 + 1e-12)}, False),  # as another writer rounds it
        ({}, False),
    ],
)
def test_a_key_whose_row_has_changed_names_another_row(changed, other):
    before, after = hashes(rows()), hashes(rows(**changed))

    assert is_other(before, after).tolist() == [False, other, False, False]
    assert list(before.index) == ["1", "2", "3", "4"]
    assert before.nunique() == 4


def test_a_zero_has_no_sign():
    assert not is_other(hashes(rows(size=0.0)), hashes(rows(size=-0.0))).any()


def test_the_other_rows_of_a_file_do_not_matter():
    """Gaps make floats of integers, and whole days or times another text of dates."""
    gap = rows()
    gap["rooms"] = gap["rooms"].astype(object)
    gap.loc[3, ["rooms", "day"]] = [None, "2020-01-04 05:00"]

    assert is_other(hashes(rows()), hashes(gap)).tolist() == [False, False, False, True]
    some = hashes(rows().iloc[:2])
    assert some.tolist() == hashes(rows()).iloc[:2].tolist()


def test_values_that_are_revised_and_hashes_of_other_columns_tell_nothing():
    revised = use_case(size={"type": "number", "nullable": True, "revised": True})
    fewer = use_case(numeric=())

    assert not is_other(hashes(rows(), revised), hashes(rows(size=9), revised)).any()
    assert not is_other(hashes(rows()), hashes(rows(colour="blue"), fewer)).any()
    assert not is_other(hashes(rows()), pd.Series([None] * 4, dtype="str")).any()


def test_a_row_is_among_earlier_ones_by_key_and_hash():
    head = "abcd:"
    earlier = pd.Series([head + "1", head + "2", None], index=["a", "a", "b"], dtype="str")
    now = pd.Series(
        [head + "2", head + "3", head + "4", head + "1", "efgh:9", None],
        index=["a", "a", "b", "c", "a", "a"],
        dtype="str",
    )

    assert is_among(now, earlier).tolist() == [True, False, True, False, True, True]
    assert is_among(now, earlier.iloc[:0]).tolist() == [False] * 6
