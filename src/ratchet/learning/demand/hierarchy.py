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
from threadpoolctl import threadpool_limits

from ratchet.learning.demand.bootstrap import Problem
from ratchet.learning.demand.panel import (
    LEVEL,
    PRICE,
    Array,
    Codes,
    Panel,
    residual_price_variation,
)

Market = Literal["none", "shared", "product", "auto"]

FREE = 1e4
"""Variance of levels among segments: so large that levels do not lean on each other."""

PRODUCT_WEIGHT = 3.0
"""Segments that the mean over all products is worth in the mean of a product."""

PRICE_LEFT = 0.25
"""Least share of the variance of prices that market effects of a product have to leave."""

SEGMENTS_PER_MARKET = 3
"""Fewest segments among which a common effect can be distinguished from their own noise."""

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
    """What stays the same in all iterations.

    Attributes:
        weighted: design times weight, (S, T, K).
        target: log quantity less the mean of all, (S, T).
        weight: mask times weights by age, (S, T).
        gram: weighted design by design, (S, K, K).
        segment_market: market of each segment, (S,).
        prior_scale: of Sigma, (K, K).
        prior_precision: of the overall mean around 0, (K, K).
    """

    design: Array
    weighted: Array
    target: Array
    mask: Array
    weight: Array
    gram: Array
    product_of: Codes
    n_products: int
    market_of: Codes
    segment_market: Codes
    n_markets: int
    has_market: bool
    prior_scale: Array
    prior_precision: Array


@dataclass(frozen=True)
class _Variances:
    sigma: Array
    noise: Array
    spread: Array
    discount: Array
    autocorrelation: Array


@dataclass(frozen=True)
class _Elimination:
    """Remainder of the joint normal equations after each elimination; see ``_eliminate``.

    Matrices are named as in algebra: X design, R = weights / noise (diagonal), P = Sigma^-1.

    Attributes:
        pull: precision of the means of products around the overall mean, (K, K).
        V: covariance of coefficients given products and market, (S, K, K).
        VP: derivative of coefficients by the mean of their product, (S, K, K).
        VXR: that by market effects, with the sign turned, (S, K, T); T = 0 for no market.
        Vc: coefficients where products and market are 0, (S, K).
        Ai: covariance of product means given market and overall mean, (P, K, K).
        AiF: derivative of product means by market effects, with the sign turned, (P, K, T).
        Air: product means where market and overall mean are 0, (P, K).
        Si: covariance of market effects given the overall mean, (M, T, T).
        Sih: market effects where the overall mean is 0, (M, T).
        SD: their derivative by the overall mean, with the sign turned, (M, T, K).
        Qi: covariance of the overall mean, (K, K).
        overall: the overall mean, (K,).
    """

    pull: Array
    V: Array
    VP: Array
    VXR: Array
    Vc: Array
    Ai: Array
    AiF: Array
    Air: Array
    Si: Array
    Sih: Array
    SD: Array
    Qi: Array
    overall: Array


@dataclass(frozen=True)
class _Posterior:
    """Means of the joint posterior for given variances, and the intermediate results."""

    mean: Array
    product_mean: Array
    market: Array
    elimination: _Elimination


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
    # Many small systems: further threads of BLAS spend their time waiting for each other.
    with threadpool_limits(1, user_api="blas"):
        return _fit_hierarchy(panel, design, settings, spread or {})


def _fit_hierarchy(
    panel: Panel, design: Array, settings: HierarchySettings, spread: Mapping[int, float]
) -> Hierarchy:
    level = float(panel.log_quantity.sum() / panel.mask.sum())
    data = _prepare(panel, design, level, settings, spread)
    variances = _first_variances(data)
    posterior = _solve(data, variances)
    converged, n_iter = False, 1
    while not converged and n_iter < settings.max_iter:
        previous = posterior.mean
        variances = _update(data, variances, posterior, settings.serial)
        posterior = _solve(data, variances)
        sd = np.sqrt(np.diagonal(posterior.elimination.V, axis1=1, axis2=2))
        converged = bool((np.abs(posterior.mean - previous) < settings.tol * sd).all())
        n_iter += 1
    return _result(data, variances, posterior, level, n_iter, converged)


def market_groups(panel: Panel, market: Market) -> Codes | None:
    """Give the market of each product, shape (P,); ``None`` for no market.

    A common effect is estimated only from enough segments to distinguish it from their noise.
    """
    P, T = panel.n_products, panel.mask.shape[1]
    shared = np.zeros(P, dtype=np.int64)
    own = np.arange(P)
    if market == "none" or T < 2 or not _crowded(panel, shared):
        return None
    if market == "auto":
        apart = residual_price_variation(panel, own[panel.product_of]) >= PRICE_LEFT
        return own if apart and _crowded(panel, own) else shared
    return own if market == "product" and _crowded(panel, own) else shared


