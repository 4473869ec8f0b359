"""What the gate decides on: predictions of the same rows, and what else was checked and measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd


@dataclass(frozen=True, eq=False)
class Rows:
    """Predictions of one target on the same rows by both models and a naive forecast.

    The frames are indexed by the row key and have ``truth`` and ``prediction``; of classes also
    ``probability_<class>``; of series also ``time``, ``scale`` and ``rms``.

    Attributes:
        task: ``classification``, ``regression`` or ``forecasting``.
        classes: the classes, of ``classification``.
        challenger: the model that wants to serve.
        champion: the model that serves; ``None`` if there is none yet.
        naive: the naive forecast that the challenger has to beat; ``None`` if there is none, or
            if the challenger is it.
        slices: name of a group of rows -> which rows belong to it, shape (n,), boolean, in the
            order of the frames.
        horizon: steps of time between the origin of a forecast and its row.
    """

    task: str
    classes: Sequence[str] | None
    challenger: pd.DataFrame
    champion: pd.DataFrame | None
    naive: pd.DataFrame | None
    slices: Mapping[str, npt.NDArray[np.bool_]]
    horizon: int = 1


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that the gate looks at.

    Attributes:
        rows: target -> its rows, which neither model has used for fitting, tuning, calibration
            or selection. At the first promotion they are the test rows.
        soundness: what was checked of data, bundle and the way back -> what is wrong, or ``None``.
        latency_ms: time of one answer of the challenger, 99th percentile.
        size_mb: size of its bundle.
        last_seen: time of the last row that either model has used; ``None`` for rows without time.
        keys_hash: hash of the row keys, see ``hash_keys``.
    """

    rows: Mapping[str, Rows]
    soundness: Mapping[str, str | None]
    latency_ms: float
    size_mb: float
    last_seen: Any
    keys_hash: str


def hash_keys(rows: Mapping[str, Rows]) -> str:
    """Say by a hash which rows were looked at: SHA-256 of the targets and their row keys."""
    keys = {name: [str(key) for key in part.challenger.index] for name, part in rows.items()}
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()
