"""What is said of a forecast of series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ratchet.reports import errors_by_group, forecasting
from ratchet.reports.forecasting import trust_sentence
from ratchet.reports.intervals import TOO_NARROW
from ratchet.reports.target_chapter import card
from ratchet.reports.target_results import TargetResults

Make = Callable[..., TargetResults]


def test_series_that_dominates_is_found_and_left_out_once(make_series: Make) -> None:
    results = make_series()
    found = forecasting.dominating(results)
    assert found is not None
    name, part = found
    squares = (results.test["truth"] - results.test["truth"].mean()) ** 2
    assert name == "shop 0"
    assert part == pytest.approx(squares[results.test["series"] == name].sum() / squares.sum())
    frame = forecasting.scores_with_and_without(results, name).set_index(["candidate", "rows used"])
    others = results.test[results.test["series"] != name]
    left = np.sqrt((others["error"] ** 2).mean())
    assert frame.loc[("ridge", "without it"), "RMSE"] == pytest.approx(left)
    assert frame.loc[("ridge", "all"), "RMSE"] == pytest.approx(
        results.test_scores["rmse"]["value"]
    )
    assert forecasting.one_dominates(results)[0].fact.startswith("Series shop 0 holds ")


def test_no_series_dominates_where_all_are_alike(make_series: Make) -> None:
    results = make_series()
    others = results.predictions[results.predictions["series"] != "shop 0"]
    assert forecasting.dominating(replace(results, predictions=others)) is None
    assert forecasting.dominating(make_series(many=False)) is None


def test_errors_by_series_are_those_of_the_rows(make_series: Make) -> None:
    results = make_series()
    frame = forecasting.errors_by_series(results)
    assert frame["MASE"].is_monotonic_decreasing
    assert frame["MASE"].mean() == pytest.approx(float(results.test_scores["mase"]["value"]))
    row = frame.set_index("series").loc["shop 7"]
    own = results.test[results.test["series"] == "shop 7"]
    assert row["bias"] == pytest.approx((own["prediction"] - own["truth"]).mean())


def test_worst_stretch_holds_the_largest_errors(
    make_series: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = make_series(many=False, hourly=True)
    assert forecasting.stretch_length(results) == 14 * 24
    monkeypatch.setattr(forecasting, "_DAYS", 0.5)
    assert forecasting.stretch_length(results) == 12
    rows = results.predictions
    disturbed = rows["time"] == rows.loc[rows["split"] == "test", "time"].iloc[5]
    results = replace(
        results, predictions=rows.assign(prediction=rows["prediction"] + 100 * disturbed)
    )
    worst = forecasting.worst_stretch(results)
    assert (len(worst), len(forecasting.median_stretch(results))) == (2, 12)
    assert worst["error"].abs().max() > 90


def test_worst_stretch_is_found_among_series_of_any_length(make_series: Make) -> None:
    results = make_series()
    rows = results.predictions
    late = rows["time"] > rows["time"].max() - pd.Timedelta("1D")
    results = replace(results, predictions=rows[(rows["series"] != "shop 7") | late])
    length = max(2, forecasting.stretch_length(results) // forecasting._CLOSER)
    means = {}
    for name, own in results.test.sort_values("time").groupby("series"):
        of_ends = results.losses(own).rolling(min(length, len(own))).mean()
        means[of_ends.max()] = (name, own.loc[: of_ends.idxmax()].tail(length))
    name, expected = means[max(means)]
    pd.testing.assert_frame_equal(forecasting.worst_stretch(results), expected)


def test_usual_series_is_the_median_one(make_series: Make) -> None:
    results = make_series()
    errors = forecasting.errors_by_series(results)["MASE"]
    rows = forecasting.median_stretch(results)
    own = (rows["error"].abs() / rows["scale"]).mean()
    assert (errors > own).sum() in (9, 10)
    assert rows["time"].is_monotonic_increasing


def test_scaled_errors_are_named_by_what_they_are_divided_by(make_series: Make) -> None:
    results = make_series()
    assert "the mean error of the naive forecast" in card(results).key_label
    returns = replace(results, target=results.target.model_copy(update={"learn": "return"}))
    assert "naive forecast" not in card(returns).key_label
    for text in (card(returns).key_label, trust_sentence(returns), said_by_series(returns)):
        assert "the mean relative change over a season in the training rows" in text


def said_by_series(results: TargetResults) -> str:
    return str(getattr(forecasting.series_blocks(results)[0], "text", ""))


def test_intervals_over_rows_of_series_are_called_too_narrow(make_series: Make) -> None:
    results = make_series()
    parts = [
        forecasting.series_blocks(results),
        errors_by_group.time_blocks(results),
        errors_by_group.group_blocks(results),
    ]
    for blocks in parts:
        assert TOO_NARROW in getattr(blocks[0], "text", "")


def test_few_time_steps_are_told(make_series: Make) -> None:
    results = make_series()
    assert forecasting.few_times(results) == []
    days = results.test["time"].drop_duplicates().nsmallest(12)
    kept = results.predictions["split"].ne("test") | results.predictions["time"].isin(days)
    (found,) = forecasting.few_times(replace(results, predictions=results.predictions[kept]))
    assert "are of only 12 time steps" in found.fact
