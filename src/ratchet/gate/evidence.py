"""What the gate decides on: predictions of both models on the holdout rows, and measurements.

The pipelines let bundles answer, the replay looks answers up; ``Holdout`` puts both together.
"""

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

from ratchet.config import Target, UseCase
from ratchet.gate.slices import Mask, groups_of, slices_of
from ratchet.learning.metrics import check_same_rows, tidy_rows
from ratchet.primary_metric import primary_target

_SPENDING = 2.5
"""Exponent of the error-spending sequence 1 / k ** 2.5, see ``corrected_confidence``."""

_ROW_COLUMNS = ("truth", "series", "time", "scale", "rms")
"""Columns of tidy rows beside the answers."""

_MAX_UNANSWERED = 0.01
"""Share of the holdout rows that a challenger need not answer."""

Answers = Mapping[str, pd.DataFrame]
"""Target -> answers, indexed by row key."""


@dataclass(frozen=True, eq=False)
class PairedRows:
    """Predictions of one target on the same rows, by both models and a naive forecast.

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
        groups: group of each row, such as a customer, shape (n,); ``None`` if there are none.
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

    def row_times(self) -> npt.NDArray[Any] | None:
        """Time stamp of each row, shape (n,); ``None`` where rows have none."""
        if self.times is None and "time" in self.challenger:
            return self.challenger["time"].to_numpy()
        return self.times

    def baselines(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Predictions that the challenger is compared with, by name."""
        for name, frame in (("champion", self.champion), ("naive", self.naive)):
            if frame is not None:
                yield name, frame


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that the gate looks at.

    Attributes:
        rows: target -> its rows, which neither model has used for fitting, tuning, calibration
            or selection. At the first promotion they are the test rows.
        soundness: check of data, bundle or rollback target -> what is wrong, or ``None``.
        latency_ms: time of one answer of the challenger, 99th percentile.
        size_mb: size of its bundle, in millions of bytes.
        last_seen: time of the last row that either model has used; ``None`` for rows without time.
        keys_hash: hash of the row keys, see ``hash_keys``.
        earlier: challengers that were judged before on the same rows, see ``earlier_challengers``.
    """

    rows: Mapping[str, PairedRows]
    soundness: Mapping[str, str | None]
    latency_ms: float
    size_mb: float
    last_seen: Any
    keys_hash: str
    earlier: float = 0.0

    @property
    def is_first(self) -> bool:
        """Whether no target has a champion yet."""
        return all(rows.champion is None for rows in self.rows.values())


def hash_keys(rows: Mapping[str, PairedRows]) -> str:
    """SHA-256 of the targets and their row keys, to show later which rows were compared."""
    keys = {name: [str(key) for key in part.challenger.index] for name, part in rows.items()}
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()


def corrected_confidence(earlier: float, confidence: float) -> float:
    """Level at which a challenger has to be better after others were judged on the same rows.

    The chance of error is spent over the challengers: the k-th gets 1 / k^2.5 of what the first
    one gets. Over any number of them that adds up to 1.35 times that.

    Args:
        earlier: how many were judged before, see ``earlier_challengers``.
        confidence: level for the first one.

    Raises:
        ValueError: ``earlier`` is negative or NaN.
    """
    if not earlier >= 0:
        raise ValueError(f"earlier challengers on these rows: {earlier}, expected 0 or more")
    return float(1 - (1 - confidence) / (1 + earlier) ** _SPENDING)


def earlier_challengers(
    verdicts: Iterable[Mapping[str, Any]],
    target: str,
    keys_hash: str,
    n: int,
    times: npt.ArrayLike | None,
) -> float:
    """Count the challengers that were judged before on the same rows, or on some of them.

    Each counts by the root of the share of the rows that it was judged on, the correlation of the
    two results if both are no better: 1 for the same rows, 0 for others. Rows without a recorded
    time are known by their number alone: they are taken to be among the present ones.

    Args:
        verdicts: numbers of the verdicts, ``Verdict.numbers``, that kept the same champion.
        target: the primary target.
        keys_hash: hash of the present rows.
        n: their number.
        times: time of each, shape (n,); ``None`` without time.
    """
    index = None if times is None else pd.DatetimeIndex(np.asarray(times))
    return sum(_share_seen(numbers, target, keys_hash, n, index) for numbers in verdicts)


def _share_seen(
    numbers: Mapping[str, Any],
    target: str,
    keys_hash: str,
    n: int,
    times: pd.DatetimeIndex | None,
) -> float:
    if numbers.get("gain") is None or n == 0:  # nothing was compared
        return 0.0
    if numbers.get("keys_hash") == keys_hash:
        return 1.0
    first, last = numbers.get("first_row"), numbers.get("last_row")
    if times is not None and first and last:
        within = (times >= pd.Timestamp(first)) & (times <= pd.Timestamp(last))
        return math.sqrt(within.mean())
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


def _check_target(rows: PairedRows, target: Target) -> None:
    if rows.task != target.task:
        raise ValueError(f"rows of {rows.task}, expected {target.task}")
    if {*(rows.classes or [])} != {*(target.classes or [])}:
        raise ValueError(f"classes {rows.classes}, expected {target.classes}")
    steps: dict[str, object] = {"horizon": rows.horizon, "season": rows.season}
    for name, value in steps.items():
        if not (isinstance(value, int | np.integer) and value >= 1):
            raise ValueError(f"{name} {value}, expected a number of steps")
    for name, values in {"times": rows.times, "groups": rows.groups}.items():
        if values is not None and np.shape(values) != (len(rows.challenger),):
            raise ValueError(f"{name}: expected one for each of the {len(rows.challenger)} rows")
    for model, frame in [("challenger", rows.challenger), *rows.baselines()]:
        try:
            tidy_rows(frame, rows.task, rows.classes)
            check_same_rows(frame, rows.challenger, rows.task)
            if model != "naive":  # which never serves, and has no intervals
                _check_answers(frame, rows.classes)
        except ValueError as error:
            raise ValueError(f"predictions of the {model}: {error}") from error


def _check_answers(frame: pd.DataFrame, classes: Sequence[str] | None) -> None:
    """Check also what no metric uses: the label, the ends of intervals."""
    incomplete = frame.isna().any() | frame.isin([np.inf, -np.inf]).any()
    if incomplete.any():
        raise ValueError(f"{list(frame.columns[incomplete])} have values missing or not finite")
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


@dataclass(frozen=True, eq=False)
class Holdout:
    """The holdout rows of the gate, which the champion has not seen.

    Attributes:
        use_case: the parameters.
        keys: keys of the rows.
        naive: target -> tidy test rows of its best naive candidate, with ``candidate``.
        primary: prepared rows by row key, for the slices.
    """

    use_case: UseCase
    keys: pd.Index
    naive: Mapping[str, pd.DataFrame]
    primary: pd.DataFrame

    def evidence(
        self,
        candidates: Mapping[str, str],
        answers: Answers | None,
        champion: Answers | None,
        *,
        soundness: Mapping[str, str | None],
        latency_ms: float,
        size_mb: float,
        last_seen: Any,
        verdicts: Iterable[Mapping[str, Any]] = (),
    ) -> Evidence:
        """Put the answers of challenger and champion side by side.

        Args:
            candidates: target -> name of the challenger's candidate.
            answers: answers of the challenger; ``None`` if it does not answer.
            champion: answers of the champion; ``None`` without one, or if it does not answer.
            soundness: check of both -> what is wrong, or ``None``.
            latency_ms: see ``Evidence``; NaN where it was not measured.
            size_mb: see ``Evidence``; NaN where it was not measured.
            last_seen: see ``Evidence``.
            verdicts: numbers of earlier verdicts that kept the same champion.
        """
        checks = dict(soundness)
        if answers:
            checks["coverage"] = self._unanswered(answers)
        rows = {
            name: self._rows(name, target, candidates[name], answers or {}, champion)
            for name, target in self.use_case.targets.items()
        }
        keys_hash = hash_keys(rows)
        primary = primary_target(self.use_case.release, self.use_case.targets)
        times, n = rows[primary].row_times(), len(rows[primary].challenger)
        return Evidence(
            rows=rows,
            soundness=checks,
            latency_ms=latency_ms,
            size_mb=size_mb,
            last_seen=last_seen,
            keys_hash=keys_hash,
            earlier=earlier_challengers(verdicts, primary, keys_hash, n, times),
        )

    def _unanswered(self, answers: Answers) -> str | None:
        """Holdout rows without an answer, where they are too many."""
        for target, rows in answers.items():
            missing = len(self.keys.difference(rows.index))
            if missing > _MAX_UNANSWERED * len(self.keys):
                return f"{missing} of {len(self.keys)} holdout rows get no answer for {target}"
        return None

    def _rows(
        self,
        name: str,
        target: Target,
        candidate: str,
        answers: Answers,
        champion: Answers | None,
    ) -> PairedRows:
        is_naive = bool((self.naive[name]["candidate"] == candidate).any())
        naive = self.naive[name][self.naive[name].index.isin(self.keys)]
        columns = naive[[column for column in _ROW_COLUMNS if column in naive]]
        challenger_rows = _join_answers(columns, answers.get(name))
        champion_rows = None if champion is None else _join_answers(columns, champion.get(name))
        if champion_rows is not None:  # only rows that both answer
            keys = challenger_rows.index.intersection(champion_rows.index, sort=False)
            challenger_rows, champion_rows = challenger_rows.loc[keys], champion_rows.loc[keys]
        data, rows_of = self.use_case.data, self.use_case.features.row_keys
        primary = self.primary.loc[rows_of(challenger_rows.index)]
        release = self.use_case.release
        return PairedRows(
            task=target.task,
            classes=target.classes,
            challenger=challenger_rows,
            champion=champion_rows,
            naive=None if is_naive else naive.loc[challenger_rows.index],
            slices=slices_of(primary, release.slices.columns),
            horizon=self.use_case.features.horizon,
            season=data.series.season if data.series else 1,
            times=_times(primary, self.use_case),
            groups=groups_of(primary, self.use_case),
        )


def _times(primary: pd.DataFrame, use_case: UseCase) -> Any:
    """Time stamps of rows that are not steps of a series; series have a column ``time``.

    ``release.groups`` may say that rows are independent of each other by naming the key.
    """
    data = use_case.data
    if data.time is None or data.series or use_case.release.groups == data.key:
        return None
    return primary[data.time].to_numpy()


def _join_answers(columns: pd.DataFrame, answers: pd.DataFrame | None) -> pd.DataFrame:
    """Tidy rows: answers, with truth and units that are the same for both models."""
    if answers is None:
        return columns.iloc[:0].assign(prediction=np.array([], dtype=float))
    own = answers.drop(columns=[name for name in _ROW_COLUMNS if name in answers])
    return columns.join(own, how="inner")
