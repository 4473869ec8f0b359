"""What the gate decides on: predictions of the same rows, and what else was found out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.learning.metrics import (
    Gain,
    check_same_rows,
    from_scorer,
    paired_gain,
    tidy_rows,
)
from ratchet.params import Release, Target

Mask = npt.NDArray[np.bool_]


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
    """

    task: str
    classes: Sequence[str] | None
    challenger: pd.DataFrame
    champion: pd.DataFrame | None
    naive: pd.DataFrame | None
    slices: Mapping[str, Mask]
    horizon: int = 1

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


@dataclass(frozen=True, eq=False)
class Case:
    """The evidence, and what is asked of a new model.

    Attributes:
        evidence: what the gate looks at.
        release: what is asked.
        targets: the targets of the use case.
        seed: seed of the bootstrap draws.
        n_bootstrap: number of draws.
    """

    evidence: Evidence
    release: Release
    targets: Mapping[str, Target]
    seed: int
    n_bootstrap: int

    @property
    def primary(self) -> str:
        """The target that decides."""
        return self.release.target or next(iter(self.targets))

    @property
    def is_first(self) -> bool:
        """Whether there is no champion yet, for no target."""
        return all(rows.champion is None for rows in self.evidence.rows.values())

    def metric(self, target: str) -> str:
        """The metric by which a target is judged: that of its search, unless another is named."""
        if target == self.primary and self.release.metric:
            return self.release.metric
        asked = self.targets[target]
        return from_scorer(asked.scorer, 0.0, asked.task)[0]

    @cached_property
    def gain(self) -> Gain:
        """By how much the challenger betters the champion in the target that decides."""
        return self.compare(self.primary)

    def compare(
        self,
        target: str,
        *,
        baseline: str = "champion",
        where: Mask | None = None,
        confidence: float | None = None,
    ) -> Gain:
        """By how much the challenger is better than the champion or the naive forecast.

        Args:
            target: the target.
            baseline: ``champion`` or ``naive``.
            where: rows to look at; all by default.
            confidence: level of the bounds; that of the release by default.

        Raises:
            ValueError: the rows cannot be compared.
        """
        rows = self.evidence.rows[target]
        frame = dict(rows.others()).get(baseline)
        if frame is None:
            raise ValueError(f"{target}: there are no predictions of the {baseline}")
        pair = (frame, rows.challenger) if where is None else (frame[where], rows.challenger[where])
        return paired_gain(
            self.metric(target),
            rows.task,
            *pair,
            classes=rows.classes,
            horizon=rows.horizon,
            n_bootstrap=self.n_bootstrap,
            confidence=confidence or self.release.confidence,
            seed=self.seed,
        )


def check_rows(case: Case) -> None:
    """Make sure that the rows of every target can be compared.

    Raises:
        ValueError: targets, tasks or classes other than those of the use case, rows of the
            champion for some targets only, rows that differ between the models or cannot be
            scored, or that the models have seen.
    """
    evidence = case.evidence
    if {*evidence.rows} != {*case.targets}:
        raise ValueError(f"rows of {[*evidence.rows]}, expected those of {[*case.targets]}")
    for name, rows in evidence.rows.items():
        try:
            _check_target(rows, case.targets[name])
            if rows.champion is None and not case.is_first:
                raise ValueError("there are no predictions of the champion")
            _check_new(rows.challenger, evidence.last_seen)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def _check_target(rows: Rows, target: Target) -> None:
    if rows.task != target.task:
        raise ValueError(f"rows of {rows.task}, expected {target.task}")
    if {*(rows.classes or [])} != {*(target.classes or [])}:
        raise ValueError(f"classes {rows.classes}, expected {target.classes}")
    for who, frame in [("challenger", rows.challenger), *rows.others()]:
        try:
            tidy_rows(frame, rows.task, rows.classes)
            check_same_rows(frame, rows.challenger, rows.task)
        except ValueError as error:
            raise ValueError(f"predictions of the {who}: {error}") from error


def _check_new(frame: pd.DataFrame, last_seen: Any) -> None:
    if "time" not in frame:
        return
    if last_seen is None or pd.isna(last_seen):
        raise ValueError("it is not known up to what time the models have seen rows")
    first = pd.to_datetime(frame["time"]).min()
    if not first > pd.to_datetime(last_seen):
        raise ValueError(f"there are rows of {first}, but the models have seen rows to {last_seen}")
