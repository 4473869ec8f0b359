"""Coefficients of segments that lean on each other."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.learning.demand.hierarchy import (
    Hierarchy,
    HierarchySettings,
    build_problem,
    fit_hierarchy,
    market_groups,
    shrunk_autocorrelation,
)
from ratchet.learning.demand.panel import PRICE, Rows, build_panel

PLAIN = HierarchySettings(market="none", serial=False)


def simulate(*, S=30, T=60, products=1, confounding=0.0, noise=0.2, price=0.15, slope=-2.0, seed=0):
    """Rows of known elasticities, with market effects that prices follow by ``confounding``."""
    rng = np.random.default_rng(seed)
    product = np.arange(S) % products
    elasticity = slope - 0.5 * product + 0.4 * rng.normal(size=S)
    market = 0.2 * rng.normal(size=T)
    log_price = price * rng.normal(size=(S, T)) + confounding * market
    level = rng.normal(size=S)[:, None] + 8
    y = level + elasticity[:, None] * log_price + market + noise * rng.normal(size=(S, T))
    return (
        Rows(
            np.repeat(np.arange(S), T),
            np.repeat(product, T),
            np.tile(np.arange(T, dtype=float), S),
            log_price.ravel(),
            np.empty((S * T, 0)),
            y.ravel(),
        ),
        elasticity,
    )


def estimate(rows, settings=PLAIN):
    panel = build_panel(rows)
    design = panel.design(panel.layout(harmonics=0, trend=False, period=0))
    return fit_hierarchy(panel, design, settings)


def finite(hierarchy: Hierarchy) -> bool:
    values = (getattr(hierarchy, field.name) for field in fields(hierarchy))
    return all(np.isfinite(value).all() for value in values)


def test_known_variances_give_the_posterior_of_the_joint_normal_distribution():
    """Against the dense solution: all coefficients, means and market effects in one vector."""
    from ratchet.learning.demand import hierarchy as module

    rows, _ = simulate(S=6, T=5, products=2, seed=3)
    panel = build_panel(rows)
    design = panel.design(panel.layout(harmonics=0, trend=False, period=0))
    data = module._prepare(panel, design, 8.0, HierarchySettings(market="product"), {})
    variances = module._first_variances(data)
    posterior = module._solve(data, variances)

    mean, covariance = dense_posterior(data, variances)
    S, K = posterior.mean.shape
    np.testing.assert_allclose(posterior.mean.ravel(), mean[: S * K], rtol=1e-6, atol=1e-8)
    rest = mean[S * K :]
    np.testing.assert_allclose(posterior.product_mean.ravel(), rest[: 2 * K], rtol=1e-6)
    np.testing.assert_allclose(posterior.elimination.overall, rest[2 * K : 3 * K], rtol=1e-6)
    np.testing.assert_allclose(posterior.market.ravel(), rest[3 * K :], rtol=1e-5, atol=1e-9)
    variance = np.diag(covariance)[(S + 3) * K :]
    e = posterior.elimination
    np.testing.assert_allclose(module._market_variance(e).ravel(), variance, rtol=1e-6)

    def block(child, parent=None):
        D = np.zeros((K, len(mean)))
        D[:, child * K : child * K + K] = np.eye(K)
        if parent is not None:
            D[:, parent * K : parent * K + K] = -np.eye(K)
        return D @ covariance @ D.T

    segments = [block(s) for s in range(S)]
    deviations = [block(s, S + data.product_of[s]) for s in range(S)]
    close = {"rtol": 1e-5, "atol": 1e-9}
    own, away = module._segment_covariance, module._product_covariance
    np.testing.assert_allclose(own(data, e), segments, **close)
    np.testing.assert_allclose(own(data, e, total=True), sum(segments), **close)
    np.testing.assert_allclose(own(data, e, deviation=True), deviations, **close)
    np.testing.assert_allclose(own(data, e, deviation=True, total=True), sum(deviations), **close)
    np.testing.assert_allclose(away(data, e), [block(S), block(S + 1)], **close)
    np.testing.assert_allclose(
        away(data, e, deviation=True), [block(S, S + 2), block(S + 1, S + 2)], **close
    )


def dense_posterior(data, variances):
    """Mean and covariance of (coefficients, product means, overall mean, market effects)."""
    S, T, K = data.design.shape
    P, M = data.n_products, data.n_markets
    size = (S + P + 1) * K + M * T
    precision, rhs = np.zeros((size, size)), np.zeros(size)
    inverse = np.linalg.inv(variances.sigma)
    for s in range(S):
        X = np.zeros((T, size))
        X[:, s * K : s * K + K] = data.design[s]
        start = (S + P + 1) * K + data.market_of[data.product_of[s]] * T
        X[:, start : start + T] = np.diag(data.mask[s])
        precision += X.T @ X / variances.noise[s]
        rhs += X.T @ data.target[s] / variances.noise[s]
    overall = slice((S + P) * K, (S + P + 1) * K)
    pairs = [(s, S + data.product_of[s], 1.0) for s in range(S)]
    pairs += [(S + p, S + P, 3.0) for p in range(P)]
    for child, parent, weight in pairs:
        D = np.zeros((K, size))
        D[:, child * K : child * K + K] = np.eye(K)
        D[:, parent * K : parent * K + K] = -np.eye(K)
        precision += weight * D.T @ inverse @ D
    precision[overall, overall] += data.prior_precision
    effects = np.arange((S + P + 1) * K, size)
    precision[effects, effects] += np.repeat(1 / variances.spread**2, T)
    covariance = np.linalg.inv(precision)
    return covariance @ rhs, covariance


def test_elasticities_are_recovered_and_as_uncertain_as_they_are():
    rows, elasticity = simulate(S=60, products=2)
    fitted = estimate(rows, HierarchySettings())

    z = (fitted.elasticity - elasticity) / fitted.elasticity_sd
    assert fitted.converged
    assert 0.7 < z.std() < 1.3
    assert np.abs(z.mean()) < 0.5
    assert fitted.product_mean[:, PRICE] == pytest.approx([-2, -2.5], abs=0.2)
    assert (fitted.probability_negative > 0.99).all()


@pytest.mark.parametrize("confounding", [0.5, -0.5])
def test_market_effects_remove_what_prices_and_demand_have_in_common(confounding):
    rows, elasticity = simulate(confounding=confounding, seed=1)
    without = estimate(rows)
    within = estimate(rows, HierarchySettings(market="shared"))

    bias = np.abs((without.elasticity - elasticity).mean())
    assert np.abs((within.elasticity - elasticity).mean()) < 0.1 < bias
    z = (within.elasticity - elasticity) / within.elasticity_sd
    assert np.mean(np.abs(z) < 1.28) > 0.65


def test_shrinkage_beats_least_squares_where_rows_are_few():
    rows, elasticity = simulate(S=60, T=8, noise=0.3)
    fitted = estimate(rows)
    panel = build_panel(rows)
    own = (panel.log_price * panel.log_quantity).sum(axis=1) / (panel.log_price**2).sum(axis=1)

    assert np.std(fitted.elasticity - elasticity) < 0.6 * np.std(own - elasticity)


def test_a_segment_of_constant_price_leans_on_its_product_and_says_so():
    rows, _ = simulate(S=20)
    rows.log_price[rows.segment == 4] = 0.3
    fitted = estimate(rows)

    assert fitted.evidence[4] == pytest.approx(0, abs=1e-6)
    assert fitted.evidence[np.arange(20) != 4].min() > 0.3
    assert fitted.elasticity[4] == pytest.approx(fitted.product_mean[0, PRICE], abs=0.05)
    sd_others = np.delete(fitted.elasticity_sd, 4).max()
    assert fitted.elasticity_sd[4] > sd_others


def test_constant_prices_everywhere_leave_the_sign_open():
    rows, _ = simulate(S=5, T=20, price=0.0)
    fitted = estimate(rows)

    assert (np.abs(fitted.probability_negative - 0.5) < 0.1).all()
    assert fitted.evidence.max() < 1e-6


def test_serial_correlation_widens_what_is_uncertain():
    rng = np.random.default_rng(0)
    rows, _ = simulate(S=20, T=100, noise=0.0)
    noise = np.zeros((20, 100))
    price = np.zeros((20, 100))
    for t in range(1, 100):
        noise[:, t] = 0.8 * noise[:, t - 1] + 0.1 * rng.normal(size=20)
        price[:, t] = 0.8 * price[:, t - 1] + 0.1 * rng.normal(size=20)
    rows.log_price[:] = price.ravel()
    rows.log_quantity[:] = 5 - 2 * price.ravel() + noise.ravel()
    discounted = estimate(rows, HierarchySettings(market="none"))
    independent = estimate(rows)

    assert np.median(discounted.autocorrelation) == pytest.approx(0.8, abs=0.1)
    assert np.median(discounted.elasticity_sd / independent.elasticity_sd) > 1.3


def test_old_rows_count_less_with_a_half_life():
    rows, _ = simulate(S=10, T=80, noise=0.05)
    late = rows.step >= 40
    rows.log_quantity[late] -= rows.log_price[late] * 2
    recent = estimate(rows, HierarchySettings(market="none", serial=False, half_life=8))

    assert recent.elasticity.mean() < estimate(rows).elasticity.mean() - 0.7


def test_markets_need_segments_enough_and_prices_of_their_own():
    rows, _ = simulate(S=12, products=2)
    panel = build_panel(rows)
    assert market_groups(panel, "none") is None
    assert market_groups(panel, "auto").tolist() == [0, 1]
    assert market_groups(panel, "shared").tolist() == [0, 0]
    assert market_groups(build_panel(simulate(S=2)[0]), "auto") is None
    assert market_groups(build_panel(simulate(S=4, products=2)[0]), "product").tolist() == [0, 0]

    rows.log_price[:] = np.tile(rows.log_price[:60], 12) + 0.01 * rows.log_price
    assert market_groups(build_panel(rows), "auto").tolist() == [0, 0]


def test_autocorrelation_counts_pairs_only():
    values = np.array([[1.0, -1, 1, -1, 1, -1, 1, -1, 0, 0], [1, 2, 0, 0, 0, 0, 0, 0, 0, 0]])
    mask = np.array([[1.0] * 8 + [0, 0], [1.0] * 2 + [0] * 8])
    shrunk = shrunk_autocorrelation(values, mask)

    assert shrunk[0] < -0.9
    assert shrunk[1] == pytest.approx(shrunk[0])
    assert (shrunk_autocorrelation(values[1:], mask[1:]) == 0).all()


def test_the_problem_for_iterations_has_the_coefficients_as_its_solution():
    rows, _ = simulate(S=8, T=30, products=2, seed=2)
    rows = rows.where(np.random.default_rng(0).random(240) < 0.8)
    panel = build_panel(rows)
    design = panel.design(panel.layout(harmonics=1, trend=True, period=12))
    fitted = fit_hierarchy(panel, design, HierarchySettings(market="product", serial=False))
    problem = build_problem(fitted, panel, design)
    problem.check()

    precision = np.linalg.inv(problem.prior_covariance)
    for s in range(len(problem)):
        X, noise = problem.design[s], problem.noise[s]
        left = X.T @ X / noise + precision
        right = X.T @ problem.target[s] / noise + precision @ problem.prior_mean[s]
        np.testing.assert_allclose(np.linalg.solve(left, right), fitted.coefficients[s], atol=0.01)
    assert (problem.target[panel.mask == 0] == 0).all()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_estimates_are_finite_whatever_the_rows(data):
    """Few segments, steps and rows; constant or wild prices, quantities without any noise."""
    S, T = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 8))
    seed = data.draw(st.integers(0, 2**32 - 1))
    price = data.draw(st.sampled_from([0.0, 1e-9, 1e-3, 0.2, 5.0]))
    noise = data.draw(st.sampled_from([0.0, 1e-6, 0.3, 10.0]))
    rows, _ = simulate(
        S=S,
        T=T,
        products=data.draw(st.integers(1, 3)),
        price=price,
        noise=noise,
        slope=data.draw(st.sampled_from([-30.0, -2.0, 0.0, 3.0])),
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    kept = rng.random(S * T) < data.draw(st.sampled_from([0.3, 0.8, 1.0]))
    kept[0] = True
    rows = rows.where(kept)
    panel = build_panel(rows)
    layout = panel.layout(
        harmonics=data.draw(st.integers(0, 2)), trend=data.draw(st.booleans()), period=52
    )
    market = data.draw(st.sampled_from(["none", "shared", "product", "auto"]))
    half_life = data.draw(st.sampled_from([None, 1.0, 20.0]))
    fitted = fit_hierarchy(
        panel, panel.design(layout), HierarchySettings(market=market, half_life=half_life)
    )

    assert finite(fitted)
    assert (fitted.noise > 0).all()
    assert np.linalg.eigvalsh(fitted.prior_covariance).min() > 0
    assert (fitted.elasticity_sd > 0).all()
    assert ((fitted.evidence >= 0) & (fitted.evidence <= 1)).all()
