"""The same value means the same in whatever type it comes."""

from __future__ import annotations

import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.values import as_integers, as_lists, as_numbers, as_text

LONG = 2**53 + 1

WAYS = {
    "objects": lambda cells: pd.Series(cells, dtype=object),
    "nullable": lambda cells: pd.Series(pd.array(cells, dtype="Int64")),
    "arrow": lambda cells: pd.Series(cells, dtype=pd.ArrowDtype(pa.int64())),
    "text": lambda cells: pd.Series([None if c is None else str(c) for c in cells]),
    "decimals": lambda cells: pd.Series([None if c is None else Decimal(c) for c in cells]),
    "categories": lambda cells: pd.Series(pd.Categorical(pd.array(cells, dtype="Int64"))),
}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=20, deadline=None)
@given(cells=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_whole_numbers_are_exact_and_read_the_same_from_every_type(way, cells):
    values = WAYS[way](cells)

    numbers, wrong = as_integers(values)

    assert str(numbers.dtype) == "Int64"
    assert not wrong.any()
    assert [None if pd.isna(n) else int(n) for n in numbers] == cells
    assert as_text(values).dropna().tolist() == [str(c) for c in cells if c is not None]
    floats, wrong = as_numbers(values)
    assert not wrong.any()
    assert floats.dropna().tolist() == [float(c) for c in cells if c is not None]


def test_text_stands_as_it_is():
    cells = ["NA", "01", "1", "1.0", "1E5", "", " a ", None, str(LONG)]
    for values in (pd.Series(cells), pd.Series(cells, dtype=object), pd.Series(cells, dtype="str")):
        text = as_text(values)
        assert text.isna().tolist() == [cell is None for cell in cells]
        assert text.dropna().tolist() == [cell for cell in cells if cell is not None]


def test_codes_read_the_same_with_and_without_a_gap():
    assert as_text(pd.Series([1, 2])).tolist() == ["1", "2"]
    assert as_text(pd.Series([1, 2, None])).tolist()[:2] == ["1", "2"]
    assert as_text(pd.Series([1.0, 2.5])).tolist() == ["1", "2.5"]
    assert as_text(pd.Series([1.0, "x", True, 10**20], dtype=object)).tolist() == [
        *("1", "x", "True", "100000000000000000000")
    ]


def test_what_is_no_whole_number_is_told():
    cells = ["7", " 8 ", "9.0", "1e3", "true", "1.5", "1_0", "x", "inf", str(2**63), None]
    numbers, wrong = as_integers(pd.Series(cells))
    assert numbers[:5].tolist() == [7, 8, 9, 1000, 1]
    assert wrong.tolist() == [False] * 5 + [True] * 5 + [False]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_of_any_width_are_read(dtype):
    values = pd.Series([1, 38.5, None], dtype=dtype)
    with warnings.catch_warnings(action="error"):
        numbers, wrong = as_integers(values)
    assert (numbers.tolist(), wrong.tolist()) == ([1, pd.NA, pd.NA], [False, True, False])
    assert as_text(values).tolist()[:2] == ["1", "38.5"]


def test_floats_that_may_have_been_rounded_are_no_whole_numbers():
    numbers, wrong = as_integers(pd.Series([2.0**53 - 1, 2.0**53, -(2.0**60), np.inf, None, 0.5]))
    assert numbers[0] == 2**53 - 1
    assert wrong.tolist() == [False, True, True, True, False, True]


def test_what_is_no_number_is_told():
    cells = [True, Decimal("1.5"), "2.5", "1e400", "much", "1_0", pd.Timestamp(0), None]
    numbers, wrong = as_numbers(pd.Series(cells, dtype=object))
    assert numbers[:4].tolist() == [1.0, 1.5, 2.5, np.inf]
    assert wrong.tolist() == [False] * 4 + [True] * 3 + [False]


def test_lists_come_as_text_and_as_lists():
    cells = ["a, b", ["c, d", " e ", "", None], np.array(["f"]), (1.0, 2), None, "", []]
    lists = as_lists(pd.Series(cells, dtype=object), ", ")
    assert lists.tolist() == [["a", "b"], ["c, d", "e"], ["f"], ["1", "2"], None, [], []]
    arrow = pd.Series([["a"], None], dtype=pd.ArrowDtype(pa.list_(pa.string())))
    assert as_lists(arrow, ", ").tolist() == [["a"], None]