def _crowded(panel: Panel, groups: Codes) -> bool:
    """Whether every market has enough segments in a typical step."""
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
    market_of = np.zeros(panel.n_products, dtype=np.int64) if markets is None else markets
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
        market_of=market_of,
        segment_market=market_of[panel.product_of],
        n_markets=int(market_of.max()) + 1,
        has_market=markets is not None,
        prior_scale=np.diag(sd**2),
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
    """Sums over the first axis by group, none of them empty: shape (n, ...)."""
    if n == 1:
        total: Array = values.sum(axis=0, keepdims=True)
        return total
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(n))
    sums: Array = np.add.reduceat(values[order], starts, axis=0)
    return sums


def _inverse(matrix: Array) -> Array:
    inverse = np.linalg.inv(matrix)
    symmetric: Array = (inverse + np.swapaxes(inverse, -1, -2)) / 2
    return symmetric


def _times(matrices: Array, vectors: Array) -> Array:
    """Products of matrices (n, K, L) and vectors (n, L)."""
    products: Array = np.matmul(matrices, vectors[..., None])[..., 0]
    return products


def _solve(data: _Data, variances: _Variances) -> _Posterior:
    """Solve for segments, products, market and the overall mean together."""
    e = _eliminate(data, variances)
    market = e.Sih - e.SD @ e.overall
    mu = e.Air + e.Ai @ (e.pull @ e.overall) - _times(e.AiF, market[data.market_of])
    mean = e.Vc + _times(e.VP, mu[data.product_of]) - _times(e.VXR, market[data.segment_market])
    return _Posterior(mean, mu, market, e)


def _eliminate(data: _Data, variances: _Variances) -> _Elimination:
    """Eliminate segments first, then products, then markets; the overall mean is left."""
    q = 1 / (variances.noise * variances.discount)
    P = _inverse(variances.sigma)
    pull = PRODUCT_WEIGHT * P
    G = data.gram * q[:, None, None]
    V = _inverse(G + P)
    VP = V @ P
    XR = np.swapaxes(data.weighted, 1, 2) * q[:, None, None]
    Vc = _times(V, _times(XR, data.target))
    XR = XR if data.has_market else XR[:, :, :0]

    PV = np.swapaxes(VP, 1, 2)
    A = _sum_by(PV @ G, data.product_of, data.n_products) + pull
    Ai = _inverse((A + np.swapaxes(A, 1, 2)) / 2)
    F = _sum_by(PV @ XR, data.product_of, data.n_products)
    AiF = Ai @ F
    r = _sum_by(Vc @ P, data.product_of, data.n_products)

    VXR = V @ XR
    Si, h = _market_system(data, variances, q, XR, VXR, Vc, F, AiF, r)
    D = _sum_by(np.swapaxes(AiF, 1, 2) @ pull, data.market_of, data.n_markets)
    SD = Si @ D
    Q = data.prior_precision + (pull - pull @ Ai @ pull).sum(axis=0)
    Q = Q - np.tensordot(D, SD, axes=([0, 1], [0, 1]))
    Air = _times(Ai, r)
    right = pull @ Air.sum(axis=0) - np.tensordot(SD, h, axes=([0, 1], [0, 1]))
    Qi = _inverse((Q + Q.T) / 2)
    return _Elimination(
        *(pull, V, VP, VXR, Vc, Ai, AiF, Air, Si, _times(Si, h), SD, Qi, Qi @ right)
    )


def _market_system(
    data: _Data,
    variances: _Variances,
    q: Array,
    XR: Array,
    VXR: Array,
    Vc: Array,
    F: Array,
    AiF: Array,
    r: Array,
) -> tuple[Array, Array]:
    """Covariance of market effects and their right hand side, segments and products eliminated."""
    M, T = data.n_markets, XR.shape[2]
    if not T:
        return np.zeros((M, 0, 0)), np.zeros((M, 0))
    S = np.empty((M, T, T))
    for market in range(M):
        inside, products = data.segment_market == market, data.market_of == market
        S[market] = -(XR[inside].reshape(-1, T).T @ VXR[inside].reshape(-1, T))
        S[market] -= F[products].reshape(-1, T).T @ AiF[products].reshape(-1, T)
    R = data.weight * q[:, None]
    diagonal = np.arange(T)
    S[:, diagonal, diagonal] += _sum_by(R, data.segment_market, M)
    S[:, diagonal, diagonal] += 1 / variances.spread[:, None] ** 2
    own = R * data.target - _times(np.swapaxes(XR, 1, 2), Vc)
    shared = _times(np.swapaxes(AiF, 1, 2), r)
    h = _sum_by(own, data.segment_market, M) - _sum_by(shared, data.market_of, M)
    return _inverse((S + np.swapaxes(S, 1, 2)) / 2), h


def _segment_covariance(
    data: _Data, e: _Elimination, *, deviation: bool = False, total: bool = False
) -> Array:
    """Covariance of coefficients with what is uncertain about products, market and overall mean.

    Args:
        data: of the panel.
        e: the elimination.
        deviation: of the deviations from the means of the products instead.
        total: the sum over segments, (K, K), instead of each, (S, K, K).
    """
    B = e.VP - np.eye(len(e.Qi)) if deviation else e.VP
    by_market = -e.VXR - B @ e.AiF[data.product_of]
    by_overall = B @ (e.Ai @ e.pull)[data.product_of]
    own = e.V + B @ e.Ai[data.product_of] @ np.swapaxes(B, 1, 2)
    own = own.sum(axis=0) if total else own
    return own + _beyond(e, by_market, by_overall, data.segment_market, total=total)


