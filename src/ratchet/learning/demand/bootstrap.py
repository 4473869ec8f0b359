"""Iterations of the training of demand: resample steps, draw market effects, solve the systems.

In iteration b the coefficients of a segment minimise

    sum_t w_bt (y_t - x_t'beta)^2 / noise  +  weight (beta - m_b)' Sigma^-1 (beta - m_b)

where w_b are block bootstrap weights of the steps (circular blocks: Politis and Romano 1992), the
same for all segments, and m_b ~ N(mu, Sigma) is a draw of the market, a new one for each segment
and iteration. Over the iterations the coefficients spread like a posterior, which they would not if
the shrunk estimate were resampled alone: segments with few rows would all stay near mu. The draw
represents simulated rows of a simpler model with bounded weight, the catalytic prior of Huang,
Stein, Rubin and Kou (PNAS 2020).

Coefficients are computed as deviations from the estimate with even weights, in coordinates in which
Sigma is the identity. Single precision suffices there, and a draw of the market is standard normal.

**Reproducibility.** Work is cut into tiles of ``TILE`` iterations by ``BLOCK`` segments, the last
block padded. Every product has the shape of a tile, however much is computed at once; BLAS runs in
one thread; random numbers come from Philox, with the tile and the block as its counter. Therefore
neither partitions, processes, interruptions nor the final number of iterations change a bit of the
result, on the same type of processor with the same versions of NumPy and its BLAS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from threadpoolctl import threadpool_limits

from ratchet.learning.demand.panel import LEVEL, PRICE, Array

Single = NDArray[np.float32]

TILE = 50
"""Iterations that are computed together; all numbers of iterations are multiples of it."""

BLOCK = 125
"""Segments that are computed together."""

INTERVAL = (0.1, 0.9)
"""Quantiles at the ends of the intervals."""

_LEVELS = (0.05, 0.075, 0.1, 0.125, 0.15, 0.85, 0.875, 0.9, 0.925, 0.95)
"""Quantiles of the first draws below which all later draws are counted; a half for each end."""

_FIRST_DRAWS = 500
"""Draws that fix where later ones are counted."""

_LEVEL_ROWS = 0.01
"""Rows that the level with even weights counts as: possibly none of a segment's rows is drawn."""

_SINGLE_LIMIT = 1e4
"""Information of the rows, as a multiple of the prior's, from which on single precision is too
coarse: the prior alone determines what collinear columns leave open, and would be rounded away."""

_WEIGHTS, _MARKET = 0, 1  # streams of random numbers


@dataclass(frozen=True)
class Problem:
    """Rows of S segments at T steps, and a prior of their K coefficients.

    Coefficient 0 is the constant, with a flat prior: row and column 0 of ``prior_covariance`` are
    not used. Coefficient 1 is that of the log price.

    Attributes:
        design: (S, T, K); zero where there is no row.
        target: (S, T), log quantity less the market's effect; zero where there is no row.
        mask: (S, T), 0 where there is no row, else its weight, 1 at most.
        prior_mean: (S, K), mean of the segment's product.
        prior_covariance: (K, K), between segments of a product.
        noise: (S,), variance of the target around the fit.
    """

    design: Array
    target: Array
    mask: Array
    prior_mean: Array
    prior_covariance: Array
    noise: Array

    def __post_init__(self) -> None:
        segments, steps, coefficients = np.shape(self.design)
        expected = {
            "target": (segments, steps),
            "mask": (segments, steps),
            "prior_mean": (segments, coefficients),
            "prior_covariance": (coefficients, coefficients),
            "noise": (segments,),
        }
        for name, shape in expected.items():
            if (actual := np.shape(getattr(self, name))) != shape:
                raise ValueError(f"{name} has the shape {actual}, expected {shape}")
        if min(segments, steps) < 1 or coefficients < 2:
            raise ValueError(
                f"design has the shape {self.design.shape}; no axis may be empty, and "
                "the last one has the constant and the log price at least"
            )

    def __len__(self) -> int:
        """Number of segments."""
        return len(self.noise)

    def part(self, segments: slice) -> Problem:
        """The problem of some of the segments; arrays are views."""
        return replace(
            self,
            design=self.design[segments],
            target=self.target[segments],
            mask=self.mask[segments],
            prior_mean=self.prior_mean[segments],
            noise=self.noise[segments],
        )

    def check(self) -> None:
        """Check every number.

        Raises:
            ValueError: one is not finite, a variance not positive, or a mask not from 0 to 1.
        """
        for field in fields(self):
            if not np.isfinite(getattr(self, field.name)).all():
                raise ValueError(f"{field.name} has values that are not finite")
        if not (self.noise > 0).all():
            raise ValueError("noise has variances that are not positive")
        if not ((self.mask >= 0) & (self.mask <= 1)).all():
            raise ValueError("mask has values that are not from 0 to 1")

    def digest(self, partition_size: int = 1000) -> str:
        """Hash of the numbers, read a partition at a time; equal for all sizes of partitions."""
        summed = sha256(repr(np.shape(self.design)).encode())
        for name in ("design", "target", "mask", "prior_mean", "noise"):
            values = getattr(self, name)
            for first in range(0, len(self), partition_size):
                part = np.ascontiguousarray(values[first : first + partition_size], np.float64)
                summed.update(part.data)
        summed.update(np.ascontiguousarray(self.prior_covariance, np.float64).data)
        return summed.hexdigest()[:20]


