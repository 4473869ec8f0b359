"""Coefficients of many segments by hierarchical empirical Bayes in closed form.

    log quantity = design x coefficients of the segment + market effect of the step + noise
    coefficients of a segment   ~ N(mean of its product, Sigma), the level left free
    mean of a product           ~ N(mean of all, Sigma / 3)
    market effect of a step     ~ N(0, tau^2)

Given the variances everything is Gaussian: segments, products and market are solved together, by
eliminating one after the other (the mixed model equations of Henderson 1950, with the blocks of
Golub and Van Loan's arrow matrices). Solving for the market together with the slopes matters:
taking turns moves so slowly where market and price go together that it is usually stopped too
early, with slopes that look far too sure. Variances are iterated by expectation and maximisation
(Dempster, Laird and Rubin 1977), each with a weak prior that keeps it away from zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr

from ratchet.learning.demand.bootstrap import Problem
from ratchet.learning.demand.panel import LEVEL, PRICE, Array, Codes, Panel, price_variation_left

Market = Literal["none", "shared", "product", "auto"]

FREE = 1e4
"""Variance of levels among segments: so large that levels do not lean on each other."""

PRODUCT_WEIGHT = 3.0
"""Segments that the mean over all products is worth in the mean of a product."""

PRICE_LEFT = 0.25
"""Least share of the variance of prices that market effects of a product have to leave."""

SEGMENTS_PER_MARKET = 3
"""Fewest segments among which a common effect can be told from their own noise."""

_PRIOR_WEIGHT = 1.0
_MARKET_SPREAD = 0.1


@dataclass(frozen=True)
class HierarchySettings:
    """How a hierarchy is estimated.

    Attributes:
        market: effects common to all segments of a step: none, one market for all products, one
            per product, or ``auto``: per product where that leaves a quarter of the variance of
            prices, else one market.
        serial: whether evidence is discounted for serial correlation of the noise.
        half_life: steps after which a row counts half; ``None``: all rows count alike.
        max_iter: most iterations of the variances.
        tol: change of coefficients, in standard deviations, below which the iterations stop.
    """

    market: Market = "auto"
    serial: bool = True
    half_life: float | None = None
    max_iter: int = 200
    tol: float = 2e-3


@dataclass(frozen=True)
class Hierarchy:
    """Estimated coefficients of S segments of P products, K each, over T steps.

    Attributes:
        coefficients: posterior means, shape (S, K); column 0 the level, column 1 the elasticity.
        covariance: their covariance, with what is uncertain about products and market, shape
            (S, K, K).
        evidence: share of what is known about the elasticity of a segment that stems from the
            segment itself; the rest it leans on its product. Shape (S,), from 0 to 1.
        product_mean: shape (P, K).
        product_covariance: shape (P, K, K).
        overall_mean: mean over products, shape (K,).
        prior_covariance: Sigma with the variance of the free level, shape (K, K).
        noise: variance of the noise of each segment, shape (S,).
        autocorrelation: of the noise, from a step to the next, shape (S,).
        market_of: for each product the row of its market in ``market``, shape (P,).
        market: effects, shape (M, T); none for no market (M = 1, all zeros).
        market_spread: tau of each market, shape (M,).
        n_iter: iterations of the variances.
        converged: whether they came to rest within ``max_iter``.
    """

    coefficients: Array
    covariance: Array
    evidence: Array
    product_mean: Array
    product_covariance: Array
    overall_mean: Array
    prior_covariance: Array
    noise: Array
    autocorrelation: Array
    market_of: Codes
    market: Array
    market_spread: Array
    n_iter: int
    converged: bool

    @property
    def elasticity(self) -> Array:
        """Posterior means of the elasticities, shape (S,)."""
        return self.coefficients[:, PRICE]

    @property
    def elasticity_sd(self) -> Array:
        """Posterior standard deviations of the elasticities, shape (S,)."""
        sd: Array = np.sqrt(self.covariance[:, PRICE, PRICE])
        return sd

    @property
    def probability_negative(self) -> Array:
        """Probability that demand falls when the price rises, shape (S,)."""
        probability: Array = ndtr(-self.elasticity / self.elasticity_sd)
        return probability


@dataclass(frozen=True)
class _Data:
    """What stays the same in all iterations; ``weight`` holds mask times age weights, (S, T)."""

    design: Array
    weighted: Array
    target: Array
    mask: Array
    weight: Array
    gram: Array
    product_of: Codes
    n_products: int
    market_of: Codes
    n_markets: int
    has_market: bool
    prior_scale: Array
    prior_mean: Array
    prior_precision: Array


@dataclass(frozen=True)
class _Variances:
    sigma: Array
    noise: Array
    spread: Array
    discount: Array
    autocorrelation: Array


@dataclass(frozen=True)
class _Posterior:
    """Joint posterior of segments, products and market for given variances."""

    mean: Array
    covariance: Array
    deviation_covariance: Array
    own: Array
    product_mean: Array
    product_covariance: Array
    product_deviation: Array
    overall_mean: Array
    market: Array
    market_variance: Array


def fit_hierarchy(
    panel: Panel,
    design: Array,
    settings: HierarchySettings,
    spread: Mapping[int, float] | None = None,
) -> Hierarchy:
    """Estimate the coefficients of all segments together.

    Args:
        panel: the rows.
        design: columns of ``panel.design``, shape (S, T, K), or others after the first two.
        settings: how to.
        spread: column -> standard deviation of its coefficient among segments that a prior
            worth one segment speaks for, where 0.3 does not fit the unit of the column.
    """
    level = float(panel.log_quantity.sum() / panel.mask.sum())
    data = _prepare(panel, design, level, settings, spread or {})
    variances = _first_variances(data)
    previous: Array | None = None
    converged, n_iter = False, 0
    while not converged and n_iter < settings.max_iter:
        n_iter += 1
        posterior = _solve(data, variances)
        sd = np.sqrt(np.diagonal(posterior.covariance, axis1=1, axis2=2))
        if previous is not None and np.max(np.abs(posterior.mean - previous) / sd) < settings.tol:
            converged = True
        previous = posterior.mean
        variances = _update(data, variances, posterior, settings.serial)
    return _result(data, variances, posterior, level, n_iter, converged)


def market_groups(panel: Panel, market: Market) -> Codes | None:
    """Give the market of each product, shape (P,); ``None`` for no market.

    A common effect needs segments enough to be told from their noise: without, there is none.
    """
    P, T = panel.n_products, panel.mask.shape[1]
    shared = np.zeros(P, dtype=np.int64)
    own = np.arange(P)
    if market == "none" or T < 2 or not _crowded(panel, shared):
        return None
    if market == "auto":
        apart = price_variation_left(panel, own[panel.product_of]) >= PRICE_LEFT
        return own if apart and _crowded(panel, own) else shared
    return own if market == "product" and _crowded(panel, own) else shared


def _crowded(panel: Panel, groups: Codes) -> bool:
    """Whether every market has segments enough in a typical step."""
    counts = np.zeros((int(groups.max()) + 1, panel.mask.shape[1]))
    np.add.at(counts, groups[panel.product_of], panel.mask)
    return bool((np.median(counts, axis=1) >= SEGMENTS_PER_MARKET).all())


def _prepare(
    panel: Panel,
    design: Array,
    level: float,
    settings: HierarchySettings,
    spread: Mapping[int, float],
) -> _Data:
    K = design.shape[2]
    age = panel.steps[-1] - panel.steps
    recency = 0.5 ** (age / settings.half_life) if settings.half_life else np.ones(len(age))
    weight = panel.mask * recency
    weighted = design * weight[..., None]
    markets = market_groups(panel, settings.market)
    sd = np.full(K, 0.3)
    sd[PRICE] = 0.5
    for column, value in spread.items():
        sd[column] = value
    wide = (4 * sd) ** 2
    wide[[LEVEL, PRICE]] = FREE, 3.0**2
    return _Data(
        design=design,
        weighted=weighted,
        target=(panel.log_quantity - level) * panel.mask,
        mask=panel.mask,
        weight=weight,
        gram=np.einsum("stk,stl->skl", weighted, design, optimize=True),
        product_of=panel.product_of,
        n_products=panel.n_products,
        market_of=np.zeros(panel.n_products, dtype=np.int64) if markets is None else markets,
        n_markets=1 if markets is None else int(markets.max()) + 1,
        has_market=markets is not None,
        prior_scale=np.diag(sd**2),
        prior_mean=np.zeros(K),
        prior_precision=np.diag(1 / wide),
    )


def _first_variances(data: _Data) -> _Variances:
    S = len(data.gram)
    count = data.mask.sum(axis=1)
    mean = data.target.sum(axis=1) / count
    spread = ((data.target - mean[:, None]) ** 2 * data.mask).sum() / count.sum()
    return _Variances(
        sigma=_with_free_level(data.prior_scale * 2),
        noise=np.full(S, max(spread, 1e-3) / 2),
        spread=np.full(data.n_markets, _MARKET_SPREAD),
        discount=np.ones(S),
        autocorrelation=np.zeros(S),
    )


def _with_free_level(sigma: Array) -> Array:
    free = sigma.copy()
    free[LEVEL, :] = free[:, LEVEL] = 0.0
    free[LEVEL, LEVEL] = FREE
    return free


def _sum_by(values: Array, groups: Codes, n: int) -> Array:
    sums = np.zeros((n, *values.shape[1:]))
    np.add.at(sums, groups, values)
    return sums


def _inverse(matrix: Array) -> Array:
    inverse = np.linalg.inv(matrix)
    symmetric: Array = (inverse + np.swapaxes(inverse, -1, -2)) / 2
    return symmetric


def _solve(data: _Data, variances: _Variances) -> _Posterior:
    """Solve for segments, products, market and the overall mean together.

    Segments are eliminated first, then products, then markets; the overall mean is left, and the
    way back gives means and covariances of the others.
    """
    P0 = _inverse(variances.sigma)
    k = PRODUCT_WEIGHT
    q = 1 / (variances.noise * variances.discount)
    G = data.gram * q[:, None, None]
    V = _inverse(G + P0)
    VP = V @ P0
    XR = np.swapaxes(data.weighted, 1, 2) * q[:, None, None]
    XR_market = XR if data.has_market else XR[:, :, :0]
    c = np.einsum("skt,st->sk", XR, data.target, optimize=True)
    Vc = np.einsum("skl,sl->sk", V, c)

    product_of, market_of = data.product_of, data.market_of
    A = _sum_by(np.swapaxes(VP, 1, 2) @ G, product_of, data.n_products) + k * P0
    A = (A + np.swapaxes(A, 1, 2)) / 2
    F = _sum_by(np.swapaxes(VP, 1, 2) @ XR_market, product_of, data.n_products)
    r = _sum_by(Vc @ P0, product_of, data.n_products)
    Ai = _inverse(A)
    AiF = Ai @ F

    Sm, h0, D = _market_system(data, variances, q, V, XR_market, Vc, F, AiF, Ai, r, k * P0)
    Si = _inverse(Sm)
    SD = Si @ D
    Q = data.prior_precision + (k * P0 - k * P0 @ Ai @ (k * P0)).sum(axis=0)
    Q = Q - np.einsum("mtk,mtl->kl", D, SD)
    rhs = data.prior_precision @ data.prior_mean + k * P0 @ np.einsum("pkl,pl->k", Ai, r)
    rhs = rhs - np.einsum("mtk,mt->k", SD, h0)
    Qi = _inverse(Q)
    overall = Qi @ rhs

    market = np.einsum("mtu,mu->mt", Si, h0) - SD @ overall
    mu = np.einsum("pkl,pl->pk", Ai, r + k * P0 @ overall)
    mu = mu - np.einsum("pkt,pt->pk", AiF, market[market_of])
    segment_market = market_of[product_of]
    VXR = V @ XR_market
    m = Vc - np.einsum("skt,st->sk", VXR, market[segment_market])
    m = m + np.einsum("skl,sl->sk", VP, mu[product_of])

    return _Posterior(
        mean=m,
        covariance=V + _spread(VP, VXR, product_of, segment_market, Ai, AiF, Si, SD, Qi, k * P0),
        deviation_covariance=V
        + _spread(
            VP - np.eye(len(P0)), VXR, product_of, segment_market, Ai, AiF, Si, SD, Qi, k * P0
        ),
        own=V,
        product_mean=mu,
        product_covariance=Ai + _beyond(-AiF, Ai @ (k * P0), market_of, Si, SD, Qi),
        product_deviation=Ai
        + _beyond(-AiF, Ai @ (k * P0) - np.eye(len(P0)), market_of, Si, SD, Qi),
        overall_mean=overall,
        market=market,
        market_variance=np.diagonal(Si, axis1=1, axis2=2) + np.einsum("mtk,kl,mtl->mt", SD, Qi, SD),
    )


def _market_system(
    data: _Data,
    variances: _Variances,
    q: Array,
    V: Array,
    XR: Array,
    Vc: Array,
    F: Array,
    AiF: Array,
    Ai: Array,
    r: Array,
    kP: Array,
) -> tuple[Array, Array, Array]:
    """Equations of the market effects once segments and products are eliminated."""
    M, T = data.n_markets, XR.shape[2]
    if not T:
        return np.zeros((M, 0, 0)), np.zeros((M, 0)), np.zeros((M, 0, len(kP)))
    segment_market = data.market_of[data.product_of]
    R = data.weight * q[:, None]
    Sm = np.zeros((M, T, T))
    for market in range(M):
        inside = segment_market == market
        rows = XR[inside].reshape(-1, T)
        Sm[market] = -rows.T @ (V[inside] @ XR[inside]).reshape(-1, T)
        products = data.market_of == market
        Sm[market] -= F[products].reshape(-1, T).T @ AiF[products].reshape(-1, T)
    Sm[:, np.arange(T), np.arange(T)] += (
        _sum_by(R, segment_market, M) + 1 / variances.spread[:, None] ** 2
    )
    h = R * data.target - np.einsum("skt,sk->st", XR, Vc, optimize=True)
    h0 = _sum_by(h, segment_market, M) - _sum_by(np.einsum("pkt,pk->pt", AiF, r), data.market_of, M)
    D = _sum_by(np.swapaxes(AiF, 1, 2) @ kP, data.market_of, M)
    return (Sm + np.swapaxes(Sm, 1, 2)) / 2, h0, D


def _beyond(Jg: Array, Jm: Array, market_of: Codes, Si: Array, SD: Array, Qi: Array) -> Array:
    """Covariance that markets (Jg: derivatives) and the overall mean (Jm) add."""
    total = (Jg @ Si[market_of]) @ np.swapaxes(Jg, 1, 2) if Jg.shape[2] else 0.0
    Jo = Jm - Jg @ SD[market_of]
    covariance: Array = total + Jo @ Qi @ np.swapaxes(Jo, 1, 2)
    return covariance


def _spread(
    B: Array,
    VXR: Array,
    product_of: Codes,
    segment_market: Codes,
    Ai: Array,
    AiF: Array,
    Si: Array,
    SD: Array,
    Qi: Array,
    kP: Array,
) -> Array:
    """Covariance that products, markets and the overall mean add to that of segments.

    ``B`` holds derivatives by the mean of the product: of the coefficients, or of their deviations
    from it.
    """
    BA = B @ Ai[product_of]
    Jg = -VXR - B @ AiF[product_of]
    covariance: Array = BA @ np.swapaxes(B, 1, 2) + _beyond(Jg, BA @ kP, segment_market, Si, SD, Qi)
    return covariance


def _update(data: _Data, variances: _Variances, posterior: _Posterior, serial: bool) -> _Variances:
    """Variances that make the posterior most probable on average."""
    S = len(posterior.mean)
    D = posterior.mean - posterior.product_mean[data.product_of]
    E = posterior.product_mean - posterior.overall_mean
    scatter = D.T @ D + posterior.deviation_covariance.sum(axis=0)
    scatter += PRODUCT_WEIGHT * (E.T @ E + posterior.product_deviation.sum(axis=0))
    n = S + data.n_products + _PRIOR_WEIGHT
    sigma = _with_free_level((scatter + _PRIOR_WEIGHT * data.prior_scale) / n)
    spread = variances.spread
    if data.has_market:
        T = posterior.market.shape[1]
        squares = (posterior.market**2 + posterior.market_variance).sum(axis=1)
        spread = np.sqrt((squares + _PRIOR_WEIGHT * _MARKET_SPREAD**2) / (T + _PRIOR_WEIGHT))
    residual = _residuals(data, posterior)
    noise = _noise(data, variances, posterior, residual)
    if not serial:
        return _Variances(sigma, noise, spread, variances.discount, variances.autocorrelation)
    autocorrelation = shrunk_autocorrelation(residual, data.mask)
    price = shrunk_autocorrelation(data.design[..., PRICE], data.mask)
    both = np.clip(autocorrelation * price, 0.0, 0.95)
    return _Variances(sigma, noise, spread, (1 + both) / (1 - both), autocorrelation)


def _residuals(data: _Data, posterior: _Posterior) -> Array:
    fitted = np.einsum("stk,sk->st", data.design, posterior.mean, optimize=True)
    residual: Array = data.target - fitted
    if data.has_market:
        residual = residual - posterior.market[data.market_of[data.product_of]] * data.mask
    return residual


def _noise(data: _Data, variances: _Variances, posterior: _Posterior, residual: Array) -> Array:
    """Noise variances, shrunk towards their geometric mean by as much as they differ by chance."""
    squares = (data.weight * residual**2).sum(axis=1) + 1e-9
    q = 1 / (variances.noise * variances.discount)
    used = np.einsum("skl,slk->s", posterior.own, data.gram) * q
    rows = data.weight.sum(axis=1)
    free = np.maximum(rows - np.minimum(used, rows - 1.5), 1.5)
    logs = np.log(squares / free)
    spread = max(float(logs.var() - (2 / free).mean()), 1e-2) if len(logs) > 1 else 1e-2
    prior_rows = min(max(2 / spread, 2.0), 200.0)
    centre = np.exp(np.clip(np.average(logs, weights=free), -18.0, 18.0))
    noise: Array = np.maximum((prior_rows * centre + squares) / (prior_rows + free), 1e-6)
    return noise


def shrunk_autocorrelation(values: Array, mask: Array) -> Array:
    """Correlation of each segment's values with those of the step before, shrunk to their mean.

    Fisher's z with variance 1 / (pairs - 3), as in any meta-analysis of correlations.

    Args:
        values: zero where there is no row, shape (S, T).
        mask: shape (S, T).
    """
    count = np.maximum(mask.sum(axis=1), 1.0)
    centred = (values - (values.sum(axis=1) / count)[:, None]) * mask
    both = mask[:, 1:] * mask[:, :-1]
    pairs = both.sum(axis=1)
    products = (centred[:, 1:] * centred[:, :-1]).sum(axis=1) / np.maximum(pairs, 1.0)
    variance = (centred**2).sum(axis=1) / count
    correlation = np.clip(products / np.maximum(variance, 1e-12), -0.98, 0.98)
    enough = pairs > 5
    if enough.sum() < 1:
        return np.zeros(len(values))
    z, chance = np.arctanh(correlation), 1 / np.maximum(pairs - 3, 1.0)
    between = max(float(z[enough].var() - chance[enough].mean()), 1e-3)
    mean = z[enough].mean()
    shrunk = np.where(enough, (z / chance + mean / between) / (1 / chance + 1 / between), mean)
    autocorrelation: Array = np.tanh(shrunk)
    return autocorrelation


def _result(
    data: _Data,
    variances: _Variances,
    posterior: _Posterior,
    level: float,
    n_iter: int,
    converged: bool,
) -> Hierarchy:
    def with_level(values: Array) -> Array:
        moved = values.copy()
        moved[..., LEVEL] += level
        return moved

    T = data.mask.shape[1]
    prior = variances.sigma[PRICE, PRICE]
    evidence = 1 - posterior.own[:, PRICE, PRICE] / prior
    return Hierarchy(
        coefficients=with_level(posterior.mean),
        covariance=posterior.covariance,
        evidence=np.clip(evidence, 0.0, 1.0),
        product_mean=with_level(posterior.product_mean),
        product_covariance=posterior.product_covariance,
        overall_mean=with_level(posterior.overall_mean),
        prior_covariance=variances.sigma,
        noise=variances.noise,
        autocorrelation=variances.autocorrelation,
        market_of=data.market_of,
        market=posterior.market if data.has_market else np.zeros((1, T)),
        market_spread=variances.spread if data.has_market else np.zeros(1),
        n_iter=n_iter,
        converged=converged,
    )


def problem_of(hierarchy: Hierarchy, panel: Panel, design: Array) -> Problem:
    """State what is left to iterate on: rows less their market effects, and what is known before.

    Args:
        hierarchy: estimated from the panel with this design.
        panel: the rows.
        design: shape (S, T, K).
    """
    market = hierarchy.market[hierarchy.market_of[panel.product_of]]
    return Problem(
        design=design,
        target=(panel.log_quantity - market) * panel.mask,
        mask=panel.mask,
        prior_mean=hierarchy.product_mean[panel.product_of],
        prior_covariance=hierarchy.prior_covariance,
        noise=hierarchy.noise,
    )
