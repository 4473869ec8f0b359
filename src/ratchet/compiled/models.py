"""What fitted estimators compute, as programs: each maps rows (n, columns) to predictions.

A regressor gives (n,), or (n, 3) with an interval: value, lower and upper end. A classifier gives
probabilities (n, classes). Programs compute in the precision in which the libraries do, so that
their answers differ in the last digits at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ratchet.compiled.serialization import program

Array = NDArray[Any]
Places = NDArray[np.intp]


class Program(Protocol):
    """A compiled model, or a part of one."""

    def __call__(self, X: Array) -> Array:
        """Map rows of shape (n, columns)."""
        ...


@program
@dataclass(frozen=True)
class Classifier:
    """Probabilities with the names of their classes.

    Attributes:
        model: gives probabilities, shape (n, classes).
        classes: name of each column.
    """

    model: Program
    classes: tuple[str, ...]

    def __call__(self, X: Array) -> Array:
        """Probabilities of shape (n, classes)."""
        return self.model(X)


@program
@dataclass(frozen=True)
class Chain:
    """One program after another."""

    steps: tuple[Program, ...]

    def __call__(self, X: Array) -> Array:
        """Give what the last one makes of what those before it made."""
        for step in self.steps:
            X = step(X)
        return X


@program
@dataclass(frozen=True)
class Pick:
    """Columns by their places."""

    places: Places

    def __call__(self, X: Array) -> Array:
        """Columns of shape (n, places)."""
        return X.take(self.places, axis=1)


@program
@dataclass(frozen=True)
class PickOne:
    """One column, as a prediction."""

    place: int

    def __call__(self, X: Array) -> Array:
        """Its values, shape (n,)."""
        return X[:, self.place]


@program
@dataclass(frozen=True)
class Beside:
    """What several programs make of the same rows, side by side."""

    parts: tuple[Program, ...]

    def __call__(self, X: Array) -> Array:
        """All columns of all parts."""
        return np.concatenate([part(X) for part in self.parts], axis=1)


@program
@dataclass(frozen=True)
class Fill:
    """Put a value into the gaps of each column.

    Attributes:
        values: of each column, in the precision of the rows that it was fitted on.
    """

    values: Array

    def __call__(self, X: Array) -> Array:
        """Rows without gaps, in the precision of the values."""
        X = X.astype(self.values.dtype, copy=False)
        gaps = np.isnan(X)
        return np.where(gaps, self.values, X) if gaps.any() else X


@program
@dataclass(frozen=True)
class Scale:
    """Less a mean, and divided by a scale, of each column."""

    mean: Array | None
    scale: Array | None

    def __call__(self, X: Array) -> Array:
        """Rows of one scale, in the precision they come in."""
        if self.mean is not None:
            X = X - self.mean.astype(X.dtype, copy=False)
        if self.scale is not None:
            X = X / self.scale.astype(X.dtype, copy=False)
        return X


@program
@dataclass(frozen=True)
class RadialBasis:
    """Columns whose products approximate the kernel ``exp(-gamma |x - y|²)`` (Nyström).

    Attributes:
        centres: some training rows, shape (components, columns).
        squares: their squared lengths.
        mixing: from values of the kernel at the centres to columns, shape (components, columns).
        gamma: of the kernel.
        dtype: precision of what it was fitted on.
    """

    centres: Array
    squares: Array
    mixing: Array
    gamma: float
    dtype: str

    def __call__(self, X: Array) -> Array:
        """Columns of shape (n, components)."""
        rows = X.astype(np.float64, copy=False)
        distances = rows @ self.centres.T
        distances *= -2
        distances += np.einsum("ij,ij->i", rows, rows)[:, None]
        distances += self.squares
        kernel = np.maximum(distances, 0, out=distances).astype(self.dtype, copy=False)
        kernel *= -self.gamma
        np.exp(kernel, out=kernel)
        result: Array = kernel @ self.mixing
        return result


@program
@dataclass(frozen=True)
class Linear:
    """Weighted sums.

    Attributes:
        weights: shape (columns,), or (columns, outputs).
        intercept: shape () or (outputs,).
    """

    weights: Array
    intercept: Array

    def __call__(self, X: Array) -> Array:
        """Sums of shape (n,) or (n, outputs)."""
        result: Array = X @ self.weights + self.intercept
        return result


@program
@dataclass(frozen=True)
class NearOrigin:
    """Outputs of another program that fade with the step of a path, added up.

    Attributes:
        model: gives shape (n, decays).
        column: place of the column with the step.
        decays: after how many steps each output has fallen to 37 %, shape (decays,).
    """

    model: Program
    column: int
    decays: Array

    def __call__(self, X: Array) -> Array:
        """Sums of shape (n,)."""
        step = X[:, self.column].astype(np.float64)[:, None]
        result: Array = (self.model(X) * np.exp(-step / self.decays)).sum(axis=1)
        return result


@program
@dataclass(frozen=True)
class Constant:
    """The same for every row.

    Attributes:
        value: a number, or probabilities of shape (classes,).
    """

    value: Array

    def __call__(self, X: Array) -> Array:
        """Shape (n,) or (n, classes)."""
        return np.repeat(self.value[None], len(X), axis=0)


@program
@dataclass(frozen=True)
class Value:
    """The only column of what another gives, put through a function.

    Attributes:
        model: gives shape (n, 1).
        function: ``identity``, ``exp`` or ``logistic``.
    """

    model: Program
    function: str

    def __call__(self, X: Array) -> Array:
        """Values of shape (n,)."""
        values = self.model(X)[:, 0]
        if self.function == "identity":
            return values
        return np.exp(values) if self.function == "exp" else logistic(values)


@program
@dataclass(frozen=True)
class Odds:
    """Probabilities of two classes.

    Attributes:
        model: gives the log odds of the second, shape (n,) or (n, 1).
    """

    model: Program

    def __call__(self, X: Array) -> Array:
        """Probabilities of shape (n, 2)."""
        odds = self.model(X)
        second = logistic(odds.reshape(len(odds)))
        return np.stack([1 - second, second], axis=1)


@program
@dataclass(frozen=True)
class Softmax:
    """Probabilities of several classes.

    Attributes:
        model: gives log probabilities up to a constant, shape (n, classes).
        temperature: what they are divided by.
    """

    model: Program | None = None
    temperature: float = 1.0

    def __call__(self, X: Array) -> Array:
        """Probabilities of shape (n, classes)."""
        logs = X if self.model is None else self.model(X)
        if self.temperature != 1:
            logs = logs / self.temperature
        powers = np.exp(logs - logs.max(axis=1, keepdims=True))
        result: Array = powers / powers.sum(axis=1, keepdims=True)
        return result


@program
@dataclass(frozen=True)
class Stacked:
    """Predictions of several models as columns.

    Attributes:
        models: all classifiers, or all regressors.
        smallest: probability below which none is taken for less, of classifiers, whose
            probabilities become logarithms; ``None`` for regressors.
    """

    models: tuple[Program, ...]
    smallest: float | None

    def __call__(self, X: Array) -> Array:
        """Columns of shape (n, models x classes)."""
        outputs = [model(X) for model in self.models]
        if self.smallest is None:
            return np.stack(outputs, axis=1).astype(np.float64, copy=False)
        joined = np.concatenate(outputs, axis=1, dtype=np.float64)
        return np.log(joined.clip(self.smallest, 1.0))


@program
@dataclass(frozen=True)
class Sum:
    """A regressor, and one of its residuals."""

    parts: tuple[Program, ...]

    def __call__(self, X: Array) -> Array:
        """Values of shape (n,)."""
        outputs = [part(X).astype(np.float64, copy=False) for part in self.parts]
        result: Array = np.add.reduce(outputs)
        return result


@program
@dataclass(frozen=True)
class SumWithChange:
    """A prediction, and a correction that sees by how much it differs from a column.

    Attributes:
        base: gives the prediction, shape (n,).
        residual: gives the correction; the difference is the last column of its rows.
        place: of the column.
    """

    base: Program
    residual: Program
    place: int

    def __call__(self, X: Array) -> Array:
        """Corrected predictions, shape (n,)."""
        based = self.base(X)
        change = (based - X[:, self.place])[:, None]
        result: Array = based + self.residual(np.concatenate([X, change], axis=1))
        return result


@program
@dataclass(frozen=True)
class Mean:
    """The weighted mean of regressors, or of the probabilities of classifiers.

    Attributes:
        parts: the regressors, or the classifiers, all of the same classes in the same order.
        weights: of each; ``None`` for equal ones.
    """

    parts: tuple[Program, ...]
    weights: Array | None

    def __call__(self, X: Array) -> Array:
        """Values of shape (n,), or probabilities of shape (n, classes)."""
        outputs = np.stack([part(X) for part in self.parts], axis=1)
        if self.weights is None:
            return outputs.mean(axis=1)
        return np.average(outputs, axis=1, weights=self.weights)


@program
@dataclass(frozen=True)
class Interval:
    """A value with a conformal interval around it.

    Attributes:
        model: gives shape (n,).
        half: half the width.
        low: least value there is.
        high: greatest.
    """

    model: Program
    half: float
    low: float
    high: float

    def __call__(self, X: Array) -> Array:
        """Value, lower and upper end, shape (n, 3)."""
        value = self.model(X).astype(np.float64, copy=False)[:, None].clip(self.low, self.high)
        return (value + np.array([0.0, -self.half, self.half])).clip(self.low, self.high)


@program
@dataclass(frozen=True)
class Unscaled:
    """A regressor of ``(y - level) / scale`` made of one of ``y``, from inputs in units.

    Attributes:
        model: from columns in units to values, shape (n,).
        level: place of the level among the columns.
        scale: place of the scale.
        by_level: places of the columns that are relative to the level and in scales.
        by_scale: places of those that are in scales alone.
    """

    model: Program
    level: int
    scale: int
    by_level: Places
    by_scale: Places

    def __call__(self, X: Array) -> Array:
        """Relative values of shape (n,)."""
        rows = X.astype(np.float64)
        level, scale = rows[:, self.level].copy(), rows[:, self.scale].copy()
        rows[:, self.by_level] = rows[:, self.by_level] * scale[:, None] + level[:, None]
        rows[:, self.by_scale] *= scale[:, None]
        result: Array = (self.model(rows).astype(np.float64, copy=False) - level) / scale
        return result


@program
@dataclass(frozen=True)
class StepInterval:
    """A value with a conformal interval around it, by the step of a path.

    Attributes:
        model: gives shape (n,).
        column: place of the column with the step.
        steps: steps with a width of their own, shape (steps,).
        halves: half the width at each.
        low: least value there is.
        high: greatest.
    """

    model: Program
    column: int
    steps: Array
    halves: Array
    low: float
    high: float

    def __call__(self, X: Array) -> Array:
        """Value, lower and upper end, shape (n, 3)."""
        value = self.model(X).astype(np.float64, copy=False)[:, None].clip(self.low, self.high)
        at = np.searchsorted(self.steps, X[:, self.column] - 0.5)  # steps are whole numbers
        half = self.halves[np.minimum(at, len(self.steps) - 1)][:, None]
        return (value + np.array([0.0, -1.0, 1.0]) * half).clip(self.low, self.high)


@program
@dataclass(frozen=True)
class Exponential:
    """Output of another program, from logarithms to units.

    Attributes:
        model: gives shape (n,), or (n, 3) with an interval.
        low: least value there is.
        high: greatest.
    """

    model: Program
    low: float
    high: float

    def __call__(self, X: Array) -> Array:
        """Values of the same shape."""
        logs = self.model(X).astype(np.float64, copy=False)
        result: Array = np.exp(logs).clip(self.low, self.high)
        return result


def logistic(x: Array) -> Array:
    """``1 / (1 + exp(-x))`` in the precision of ``x``, without overflow."""
    power = np.exp(-np.abs(x))
    result: Array = np.where(x >= 0, x.dtype.type(1), power) / (1 + power)
    return result


def places(chosen: Sequence[str], columns: Sequence[str]) -> Places:
    """Places of some columns among all.

    Raises:
        ValueError: some are not there; names them.
    """
    position = {name: number for number, name in enumerate(columns)}
    if missing := [name for name in chosen if name not in position]:
        raise ValueError(f"the columns {missing} are not among the {len(columns)} given")
    return np.array([position[name] for name in chosen], np.intp)
