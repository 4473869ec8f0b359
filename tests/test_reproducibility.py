"""Whatever two runs differ in is found, and named."""

from __future__ import annotations

import copy
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.errors import DataError
from ratchet.reproducibility import Results, compare, frame_hash, read_results

METRICS = {
    "success": {"stack": {"test": {"log_loss": {"value": 0.4, "low": 0.3, "high": 0.5}}}},
    "rating": {"ridge": {"test": {"rmse": {"value": 0.5, "low": float("nan"), "high": 0.6}}}},
}


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "film": [7, 8, 7, 8],
            "target": ["success", "success", "rating", "rating"],
            "candidate": ["stack", "stack", "ridge", "ridge"],
            "time": pd.to_datetime(["2001-01-01", "2001-01-02", "2001-01-01", None]),
            "prediction": [0.0, 1.0, 3.25, np.nan],
            "prediction_class": ["Alto", "Bajo", None, None],
        }
    )


def results(**changed: object) -> Results:
    whole = {
        "metrics": copy.deepcopy(METRICS),
        "chosen": {"success": "stack", "rating": "ridge"},
        "predictions": frame(),
    }
    return Results(**{**whole, **changed})


def test_equal_runs_differ_in_nothing():
    assert compare(results(), results()) == []
    assert results().hashes() == results().hashes()


def test_another_choice():
    (found,) = compare(results(), results(chosen={"success": "stack", "rating": "kernel"}))

    assert (found.where, found.first, found.second) == ("chosen.rating", "ridge", "kernel")
    assert found.size is None


def test_the_last_bit_of_a_metric():
    other = results()
    other.metrics["success"]["stack"]["test"]["log_loss"]["low"] = np.nextafter(0.3, 1).item()

    (found,) = compare(results(), other)

    assert found.where == "metrics.success.stack.test.log_loss.low"
    assert found.size == pytest.approx(2**-54)
    assert results().hashes()["metrics"] != other.hashes()["metrics"]


def test_a_metric_that_one_run_lacks():
    other = results()
    del other.metrics["rating"]["ridge"]["test"]["rmse"]["high"]

    (found,) = compare(results(), other)

    assert (found.first, found.second) == (0.6, "absent")


@pytest.mark.parametrize("column", ["prediction", "time", "prediction_class"])
def test_one_value_of_the_predictions(column):
    values = {
        "prediction": 0.25,
        "time": pd.Timestamp("2001-01-01 00:00:01"),
        "prediction_class": "B",
    }
    changed = frame()
    changed.loc[1, column] = values[column]

    (found,) = compare(results(), results(predictions=changed))

    assert found.where == f"predictions.success.stack.{column}"
    assert (found.rows, found.row) == (1, "8")
    assert found.size == (0.75 if column == "prediction" else None)
    assert frame_hash(changed) != frame_hash(frame())


def test_the_row_that_differs_most_stands_for_its_candidate():
    changed = frame()
    changed["prediction"] += [0.5, -2.0, 1.0, 0.0]

    found = compare(results(), results(predictions=changed))

    assert [(each.where, each.rows, each.size) for each in found] == [
        ("predictions.success.stack.prediction", 2, 2.0),
        ("predictions.rating.ridge.prediction", 1, 1.0),
    ]
    assert (found[0].first, found[0].second, found[0].row) == (1.0, -1.0, "8")


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        (frame().iloc[:3], "predictions.rows"),
        (frame().drop(columns="time"), "predictions.columns"),
        (frame()[["target", "film", *frame().columns[2:]]], "predictions.columns"),
    ],
)
def test_another_shape(changed, where):
    assert [each.where for each in compare(results(), results(predictions=changed))] == [where]
    assert frame_hash(changed) != frame_hash(frame())


def test_another_order_of_the_rows():
    changed = frame().iloc[[1, 0, 2, 3]].reset_index(drop=True)

    assert compare(results(), results(predictions=changed))
    assert frame_hash(changed) != frame_hash(frame())


def test_a_missing_value_is_no_text_and_no_number():
    for column, value in {"prediction": 0.0, "prediction_class": "None"}.items():
        changed = frame()
        changed.loc[3, column] = value
        assert frame_hash(changed) != frame_hash(frame())


def test_how_values_are_stored_does_not_matter(tmp_path):
    stored = frame()
    stored.astype({"candidate": "category", "target": object}).to_parquet(tmp_path / "a.parquet")
    stored.to_parquet(tmp_path / "b.parquet", compression="gzip", row_group_size=1)

    hashes = {frame_hash(pd.read_parquet(path)) for path in tmp_path.glob("*.parquet")}

    assert hashes == {frame_hash(stored)}


@given(
    values=st.lists(st.floats(), min_size=1, max_size=5),
    place=st.integers(0, 4),
    other=st.floats(),
)
def test_the_hash_changes_with_every_bit_but_those_of_nan(values, place, other):
    place %= len(values)
    changed = [*values[:place], other, *values[place + 1 :]]
    before, after = (
        np.array([v, 0.0 if np.isnan(v) else np.copysign(1, v), np.isnan(v)]).tobytes()
        for v in (values[place], other)
    )

    same = frame_hash(pd.DataFrame({"x": values})) == frame_hash(pd.DataFrame({"x": changed}))

    assert same == (before == after or (np.isnan(values[place]) and np.isnan(other)))


def test_results_are_read_with_their_row_keys(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    (tmp_path / "evaluation.json").write_text(json.dumps({"best": {"success": "stack"}}))
    frame().set_index("film").to_parquet(tmp_path / "predictions.parquet")

    read = read_results(tmp_path)

    assert read.chosen == {"success": "stack"}
    assert frame_hash(read.predictions) == frame_hash(frame())
    assert compare(read, results(chosen={"success": "stack"})) == []


def test_a_run_without_metrics(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")

    with pytest.raises(DataError, match=r"no evaluation.json, predictions.parquet.*evaluation"):
        read_results(tmp_path)