def _product_covariance(data: _Data, e: _Elimination, *, deviation: bool = False) -> Array:
    """Covariance of the means of products, or of their deviations from the overall mean."""
    by_overall = e.Ai @ e.pull - (np.eye(len(e.Qi)) if deviation else 0.0)
    return e.Ai + _beyond(e, -e.AiF, by_overall, data.market_of)


def _beyond(
    e: _Elimination, by_market: Array, by_overall: Array, markets: Codes, *, total: bool = False
) -> Array:
    """Covariance that markets and the overall mean add, given derivatives by them.

    Args:
        e: the elimination.
        by_market: (n, K, T).
        by_overall: (n, K, K), with the market held.
        markets: of each of the n.
        total: the sum over the n instead of each.
    """
    n, K, T = by_market.shape
    added = np.zeros((K, K) if total else (n, K, K))
    by_overall = by_overall.copy()
    for market in range(len(e.Si) if T else 0):
        inside = markets == market
        J = by_market[inside]
        JS = (J.reshape(-1, T) @ e.Si[market]).reshape(J.shape)
        if total:
            added += np.tensordot(JS, J, axes=([0, 2], [0, 2]))
        else:
            added[inside] = JS @ np.swapaxes(J, 1, 2)
        by_overall[inside] -= J @ e.SD[market]
    overall = by_overall @ e.Qi @ np.swapaxes(by_overall, 1, 2)
    return added + (overall.sum(axis=0) if total else overall)


def _update(data: _Data, variances: _Variances, posterior: _Posterior, serial: bool) -> _Variances:
    """Variances that make the posterior most probable on average."""
    S, e = len(posterior.mean), posterior.elimination
    D = posterior.mean - posterior.product_mean[data.product_of]
    E = posterior.product_mean - e.overall
    scatter = D.T @ D + _segment_covariance(data, e, deviation=True, total=True)
    between = E.T @ E + _product_covariance(data, e, deviation=True).sum(axis=0)
    scatter = scatter + PRODUCT_WEIGHT * between
    n = S + data.n_products + _PRIOR_WEIGHT
    sigma = _with_free_level((scatter + _PRIOR_WEIGHT * data.prior_scale) / n)
    spread = variances.spread
    if data.has_market:
        T = posterior.market.shape[1]
        squares = (posterior.market**2 + _market_variance(e)).sum(axis=1)
        spread = np.sqrt((squares + _PRIOR_WEIGHT * _MARKET_SPREAD**2) / (T + _PRIOR_WEIGHT))
    residual = _residuals(data, posterior)
    noise = _noise(data, variances, posterior, residual)
    if not serial:
        return _Variances(sigma, noise, spread, variances.discount, variances.autocorrelation)
    autocorrelation = shrunk_autocorrelation(residual, data.mask)
    price = shrunk_autocorrelation(data.design[..., PRICE], data.mask)
    both = np.clip(autocorrelation * price, 0.0, 0.95)
    return _Variances(sigma, noise, spread, (1 + both) / (1 - both), autocorrelation)


def _market_variance(e: _Elimination) -> Array:
    variance: Array = np.diagonal(e.Si, axis1=1, axis2=2) + ((e.SD @ e.Qi) * e.SD).sum(axis=2)
    return variance


def _residuals(data: _Data, posterior: _Posterior) -> Array:
    fitted = np.einsum("stk,sk->st", data.design, posterior.mean, optimize=True)
    residual: Array = data.target - fitted
    if data.has_market:
        residual = residual - posterior.market[data.segment_market] * data.mask
    return residual


def _noise(data: _Data, variances: _Variances, posterior: _Posterior, residual: Array) -> Array:
    """Noise variances, shrunk towards their geometric mean by as much as they differ by chance."""
    squares = (data.weight * residual**2).sum(axis=1) + 1e-9
    q = 1 / (variances.noise * variances.discount)
    used = np.einsum("skl,slk->s", posterior.elimination.V, data.gram) * q
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
    e = posterior.elimination
    evidence = 1 - e.V[:, PRICE, PRICE] / prior
    return Hierarchy(
        coefficients=with_level(posterior.mean),
        covariance=_segment_covariance(data, e),
        evidence=np.clip(evidence, 0.0, 1.0),
        product_mean=with_level(posterior.product_mean),
        product_covariance=_product_covariance(data, e),
        overall_mean=with_level(e.overall),
        prior_covariance=variances.sigma,
        noise=variances.noise,
        autocorrelation=variances.autocorrelation,
        market_of=data.market_of,
        market=posterior.market if data.has_market else np.zeros((1, T)),
        market_spread=variances.spread if data.has_market else np.zeros(1),
        n_iter=n_iter,
        converged=converged,
    )


def build_problem(hierarchy: Hierarchy, panel: Panel, design: Array) -> Problem:
    """Build the problem of the iterations: rows less their market effects, and the prior.

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
