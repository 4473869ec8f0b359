"""Columns of a table as float32 features with readable names.

Each encoder takes a DataFrame and returns one with the same index; `feature_encoder` puts them
together. They hold plain data only (no functions), so that skops stores them and loads them
back without running code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.validation import check_is_fitted, validate_data

from ratchet.learning.features.base import Encoder, unique_names, xgboost_safe
from ratchet.learning.features.market import MarketEncoder, market_columns

UNKNOWN, OTHER = "unknown", "other"

_COARSE = 1e-5
"""Share of the range of a column that float32 may round its values by."""

_NOISE = 1e-12
"""Range of a column, as a share of its values, that float64 leaves of equal ones."""

_ROWS = 100_000
"""Rows whose numbers are held in float64 at a time."""


class _NumberEncoder(Encoder):
    """Encoders of numbers: any array will do, NaN is allowed, infinity is not."""

    taken: Sequence[str] = ()
    reserved: Sequence[str] = ()

    def fit(self, X: Any, y: Any = None) -> Self:
        """Remember the columns of ``X`` (n, k)."""
        for _ in self._numbers(X, reset=True):
            pass
        self.names_ = unique_names(self._names_out(), self.taken, self.reserved)
        return self

    def _numbers(self, X: Any, *, reset: bool = False) -> Iterator[NDArray[np.float64]]:
        """Checked numbers of ``X`` (n, k), some rows at a time: of all, float64 takes much room."""
        parts = [X]
        if isinstance(X, pd.DataFrame) and len(X) > _ROWS:
            parts = [X.iloc[first : first + _ROWS] for first in range(0, len(X), _ROWS)]
        for place, part in enumerate(parts):
            checked = validate_data(
                *(self, part),
                reset=reset and place == 0,
                dtype=np.float64,
                ensure_all_finite="allow-nan",
            )
            yield np.asarray(checked)

    def _column_by_column(
        self, X: Any, encode: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> NDArray[np.float32]:
        """Encoded numbers, shape (n, columns); each column lies in one piece, as in a frame."""
        parts = (encode(numbers).T.astype(np.float32) for numbers in self._numbers(X))
        encoded = part = next(parts)
        if part.shape[1] == _ROWS < len(X):  # of two copies one would go again
            encoded = np.empty((len(part), len(X)), dtype=np.float32)
            for first in range(0, len(X), _ROWS):
                encoded[:, first : first + _ROWS] = part if first == 0 else next(parts)
        return encoded.T

    def _columns(self) -> list[str]:
        numbered = [f"x{i}" for i in range(self.n_features_in_)]
        return [str(name) for name in getattr(self, "feature_names_in_", numbered)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class NumericEncoder(_NumberEncoder):
    """Numbers in float32; missing ones stay NaN.

    float32 has seven digits: of seconds since 1970 it leaves one in 128 apart. A column whose
    values differ by less than its precision is given as the difference from its middle.

    Attributes:
        offset_: what is taken away from each column, shape (k,); 0 where float32 distinguishes all.
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn which columns of ``X`` (n, k) float32 does not distinguish."""
        super().fit(X)
        if isinstance(X, pd.DataFrame):
            numbers = (v.to_numpy(dtype=np.float64, na_value=np.nan) for _, v in X.items())
            self.offset_ = np.array([*map(_offset, numbers)])
        else:
            self.offset_ = np.array([*map(_offset, np.asarray(X, dtype=np.float64).T)])
        return self

    def transform(self, X: Any) -> pd.DataFrame:
        """Return ``X`` (n, k) as float32."""
        check_is_fitted(self)
        # Encoders that were fitted before there were offsets are loaded without.
        offset = getattr(self, "offset_", 0.0)
        return self._frame(X, self._column_by_column(X, lambda numbers: numbers - offset))

    def sources(self) -> list[str]:
        """For each column that `transform` returns, the one that it was made of."""
        return self._columns()

    def _names_out(self) -> list[str]:
        return self._columns()


def _offset(values: NDArray[np.float64]) -> float:
    """Middle of numbers that float32 does not distinguish; 0 for others."""
    return float(np.nanmedian(values)) if is_coarse(values) else 0.0


def is_coarse(values: NDArray[np.float64]) -> bool:
    """Whether float32 rounds numbers, NaN apart, by much of their range.

    Numbers that differ by the rounding of float64 alone are taken to be one.
    """
    present = values[~np.isnan(values)]
    if not len(present):
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        span, largest = np.ptp(present), np.abs(present).max()
        rounding = np.abs(present.astype(np.float32) - present).max()
    return bool(span > _NOISE * largest and rounding > _COARSE * span)


class CyclicEncoder(_NumberEncoder):
    """A place on a circle (a month, an hour) as sine and cosine, so that its ends meet.

    A missing value becomes (0, 0), the centre of the circle, equally far from every place.
    """

    def __init__(
        self, *, period: float, taken: Sequence[str] = (), reserved: Sequence[str] = ()
    ) -> None:
        """Set what `fit` uses.

        Args:
            period: What one round measures, in the unit of the column.
            taken: See ``unique_names``.
            reserved: See ``unique_names``.
        """
        self.period = period
        self.taken = taken
        self.reserved = reserved

    def fit(self, X: Any, y: Any = None) -> Self:
        """Remember the columns of ``X`` (n, k).

        Raises:
            ValueError: The period is not above zero.
        """
        if not self.period > 0:
            raise ValueError(f"period must be above 0, got {self.period}")
        super().fit(X)
        return self

    def transform(self, X: Any) -> pd.DataFrame:
        """Return (n, 2k): sine and cosine of each column."""
        check_is_fitted(self)
        return self._frame(X, self._column_by_column(X, self._on_circle))

    def _on_circle(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        angle = 2 * np.pi * numbers / self.period
        both = np.stack([np.sin(angle), np.cos(angle)], axis=2).reshape(len(angle), -1)
        return np.asarray(np.nan_to_num(both))

    def sources(self) -> list[str]:
        """For each column that `transform` returns, the one that it was made of."""
        return [name for name in self._columns() for _ in ("sin", "cos")]

    def _names_out(self) -> list[str]:
        return [f"{name}_{part}" for name in self._columns() for part in ("sin", "cos")]


class MultiHotEncoder(Encoder):
    """Lists of categories as one 0/1 column per category.

    A category that occurs in fewer than ``min_count`` rows of the fitted data, or not at all,
    sets ``<column>_other``; a row that lists nothing sets ``<column>_unknown``. A cell with a
    single category counts as a list of one. A whole number is one category whether it is held as
    an integer or, as beside a gap, as a float.
    """

    def __init__(
        self, *, min_count: int = 20, taken: Sequence[str] = (), reserved: Sequence[str] = ()
    ) -> None:
        """Set what `fit` uses.

        Args:
            min_count: Rows a category needs for a column of its own.
            taken: See ``unique_names``.
            reserved: See ``unique_names``.
        """
        self.min_count = min_count
        self.taken = taken
        self.reserved = reserved

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Find the categories of each column of ``X`` (n, k) that are frequent enough."""
        self.whole_ = True
        self.categories_ = {str(name): self._frequent(*_lists(X[name])) for name in X.columns}
        self.n_features_in_ = X.shape[1]
        self.names_ = unique_names(self._names_out(), self.taken, self.reserved)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return 0/1 columns (n, all kept categories + 2 per column of ``X``)."""
        check_is_fitted(self)
        whole = getattr(self, "whole_", False)  # encoders that were stored before know 1.0 and 1
        blocks = [
            _hot(*_lists(X[name], whole), frequent).T for name, frequent in self.categories_.items()
        ]
        return self._frame(X, np.vstack(blocks).T if blocks else np.empty((len(X), 0)))

    def _frequent(self, lists: list[set[str]], place: NDArray[np.intp]) -> list[str]:
        counts: Counter[str] = Counter()
        for categories, rows in zip(lists, np.bincount(place, minlength=len(lists)), strict=True):
            counts.update(dict.fromkeys(categories, int(rows)))
        special = {UNKNOWN, OTHER}
        return sorted(c for c, n in counts.items() if n >= self.min_count and c not in special)

    def sources(self) -> list[str]:
        """For each column that `transform` returns, the one that it was made of."""
        return [
            name for name, frequent in self.categories_.items() for _ in [*frequent, OTHER, UNKNOWN]
        ]

    def _names_out(self) -> list[str]:
        return [
            f"{name}_{xgboost_safe(category)}"
            for name, frequent in self.categories_.items()
            for category in [*frequent, OTHER, UNKNOWN]
        ]


class TextEncoder(Encoder):
    """Short texts as the main directions of their weighted words (latent semantic analysis).

    TF-IDF with sublinear counts, then a truncated singular value decomposition (Deerwester et
    al., 1990). A missing text is an empty one: zero in every direction.
    """

    def __init__(
        self,
        *,
        n_components: int = 20,
        min_count: int = 8,
        random_state: int = 0,
        taken: Sequence[str] = (),
        reserved: Sequence[str] = (),
    ) -> None:
        """Set what `fit` uses.

        Args:
            n_components: Directions to keep per column; fewer where there are fewer words.
            min_count: Rows a word or pair of words must occur in to count.
            random_state: Seed of the randomised decomposition.
            taken: See ``unique_names``.
            reserved: See ``unique_names``.
        """
        self.n_components = n_components
        self.min_count = min_count
        self.random_state = random_state
        self.taken = taken
        self.reserved = reserved

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Learn words and directions of each column of ``X`` (n, k)."""
        self.columns_ = [str(name) for name in X.columns]
        self.words_: list[TfidfVectorizer | None] = []
        self.directions_: list[TruncatedSVD | None] = []
        for name in X.columns:
            words = self._fit_words(_texts(X[name]))
            self.words_.append(words)
            self.directions_.append(words and self._fit_directions(words, _texts(X[name])))
        self.n_features_in_ = X.shape[1]
        self.names_ = unique_names(self._names_out(), self.taken, self.reserved)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return (n, directions kept in all)."""
        check_is_fitted(self)
        blocks = [np.empty((len(X), 0))]
        for name, words, directions in zip(
            self.columns_, self.words_, self.directions_, strict=True
        ):
            if words is not None and directions is not None:
                blocks.append(directions.transform(words.transform(_texts(X[name]))))
        return self._frame(X, np.hstack(blocks))

    def _fit_words(self, texts: list[str]) -> TfidfVectorizer | None:
        words = TfidfVectorizer(min_df=self.min_count, ngram_range=(1, 2), sublinear_tf=True)
        try:
            words.fit(texts)
        except ValueError:  # scikit-learn's word for: no word is frequent enough.
            return None
        return words if len(words.vocabulary_) > 1 else None  # One word is no direction.

    def _fit_directions(self, words: TfidfVectorizer, texts: list[str]) -> TruncatedSVD:
        size = min(self.n_components, len(words.vocabulary_), len(texts))
        decomposition = TruncatedSVD(size, random_state=self.random_state)
        return decomposition.fit(words.transform(texts))

    def sources(self) -> list[str]:
        """For each column that `transform` returns, the one that it was made of."""
        return [name for name, _ in self._directions()]

    def _names_out(self) -> list[str]:
        return [f"{name}_{i}" for name, i in self._directions()]

    def _directions(self) -> list[tuple[str, int]]:
        return [
            (name, i)
            for name, directions in zip(self.columns_, self.directions_, strict=True)
            for i in range(len(directions.components_) if directions is not None else 0)
        ]


def feature_encoder(
    *,
    numeric: Sequence[str] = (),
    cyclic: Mapping[str, float] | None = None,
    categorical: Sequence[str] = (),
    lists: Sequence[str] = (),
    text: Sequence[str] = (),
    min_count: int = 20,
    text_components: int = 20,
    random_state: int = 0,
    market: Mapping[str, Any] | None = None,
    reserved: Sequence[str] = (),
) -> ColumnTransformer:
    """Encode the named columns and drop all others.

    Args:
        numeric: Columns passed on as numbers; NaN stays NaN.
        cyclic: Column -> period, encoded as sine and cosine; NaN becomes (0, 0).
        categorical: Columns with one category per row; a missing one is ``unknown``.
        lists: Columns with a list of categories per row; an empty one is ``unknown``.
        text: Columns with short texts.
        min_count: Rows a category needs in the fitted data for a column of its own.
        text_components: Directions kept per text column.
        random_state: Seed of the text decomposition.
        market: Arguments of ``MarketEncoder``: columns that become codes, steps and log prices.
        reserved: How no column may start that is made of another one: readers of the output know
            columns of theirs by it. Those of ``numeric`` keep their names.

    Returns:
        An unfitted transformer whose output is a DataFrame of float32 columns, indexed like its
        input, with names such as ``runtime``, ``month_sin``, ``genres_Drama``, ``title_0``; no two
        are called the same, whatever columns and categories are called.

    Raises:
        ValueError: No column is named.
    """
    taken, avoid = list(unique_names(numeric)), list(reserved)
    steps: list[tuple[str, Encoder, list[str]]] = [("numeric", NumericEncoder(), list(numeric))]
    if market is not None:
        steps.append(_market_step(market, taken, avoid))
        taken += unique_names(market_columns(market["covariates"]), taken, avoid)
    for place, (name, period) in enumerate((cyclic or {}).items()):
        encoder = CyclicEncoder(period=period, taken=list(taken), reserved=avoid)
        steps.append((f"cyclic_{place}", encoder, [name]))
        taken += unique_names([f"{name}_sin", f"{name}_cos"], taken, avoid)
    texts = TextEncoder(
        n_components=text_components, random_state=random_state, taken=list(taken), reserved=avoid
    )
    taken += unique_names((f"{t}_{i}" for t in text for i in range(text_components)), taken, avoid)
    hot = MultiHotEncoder(min_count=min_count, taken=taken, reserved=avoid)
    steps += [("categories", hot, [*categorical, *lists]), ("text", texts, list(text))]
    used = [step for step in steps if step[2]]
    if not used:
        raise ValueError("no column to encode: name at least one feature")
    encoder = ColumnTransformer(used, verbose_feature_names_out=False)
    return encoder.set_output(transform="pandas")


def _market_step(
    market: Mapping[str, Any], taken: list[str], avoid: list[str]
) -> tuple[str, Encoder, list[str]]:
    encoder = MarketEncoder(**market, taken=list(taken), reserved=avoid)
    named = [market["merchant"], market["product"], market["price"], market["time"]]
    columns = dict.fromkeys([*named, *market["covariates"]])
    return "market", encoder, [name for name in columns if name is not None]


def sources_of(encoder: ColumnTransformer) -> dict[str, str]:
    """Column of a fitted ``feature_encoder`` -> the column that it was made of."""
    return {
        str(name): source
        for _, part, _ in encoder.transformers_
        if isinstance(part, Encoder)
        for name, source in zip(part.get_feature_names_out(), part.sources(), strict=True)
    }


def _hot(
    lists: list[set[str]], place: NDArray[np.intp], frequent: list[str]
) -> NDArray[np.float32]:
    """0/1 columns of the kept categories, of all others together, and of none."""
    columns = {category: i for i, category in enumerate([*frequent, OTHER, UNKNOWN])}
    found = [
        {columns.get(category, columns[OTHER]) for category in categories or (UNKNOWN,)}
        for categories in lists
    ]
    hot = np.zeros((len(columns), len(place)), dtype=np.float32).T
    count = np.array([len(of_cell) for of_cell in found], dtype=np.intp)
    flat = np.array([column for of_cell in found for column in of_cell], dtype=np.intp)
    begin = (count.cumsum() - count)[place]
    for nth in range(count.max(initial=0)):  # most cells have one category
        rows = np.flatnonzero(count[place] > nth)
        hot[rows, flat[begin[rows] + nth]] = 1
    return hot


def _lists(column: pd.Series[Any], whole: bool = True) -> tuple[list[set[str]], NDArray[np.intp]]:
    """Categories of each distinct cell, and which of these each cell is.

    Missing and empty cells name no category. Cells of objects are not compared: lists cannot be,
    and 1 equals True.
    """
    if column.dtype == object:
        cells, place = column.tolist(), np.arange(len(column))
    else:
        place, distinct = pd.factorize(column, use_na_sentinel=False)
        cells = distinct.tolist()
    return [
        {_category(item, whole) for item in _items(cell) if not _missing(item)} for cell in cells
    ], place


def _category(item: Any, whole: bool) -> str:
    if whole and isinstance(item, float | np.floating) and float(item).is_integer():
        return str(int(item))
    return str(item)


def _items(cell: Any) -> Iterable[Any]:
    return cell if isinstance(cell, list | tuple | set | np.ndarray) else (cell,)


def _missing(item: Any) -> bool:
    return item is None or bool(pd.isna(item)) or item == ""


def _texts(column: pd.Series[Any]) -> list[str]:
    return ["" if _missing(cell) else str(cell) for cell in column]
