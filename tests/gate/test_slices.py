"""Groups of rows in which a new model must not be much worse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ratchet.config import UseCase
from ratchet.gate.slices import groups_of, slices_of
from tests.bundle.test_reader import FILMS


def test_every_value_of_a_category_is_a_group():
    rows = pd.DataFrame({"season": ["a", "b", "a", None]}, index=list("wxyz"))

    found = slices_of(rows, ["season"])

    assert {name: mask.tolist() for name, mask in found.items()} == {
        "season=a": [True, False, True, False],
        "season=b": [False, True, False, False],
    }


def test_a_row_belongs_to_every_name_of_its_list():
    rows = pd.DataFrame({"genres": [["Drama", "War"], ["War"], [], None]}, index=list("wxyz"))

    found = slices_of(rows, ["genres"])

    assert found["genres=Drama"].tolist() == [True, False, False, False]
    assert found["genres=War"].tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    "values", [np.arange(100.0), pd.date_range("2020", periods=100)], ids=["numbers", "times"]
)
def test_many_values_are_cut_into_quarters(values):
    found = slices_of(pd.DataFrame({"x": values}), ["x"])

    assert [int(mask.sum()) for mask in found.values()] == [25] * 4


def test_few_numbers_are_names():
    rows = pd.DataFrame({"hour": [1, 2, 1, 3]})

    assert list(slices_of(rows, ["hour"])) == ["hour=1", "hour=2", "hour=3"]


@pytest.mark.parametrize(("time", "grouped"), [("date", False), (None, True)])
def test_rows_of_a_joined_key_are_drawn_by_time_else_by_its_first_column(time, grouped):
    data = FILMS["data"] | {"key": ["kind", "film"], "time": time}
    kind = {"kind": {"type": "string"}}
    use_case = UseCase.model_validate(
        FILMS
        | {"data": data | {"columns": data["columns"] | kind}}
        | {"features": {"numeric": ["runtime"]}}
    )
    rows = pd.DataFrame({"kind": ["x", "y", "x"]}, index=["x|1", "y|2", "x|3"])

    found = groups_of(rows, use_case)

    assert (None if found is None else found.tolist()) == (["x", "y", "x"] if grouped else None)


def test_all_rows_together_are_no_group():
    rows = pd.DataFrame({"kind": ["a", "a", "b"], "same": ["x", "x", "x"]})

    assert list(slices_of(rows, ["kind", "same"])) == ["kind=a", "kind=b"]


def test_a_column_without_values_makes_no_group():
    assert slices_of(pd.DataFrame({"x": [None, np.nan]}), ["x"]) == {}


@settings(deadline=None)
@given(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=60))
@example([0.0, *[5e-324] * 5, *range(1, 16)])  # pandas makes no label of an end so near 0
def test_each_row_with_a_value_lies_in_one_group_at_most(values):
    rows = pd.DataFrame({"x": pd.Series(values, dtype=float)})

    found = slices_of(rows, ["x"])

    together = sum((mask.astype(int) for mask in found.values()), np.zeros(len(rows), dtype=int))
    assert (together <= rows["x"].notna().astype(int)).all()


def test_rows_belong_together_by_the_parameter_or_by_their_keys():
    use_case = UseCase.model_validate(
        {
            "about": {"title": "t", "question": "q", "source": "s"},
            "data": {
                "key": "visit",
                "time": "day",
                "columns": {
                    "visit": {"type": "string"},
                    "day": {"type": "date"},
                    "shop": {"type": "string"},
                    "size": {"type": "number"},
                    "y": {"type": "number"},
                },
            },
            "features": {"numeric": ["size"]},
            "targets": {
                "y": {
                    "column": "y",
                    "task": "regression",
                    "candidates": {n: {"estimator": n} for n in ("dummy", "ridge")},
                }
            },
        }
    )
    rows = pd.DataFrame({"shop": ["a", "b", "b", None]}, index=[f"C-{i}" for i in range(4)])
    by_key = pd.DataFrame(index=[f"C{i // 2}-{i}" for i in range(40)])

    def grouped(name, frame=rows):
        release = use_case.release.model_copy(update={"groups": name})
        return groups_of(frame, use_case.model_copy(update={"release": release}))

    assert list(grouped("shop")[:3]) == ["a", "b", "b"]
    assert grouped(None) is None
    assert list(grouped(None, by_key)) == [f"C{i // 2}" for i in range(40)]
    assert grouped("visit", by_key) is None
    with pytest.raises(ValueError, match=r"release.groups: \['store'\] is not among the columns"):
        UseCase.model_validate(use_case.model_dump() | {"release": {"groups": "store"}})
