"""What a value means, whatever type it came in: text, whole numbers and numbers of a column.

The same value may come as text from a CSV file, as a float from a column with gaps, as a
``Decimal`` from a database or as a cell of a nullable, Arrow or categorical column.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionDtype
from pandas.api.types import (
    infer_dtype,
    is_datetime64_any_dtype,
    is_integer_dtype,
    is_numeric_dtype,
    is_scalar,
)

EXACT = 2**53
"""From here on a float does not tell neighbouring whole numbers apart."""

_NUMERAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_TRUTHS = {"true": 1, "false": 0}
_INT64 = np.iinfo(np.int64)


def as_text(values: pd.Series) -> pd.Series:
    """Values as text; a whole number reads the same whether or not other rows have gaps.

    Args:
        values: a column of any type.

    Returns:
        ``str`` column; text is left as it is, missing values are NaN.
    """
    if isinstance(values.dtype, pd.StringDtype):
        return values.astype("str")
    quick = is_datetime64_any_dtype(values) or (
        isinstance(values.dtype, np.dtype) and values.dtype.kind in "iu"
    )
    if quick or infer_dtype(values, skipna=True) == "string":
        return values.astype("str")
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "f":
        whole, others = as_integers(values)
        if not others.any():
            return whole.astype("str")
    cells = [None if _is_missing(value) else _text(value) for value in values.tolist()]
    return _series(values, cells, "str")


def as_lists(values: pd.Series, separator: str) -> pd.Series:
    """Values as lists of text.

    Args:
        values: text that is split at ``separator``, or lists, arrays, tuples or sets.
        separator: the text between the parts.

    Returns:
        Object column of lists without blanks around and without empty parts; ``None`` for what is
        missing.
    """
    return pd.Series(
        [_parts(value, separator) for value in values.tolist()],
        index=values.index,
        name=values.name,
        dtype=object,
    )


def as_integers(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Values as whole numbers of 64 bits, each exact.

    Returns:
        ``Int64`` column, missing where a value is missing or no such number; and which are none:
        fractions, text, more than 64 bits, floats from 2**53 on, which may have been others.
    """
    arrow = isinstance(values.dtype, pd.ArrowDtype)  # pandas 3.0 would cast it by way of floats
    if is_integer_dtype(values) and not arrow and "uint64" not in str(values.dtype).lower():
        return values.astype("Int64"), pd.Series(False, index=values.index)
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "f":
        values = values.astype("float64")
        whole = (values % 1 == 0) & (values.abs() < EXACT)
        return values.where(whole).astype("Int64"), values.notna() & ~whole
    if infer_dtype(values, skipna=True) == "string":
        text, present = values.astype("str"), values.notna()
        if text[present].str.fullmatch(r"[+-]?\d{1,18}").all():
            numbers = text.where(present, "0").astype("int64").astype("Int64")
            return numbers.where(present), pd.Series(False, index=values.index)
    return _converted(values, _integer, "Int64")


def as_numbers(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Values as floats of 64 bits.

    Returns:
        ``float64`` column, NaN where a value is missing or no number; and which are no numbers.
    """
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":
        return values.astype("float64"), pd.Series(False, index=values.index)
    if isinstance(values.dtype, ExtensionDtype) and is_numeric_dtype(values):
        cells = values.to_numpy(dtype="float64", na_value=np.nan)
        return _series(values, cells, "float64"), pd.Series(False, index=values.index)
    return _converted(values, _number, "float64")


def without_blanks(values: pd.Series) -> pd.Series:
    """Values in which text of nothing but blanks is missing, as it is where it is no text."""
    if is_numeric_dtype(values):
        return values
    blank = np.array([isinstance(v, str) and not v.strip() for v in values.tolist()], dtype=bool)
    return values.mask(blank) if blank.any() else values


def _converted(
    values: pd.Series, convert: Callable[[Any], Any], dtype: str
) -> tuple[pd.Series, pd.Series]:
    values_list = values.tolist()
    missing = [_is_missing(value) for value in values_list]
    cells = [
        None if gap else convert(value) for value, gap in zip(values_list, missing, strict=True)
    ]
    wrong = [cell is None and not gap for cell, gap in zip(cells, missing, strict=True)]
    return _series(values, cells, dtype), pd.Series(wrong, index=values.index, dtype=bool)


def _series(like: pd.Series, cells: Any, dtype: str) -> pd.Series:
    # Through an array: a Series would guess the type of the cells first, and round long numbers.
    return pd.Series(pd.array(cells, dtype=dtype), index=like.index, name=like.name)


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if (
        isinstance(value, float | np.floating)
        and abs(float(value)) <= _INT64.max
        and value == int(value)
    ):
        return str(int(value))
    return str(value)


def _integer(value: Any) -> int | None:
    number = _exact(value)
    if number is None or number != int(number):
        return None
    return int(number) if _INT64.min <= number <= _INT64.max else None


def _exact(value: Any) -> Decimal | int | None:
    """A finite number without rounding; None for all else."""
    if isinstance(value, str):
        text = value.strip()
        return Decimal(text) if _NUMERAL.fullmatch(text) else _TRUTHS.get(text.lower())
    if isinstance(value, int | np.integer | np.bool_):
        return int(value)
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, float | np.floating) and abs(float(value)) < EXACT:
        return Decimal(float(value))
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        value = _TRUTHS.get(value.strip().lower(), value.replace("_", "?"))
    if not isinstance(value, str | Decimal | int | float | np.number | np.bool_):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _parts(value: Any, separator: str) -> list[str] | None:
    """Parts of a list without blanks; an empty one has none, a missing one stays missing."""
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        parts = [_text(part) for part in value if not _is_missing(part)]
    elif _is_missing(value):
        return None
    else:
        parts = _text(value).split(separator)
    return [part.strip() for part in parts if part.strip()]


def _is_missing(value: Any) -> bool:
    return value is None or (is_scalar(value) and bool(pd.isna(value)))


HASH_HEAD = 5
"""Characters of a row's hash that name its columns: hashes of other columns do not compare."""


def is_other(before: pd.Series, after: pd.Series) -> np.ndarray:
    """Where the hashes of rows, see ``preparation.fingerprints.row_hashes``, say that they are two.

    Args:
        before: hashes of some rows, missing where they are not known.
        after: hashes of the rows that have the same keys later, in the same order.

    Returns:
        Boolean array; false where a hash is missing or of other columns.
    """
    one, other = before.astype("str"), after.astype("str").set_axis(before.index)
    alike = one.str[:HASH_HEAD] == other.str[:HASH_HEAD]
    return (one.notna() & other.notna() & alike & (one != other)).to_numpy(dtype=bool)


def is_among(hashes: pd.Series, earlier: pd.Series) -> np.ndarray:
    """Which rows are among earlier ones: the key is, and no hash says that it named another row.

    Args:
        hashes: key, as text -> hash, missing where it is not known.
        earlier: the same of the earlier rows; a key may come again, for one row after another.
    """
    one = pd.DataFrame({"key": hashes.index, "after": hashes.to_numpy(), "n": range(len(hashes))})
    other = pd.DataFrame({"key": earlier.index, "before": earlier.to_numpy()})
    pairs = one.merge(other, on="key")
    same = pairs["n"][~is_other(pairs["before"], pairs["after"])]
    return np.isin(np.arange(len(hashes)), same.to_numpy())
