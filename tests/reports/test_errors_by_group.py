"""Errors by group and by time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ratchet.reports import errors_by_group
from ratchet.reports.target_results import TargetResults

Make = Callable[..., TargetResults]


def test_groups_are_judged_on_their_own_rows(make_results: Make) -> None:
    results = make_results("points")
    frame = errors_by_group.group_errors(results, "tags").set_index("group")
    facts = results.raw_columns(results.test)
    with_b = facts["tags"].map(lambda tags: "b" in tags).to_numpy()
    assert frame.loc["b", "rows"] == with_b.sum()
    assert frame.loc["b", "value"] == pytest.approx(results.test["error"].abs()[with_b].mean())
    assert frame.loc["unknown", "rows"] == (facts["tags"].map(len) == 0).sum()


def test_numbers_are_grouped_in_order(make_results: Make) -> None:
    results = make_results("points", groups=False)
    frame = errors_by_group.group_errors(results, "size")
    starts = [float(label.split(" to ")[0]) for label in frame["group"].astype(str)]
    assert starts == sorted(starts)
    assert frame["rows"].sum() == 150


def test_a_column_of_one_value_is_one_group(make_results: Make) -> None:
    results = make_results("points", groups=False)
    results.primary["size"] = 3.0
    assert errors_by_group.group_errors(results, "size")["rows"].tolist() == [150]


def test_errors_are_broken_down_by_recurring_parts_of_the_time(make_series: Make) -> None:
    from ratchet.reports.errors_by_group import group_errors

    results = make_series(many=False, hourly=True)
    frame = group_errors(results, "hour").set_index("group")
    assert frame.index.to_list() == [f"{hour:02d}:00" for hour in range(24)]
    at_five = results.test[results.test["time"].dt.hour == 5]["error"].abs()
    assert frame.loc["05:00", "value"] == pytest.approx(at_five.mean())


def test_errors_of_several_series_are_scaled(make_series: Make) -> None:
    results = make_series()
    assert results.losses(results.test).mean() == pytest.approx(
        results.test_scores["mase"]["value"]
    )
    assert results.loss_name == "mean scaled error (MASE)"
    single = make_series(many=False)
    assert single.losses(single.test).mean() == pytest.approx(single.test_scores["mae"]["value"])