@dataclass(frozen=True)
class IterationSettings:
    """How demand is trained.

    Attributes:
        iterations: how many at most; rounded up to a multiple of ``TILE``.
        simulated_rows: rows of a segment that the market's draw counts as, at most as many as the
            segment has itself; ``None`` for as many as the prior covariance says.
        block_length: steps of a block of the bootstrap; at most a fifth of all steps.
        search_every: iterations after which other hyper-parameters may be chosen; 0 for never.
        checkpoint_every: iterations after which the state is written.
        retained_draws: most draws of the coefficients to retain; at least half of them are.
        stop_when: mean movement of the ends of the elasticities' intervals, in widths, from one
            entry of the history to the next, at which training stops; ``None`` for never.
        patience: entries in a row whose movement has to be as small.
        seed: of all random numbers.
        dtype: precision of products and solutions; sums over tiles are in double precision, and so
            is everything of blocks of segments whose rows determine nearly everything.
    """

    iterations: int = 2000
    simulated_rows: int | None = None
    block_length: int = 4
    search_every: int = 0
    checkpoint_every: int = 1000
    retained_draws: int = 512
    stop_when: float | None = 0.01
    patience: int = 2
    seed: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        least = {
            "iterations": 1,
            "block_length": 1,
            "search_every": 0,
            "checkpoint_every": 1,
            "retained_draws": 2 * TILE,
            "patience": 1,
            "seed": 0,
        }
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {lowest}")
        if self.simulated_rows is not None and self.simulated_rows < 1:
            raise ValueError(
                f"simulated_rows is {self.simulated_rows}, expected at least 1 or None"
            )
        if self.stop_when is not None and not 0 < self.stop_when < 1:
            raise ValueError(f"stop_when is {self.stop_when}, expected a share or None")
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype is '{self.dtype}', expected float32 or float64")

    @property
    def first_draws(self) -> int:
        """Draws that are all retained, and fix where later ones are counted."""
        return min(_FIRST_DRAWS, self.retained_draws // TILE * TILE)


class Weights(NamedTuple):
    """Bootstrap weights of a tile: first steps of its n blocks, (n,), and weights, (TILE, n)."""

    starts: NDArray[np.intp]
    counts: Array


def tile_weights(tile: int, steps: int, settings: IterationSettings) -> Weights:
    """Draw the blocks of a tile's iterations.

    The blocks of a tile lie side by side on the circle of all steps, from a random step on; each
    iteration draws as many of them as there are, with replacement. Blocks can then be summed before
    the matrix product, which is shorter by their length; over the tiles they begin at every step.

    Returns:
        Weights whose sum over the steps is the number of steps.
    """
    length = _block_length(steps, settings)
    n = -(-steps // length)
    random = _random(settings.seed, _WEIGHTS, 0, tile)
    starts = (random.integers(steps) + length * np.arange(n)) % steps
    drawn = random.integers(n, size=(TILE, n)) + n * np.arange(TILE)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=TILE * n).reshape(TILE, n)
    return Weights(starts, np.asarray(counts * (steps / (n * length)), np.float64))


def _block_length(steps: int, settings: IterationSettings) -> int:
    return min(settings.block_length, max(1, steps // 5))


def _random(seed: int, stream: int, block: int, tile: int) -> np.random.Generator:
    """Random numbers of a block and a tile, independent of what was drawn before."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, block, tile]))


class Systems:
    """The linear systems of a block of segments.

    Attributes:
        center: (n, K) coefficients with even weights; draws are deviations from them.
    """

    def __init__(self, problem: Problem, block: int, settings: IterationSettings) -> None:
        self._n, self._block, self._settings = len(problem), block, settings
        problem = _padded(problem, BLOCK - self._n)
        self._factor = _square_root(problem.prior_covariance[1:, 1:])
        self._scale = np.sqrt(problem.noise)
        rows = _whitened(problem, self._factor, self._scale)
        gram = rows.design.transpose(0, 2, 1) @ rows.design
        self._prior = _prior_weight(gram, problem.mask.sum(axis=1), settings.simulated_rows)
        at = _even_weights(gram, rows, self._prior)
        self.center = (problem.prior_mean + _coefficients(at, self._factor, self._scale))[: self._n]
        self._offset = at[:, 1:].T
        self._dtype = _precision(gram, self._prior, settings.dtype)
        residual = rows.target - (rows.design @ at[..., None])[..., 0]
        length = _block_length(residual.shape[1], settings)
        self._sums = _block_sums(rows.design, residual, length, self._dtype)
        self._as_dtype()

    def draw(self, tile: int, weights: Weights) -> Single:
        """Solve the systems of a tile.

        Returns:
            Deviations of the coefficients from ``center``, (K, TILE, BLOCK).
        """
        packed = weights.counts.astype(self._dtype) @ self._sums[:, weights.starts]
        coefficients = len(self._offset) + 1
        pairs = coefficients * (coefficients + 1) // 2
        gram, right = packed[:pairs], packed[pairs:]
        random = _random(self._settings.seed, _MARKET, self._block, tile)
        shape = (coefficients - 1, TILE, BLOCK)
        market = random.standard_normal(shape, dtype=np.float32).astype(gram.dtype, copy=False)
        market -= self._offset[:, None]
        market *= self._prior
        right[1:] += market
        gram[0] += gram.dtype.type(_LEVEL_ROWS)
        for at in _row_starts(coefficients)[1:]:
            gram[at] += self._prior
        solve_packed(gram, right)
        return self._deviations(right)

    def _deviations(self, at: NDArray[Any]) -> Single:
        out = np.empty_like(at)
        np.multiply(at[0], self._scale, out=out[0])
        shape = (len(self._factor), TILE * BLOCK)
        np.matmul(self._factor, at[1:].reshape(shape), out=out[1:].reshape(shape))
        return out

    def _as_dtype(self) -> None:
        for name in ("_factor", "_scale", "_prior", "_offset"):
            values = np.ascontiguousarray(getattr(self, name), dtype=self._dtype)
            setattr(self, name, values)


def solve_packed(gram: NDArray[Any], right: NDArray[Any]) -> None:
    """Solve many small symmetric positive definite systems side by side, in place.

    Gauss's elimination without square roots (L D L'), each step for all systems at once.

    Args:
        gram: (K (K + 1) / 2, ...) upper triangles row by row; destroyed.
        right: (K, ...) right hand sides; becomes the solutions.
    """
    size = len(right)
    starts = _row_starts(size)
    scratch = np.empty_like(gram[:size])
    for j, start in enumerate(starts):
        row = gram[start : start + size - j]
        np.reciprocal(row[0], out=row[0])
        for i in range(1, size - j):
            factor = np.multiply(row[i], row[0], out=scratch[0])
            below = gram[starts[j + i] : starts[j + i] + size - j - i]
            below -= np.multiply(row[i:], factor, out=scratch[1 : size - j - i + 1])
            right[j + i] -= np.multiply(factor, right[j], out=scratch[1])
    for j in reversed(range(size)):
        row = gram[starts[j] : starts[j] + size - j]
        for i in range(1, size - j):
            right[j] -= np.multiply(row[i], right[j + i], out=scratch[0])
        right[j] *= row[0]


def _row_starts(size: int) -> list[int]:
    """Start of each row of a packed upper triangle."""
    return [j * size - j * (j - 1) // 2 for j in range(size)]


class _Whitened(NamedTuple):
    """Design and target in units of the noise and of the prior."""

    design: Array
    target: Array


def _whitened(problem: Problem, factor: Array, scale: Array) -> _Whitened:
    weight = np.sqrt(problem.mask) / scale[:, None]
    design = problem.design * weight[..., None]
    target = problem.target * weight - (design @ problem.prior_mean[..., None])[..., 0]
    levels = design[..., :1] * scale[:, None, None]
    return _Whitened(np.concatenate([levels, design[..., 1:] @ factor], axis=2), target)


def _even_weights(gram: Array, rows: _Whitened, prior: Array) -> Array:
    """Solution with weights of one and the market at its mean, (n, K), whitened."""
    right = (rows.target[:, None] @ rows.design)[:, 0]
    matrix = gram + np.eye(gram.shape[1]) * prior[:, None, None]
    # The level has a flat prior; without rows it stays that of the market.
    level = gram[:, LEVEL, LEVEL]
    matrix[:, LEVEL, LEVEL] = np.where(level > 0, level, 1.0)
    return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0], np.float64)


def _coefficients(at: Array, factor: Array, scale: Array) -> Array:
    return np.concatenate([at[:, :1] * scale[:, None], at[:, 1:] @ factor.T], axis=1)


def _prior_weight(gram: Array, rows: Array, simulated: int | None) -> Array:
    """Weight of the market's draw, as a multiple of what the prior covariance says, (n,)."""
    if simulated is None:
        return np.ones(len(rows))
    information = np.trace(gram[:, 1:, 1:], axis1=1, axis2=2) / (gram.shape[1] - 1)
    per_row = np.divide(information, rows, out=np.zeros_like(rows), where=rows > 0)
    weight = np.minimum(simulated, rows) * per_row
    return np.where(weight > 0, weight, 1.0)


def _precision(gram: Array, prior: Array, dtype: str) -> str:
    """Precision that the systems need."""
    information = np.diagonal(gram, axis1=1, axis2=2)[:, 1:].max(axis=1) / prior
    return dtype if information.max() < _SINGLE_LIMIT else "float64"


def _block_sums(design: Array, residual: Array, length: int, dtype: str) -> NDArray[Any]:
    """Products of the columns, summed over the block that begins at each step: (pairs, T, n)."""
    segments, steps, size = design.shape
    columns = np.ascontiguousarray(design.transpose(2, 1, 0), dtype=dtype)
    target = np.ascontiguousarray(residual.T, dtype=dtype)
    products = np.empty((len(_pairs(size)) + size, steps + length - 1, segments), columns.dtype)
    for out, (i, j) in zip(products, _pairs(size), strict=False):
        np.multiply(columns[i], columns[j], out=out[:steps])
    np.multiply(columns, target, out=products[-size:, :steps])
    products[:, steps:] = products[:, : length - 1]  # blocks go round the end
    sums = products[:, :steps].copy()
    for step in range(1, length):
        sums += products[:, step : step + steps]
    return sums


def _pairs(size: int) -> list[tuple[int, int]]:
    """Places of a packed upper triangle."""
    return [(i, j) for i in range(size) for j in range(i, size)]


def _padded(problem: Problem, missing: int) -> Problem:
    """Add segments without rows."""

    def pad(values: Array, constant: float = 0.0) -> Array:
        widths = [(0, missing)] + [(0, 0)] * (np.ndim(values) - 1)
        return np.pad(np.asarray(values, np.float64), widths, constant_values=constant)

    return replace(
        problem,
        design=pad(problem.design),
        target=pad(problem.target),
        mask=pad(problem.mask),
        prior_mean=pad(problem.prior_mean),
        noise=pad(problem.noise, 1.0),
    )


def _square_root(covariance: Array) -> Array:
    """A factor F with F F' = covariance; directions without variance stay without."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


@dataclass
class State:
    """Sums and draws of the iterations of a partition.

    Attributes:
        start: iteration at which the sums began.
        done: iteration up to which they go.
        center: (S, K) coefficients with even weights; deviations are from them.
        total: (S, K) sum of the deviations.
        products: (S, K (K + 1) / 2) sums of their products, upper triangles row by row.
        draws: (S, retained draws, K) deviations at every ``stride``-th iteration.
        limits: (10, S, K) values below which draws are counted.
        counts: (10, S, K) how many there were.
        previous_ends: (S, 2) ends of the elasticities' intervals at the last entry of the history
            before ``done``.
    """

    start: int
    done: int
    center: Array
    total: Array
    products: Array
    draws: Single
    limits: Single
    counts: NDArray[np.int32]
    previous_ends: Array

    @classmethod
    def empty(cls, segments: int, coefficients: int, start: int, draws: int) -> Self:
        """State before the first iteration."""
        limits = (len(_LEVELS), segments, coefficients)
        return cls(
            start=start,
            done=start,
            center=np.zeros((segments, coefficients)),
            total=np.zeros((segments, coefficients)),
            products=np.zeros((segments, coefficients * (coefficients + 1) // 2)),
            draws=np.zeros((segments, draws, coefficients), np.float32),
            limits=np.zeros(limits, np.float32),
            counts=np.zeros(limits, np.int32),
            previous_ends=np.full((segments, 2), np.nan),
        )

    @property
    def n(self) -> int:
        """Iterations in the sums."""
        return self.done - self.start

    @property
    def retained(self) -> Single:
        """Coefficients at every ``stride``-th iteration, (S, D, K)."""
        deviations = self.draws[:, : -(-self.n // stride(self.n, self.draws.shape[1]))]
        return (self.center[:, None] + deviations).astype(np.float32)

    def mean(self, first: int | None = None) -> Array:
        """Mean coefficients, (S, K); of the ``first`` iterations while all of them are retained."""
        if first is None or first == self.n:
            return self.center + self.total / self.n
        mean: Array = self.center + self.draws[:, :first].mean(axis=1, dtype=np.float64)
        return mean

    def covariance(self) -> Array:
        """Covariance of the coefficients, (S, K, K)."""
        mean = self.total / self.n
        out = np.empty((*mean.shape, mean.shape[1]))
        upper, lower = np.triu_indices(mean.shape[1])
        out[:, upper, lower] = self.products / self.n - mean[:, upper] * mean[:, lower]
        out[:, lower, upper] = out[:, upper, lower]
        return out

    def ends(
        self,
        settings: IterationSettings,
        first: int | None = None,
        columns: slice = slice(None),
    ) -> Array:
        """Ends of the intervals, (2, S, K).

        Up to ``settings.first_draws`` iterations, the quantiles of all draws. From then on draws
        are counted below ten values, quantiles of the first draws around the ends, and the ends are
        interpolated between two of these on the scale of normal scores. So all draws enter, and not
        only the retained ones, whose quantiles stay uncertain by 3 % of the width.

        Args:
            settings: of the training.
            first: after so many iterations, as for ``mean``.
            columns: of the coefficients.
        """
        n, center = self.n if first is None else first, self.center[:, columns]
        if n <= settings.first_draws:
            draws = self.draws[:, :n, columns].astype(np.float64)
            return center + np.quantile(draws, INTERVAL, axis=1)
        scores = ndtri(np.clip(self.counts[..., columns], 0.5, n - 0.5) / n)
        limits = self.limits[..., columns].astype(np.float64)
        middle = len(_LEVELS) // 2
        halves = (slice(0, middle), slice(middle, None))
        return center + np.stack(
            [
                _interpolated(scores[half], limits[half], float(ndtri(level)))
                for half, level in zip(halves, INTERVAL, strict=True)
            ]
        )

    def elasticity_ends(self, settings: IterationSettings, first: int | None = None) -> Array:
        """Ends of the elasticities' intervals, (S, 2)."""
        return self.ends(settings, first, slice(PRICE, PRICE + 1))[..., 0].T


def _interpolated(scores: Array, limits: Array, score: float) -> Array:
    """Value at a score, on the line through the two points around it or next to it, (S, K)."""
    left = np.clip((scores < score).sum(axis=0) - 1, 0, len(scores) - 2)[None]
    (x, y), (x_right, y_right) = (
        [np.take_along_axis(values, at, axis=0)[0] for values in (scores, limits)]
        for at in (left, left + 1)
    )
    gap = x_right - x
    slope = np.divide(y_right - y, gap, out=np.zeros_like(gap), where=gap > 0)
    value: Array = y + slope * (score - x)
    return value


def stride(n: int, draws: int) -> int:
    """Smallest power of two by which ``n`` iterations are thinned to at most ``draws``."""
    step = 1
    while -(-n // step) > draws:
        step *= 2
    return step


def advance(
    problem: Problem, state: State, until: int, first_segment: int, settings: IterationSettings
) -> State:
    """Run the iterations of a partition up to a number.

    Args:
        problem: rows and prior of the partition's segments.
        state: state so far; changed in place.
        until: iterations to be done in the end; a multiple of ``TILE``.
        first_segment: position of its first segment among all; a multiple of ``BLOCK``.
        settings: of the training.

    Returns:
        The same state.
    """
    if state.n in marks(state.n):
        state.previous_ends = state.elasticity_ends(settings)
    tiles = range(state.done // TILE, until // TILE)
    weights = [tile_weights(tile, problem.design.shape[1], settings) for tile in tiles]
    with threadpool_limits(1, user_api="blas"):
        for segments in blocks(len(problem), BLOCK):
            block = (first_segment + segments.start) // BLOCK
            systems = Systems(problem.part(segments), block, settings)
            state.center[segments] = systems.center
            sums = _Sums(state, segments, settings)
            for tile, drawn in zip(tiles, weights, strict=True):
                sums.add(systems.draw(tile, drawn), tile * TILE - state.start)
    state.done = until
    return state


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of a given size over ``n`` items; the last may be shorter."""
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


class _Sums:
    """Adds the tiles of a block of segments to a state."""

    def __init__(self, state: State, segments: slice, settings: IterationSettings) -> None:
        self._total = state.total[segments]
        self._products = state.products[segments]
        self._draws = state.draws[segments]
        self._limits = state.limits[:, segments]
        self._counts = state.counts[:, segments]
        self._first_draws = settings.first_draws
        self._n = len(self._total)
        self._by_tile: Single | None = None

    def add(self, drawn: Single, before: int) -> None:
        """Add a tile of deviations, (K, TILE, BLOCK), to those of ``before`` iterations."""
        n = self._n
        self._total += drawn.sum(axis=1)[:, :n].T
        self._add_products(drawn)
        if before >= self._first_draws:
            self._count(drawn)
        self._retain(drawn[:, :, :n], before)
        if before + TILE == self._first_draws:
            self._fix_limits()

    def _add_products(self, drawn: Single) -> None:
        size, at = len(drawn), 0
        for i in range(size):
            sums = (drawn[i:] * drawn[i]).sum(axis=1)
            self._products[:, at : at + size - i] += sums[:, : self._n].T
            at += size - i

    def _count(self, drawn: Single) -> None:
        if self._by_tile is None:
            missing = BLOCK - self._n
            padded = np.pad(self._limits, ((0, 0), (0, missing), (0, 0)))
            self._by_tile = np.ascontiguousarray(padded.transpose(0, 2, 1)[:, :, None])
        for level, limit in enumerate(self._by_tile):
            below = (drawn < limit).view(np.uint8).sum(axis=1, dtype=np.uint8)
            self._counts[level] += below[:, : self._n].T

    def _retain(self, drawn: Single, before: int) -> None:
        capacity = self._draws.shape[1]
        old, new = stride(before, capacity), stride(before + TILE, capacity)
        if new > old:
            thinned = self._draws[:, : -(-before // old) : new // old].copy()
            self._draws[:, : thinned.shape[1]] = thinned
        first = -(-before // new)
        retained = drawn[:, first * new - before :: new]
        self._draws[:, first : first + retained.shape[1]] = retained.transpose(2, 1, 0)

    def _fix_limits(self) -> None:
        first = self._draws[:, : self._first_draws]
        self._limits[:] = np.quantile(first, _LEVELS, axis=1)
        for limit, count in zip(self._limits, self._counts, strict=True):
            count[:] = (first < limit[:, None]).sum(axis=1)


def marks(up_to: int) -> Sequence[int]:
    """Numbers of iterations after which the history has an entry: 1, 3, 10, 30, 100, ..."""
    numbers, power = [], 1
    while power <= up_to:
        numbers += [power, 3 * power]
        power *= 10
    return [number for number in numbers if number <= up_to]
