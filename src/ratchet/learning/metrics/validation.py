"""Validation of what is scored, and its form for the statistics of the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.table import Array

if TYPE_CHECKING:
    import pandas as pd


_FEWEST_ENTITIES = 10
"""Parts of a key with fewer values are taken for kinds of rows."""

_LAST_PART = r"^(?P<first>.*[^\W_])[\W_]+(?P<last>[^\W_]+)$"


def classification_rows(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str]
) -> tuple[Array, Array]:
    """Give labels one-hot and probabilities, both (n, n_classes); ValueError if they are not."""
    rows = finite_array(probabilities, "probabilities", 2)
    codes = label_codes(truth, "truth", classes)
    check_same_length(codes, rows)
    if rows.shape[1] != len(classes):
        raise ValueError(f"{rows.shape[1]} columns of probabilities for {len(classes)} classes")
    # The tolerance of a softmax in single precision.
    wrong = (rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1) - 1) > 1e-4)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"row {row} is no set of probabilities: {rows[row].tolist()}")
    return np.eye(len(classes))[codes], rows


def forecast_rows(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, scale: npt.ArrayLike, rms: npt.ArrayLike
) -> tuple[Array, Array]:
    """Give forecasts as the metrics of ``FORECASTING`` take them.

    Args:
        truth: shape (n,), in units of the target.
        prediction: shape (n,), same units.
        scale: mean absolute naive error of the row's series, shape (n,), same units, above 0.
        rms: root mean squared naive error of the row's series, shape (n,), same units, above 0.

    Returns:
        Truth with scale and rms (n, 3), and prediction (n,).

    Raises:
        ValueError: no rows, shapes that do not fit, values that are not finite, or a scale or rms
            not above 0.
    """
    y, predicted = finite_array(truth, "truth", 1), finite_array(prediction, "prediction", 1)
    check_same_length(y, predicted)
    units = {"scale": finite_array(scale, "scale", 1), "rms": finite_array(rms, "rms", 1)}
    for name, unit in units.items():
        check_same_length(y, unit, name)
        if (bad := unit <= 0).any():
            raise ValueError(
                f"{name} has {int(bad.sum())} values not above 0, first in row {int(bad.argmax())}"
            )
    return np.column_stack([y, *units.values()]), predicted


def time_codes(times: npt.ArrayLike, n_rows: int) -> npt.NDArray[np.intp]:
    """Give the place of each row's time stamp among all of them, in order of time.

    Raises:
        ValueError: another number of rows, missing time stamps, or what is none.
    """
    import pandas as pd

    try:
        codes, _ = pd.Series(times).factorize(sort=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"times must be one time stamp a row: {error}") from error
    if len(codes) != n_rows:
        raise ValueError(f"{n_rows} rows of truth, {len(codes)} of times")
    if (missing := codes < 0).any():
        first = int(missing.argmax())
        raise ValueError(f"times has {int(missing.sum())} values missing, first in row {first}")
    return codes


def group_codes(groups: npt.ArrayLike, n_rows: int) -> npt.NDArray[np.intp]:
    """Give the number of each row's group, from 0; a row without one is a group by itself.

    Raises:
        ValueError: another number of rows, or values that name no group.
    """
    import pandas as pd

    try:
        codes, names = pd.factorize(pd.Series(groups))
    except TypeError as error:
        raise ValueError(f"groups must be one name a row: {error}") from error
    if len(codes) != n_rows:
        raise ValueError(f"{n_rows} rows of truth, {len(codes)} of groups")
    alone = codes < 0
    codes[alone] = len(names) + np.arange(alone.sum())
    return codes


def entities_from_keys(keys: pd.Index) -> npt.NDArray[Any] | None:
    """Find what several keys have in common, such as the customer in ``C17-001`` and ``C17-002``.

    Keys are cut at their last punctuation mark. The part before it, or else the part after it, is
    an entity if it is no date, has at least 10 values, and fewer values than there are keys. Rows
    of entities that do not matter lose little by it: few groups alone make a bound much wider.

    Returns:
        Entity of each key, shape (n,), or ``None``.
    """
    import pandas as pd

    texts = pd.Series(keys.astype(str))
    if pd.api.types.is_numeric_dtype(keys) or _are_dates(texts):
        return None
    parts = texts.str.extract(_LAST_PART)
    if parts.isna().to_numpy().any():
        return None
    for _, part in parts.items():
        if _FEWEST_ENTITIES <= part.nunique() < len(part) and not _are_dates(part):
            return part.to_numpy()
    return None


def _are_dates(texts: pd.Series) -> bool:
    return bool(texts.str.fullmatch(r"\d{4}[-/.]\d\d?([-/.]\d\d?)?([T ][\d:.+Z-]*)?").all())


def label_codes(labels: npt.ArrayLike, name: str, classes: Sequence[str]) -> npt.NDArray[np.intp]:
    """Give the position of each label in ``classes``; ValueError if one is not there."""
    position = {label: code for code, label in enumerate(classes)}
    if len(position) < max(len(classes), 2):
        raise ValueError(f"classes must be two or more different labels, not {list(classes)}")
    values = np.asarray(labels, dtype=object)
    _check_shape(values, name, 1)
    codes = np.array([position.get(value, -1) for value in values.tolist()])
    if (codes < 0).any():
        unknown = sorted({str(value) for value in values[codes < 0]})
        raise ValueError(f"{name} has labels outside the classes {list(classes)}: {unknown[:5]}")
    return codes


def finite_array(values: npt.ArrayLike, name: str, ndim: int) -> Array:
    """Give the values as an array of ``ndim`` dimensions; ValueError if one is not finite."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers: {error}") from error
    _check_shape(array, name, ndim)
    bad = ~np.isfinite(array)
    if bad.any():
        first = int(np.argwhere(bad)[0, 0])
        raise ValueError(f"{name} has {int(bad.sum())} values not finite, first in row {first}")
    return array


def _check_shape(array: npt.NDArray[np.generic], name: str, ndim: int) -> None:
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), not shape {array.shape}")
    if len(array) == 0:
        raise ValueError(f"{name} has no rows")


def check_same_length(
    truth: npt.NDArray[np.generic], other: npt.NDArray[np.generic], name: str = "prediction"
) -> None:
    """Raise ValueError unless both have the same number of rows."""
    if len(truth) != len(other):
        raise ValueError(f"{len(truth)} rows of truth, {len(other)} of {name}")
