"""Whether the naive forecasts are beaten."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from ratchet.config import Evaluation, Release
from ratchet.production.release_candidates import naive_rows
from ratchet.reports import forecasting, naive_forecasts
from ratchet.reports.chart_ids import target_charts
from ratchet.reports.formatting import number
from ratchet.reports.target_chapter import card, target_chapter
from ratchet.reports.target_results import TargetResults

Make = Callable[..., TargetResults]


def mase(results: TargetResults, name: str) -> float:
    test = results.predictions[results.predictions["split"] == "test"]
    rows = test[test["candidate"] == name]
    return float(((rows["truth"] - rows["prediction"]).abs() / rows["scale"]).mean())


def test_a_clear_winner_beats_the_better_naive_forecast(make_series: Make) -> None:
    results = make_series()
    assert results.target.naive_candidates == ["persistence", "seasonal"]
    assert naive_forecasts.best_naive(results) == "seasonal"
    frame = naive_forecasts.against_naive(results).set_index("candidate")
    assert frame.loc["net", "gain"] == pytest.approx(
        mase(results, "seasonal") - mase(results, "net")
    )
    assert (frame["verdict"] == naive_forecasts.BEATS).all()
    text = naive_forecasts.naive_sentence(results)
    assert f"Yes, they are beaten: ridge has {number(mase(results, 'ridge'))}" in text
    assert forecasting.naive_not_beaten(results) == []
    assert "beats the best naive forecast, seasonal" in card(results).headline


@pytest.mark.parametrize("first", ["persistence", "seasonal"])
def test_report_and_gate_name_the_same_best_naive_forecast(make_series: Make, first: str) -> None:
    results = make_series()
    others = [name for name in results.choice["ranking"] if name != first]
    ranking = {name: results.choice["ranking"][name] for name in [first, *others]}
    results = replace(results, choice={**results.choice, "ranking": ranking})

    judged = naive_rows(results.target, results.choice, results.predictions)

    assert naive_forecasts.best_naive(results) == first
    assert set(judged["candidate"]) == {first}


def test_a_tie_is_not_called_a_win(make_series: Make) -> None:
    results = make_series(errors={"ridge": 0.9})
    gain = naive_forecasts.gain_over(results, "seasonal", "ridge")
    assert gain["low"] < 0 < gain["high"]
    assert "No, not for sure" in naive_forecasts.naive_sentence(results)
    (found,) = forecasting.naive_not_beaten(results)
    assert "is not beaten for sure" in found.fact
    assert "the difference may be chance" in card(results).headline


def test_worse_than_naive_is_said(make_series: Make) -> None:
    results = make_series(errors={"ridge": 2.0})
    assert "No: ridge has" in naive_forecasts.naive_sentence(results)
    assert "is worse" in naive_forecasts.naive_sentence(results)
    assert (
        naive_forecasts.against_naive(results).set_index("candidate").loc["ridge", "verdict"]
        == naive_forecasts.WORSE
    )


def test_a_naive_winner_is_said(make_series: Make) -> None:
    results = make_series(best="seasonal")
    assert "One of them, seasonal, is the winner" in naive_forecasts.naive_sentence(results)
    assert "It is a naive forecast" in card(results).headline
    assert forecasting.naive_not_beaten(results)[0].step.startswith("Use seasonal")


def test_r2_that_flatters_is_warned_of(make_series: Make) -> None:
    results = make_series()
    assert results.scores["seasonal"]["test"]["r2"]["value"] > 0.9  # one shop is ten times as large
    assert naive_forecasts.high_r2_warning(results).startswith("R² flatters here")
    single = make_series(many=False)
    assert single.scores["persistence"]["test"]["r2"]["value"] < 0.9
    assert naive_forecasts.high_r2_warning(single) == ""


def test_the_chance_to_find_a_gain_is_told(make_series: Make) -> None:
    text = naive_forecasts.power_sentence(make_series(errors={"ridge": 0.9}))

    assert "the gate lets a first model that is truly 10% better than seasonal pass" in text
    assert "with probability 0." in text
    assert "blocks of test times" in text
    severe = replace(make_series(errors={"ridge": 0.9}), release=Release(confidence=0.999))
    chances = [
        float(text.rpartition("probability ")[2][:4])
        for text in (text, naive_forecasts.power_sentence(severe))
    ]
    assert chances[0] > chances[1]


def test_windows_that_would_give_the_gate_a_fair_chance_are_told(make_series: Make) -> None:
    results = replace(make_series(errors={"ridge": 0.9}), release=Release(confidence=0.999))
    text = naive_forecasts.power_sentence(results)
    told = re.search(r"windows: (\d+), step: (\d+), refit: true}, (\d+) of (\d+) steps", text)
    assert told is not None
    windows, step, tested, steps = map(int, told.groups())
    assert windows * step == tested <= 0.25 * steps
    assert step % results.data.series.season == 0
    now, then = (float(p) for p in re.findall(r"(?:probability|about) (0\.\d\d)", text))
    assert now < 0.5
    assert now < then
    Evaluation.model_validate({"windows": windows, "step": step, "refit": True})
    # With half of the steps tested on, only more rows help.
    half = results.primary.index[: 2 * len(results.test)]
    few = replace(results, primary=results.primary.loc[half])
    assert "steps are tested on: more rows would raise it" in naive_forecasts.power_sentence(few)


def test_windows_are_scored_one_by_one(make_series: Make) -> None:
    results = make_series()
    assert naive_forecasts.window_blocks(results) == []
    times = results.predictions["time"].rank(method="dense")
    cut = (
        times.where(results.predictions["split"] == "test")
        > times[results.predictions["split"] == "test"].median()
    )
    results = replace(results, predictions=results.predictions.assign(window=1 + cut.astype(int)))

    frame = naive_forecasts.errors_by_window(results)

    assert frame.loc[1, "to"] == f"{results.test['time'].max():%Y-%m-%d}"
    assert list(frame.columns[4:]) == [*list(results.choice["ranking"])[:2], "seasonal"]
    assert naive_forecasts._error_column("rows") not in frame  # nor is any other one of ours
    test = results.test
    for window, row in frame.set_index("window").iterrows():
        own = test[test["window"] == window]
        assert row["rows"] == len(own)
        assert row["ridge"] == pytest.approx((own["error"].abs() / own["scale"]).mean())
    text, chart, table = naive_forecasts.window_blocks(results)
    assert "cut into 2 windows" in text.text
    assert "ridge is better than seasonal in 2 of them" in text.text
    assert chart.name == "error_by_window"
    assert len(chart.frame) == 2 * 3
    assert table.frame is not None
    expected = target_charts(
        *(results.target, results.data, results.features, results.inventory),
        Evaluation(windows=2),
    )
    assert [c.name for c in target_chapter(results).charts if "window" in c.name] == [
        name for name in expected if "window" in name
    ]
