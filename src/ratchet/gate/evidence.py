"""What the gate decides on: predictions of the same rows, and what else was found out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.config import Target
from ratchet.learning.metrics import check_same_rows, tidy_rows

Mask = npt.NDArray[np.bool_]

_SPENDING = 2.5


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
            order of the frames. Small groups may be among them, see ``Slices.min_rows``.
        horizon: steps of time between the origin of a forecast and its row.
        season: steps of time of a season; 1 for none.
        times: time stamp of each row, shape (n,), where rows have one that is no column.
        groups: what each row belongs to, such as a customer, shape (n,); ``None`` if nothing.
    """

    task: str
    classes: Sequence[str] | None
    challenger: pd.DataFrame
    champion: pd.DataFrame | None
    naive: pd.DataFrame | None
    slices: Mapping[str, Mask]
    horizon: int = 1
    season: int = 1
    times: npt.NDArray[Any] | None = None
    groups: npt.NDArray[Any] | None = None

    def moments(self) -> npt.NDArray[Any] | None:
        """Time stamp of each row, shape (n,); ``None`` where rows have none."""
        if self.times is None and "time" in self.challenger:
            return self.challenger["time"].to_numpy()
        return self.times

    def others(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """What the challenger is compared with, by name."""
        for name, frame in (("champion", self.champion), ("naive", self.naive)):
            if frame is not None:
                yield name, frame


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
        earlier: challengers that were judged before on the same rows, see ``earlier_looks``.
    """

    rows: Mapping[str, Rows]
    soundness: Mapping[str, str | None]
    latency_ms: float
    size_mb: float
    last_seen: Any
    keys_hash: str
    earlier: float = 0.0

    @property
    def is_first(self) -> bool:
        """Whether there is no champion yet, for no target."""
        return all(rows.champion is None for rows in self.rows.values())


def hash_keys(rows: Mapping[str, Rows]) -> str:
    """Say by a hash which rows were looked at: SHA-256 of the targets and their row keys."""
    keys = {name: [str(key) for key in part.challenger.index] for name, part in rows.items()}
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()


def confidence_after(earlier: float, confidence: float) -> float:
    """Level at which a challenger has to be better after others were judged on the same rows.

    The chance of error is spent over the challengers: the k-th gets 1 / k^2.5 of what the first
    one gets. Over any number of them that adds up to 1.35 times that.

    Args:
        earlier: how many were judged before, see ``earlier_looks``.
        confidence: level for the first one.

    Raises:
        ValueError: a number that is none.
    """
    if not earlier >= 0:
        raise ValueError(f"it is not known how many were judged on these rows: {earlier}")
    return float(1 - (1 - confidence) / (1 + earlier) ** _SPENDING)


def earlier_looks(
    verdicts: Iterable[Mapping[str, Any]],
    target: str,
    keys_hash: str,
    n: int,
    times: npt.ArrayLike | None,
) -> float:
    """Count the challengers that were judged on rows before, as far as these were the same rows.

    Each counts by the root of the share of the rows that it was judged on, the correlation of the
    two results if both are no better: 1 for the same rows, 0 for others. Of rows without a
    recorded time it is only known how many there were: they are taken to be among the rows in
    question.

    Args:
        verdicts: numbers of the verdicts, ``Verdict.numbers``, that kept the same champion.
        target: the target that decides.
        keys_hash: hash of the rows in question.
        n: their number.
        times: time of each, shape (n,); ``None`` without time.
    """
    moments = None if times is None else pd.DatetimeIndex(np.asarray(times))
    return sum(_share_seen(one, target, keys_hash, n, moments) for one in verdicts)


def _share_seen(
    numbers: Mapping[str, Any],
    target: str,
    keys_hash: str,
    n: int,
    moments: pd.DatetimeIndex | None,
) -> float:
    if numbers.get("gain") is None or n == 0:  # nothing was compared
        return 0.0
    if numbers.get("keys_hash") == keys_hash:
        return 1.0
    first, last = numbers.get("first_row"), numbers.get("last_row")
    if moments is not None and first and last:
        seen = (moments >= pd.Timestamp(first)) & (moments <= pd.Timestamp(last))
        return math.sqrt(seen.mean())
    rows = numbers.get("rows")
    count = rows.get(target, n) if isinstance(rows, Mapping) else n
    return math.sqrt(min(count / n, 1.0))


def check_rows(evidence: Evidence, targets: Mapping[str, Target]) -> None:
    """Make sure that the rows of every target can be compared.

    Raises:
        ValueError: targets, tasks or classes other than those of the use case; predictions of the
            champion for some targets only; rows that differ between the models, that cannot be
            scored, or that the models have seen; values that are missing or not finite.
    """
    if {*evidence.rows} != {*targets}:
        raise ValueError(f"rows of {[*evidence.rows]}, expected those of {[*targets]}")
    for name, rows in evidence.rows.items():
        try:
            _check_target(rows, targets[name])
            if rows.champion is None and not evidence.is_first:
                raise ValueError("there are no predictions of the champion")
            _check_new(rows.challenger, evidence.last_seen)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def _check_target(rows: Rows, target: Target) -> None:
    if rows.task != target.task:
        raise ValueError(f"rows of {rows.task}, expected {target.task}")
    if {*(rows.classes or [])} != {*(target.classes or [])}:
        raise ValueError(f"classes {rows.classes}, expected {target.classes}")
    steps: dict[str, Any] = {"horizon": rows.horizon, "season": rows.season}
    for name, value in steps.items():
        if not (isinstance(value, (int, np.integer)) and value >= 1):
            raise ValueError(f"{name} {value}, expected a number of steps")
    for name, values in {"times": rows.times, "groups": rows.groups}.items():
        if values is not None and np.shape(values) != (len(rows.challenger),):
            raise ValueError(f"{name}: expected one for each of the {len(rows.challenger)} rows")
    for who, frame in [("challenger", rows.challenger), *rows.others()]:
        try:
            tidy_rows(frame, rows.task, rows.classes)
            check_same_rows(frame, rows.challenger, rows.task)
            if who != "naive":  # which nobody is answered by, and which has no intervals
                _check_answers(frame, rows.classes)
        except ValueError as error:
            raise ValueError(f"predictions of the {who}: {error}") from error


def _check_answers(frame: pd.DataFrame, classes: Sequence[str] | None) -> None:
    """What no metric looks at is part of an answer too: the label, the ends of intervals."""
    holes = frame.isna().any() | frame.isin([np.inf, -np.inf]).any()
    if holes.any():
        raise ValueError(f"{list(frame.columns[holes])} have values missing or not finite")
    if classes and not ("prediction" in frame and frame["prediction"].isin(classes).all()):
        raise ValueError(f"predictions outside the classes {list(classes)}")


def _check_new(frame: pd.DataFrame, last_seen: Any) -> None:
    if "time" not in frame:
        return
    if pd.isna(last_seen):
        raise ValueError("it is not known up to what time the models have seen rows")
    first = pd.to_datetime(frame["time"]).min()
    if not first > pd.to_datetime(last_seen):
        raise ValueError(f"there are rows of {first}, but the models have seen rows to {last_seen}")
