"""What the report says is what the numbers say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.reports import errors_by_group, limitations
from ratchet.reports import ranking as ranking_
from ratchet.reports.blocks import Chapter, Text
from ratchet.reports.chapters import results
from ratchet.reports.chapters import weak_segments as harder_
from ratchet.reports.chart_ids import data_charts, target_charts
from ratchet.reports.classification import advice as classes_use
from ratchet.reports.classification import limitations as limits_classes
from ratchet.reports.classification import results as classes
from ratchet.reports.data_chapter import data_chapter
from ratchet.reports.formatting import number, share
from ratchet.reports.regression import limitations as limits_values
from ratchet.reports.regression import results as values
from ratchet.reports.target_chapter import target_chapter
from ratchet.reports.target_results import BORDERLINE, TargetResults

Make = Callable[..., TargetResults]


def _text(chapter: Chapter) -> str:
    blocks = [block for section in chapter.sections.values() for block in section]
    said = [block.text for block in blocks if isinstance(block, Text)]
    return " ".join([*said, *(f"{f.fact} {f.step}" for f in chapter.findings)])


@pytest.mark.parametrize("name", ["grade", "points"])
@pytest.mark.parametrize("full", [True, False])
def test_charts_are_those_the_pipeline_expects(make_case: Make, name: str, full: bool) -> None:
    case = make_case(name, time=full, text=full, groups=full)
    chapter = target_chapter(case)
    expected = target_charts(case.target, case.data, case.features)
    assert sorted(chart.name for chart in chapter.charts) == sorted(expected)
    assert "nan" not in _text(chapter)


def test_headline_of_classes(make_case: Make) -> None:
    case = make_case("grade")
    accuracy = (case.test["truth"] == case.test["prediction"]).mean()
    text = results.headline(case)
    assert f"puts {share(accuracy)} of 150 test rows" in text
    assert "dummy, reaches" in text


def test_headline_of_numbers(make_case: Make) -> None:
    case = make_case("points")
    mae = (case.test["prediction"] - case.test["truth"]).abs().mean()
    assert f"is off by {number(mae)} points on average" in results.headline(case)


def test_confident_share_is_recomputed(make_case: Make) -> None:
    case = make_case("grade")
    chances = case.test[[f"probability_{c}" for c in case.classes]].max(axis=1)
    sure = case.test[chances >= 0.8]
    text = classes_use.confident_sentence(case)
    assert text.startswith(f"{share(len(sure) / 150)} of the test rows ({len(sure)})")
    assert f"{share((sure['truth'] == sure['prediction']).mean())} of those are right" in text
    row = classes_use.confidence_table(case).set_index("confidence from").loc[0.8]
    assert row["rows"] == len(sure)


def test_no_confident_rows(make_case: Make) -> None:
    def flatten(rows: pd.DataFrame) -> pd.DataFrame:
        columns = rows.columns[rows.columns.str.startswith("probability_")]
        return rows.assign(**{c: 0.3 * rows[c] + 0.7 / 3 for c in columns})

    case = make_case("grade", flatten)
    assert "No test row is predicted with a confidence of 80%" in _text(target_chapter(case))


def test_a_class_that_is_never_predicted(make_case: Make) -> None:
    def never_good(rows: pd.DataFrame) -> pd.DataFrame:
        taken = rows["probability_good"] * 0.999
        changed = rows.assign(
            probability_good=rows["probability_good"] - taken,
            probability_bad=rows["probability_bad"] + taken,
        )
        best = changed.filter(like="probability_").idxmax(axis=1)
        return changed.assign(prediction=best.str.removeprefix("probability_"))

    case = make_case("grade", never_good)
    assert classes.never_predicted(case) == ["good"]
    text = _text(target_chapter(case))
    assert "good is never predicted" in text
    assert "Only 0% of the true good are predicted as good. Never predicted: good." in text


def test_borderline_rows_are_named_and_in_order(make_case: Make) -> None:
    case = make_case("grade")
    table = next(t for t in target_chapter(case).tables if t.name == "borderline").frame
    top = np.sort(case.probabilities(case.test).to_numpy(), axis=1)
    assert len(table) == (top[:, -1] - top[:, -2] < BORDERLINE).sum()
    first = table.iloc[0]
    assert list(table.columns[:3]) == ["id", "name", "day"]
    assert first["name"] == case.primary.loc[first["id"], "name"]
    margins = case.test.loc[table["id"], "margin"]
    assert margins.is_monotonic_increasing


def test_rows_without_text_and_time_are_named_by_their_key(make_case: Make) -> None:
    case = make_case("points", time=False, text=False)
    assert list(case.describe(case.test).columns) == ["id"]


def test_threshold_comes_from_validation_and_is_judged_on_test(make_case: Make) -> None:
    case = make_case("grade")
    found = classes_use.threshold_for(case)
    assert found is not None
    name = found["class"]
    called = case.test[f"probability_{name}"] >= found["threshold"]
    truth = case.test["truth"] == name
    assert found["recall"] == pytest.approx((called & truth).sum() / truth.sum())
    assert found["precision"] == pytest.approx((called & truth).sum() / called.sum())
    seen = case.validation[case.validation["truth"] == name][f"probability_{name}"]
    assert (seen >= found["threshold"]).mean() == pytest.approx(0.8, abs=0.05)


def test_coverage_sentence(
    make_case: Make, without_intervals: Callable[[TargetResults], TargetResults]
) -> None:
    case = make_case("points")
    inside = case.test["truth"].between(case.test["low"], case.test["high"]).mean()
    text = values.coverage_sentence(case)
    assert f"90% of the cases; on the test rows it does in {share(inside)}" in text
    cut = ((case.test["low"] <= 0) | (case.test["high"] >= 10)).sum()
    assert f"{cut} intervals" in text
    bare = without_intervals(case)
    assert values.coverage_sentence(bare) == "The predictions carry no intervals."
    assert "disputed" in {table.name for table in target_chapter(bare).tables}


def test_intervals_that_cover_too_little_are_a_limit(make_case: Make) -> None:
    case = make_case(
        "points",
        lambda rows: rows.assign(low=rows["prediction"] - 0.2, high=rows["prediction"] + 0.2),
    )
    found = [f for f in limitations.findings(case) if "less than the promised 90%" in f.fact]
    needed = case.test["error"].abs().quantile(0.9)
    assert len(found) == 1
    assert f"±{number(needed)} points would have held 90%" in found[0].step


def test_ranking_holds_every_candidate_on_the_same_rows(make_case: Make) -> None:
    case = make_case("points")
    frame = ranking_.ranking_table(case).set_index("candidate")
    assert set(frame.index) == {"dummy", "plain", "stack"}
    best = frame.loc["stack"]
    assert (best["behind"], best["from"], best["to"]) == (0, 0, 0)
    gap = case.scores["dummy"]["test"]["rmse"]["value"] - best["test"]
    assert frame.loc["dummy", "behind"] == pytest.approx(gap)


def test_groups_are_judged_on_their_own_rows(make_case: Make) -> None:
    case = make_case("points")
    frame = errors_by_group.group_errors(case, "tags").set_index("group")
    facts = case.facts(case.test)
    with_b = facts["tags"].map(lambda tags: "b" in tags).to_numpy()
    assert frame.loc["b", "rows"] == with_b.sum()
    assert frame.loc["b", "value"] == pytest.approx(case.test["error"].abs()[with_b].mean())
    assert frame.loc["unknown", "rows"] == (facts["tags"].map(len) == 0).sum()


def test_numbers_are_grouped_in_order(make_case: Make) -> None:
    case = make_case("points", groups=False)
    frame = errors_by_group.group_errors(case, "size")
    starts = [float(label.split(" to ")[0]) for label in frame["group"].astype(str)]
    assert starts == sorted(starts)
    assert frame["rows"].sum() == 150


def test_a_column_of_one_value_is_one_group(make_case: Make) -> None:
    case = make_case("points", groups=False)
    case.primary["size"] = 3.0
    assert errors_by_group.group_errors(case, "size")["rows"].tolist() == [150]


def test_a_hard_group_becomes_a_limit_and_a_step(make_case: Make) -> None:
    def spoil(rows: pd.DataFrame) -> pd.DataFrame:
        worse = rows["prediction"].where(rows.index % 2 == 0, rows["prediction"] + 4)
        return rows.assign(prediction=worse, low=worse - 2, high=worse + 2)

    case = make_case("points", spoil, groups=False)
    case.primary["size"] = np.where(case.primary.index % 2 == 0, 1.0, 2.0)
    harder = harder_.harder_groups(case)
    assert list(harder["column"]) == ["size"]
    error = case.test["error"].abs()
    times = error[error.index % 2 == 1].mean() / error.mean()
    found = next(f for f in limitations.findings(case) if "clearly larger" in f.fact)
    assert f"{number(times)} times the usual" in found.step


def test_objectives_say_met_or_not_with_the_interval() -> None:
    judged: dict[str, Any] = {"value": 0.8, "low": 0.76, "high": 0.84, "aim": 0.75}
    met = results.evidence("accuracy", {**judged, "met": True, "in_doubt": False})
    assert met == (
        "accuracy: 0.800 (0.760 to 0.840) against an aim of 0.75. "
        "Met; the whole interval is better than the aim."
    )
    doubt = {**judged, "aim": 0.82, "met": False, "in_doubt": True}
    production = {"production": 0.7, "fit_for_production": True}
    text = results.evidence("accuracy", {**doubt, **production})
    assert "Not met; the interval reaches across the aim" in text
    assert text.endswith("The bar for production, 0.7, is reached.")


def test_a_model_no_better_than_the_baseline_is_reported(make_case: Make) -> None:
    case = make_case("points")
    case.choice["baseline"]["beaten"] = False
    assert "does not beat the baseline" in _text(target_chapter(case))


def test_data_chapter(use_case: Any, data_inputs: dict[str, Any]) -> None:
    parts = use_case()
    chapter = data_chapter(
        **data_inputs,
        about=parts.about,
        data=parts.data,
        features=parts.features,
        targets=parts.targets,
    )
    text = _text(chapter)
    assert "holds 700 rows and 5 columns, from 2020-01-01 to 2021-12-31" in text
    assert "650 of 700 rows were kept; 50 (7.1%) were left out" in text
    assert "color 30%" in text
    assert "400 training rows" in text
    assert "grade of 24 rows (known of 400 in train, 100 in validation and 150 in test)" in text
    assert [chart.name for chart in chapter.charts] == data_charts(parts.data)


def test_data_without_time_is_split_at_random(use_case: Any, data_inputs: dict[str, Any]) -> None:
    parts = use_case(time=False)
    profile = {name: value for name, value in data_inputs["profile"].items() if name != "span"}
    chapter = data_chapter(
        **data_inputs | {"profile": profile},
        about=parts.about,
        data=parts.data,
        features=parts.features,
        targets=parts.targets,
    )
    assert "divided at random" in _text(chapter)
    assert [chart.name for chart in chapter.charts] == ["missing"]


def test_few_test_rows_are_a_limit(make_case: Make) -> None:
    case = make_case("points")
    few = replace(case, predictions=case.predictions[lambda rows: rows.index % 3 == 0])
    found = limitations.findings(few)[0]
    assert f"rest on {len(few.test)} test rows" in found.fact
    assert not any("rest on" in finding.fact for finding in limitations.findings(case))


def test_an_empty_source_that_counts_is_a_limit(make_case: Make) -> None:
    case = make_case("points")
    empty = (case.primary["tags"].map(len) == 0).mean()
    importance = case.importance.assign(source=["history of tags", "size"])
    tags = limitations.empty_sources(replace(case, importance=importance))
    assert empty < 0.2
    assert tags == []
    importance = case.importance.assign(source=["color", "size"])
    (found,) = limitations.empty_sources(replace(case, importance=importance))
    assert f"color is empty in {share(case.primary['color'].isna().mean())}" in found.fact
    assert "number 1 of 2" in found.fact


def test_shifts_between_training_and_test_rows(make_case: Make) -> None:
    case = make_case("points")
    assert limits_values.value_shift(case) == []
    late = case.primary["split"] == "test"
    case.primary.loc[late, "points"] += 2
    (found,) = limits_values.value_shift(case)
    assert number(case.primary.loc[late, "points"].mean()) in found.fact

    graded = make_case("grade")
    assert limits_classes.class_shift(graded) == []
    graded.primary.loc[graded.primary["split"] == "test", "grade"] = "good"
    (found,) = limits_classes.class_shift(graded)
    before = (graded.truth("train") == "good").mean()
    assert f"good from {share(before)} to 100%" in found.fact


def test_an_aim_within_chance_asks_for_more_rows(make_case: Make) -> None:
    case = make_case("points")
    judged = case.choice["objectives"]["rmse"]
    half = (judged["high"] - judged["low"]) / 2
    judged |= {"aim": judged["value"] - half / 1.9, "met": False, "in_doubt": True}
    found = next(f for f in limitations.objectives(case) if "within chance" in f.fact)
    assert "about 600 test rows instead of 150" in found.step
