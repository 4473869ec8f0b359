"""Whether naive forecasts are beaten, which series dominates, and what to order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ratchet.errors import DataError
from ratchet.learning.inventory import demand
from ratchet.reports import errors_by_group, naive_forecasts, stock_orders
from ratchet.reports.chapters.results import card
from ratchet.reports.forecasting import by_series, forecasts, limitations
from ratchet.reports.forecasting.advice import trust_sentence, use
from ratchet.reports.formatting import number, share
from ratchet.reports.intervals import TOO_NARROW
from ratchet.reports.regression.limitations import coverage
from ratchet.reports.target_results import TargetResults

Make = Callable[..., TargetResults]


def mase(case: TargetResults, name: str) -> float:
    test = case.predictions[case.predictions["split"] == "test"]
    rows = test[test["candidate"] == name]
    return float(((rows["truth"] - rows["prediction"]).abs() / rows["scale"]).mean())


def test_a_clear_winner_beats_the_better_naive_forecast(make_series: Make) -> None:
    case = make_series()
    assert naive_forecasts.naive_candidates(case) == ["persistence", "seasonal"]
    assert naive_forecasts.best_naive(case) == "seasonal"
    frame = naive_forecasts.against_naive(case).set_index("candidate")
    assert frame.loc["net", "gain"] == pytest.approx(mase(case, "seasonal") - mase(case, "net"))
    assert (frame["verdict"] == naive_forecasts.BEATS).all()
    text = naive_forecasts.naive_sentence(case)
    assert f"Yes, they are beaten: ridge has {number(mase(case, 'ridge'))}" in text
    assert limitations.naive_not_beaten(case) == []
    assert "beats the best naive forecast, seasonal" in card(case).headline


def test_a_tie_is_not_called_a_win(make_series: Make) -> None:
    case = make_series(errors={"ridge": 0.9})
    gain = naive_forecasts.gain_over(case, "seasonal", "ridge")
    assert gain["low"] < 0 < gain["high"]
    assert "No, not for sure" in naive_forecasts.naive_sentence(case)
    (found,) = limitations.naive_not_beaten(case)
    assert "is not beaten for sure" in found.fact
    assert "the difference may be chance" in card(case).headline


def test_worse_than_naive_is_said(make_series: Make) -> None:
    case = make_series(errors={"ridge": 2.0})
    assert "No: ridge has" in naive_forecasts.naive_sentence(case)
    assert "is worse" in naive_forecasts.naive_sentence(case)
    assert (
        naive_forecasts.against_naive(case).set_index("candidate").loc["ridge", "verdict"]
        == naive_forecasts.WORSE
    )


def test_a_naive_winner_is_said(make_series: Make) -> None:
    case = make_series(best="seasonal")
    assert "One of them, seasonal, is the winner" in naive_forecasts.naive_sentence(case)
    assert "It is a naive forecast" in card(case).headline
    assert limitations.naive_not_beaten(case)[0].step.startswith("Use seasonal")


def test_r2_that_flatters_is_warned_of(make_series: Make) -> None:
    case = make_series()
    assert case.scores["seasonal"]["test"]["r2"]["value"] > 0.9  # one shop is ten times as large
    assert naive_forecasts.flattery(case).startswith("R² flatters here")
    single = make_series(many=False)
    assert single.scores["persistence"]["test"]["r2"]["value"] < 0.9
    assert naive_forecasts.flattery(single) == ""


def test_series_that_dominates_is_found_and_left_out_once(make_series: Make) -> None:
    case = make_series()
    found = by_series.dominating(case)
    assert found is not None
    name, part = found
    squares = (case.test["truth"] - case.test["truth"].mean()) ** 2
    assert name == "shop 0"
    assert part == pytest.approx(squares[case.test["series"] == name].sum() / squares.sum())
    frame = by_series.with_and_without(case, name).set_index(["candidate", "rows used"])
    others = case.test[case.test["series"] != name]
    left = np.sqrt((others["error"] ** 2).mean())
    assert frame.loc[("ridge", "without it"), "RMSE"] == pytest.approx(left)
    assert frame.loc[("ridge", "all"), "RMSE"] == pytest.approx(case.test_scores["rmse"]["value"])
    assert limitations.one_dominates(case)[0].fact.startswith("Series shop 0 holds ")


def test_no_series_dominates_where_all_are_alike(make_series: Make) -> None:
    case = make_series()
    others = case.predictions[case.predictions["series"] != "shop 0"]
    assert by_series.dominating(replace(case, predictions=others)) is None
    assert by_series.dominating(make_series(many=False)) is None


def test_errors_by_series_are_those_of_the_rows(make_series: Make) -> None:
    case = make_series()
    frame = by_series.errors_by_series(case)
    assert frame["MASE"].is_monotonic_decreasing
    assert frame["MASE"].mean() == pytest.approx(mase(case, "ridge"))
    row = frame.set_index("series").loc["shop 7"]
    own = case.test[case.test["series"] == "shop 7"]
    assert row["bias"] == pytest.approx((own["prediction"] - own["truth"]).mean())


def test_worst_stretch_holds_the_largest_errors(
    make_series: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_series(many=False, hourly=True)
    assert forecasts.stretch_length(case) == 14 * 24
    monkeypatch.setattr(forecasts, "_DAYS", 0.5)
    assert forecasts.stretch_length(case) == 12
    rows = case.predictions
    disturbed = rows["time"] == rows.loc[rows["split"] == "test", "time"].iloc[5]
    case = replace(case, predictions=rows.assign(prediction=rows["prediction"] + 100 * disturbed))
    worst = forecasts.worst_stretch(case)
    assert (len(worst), len(forecasts.usual_stretch(case))) == (2, 12)
    assert worst["error"].abs().max() > 90


def test_usual_series_is_the_median_one(make_series: Make) -> None:
    case = make_series()
    errors = by_series.errors_by_series(case)["MASE"]
    rows = forecasts.usual_stretch(case)
    own = (rows["error"].abs() / rows["scale"]).mean()
    assert (errors > own).sum() in (9, 10)
    assert rows["time"].is_monotonic_increasing


def test_orders_follow_from_the_last_forecasts(make_series: Make) -> None:
    case = make_series()
    assert case.inventory is not None
    frame = stock_orders.orders(case, case.inventory).set_index("series")
    last = case.test[case.test["time"] == case.test["time"].max()].set_index("series")
    assert frame["forecast"].to_dict() == pytest.approx(last["prediction"].to_dict())
    assert frame["days left"].to_dict() == pytest.approx((30 / last["prediction"]).to_dict())
    need = demand(*(last[c] for c in ("prediction", "low", "high")), 3)
    assert frame.loc[last.index, "at most"].to_list() == pytest.approx(need[2].tolist())
    assert (frame["order"] >= frame["demand"] - 30).all()
    assert frame["fewest"].is_monotonic_increasing
    text = stock_orders.orders_sentence(case, case.inventory, frame.reset_index())
    assert f"{(frame['days left'] < 2).sum()} of 20 series are expected to run out" in text


def test_stock_may_come_from_a_column(make_series: Make) -> None:
    case = make_series(stock="shelf")
    assert case.inventory is not None
    frame = stock_orders.orders(case, case.inventory).set_index("series")
    assert frame.loc["shop 4", "stock"] == 20
    assert np.isnan(frame.loc["shop 3", "order"])
    text = stock_orders.orders_sentence(case, case.inventory, frame.reset_index())
    assert "Of 1 series the stock is not known." in text


def test_stock_is_that_of_the_step_at_which_the_forecast_was_made(make_series: Make) -> None:
    """A column that counts the steps shows at which one it was read."""
    for many in (True, False):
        case = make_series(stock="shelf", many=many)
        assert case.inventory is not None
        steps = case.primary["time"].rank(method="dense")
        case = replace(case, primary=case.primary.assign(shelf=steps))
        assert (stock_orders.orders(case, case.inventory)["stock"] == steps.max() - 1).all()
        far = at_horizon(case, 3)
        assert (stock_orders.orders(far, case.inventory)["stock"] == steps.max() - 3).all()


def at_horizon(case: TargetResults, steps: int) -> TargetResults:
    """The same forecasts, made so many steps before."""
    assert case.features.windows is not None
    windows = case.features.windows.model_copy(update={"horizon": steps})
    return replace(case, features=case.features.model_copy(update={"windows": windows}))


def test_the_date_of_the_orders_is_that_of_the_forecast(make_series: Make) -> None:
    case = make_series()
    assert case.inventory is not None
    last = case.test["time"].max()

    def said(one: TargetResults) -> str:
        assert one.inventory is not None
        return stock_orders.orders_sentence(
            one, one.inventory, stock_orders.orders(one, one.inventory)
        )

    assert said(case).startswith(f"By the forecast for {last:%Y-%m-%d}, made 1 day before: ")
    assert f"{last:%Y-%m-%d}, made 3 days before: " in said(at_horizon(case, 3))
    ended = case.predictions["series"].eq("shop 5") & case.predictions["time"].eq(last)
    uneven = replace(case, predictions=case.predictions[~ended])
    assert f"for times from {last - np.timedelta64(1, 'D'):%Y-%m-%d} to {last:%Y-%m-%d}, " in said(
        uneven
    )


def test_the_step_that_is_forecast_is_named(make_series: Make) -> None:
    case = make_series()
    assert case.inventory is not None
    near, far = (
        stock_orders.assumptions(one, case.inventory)[0] for one in (case, at_horizon(case, 3))
    )
    assert near.startswith("The forecast of the next day stands for each of the 3 days ")
    assert far.startswith("The forecast of the day 3 days ahead stands for each of the 3 days ")


def test_demand_is_counted_from_the_origin_on(make_series: Make) -> None:
    case = at_horizon(make_series(), 3)
    assert case.inventory is not None
    frame = stock_orders.held(case, case.inventory)
    own = case.test.loc[frame.index[5]]
    rows = case.test[case.test["series"] == own["series"]].sort_values("time")
    until = rows[rows["time"] <= own["time"]]["truth"].tail(3)  # lead time and review are 3 days
    assert frame.iloc[5]["demand"] == pytest.approx(until.sum())


@pytest.mark.parametrize("wrong", [-4.0, "many"])
def test_a_stock_that_is_none_is_named(make_series: Make, wrong: object) -> None:
    case = make_series(stock="shelf")
    assert case.inventory is not None
    days = case.primary.loc[case.primary["shop"] == "shop 7"].sort_values("time").index
    shelf = case.primary["shelf"].astype(object)
    shelf[days[-2]] = wrong
    case = replace(case, primary=case.primary.assign(shelf=shelf))
    with pytest.raises(DataError, match=rf"column 'shelf'.*row {days[-2]} has {wrong}"):
        stock_orders.orders(case, case.inventory)


def test_what_was_promised_of_the_stock_is_held_against_the_test_time(make_series: Make) -> None:
    case = make_series()
    assert case.inventory is not None
    frame = stock_orders.held(case, case.inventory)
    assert len(frame) == 20 * (40 - 2)  # of three days each
    row = frame.iloc[5]
    own = case.test.loc[frame.index[5]]
    after = case.test[(case.test["series"] == own["series"]) & (case.test["time"] >= own["time"])]
    assert row["demand"] == pytest.approx(after.sort_values("time")["truth"].head(3).sum())
    said = stock_orders.held_sentence(case, case.inventory)
    assert f"{share(frame['inside'].mean())} of 760 cases" in said
    long = case.inventory.model_copy(update={"lead_time": 90})
    assert "too short" in stock_orders.held_sentence(case, long)


def test_orders_that_fall_short_are_told(make_series: Make) -> None:
    case = make_series()
    said = case.predictions["prediction"]
    wide = case.predictions.assign(low=0.0, high=3 * said)
    assert limitations.orders_fall_short(replace(case, predictions=wide)) == []
    narrow = case.predictions.assign(low=(said - 0.01).clip(0), high=said + 0.01)
    short = replace(case, predictions=narrow)
    assert short.inventory is not None
    frame = stock_orders.held(short, short.inventory)
    (found,) = limitations.orders_fall_short(short)
    assert f"enough in {share(frame['enough'].mean())} of the cases" in found.fact
    factor = stock_orders.needed_safety(frame, short.inventory)
    assert f"{number(factor)} times as large" in found.step
    enough = frame["demand"] <= frame["mean"] + factor * (frame["level"] - frame["mean"])
    assert frame["enough"].mean() < enough.mean() == pytest.approx(0.95, abs=0.01)


def test_without_intervals_nothing_is_said_of_orders(make_series: Make) -> None:
    case = make_series()
    bare = replace(case, predictions=case.predictions.drop(columns=["low", "high"]))
    assert bare.inventory is not None
    frame = stock_orders.orders(bare, bare.inventory)
    assert frame.empty
    assert "no intervals" in stock_orders.orders_sentence(bare, bare.inventory, frame)
    assert len(use(bare)) == len(use(case))


def test_coverage_of_many_series_is_advised_in_their_own_naive_errors(make_series: Make) -> None:
    for many in (True, False):
        case = make_series(many=many)
        said = case.predictions["prediction"]
        case = replace(case, predictions=case.predictions.assign(low=said, high=said))
        (found,) = coverage(case)
        sizes = case.test["error"].abs() / (case.test["scale"] if many else 1)
        needed = number(sizes.quantile(case.choice["details"]["confidence"]))
        unit = "mean naive errors of the series" if many else "boxes"
        assert f"±{needed} {unit} would have held" in found.step


def test_scaled_errors_are_named_by_what_they_are_divided_by(make_series: Make) -> None:
    case = make_series()
    assert "the mean error of the naive forecast" in card(case).key_label
    returns = replace(case, target=case.target.model_copy(update={"learn": "return"}))
    assert "naive forecast" not in card(returns).key_label
    for text in (card(returns).key_label, trust_sentence(returns), said_by_series(returns)):
        assert "the mean relative change over a season in the training rows" in text


def said_by_series(case: TargetResults) -> str:
    return str(getattr(by_series.series_blocks(case)[0], "text", ""))


def test_intervals_over_rows_of_series_are_called_too_narrow(make_series: Make) -> None:
    case = make_series()
    parts = [
        by_series.series_blocks(case),
        errors_by_group.over_time(case),
        errors_by_group.by_group(case),
    ]
    for blocks in parts:
        assert TOO_NARROW in getattr(blocks[0], "text", "")


def test_few_time_steps_are_told(make_series: Make) -> None:
    case = make_series()
    assert limitations.few_times(case) == []
    days = case.test["time"].drop_duplicates().nsmallest(12)
    kept = case.predictions["split"].ne("test") | case.predictions["time"].isin(days)
    (found,) = limitations.few_times(replace(case, predictions=case.predictions[kept]))
    assert "are of only 12 time steps" in found.fact
