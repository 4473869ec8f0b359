"""Limits that follow from numbers, and what to do about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from ratchet.reports import classification, errors_by_group, limitations, regression
from ratchet.reports.blocks import Chapter
from ratchet.reports.formatting import number, share
from ratchet.reports.target_chapter import target_chapter
from ratchet.reports.target_results import TargetResults

Make = Callable[..., TargetResults]
TextOf = Callable[[Chapter], str]


def test_a_hard_group_becomes_a_limit_and_a_step(make_results: Make) -> None:
    def spoil(rows: pd.DataFrame) -> pd.DataFrame:
        worse = rows["prediction"].where(rows.index % 2 == 0, rows["prediction"] + 4)
        return rows.assign(prediction=worse, low=worse - 2, high=worse + 2)

    results = make_results("points", spoil, groups=False)
    results.primary["size"] = np.where(results.primary.index % 2 == 0, 1.0, 2.0)
    harder = errors_by_group.weak_groups(results)
    assert list(harder["column"]) == ["size"]
    error = results.test["error"].abs()
    times = error[error.index % 2 == 1].mean() / error.mean()
    found = next(
        f
        for f in limitations.target_findings(results, regression.limitations)
        if "clearly larger" in f.fact
    )
    assert f"{number(times)} times the usual" in found.step


def test_a_model_no_better_than_the_baseline_is_reported(
    text_of: TextOf, make_results: Make
) -> None:
    results = make_results("points")
    results.choice["baseline"]["beaten"] = False
    assert "does not beat the baseline" in text_of(target_chapter(results))


def test_few_test_rows_are_a_limit(make_results: Make) -> None:
    results = make_results("points")
    few = replace(results, predictions=results.predictions[lambda rows: rows.index % 3 == 0])
    found = limitations.target_findings(few, regression.limitations)[0]
    assert f"rest on {len(few.test)} test rows" in found.fact
    assert not any(
        "rest on" in finding.fact
        for finding in limitations.target_findings(results, regression.limitations)
    )


def test_an_empty_source_that_counts_is_a_limit(make_results: Make) -> None:
    results = make_results("points")
    empty = (results.primary["tags"].map(len) == 0).mean()
    importance = results.importance.assign(source=["history of tags", "size"])
    tags = limitations.empty_sources(replace(results, importance=importance))
    assert empty < 0.2
    assert tags == []
    importance = results.importance.assign(source=["color", "size"])
    (found,) = limitations.empty_sources(replace(results, importance=importance))
    assert f"color is empty in {share(results.primary['color'].isna().mean())}" in found.fact
    assert "number 1 of 2" in found.fact


def test_shifts_between_training_and_test_rows(make_results: Make) -> None:
    results = make_results("points")
    assert regression.value_shift(results) == []
    late = results.primary["split"] == "test"
    results.primary.loc[late, "points"] += 2
    (found,) = regression.value_shift(results)
    assert number(results.primary.loc[late, "points"].mean()) in found.fact

    graded = make_results("grade")
    assert classification.class_shift(graded) == []
    graded.primary.loc[graded.primary["split"] == "test", "grade"] = "good"
    (found,) = classification.class_shift(graded)
    before = (graded.truth("train") == "good").mean()
    assert f"good from {share(before)} to 100%" in found.fact


def test_an_aim_within_chance_asks_for_more_rows(make_results: Make) -> None:
    results = make_results("points")
    judged = results.choice["objectives"]["rmse"]
    half = (judged["high"] - judged["low"]) / 2
    judged |= {"aim": judged["value"] - half / 1.9, "met": False, "in_doubt": True}
    found = next(f for f in limitations.objectives(results) if "within chance" in f.fact)
    assert "about 600 test rows instead of 150" in found.step
