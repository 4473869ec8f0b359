"""The fitted encoder of the features as a program of arrays: typed values to float32 columns."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ratchet.compiled.serialization import NotCompilable, program

Columns = Mapping[str, Sequence[Any]]
"""Values of ``n`` rows by column; ``None`` or NaN where one is not known."""
Matrix = npt.NDArray[np.float32]

_WORD = re.compile(r"(?u)\b\w\w+\b")
"""What scikit-learn takes for a word by default."""

_EPOCH = dt.datetime(1970, 1, 1)
_JOINT = "\x1f"  # as features.market has it

OTHER, UNKNOWN = "other", "unknown"

LARGEST = float(np.finfo(np.float32).max)
"""Largest number of single precision, in which models hold features."""


@program
@dataclass(frozen=True)
class NumericEncoding:
    """Numbers, less what is taken away so that float32 distinguishes them.

    Attributes:
        columns: which ones, k.
        offset: what is taken away, shape (k,).
    """

    columns: list[str]
    offset: npt.NDArray[np.float64]

    @property
    def size(self) -> int:
        """Number of columns that come out."""
        return len(self.columns)

    def fill(self, block: Matrix, columns: Columns) -> None:
        """Write the encoded columns, shape (n, ``size``)."""
        for position, name in enumerate(self.columns):
            block[:, position] = np.asarray(columns[name], dtype=np.float64) - self.offset[position]


@program
@dataclass(frozen=True)
class CyclicEncoding:
    """Places on a circle as sine and cosine; (0, 0) where one is not known.

    Attributes:
        columns: which ones, k.
        period: what one round measures.
    """

    columns: list[str]
    period: float

    @property
    def size(self) -> int:
        """Number of columns that come out."""
        return 2 * len(self.columns)

    def fill(self, block: Matrix, columns: Columns) -> None:
        """Write the encoded columns, shape (n, ``size``)."""
        for position, name in enumerate(self.columns):
            angle = 2 * np.pi * np.asarray(columns[name], dtype=np.float64) / self.period
            block[:, 2 * position] = np.nan_to_num(np.sin(angle))
            block[:, 2 * position + 1] = np.nan_to_num(np.cos(angle))


@program
@dataclass(frozen=True)
class CategoryEncoding:
    """A category, or a list of categories, as 0/1 columns.

    Attributes:
        column: which one.
        categories: those with a column of their own; two more are for others and for none.
        number: ``int`` or ``float``, where numbers are converted to it; else as they come.
        whole: whether 5.0 is written as 5.
    """

    column: str
    categories: list[str]
    number: str | None = None
    whole: bool = True

    @property
    def size(self) -> int:
        """Number of columns that come out."""
        return len(self.categories) + 2

    def fill(self, block: Matrix, columns: Columns) -> None:
        """Write the encoded column, shape (n, ``size``)."""
        positions, other = self._positions, len(self.categories)
        block[:] = 0
        for row, cell in zip(block, columns[self.column], strict=True):
            has_item = False
            for item in cell if isinstance(cell, list) else (cell,):
                if not _is_missing(item):
                    row[positions.get(self._category_of(item), other)] = has_item = True
            if not has_item:
                row[other + 1] = 1

    @cached_property
    def _positions(self) -> dict[str, int]:
        # A category called like one of the two further columns is encoded by that column.
        columns = [*self.categories, OTHER, UNKNOWN]
        return {category: position for position, category in enumerate(columns)}

    def _category_of(self, item: Any) -> str:
        if isinstance(item, str):
            return item
        if self.number == "float" and isinstance(item, int):
            item = float(item)
        elif self.number == "int" and isinstance(item, float) and item.is_integer():
            item = int(item)
        if self.whole and isinstance(item, float) and item.is_integer():
            return str(int(item))
        return str(item)


@program
@dataclass(frozen=True)
class TextEncoding:
    """A short text by the main directions of its weighted words and pairs of words.

    Attributes:
        column: which one.
        words: the words, and pairs of words with a blank between, w.
        weights: inverse document frequency, shape (w,).
        directions: shape (w, ``size``).
    """

    column: str
    words: list[str]
    weights: npt.NDArray[np.float64]
    directions: npt.NDArray[np.float64]

    @property
    def size(self) -> int:
        """Number of columns that come out."""
        return self.directions.shape[1]

    def fill(self, block: Matrix, columns: Columns) -> None:
        """Write the encoded column, shape (n, ``size``)."""
        for row, cell in zip(block, columns[self.column], strict=True):
            row[:] = 0 if _is_missing(cell) else self._project(str(cell))

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {word: position for position, word in enumerate(self.words)}

    def _project(self, text: str) -> npt.NDArray[np.float64] | int:
        words = _WORD.findall(text.lower())
        pairs = (f"{one} {other}" for one, other in pairwise(words))
        positions = self._positions
        counts = Counter(positions[word] for word in chain(words, pairs) if word in positions)
        if not counts:
            return 0
        columns = list(counts)
        log_counts = [1 + math.log(count) for count in counts.values()]
        weighted = np.array(log_counts) * self.weights[columns]
        projected: npt.NDArray[np.float64] = weighted @ self.directions[columns]
        return projected / math.sqrt(weighted @ weighted)


@program
@dataclass(frozen=True)
class MarketEncoding:
    """Columns of a market, see ``features.market.MarketEncoder``.

    Attributes:
        merchant: column that names the merchant, if any.
        product: column that names the product, if any.
        time: column of the time.
        price: column of the price.
        covariates: columns of numbers, C.
        segments: names of the segments, by their code.
        products: names of the products, by their code.
        origin: time of step 0, in microseconds since 1970 by the local clock.
        length: microseconds of a step.
        means: of the covariates, shape (C,).
    """

    merchant: str | None
    product: str | None
    time: str
    price: str
    covariates: list[str]
    segments: npt.NDArray[np.str_]
    products: npt.NDArray[np.str_]
    origin: int
    length: int
    means: npt.NDArray[np.float64]

    @property
    def size(self) -> int:
        """Number of columns that come out."""
        return 4 + len(self.covariates)

    def fill(self, block: Matrix, columns: Columns) -> None:
        """Write the encoded columns, shape (n, ``size``)."""
        n, (segments, products) = len(block), self._positions
        merchant, product = (
            [""] * n if name is None else [str(value) for value in columns[name]]
            for name in (self.merchant, self.product)
        )
        pairs = zip(merchant, product, strict=True)
        block[:, 0] = [segments.get(_JOINT.join(pair), -1) for pair in pairs]
        block[:, 1] = [products.get(name, -1) for name in product]
        moments = [_microseconds(moment) for moment in columns[self.time]]
        block[:, 2] = np.rint((np.array(moments) - self.origin) / self.length)
        price = np.asarray(columns[self.price], dtype=np.float64)
        block[:, 3] = np.log(np.where(price > 0, price, np.nan))
        for position, name in enumerate(self.covariates):
            values = np.asarray(columns[name], dtype=np.float64)
            block[:, 4 + position] = np.where(np.isfinite(values), values, self.means[position])

    @cached_property
    def _positions(self) -> tuple[dict[str, int], dict[str, int]]:
        segments, products = (
            {str(name): code for code, name in enumerate(names.tolist())}
            for names in (self.segments, self.products)
        )
        return segments, products


def _microseconds(moment: dt.datetime) -> int:
    return (moment.replace(tzinfo=None) - _EPOCH) // dt.timedelta(microseconds=1)


Part = NumericEncoding | MarketEncoding | CyclicEncoding | CategoryEncoding | TextEncoding


@program
@dataclass(frozen=True)
class Encoding:
    """All features that a model sees, as float32.

    Attributes:
        parts: one after the other.
        names: names of the columns that come out, as the fitted encoder calls them.
    """

    parts: list[Part]
    names: list[str]

    def __call__(self, columns: Columns, n: int) -> Matrix:
        """Encode rows.

        Args:
            columns: values of every column that the parts name, ``n`` each.
            n: number of rows.

        Returns:
            Shape (n, names); infinite where a number is larger than float32 holds.
        """
        encoded = np.empty((n, len(self.names)), dtype=np.float32)
        at = 0
        with np.errstate(over="ignore"):
            for part in self.parts:
                part.fill(encoded[:, at : at + part.size], columns)
                at += part.size
        return encoded


def compile_encoder(encoder: Any, types: Mapping[str, str] | None = None) -> Encoding:
    """Turn a fitted ``feature_encoder`` into a program.

    Args:
        encoder: the ``ColumnTransformer``.
        types: column -> type that the training rows had; numbers among categories
            are converted to it.

    Raises:
        NotCompilable: it holds something that there is no program for.
    """
    parts: list[Part] = []
    for _, part, columns in encoder.transformers_:
        if part != "drop":
            parts += _compile_part(part, [str(name) for name in columns], types or {})
    encoding = Encoding(parts, [str(name) for name in encoder.get_feature_names_out()])
    if sum(part.size for part in parts) != len(encoding.names):
        raise NotCompilable("the encoder gives other columns than its parts do")
    return encoding


def _compile_part(part: Any, columns: list[str], types: Mapping[str, str]) -> list[Part]:
    from ratchet.learning.features.encoders import (
        CyclicEncoder,
        MultiHotEncoder,
        NumericEncoder,
        TextEncoder,
    )
    from ratchet.learning.features.market import MarketEncoder

    if isinstance(part, MarketEncoder):
        return [_compile_market(part)]
    if isinstance(part, NumericEncoder):
        offset = getattr(part, "offset_", np.zeros(len(columns)))
        return [NumericEncoding(columns, np.asarray(offset, dtype=np.float64))]
    if isinstance(part, CyclicEncoder):
        return [CyclicEncoding(columns, float(part.period))]
    if isinstance(part, MultiHotEncoder):
        whole = getattr(part, "whole_", False)
        return [
            CategoryEncoding(name, list(categories), _number_type(types.get(name, "")), whole)
            for name, categories in part.categories_.items()
        ]
    if isinstance(part, TextEncoder):
        projections = zip(part.columns_, part.words_, part.directions_, strict=True)
        return [_compile_text(*one) for one in projections if one[1] is not None]
    raise NotCompilable(f"there is no program for the encoder {type(part).__name__}")


def _compile_market(part: Any) -> MarketEncoding:
    return MarketEncoding(
        merchant=part.merchant,
        product=part.product,
        time=part.time,
        price=part.price,
        covariates=list(part.covariates),
        segments=part.segments_,
        products=part.products_,
        origin=int(part.origin_),
        length=int(part.length_),
        means=np.asarray(part.means_, dtype=np.float64),
    )


def _number_type(dtype: str) -> str | None:
    return next((kind for kind in ("int", "float") if dtype.startswith(kind)), None)


def _compile_text(column: str, words: Any, directions: Any) -> TextEncoding:
    from sklearn.feature_extraction.text import TfidfVectorizer

    usual = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).get_params()
    parameters = words.get_params()
    if differing := [
        name for name in usual if name != "min_df" and usual[name] != parameters[name]
    ]:
        raise NotCompilable(f"the words of '{column}' are split in another way: {differing}")
    ordered = sorted(words.vocabulary_, key=words.vocabulary_.get)
    components = np.asarray(directions.components_, dtype=np.float64)
    weights = np.asarray(words.idf_, dtype=np.float64)
    return TextEncoding(
        column, [str(word) for word in ordered], weights, np.ascontiguousarray(components.T)
    )


def _is_missing(item: Any) -> bool:
    return item is None or item == "" or (isinstance(item, float) and math.isnan(item))
