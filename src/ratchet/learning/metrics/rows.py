"""Checks of what is scored, and its form for the statistics of the metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ratchet.learning.metrics.table import Array


def classification_rows(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str]
) -> tuple[Array, Array]:
    """Give labels one-hot and probabilities, both (n, n_classes); ValueError if they are not."""
    rows = finite(probabilities, "probabilities", 2)
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


def finite(values: npt.ArrayLike, name: str, ndim: int) -> Array:
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


def check_same_length(truth: npt.NDArray[np.generic], prediction: npt.NDArray[np.generic]) -> None:
    """Raise ValueError unless both have the same number of rows."""
    if len(truth) != len(prediction):
        raise ValueError(f"{len(truth)} rows of truth, {len(prediction)} of prediction")
