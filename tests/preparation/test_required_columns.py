"""Which columns an answer needs: by the parameters of tables and of series."""

from __future__ import annotations

from typing import Any

from ratchet.config import UseCase
from ratchet.preparation.required_columns import RequiredColumns

CANDIDATES = {name: {"estimator": name} for name in ("dummy", "ridge")}
RANK = "ratchet.use_cases.films.rank_classes"
STEP = "ratchet.use_cases.power.earlier"


def use_case(**data: Any) -> UseCase:
    columns = {name: {"type": "number", "nullable": True} for name in "abcdexy"}
    columns |= {"id": {"type": "integer"}, "day": {"type": "date"}}
    return UseCase.model_validate(
        {
            "about": {"title": "t", "question": "q", "source": "s"},
            "data": {"key": "id", "columns": columns, **data},
            "features": {"numeric": ["a", *data.get("derive", {}).keys() & {"half"}]},
            "targets": {"y": {"column": "y", "task": "regression", "candidates": CANDIDATES}},
        }
    )


def test_features_and_the_key():
    needs = RequiredColumns(use_case())

    assert needs.columns == ["a", "id"]
    assert needs.required == []
    assert needs.derived_for_targets == []


def test_what_only_the_target_needs_is_not_required():
    needs = RequiredColumns(use_case(required=["a", "b", "y"], time="day"))

    assert needs.required == ["a", "b"]  # b says which rows are looked at at all
    assert needs.columns == ["a", "b", "id", "day"]


def test_what_a_feature_is_derived_from_is_needed():
    derive = {
        "twice": {"function": STEP, "arguments": {"column": "c", "steps": 1}},
        "half": {"function": STEP, "arguments": {"deep": [{"column": "twice"}, "e"]}},
    }

    needs = RequiredColumns(use_case(derive=derive, required=["c", "d"]))

    assert needs.columns == ["a", "c", "d", "e", "id"]
    assert needs.required == ["c", "d"]
    assert needs.derived_for_targets == []


def test_what_a_target_is_derived_from_is_not():
    films: dict[str, Any] = {
        "derive": {"y_class": {"function": RANK, "arguments": {"column": "x", "within": "a"}}},
        "required": ["a", "x"],
    }
    plain = use_case(**films)
    target = plain.targets["y"].model_copy(update={"column": "y_class"})
    needs = RequiredColumns(plain.model_copy(update={"targets": {"y": target}}))

    assert needs.columns == ["a", "id"]
    assert needs.required == ["a"]
    assert needs.derived_for_targets == ["y_class"]


def test_films(slice_of):
    needs = RequiredColumns(slice_of("films").use_case)

    assert needs.required == ["runtime", "released", "genres", "countries"]
    assert set(slice_of("films").use_case.data.columns) - set(needs.columns) == {
        "rating",
        "reviews",
        "box_office",
    }
    assert needs.derived_for_targets == ["success"]


def test_series(slice_of):
    assert RequiredColumns(slice_of("power").use_case).columns == ["time", "temperature", "workday"]
    assert RequiredColumns(slice_of("stock").use_case).columns == ["product", "date"]
    assert RequiredColumns(slice_of("prices").use_case).columns == ["date"]
