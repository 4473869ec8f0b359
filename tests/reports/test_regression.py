"""What is said of a target of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ratchet.reports import limitations, regression
from ratchet.reports.formatting import number, share
from ratchet.reports.regression import low_coverage
from ratchet.reports.target_chapter import target_chapter
from ratchet.reports.target_results import TargetResults

Make = Callable[..., TargetResults]


def test_headline_of_numbers(make_results: Make) -> None:
    results = make_results("points")
    mae = (results.test["prediction"] - results.test["truth"]).abs().mean()
    assert f"is off by {number(mae)} points on average" in regression.headline(results)


def test_coverage_sentence(
    make_results: Make, without_intervals: Callable[[TargetResults], TargetResults]
) -> None:
    results = make_results("points")
    inside = results.test["truth"].between(results.test["low"], results.test["high"]).mean()
    text = regression.reliability_sentence(results)
    assert f"90% of the cases; on the test rows it does in {share(inside)}" in text
    cut = ((results.test["low"] <= 0) | (results.test["high"] >= 10)).sum()
    assert f"{cut} intervals" in text
    bare = without_intervals(results)
    assert regression.reliability_sentence(bare) == "The predictions carry no intervals."
    assert "disputed" in {table.name for table in target_chapter(bare).tables}


def test_intervals_that_cover_too_little_are_a_limit(make_results: Make) -> None:
    results = make_results(
        "points",
        lambda rows: rows.assign(low=rows["prediction"] - 0.2, high=rows["prediction"] + 0.2),
    )
    found = [
        f
        for f in limitations.target_findings(results, regression.limitations)
        if "less than the promised 90%" in f.fact
    ]
    needed = results.test["error"].abs().quantile(0.9)
    assert len(found) == 1
    assert f"±{number(needed)} points would have held 90%" in found[0].step


def test_coverage_of_many_series_is_advised_in_their_own_naive_errors(make_series: Make) -> None:
    for many in (True, False):
        results = make_series(many=many)
        said = results.predictions["prediction"]
        results = replace(results, predictions=results.predictions.assign(low=said, high=said))
        (found,) = low_coverage(results)
        sizes = results.test["error"].abs() / (results.test["scale"] if many else 1)
        needed = number(sizes.quantile(results.choice["details"]["confidence"]))
        unit = "mean naive errors of the series" if many else "boxes"
        assert f"±{needed} {unit} would have held" in found.step
