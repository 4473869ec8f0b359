"""What is said of a target of classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ratchet.reports import classification
from ratchet.reports.blocks import Chapter
from ratchet.reports.formatting import share
from ratchet.reports.target_chapter import target_chapter
from ratchet.reports.target_results import BORDERLINE, TargetResults

Make = Callable[..., TargetResults]
TextOf = Callable[[Chapter], str]


def test_headline_of_classes(make_results: Make) -> None:
    results = make_results("grade")
    accuracy = (results.test["truth"] == results.test["prediction"]).mean()
    text = classification.headline(results)
    assert f"puts {share(accuracy)} of 150 test rows" in text
    assert "dummy, reaches" in text


def test_confident_share_is_recomputed(make_results: Make) -> None:
    results = make_results("grade")
    chances = results.test[[f"probability_{c}" for c in results.classes]].max(axis=1)
    sure = results.test[chances >= 0.8]
    text = classification.reliability_sentence(results)
    assert text.startswith(f"{share(len(sure) / 150)} of the test rows ({len(sure)})")
    assert f"{share((sure['truth'] == sure['prediction']).mean())} of those are right" in text
    row = classification.confidence_table(results).set_index("confidence from").loc[0.8]
    assert row["rows"] == len(sure)


def test_no_confident_rows(text_of: TextOf, make_results: Make) -> None:
    def flatten(rows: pd.DataFrame) -> pd.DataFrame:
        columns = rows.columns[rows.columns.str.startswith("probability_")]
        return rows.assign(**{c: 0.3 * rows[c] + 0.7 / 3 for c in columns})

    results = make_results("grade", flatten)
    assert "No test row is predicted with a confidence of 80%" in text_of(target_chapter(results))


def test_a_class_that_is_never_predicted(text_of: TextOf, make_results: Make) -> None:
    def never_good(rows: pd.DataFrame) -> pd.DataFrame:
        taken = rows["probability_good"] * 0.999
        changed = rows.assign(
            probability_good=rows["probability_good"] - taken,
            probability_bad=rows["probability_bad"] + taken,
        )
        best = changed.filter(like="probability_").idxmax(axis=1)
        return changed.assign(prediction=best.str.removeprefix("probability_"))

    results = make_results("grade", never_good)
    assert classification.never_predicted(results) == ["good"]
    text = text_of(target_chapter(results))
    assert "good is never predicted" in text
    assert "Only 0% of the true good are predicted as good. Never predicted: good." in text


def test_borderline_rows_are_named_and_in_order(make_results: Make) -> None:
    results = make_results("grade")
    table = next(t for t in target_chapter(results).tables if t.name == "borderline").frame
    top = np.sort(results.probabilities(results.test).to_numpy(), axis=1)
    assert len(table) == (top[:, -1] - top[:, -2] < BORDERLINE).sum()
    first = table.iloc[0]
    assert list(table.columns[:3]) == ["id", "name", "day"]
    assert first["name"] == results.primary.loc[first["id"], "name"]
    margins = results.test.loc[table["id"], "margin"]
    assert margins.is_monotonic_increasing


def test_rows_without_text_and_time_are_named_by_their_key(make_results: Make) -> None:
    results = make_results("points", time=False, text=False)
    assert list(results.row_labels(results.test).columns) == ["id"]


def test_threshold_comes_from_validation_and_is_judged_on_test(make_results: Make) -> None:
    results = make_results("grade")
    rule = classification.threshold_for(results)
    assert rule is not None
    name = rule.name
    called = results.test[f"probability_{name}"] >= rule.threshold
    truth = results.test["truth"] == name
    assert rule.recall == pytest.approx((called & truth).sum() / truth.sum())
    assert rule.precision == pytest.approx((called & truth).sum() / called.sum())
    seen = results.validation[results.validation["truth"] == name][f"probability_{name}"]
    assert (seen >= rule.threshold).mean() == pytest.approx(0.8, abs=0.05)
