"""Prices that earn more, or why none is recommended."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.learning.demand.panel import Rows, build_panel
from ratchet.learning.demand.pricing import (
    Form,
    Interval,
    Offer,
    Outcome,
    PriceHistory,
    PricingSettings,
    Reason,
    Responses,
    fit_responses,
    price_grid,
    price_history,
    price_terms,
    recommend,
)


def history(n=1, *, low=1.0, high=2.0, current=1.5, rows=100, idle=0.0):
    return PriceHistory(
        low=np.full(n, low),
        high=np.full(n, high),
        median=np.full(n, (low + high) / 2),
        current=np.full(n, current),
        rows=np.full(n, rows),
        idle=np.full(n, idle),
    )


def responses(elasticity=-3.0, sd=0.05, *, n=1, curvature=0.0, centre=1.5, negative=1.0):
    """Draws around one elasticity at a price of ``centre``, the same for all segments."""
    z = np.linspace(-2, 2, 101)
    slope = np.broadcast_to(elasticity + sd * z, (n, 101))[..., None]
    curved = np.concatenate([slope, np.full_like(slope, curvature)], axis=2)
    return Responses(
        centre=np.full(n, np.log(centre)),
        draws={Form.LOG_LOG: slope, Form.SEMI_LOG: slope, Form.QUADRATIC: curved},
        probability_negative=np.full(n, negative),
    )


def only(draws=None, past=None, pricing=None, **offer):
    offer = {"unit_cost": 1.0} | offer
    (result,) = recommend(draws or responses(), past or history(), Offer.of(1, **offer), pricing)
    return result


def reasons(result):
    return [abstention.reason for abstention in result.abstentions]


def test_a_clear_optimum_lies_between_those_of_the_forms():
    """At a cost of 0.9 and elasticity -3: log-log 1.35, semi-log cost + mean / 3 = 1.4."""
    result = only(unit_cost=0.9, past=history(low=1.0, high=2.4, current=2.2))

    assert result.outcome is Outcome.OPTIMUM
    assert 1.35 <= result.price <= 1.40
    assert result.abstentions == ()
    assert 0 < result.gain.low < result.gain.mean < result.gain.high
    now = 2.2 - 0.9
    assert result.profit.mean == pytest.approx(now + result.gain.mean)
    assert result.gain_share.mean == pytest.approx(result.gain.mean / now)
    assert result.price_if_cheaper < result.price < result.price_if_dearer


def test_expected_demand_and_profit_are_those_of_the_curve():
    result = only(demand=200.0, past=history(current=1.9))
    curve = result.curve
    at = int(np.flatnonzero(curve.price == result.price)[0])

    assert result.demand == Interval(curve.demand[at], curve.demand_low[at], curve.demand_high[at])
    assert result.profit.mean == pytest.approx((result.price - 1.0) * result.demand.mean)
    assert (curve.demand_low <= curve.demand).all()
    assert (curve.demand <= curve.demand_high).all()
    assert (np.diff(curve.demand) < 0).all()
    assert np.interp(1.9, curve.price, curve.demand) == pytest.approx(200, rel=0.01)


@pytest.mark.parametrize(
    ("elasticity", "cost", "outcome"), [(-1.1, 1.0, Outcome.RAISE), (-6.0, 0.5, Outcome.LOWER)]
)
def test_a_best_price_at_the_edge_is_a_direction(elasticity, cost, outcome):
    result = only(responses(elasticity), unit_cost=cost)

    assert result.outcome is outcome
    assert result.price == pytest.approx(2.0 if outcome is Outcome.RAISE else 1.0)


def test_a_price_inside_is_a_direction_where_the_edge_may_be_as_good():
    sure = only(responses(-3.0, sd=0.01), past=history(current=1.05))
    unsure = only(responses(-3.0, sd=0.6), past=history(current=1.05))

    assert (sure.outcome, unsure.outcome) == (Outcome.OPTIMUM, Outcome.RAISE)


def test_a_gain_that_one_form_denies_is_not_told_from_chance():
    denied = responses(-2.0, curvature=-8.0)
    result = only(denied, past=history(current=1.45), unit_cost=0.9)

    assert only(responses(-2.0), past=history(current=1.45), unit_cost=0.9).price is not None
    assert result.price is None or result.price < 2.0
    assert result.gain.low < only(responses(-2.0), past=history(current=1.45)).gain.low


ABSTAIN = {
    Reason.NO_COST: {"unit_cost": np.nan},
    Reason.FEW_ROWS: {"past": history(rows=3)},
    Reason.NOT_SOLD_LATELY: {"past": history(idle=14)},
    Reason.LITTLE_PRICE_VARIATION: {"past": history(low=1.5, high=1.6)},
    Reason.MANY_ZERO_SALES: {"zero_share": 0.5},
    Reason.WORSE_THAN_NAIVE: {"relative_error": 1.2},
    Reason.SIGN_UNSURE: {"draws": responses(-1.1, negative=0.9)},
    Reason.NO_ALLOWED_PRICE: {"lowest": 3.0},
    Reason.BELOW_COST: {"unit_cost": 2.5},
    Reason.ALREADY_BEST: {"past": history(current=2.0), "draws": responses(-1.1)},
    Reason.GAIN_UNSURE: {"draws": responses(-3.0, sd=2.0), "past": history(current=1.9)},
}


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_stops_a_recommendation(reason):
    result = only(**ABSTAIN[reason])

    assert reasons(result)[0] is reason
    assert result.outcome is Outcome.ABSTAIN
    assert result.price is None


def test_reasons_come_with_their_numbers():
    result = only(past=history(low=1.5, high=1.6, rows=3), zero_share=0.5)
    numbers = {a.reason: (a.value, a.limit) for a in result.abstentions}

    assert list(numbers)[:3] == [
        Reason.FEW_ROWS,
        Reason.LITTLE_PRICE_VARIATION,
        Reason.MANY_ZERO_SALES,
    ]
    assert numbers[Reason.FEW_ROWS] == (3, 20)
    assert numbers[Reason.LITTLE_PRICE_VARIATION] == pytest.approx((1.6 / 1.5, 1.1))
    assert numbers[Reason.MANY_ZERO_SALES] == (0.5, 0.2)


def test_without_a_cost_there_is_a_demand_curve_and_no_money():
    result = only(unit_cost=np.nan)

    assert len(result.curve.price) == 41
    assert np.isfinite(result.curve.demand).all()
    assert np.isnan(result.curve.profit).all()
    assert (result.gain, result.profit, result.price_if_dearer) == (None, None, None)


def test_shares_of_a_gain_are_left_out_where_the_margin_is_thin():
    assert only(unit_cost=1.45).gain_share is None
    assert only(unit_cost=1.6).gain_share is None
    assert only(unit_cost=1.2).gain_share is not None


def test_capacity_makes_higher_prices_best():
    free = only(unit_cost=0.5, demand=100.0)
    limited = only(unit_cost=0.5, demand=100.0, capacity=60.0)

    assert free.outcome is Outcome.LOWER
    assert limited.outcome is not Outcome.LOWER
    assert limited.price > 1.5
    assert limited.curve.demand_high.max() <= 60


def test_prices_keep_bounds_margins_and_endings():
    result = only(
        responses(-1.1, centre=9.0),
        history(low=1.0, high=9.0, current=3.0),
        PricingSettings(price_endings=(0.99,)),
        highest=7.5,
        least_margin=0.6,
    )

    assert result.price == pytest.approx(6.99)
    np.testing.assert_allclose(result.curve.price, [2.99, 3.99, 4.99, 5.99, 6.99])
    stepped = only(responses(-1.1), pricing=PricingSettings(price_step=0.25))
    np.testing.assert_allclose(stepped.curve.price, [1, 1.25, 1.5, 1.75, 2])
    several = only(responses(-1.1), pricing=PricingSettings(price_endings=(0.29, 0.99)))
    np.testing.assert_allclose(several.curve.price, [1.29, 1.99])


def test_the_margin_is_kept_at_another_cost_too():
    past, steep = history(low=1.0, high=2.0, current=1.9), responses(-6.0)

    kept = only(steep, past, unit_cost=1.0, least_margin=0.4)
    none = only(steep, past, unit_cost=1.0, least_margin=0.48)

    assert kept.price == pytest.approx(1.675)
    assert 1.5 <= kept.price_if_cheaper < 1.6
    assert kept.price_if_dearer >= 1.1 / 0.6
    assert none.price_if_dearer is None


def test_what_is_said_of_a_segment_does_not_depend_on_others():
    rng = np.random.default_rng(0)
    n = 450  # more than are computed together
    draws = rng.normal(-2.5, 0.2, (n, 64, 1))
    curved = np.concatenate([draws, rng.normal(0, 0.2, (n, 64, 1))], axis=2)
    many = Responses(
        np.full(n, np.log(1.5)),
        {Form.LOG_LOG: draws, Form.SEMI_LOG: draws, Form.QUADRATIC: curved},
        np.ones(n),
    )
    past = replace(history(n), current=rng.uniform(1.1, 1.9, n))
    results = recommend(many, past, Offer.of(n, unit_cost=1.0))
    assert len(results) == n
    for s in (0, 199, 200, 449):
        one = Responses(many.centre[[s]], {f: d[[s]] for f, d in many.draws.items()}, np.ones(1))
        (alone,) = recommend(
            one, replace(history(), current=past.current[[s]]), Offer.of(1, unit_cost=1.0)
        )
        assert (alone.outcome, alone.price, alone.gain) == (
            results[s].outcome,
            results[s].price,
            results[s].gain,
        )


@given(
    elasticity=st.floats(-8, 1),
    sd=st.floats(0, 3),
    curvature=st.floats(-8, 8),
    cost=st.floats(0, 5),
    current=st.floats(0.5, 3),
    high=st.floats(1, 4),
    least_margin=st.floats(-1, 0.95),
    step=st.sampled_from([None, 0.05, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_recommendations_keep_all_promises(
    elasticity, sd, curvature, cost, current, high, least_margin, step
):
    result = only(
        responses(elasticity, sd, curvature=curvature),
        history(high=high, current=current),
        PricingSettings(price_step=step),
        unit_cost=cost,
        least_margin=least_margin,
    )

    assert (result.outcome is Outcome.ABSTAIN) == bool(result.abstentions)
    assert (result.price is None) == bool(result.abstentions)
    if result.price is None:
        return
    assert 1 - 1e-6 <= result.price <= high + 1e-6
    assert result.price - cost >= least_margin * result.price - 1e-6
    assert 0 < result.gain.low <= result.gain.high
    assert (result.outcome is Outcome.RAISE) <= (result.price > current)
    assert (result.outcome is Outcome.LOWER) <= (result.price < current)


def market(seed=0, S=20, T=60):
    rng = np.random.default_rng(seed)
    x = 0.15 * rng.normal(size=(S, T))
    y = 5 - 2 * x + 0.1 * rng.normal(size=(S, T))
    return build_panel(
        Rows(
            np.repeat(np.arange(S), T),
            np.zeros(S * T, dtype=np.int64),
            np.tile(np.arange(T, dtype=float), S),
            np.log(2.0) + x.ravel(),
            np.empty((S * T, 0)),
            y.ravel(),
        )
    )


def test_responses_of_all_forms_meet_the_truth_and_are_the_same_each_time():
    panel = market()
    layout = panel.layout(harmonics=0, trend=False, period=0)
    fitted, again = fit_responses(panel, layout), fit_responses(panel, layout)

    for form in Form:
        assert fitted.draws[form][..., 0].mean() == pytest.approx(-2, abs=0.15)
        np.testing.assert_array_equal(fitted.draws[form], again.draws[form])
    assert np.abs(fitted.draws[Form.QUADRATIC][..., 1].mean()) < 0.6
    prices = np.full((20, 2), 2.2)
    np.testing.assert_allclose(
        fitted.log_demand(Form.LOG_LOG, prices).mean(), -2 * np.log(1.1), atol=0.02
    )


def test_draws_of_another_method_take_the_place_of_those_of_the_log_log_form():
    panel = market()
    layout = panel.layout(harmonics=0, trend=False, period=0)
    own = np.tile([-1.0, -2.0, 0.5, -3.0], (20, 1))
    fitted = fit_responses(panel, layout, log_log=own)

    np.testing.assert_array_equal(fitted.draws[Form.LOG_LOG][..., 0], own)
    assert fitted.probability_negative.tolist() == [0.75] * 20


def test_the_history_counts_rows_that_are_there_only():
    rows = Rows(
        segment=np.array([0] * 10 + [1] * 2),
        product=np.zeros(12, dtype=np.int64),
        step=np.array([*range(10), 3, 7], dtype=float),
        log_price=np.log([1.0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 5, 7]),
        covariates=np.empty((12, 0)),
        log_quantity=np.zeros(12),
    )
    past = price_history(build_panel(rows), recent=5)

    assert past.rows.tolist() == [10, 2]
    assert past.idle.tolist() == [0, 2]
    np.testing.assert_allclose(past.current, [2, 6])
    np.testing.assert_allclose(past.median, [1.5, 6])
    np.testing.assert_allclose(past.low, [1, 5.1])


def test_forms_have_the_same_slope_at_the_mean_price():
    x = np.array([-1e-6, 1e-6])
    for form in Form:
        terms = price_terms(form, x)
        assert (terms[1, 0] - terms[0, 0]) / 2e-6 == pytest.approx(1)
    assert price_terms(Form.QUADRATIC, x).shape == (2, 2)


def test_prices_below_the_range_tried_are_never_compared():
    prices, allowed = price_grid(
        history(low=1.004, high=1.996),
        Offer.of(1, lowest=0.5, highest=5.0),
        PricingSettings(price_step=0.5),
    )
    assert set(prices[allowed]) == {1.5}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Offer.of(2, unit_cost=[1.0, -0.5]), "unit_cost .* not for segment 1"),
        (lambda: Offer.of(1, capacity=0), "capacity must be above 0"),
        (lambda: Offer.of(1, least_margin=1.0), "least_margin must be below 1"),
        (lambda: PricingSettings(n_prices=2), "n_prices must be 3 or more"),
        (lambda: PricingSettings(confidence=1.0), "confidence must lie between 0 and 1"),
        (lambda: PricingSettings(price_step=0.0), "price_step must be above 0"),
        (
            lambda: PricingSettings(price_step=0.5, price_endings=(0.1, 0.99)),
            "price_endings must lie",
        ),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
