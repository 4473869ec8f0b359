"""Drift among rows that a model did not learn from: its columns, windows and reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from ratchet.bundle.scoring_frame import ScoringFrame
from ratchet.config import HISTORY_PREFIX, Drift, UseCase, plain
from ratchet.learning.metrics import Resampling
from ratchet.monitoring.drift import DriftReport, ErrorEvidence, detect
from ratchet.monitoring.drift.effect import error_from_scores, error_without_truth
from ratchet.monitoring.performance import cut_windows, score, score_in_mix
from ratchet.preparation.required_columns import source_columns
from ratchet.primary_metric import primary_metric

_PERIOD = "7D"
"""What series of a day's step or less repeat after, beside the year."""


@dataclass(frozen=True, eq=False)
class DriftCheck:
    """Rows as a bundle sees them, and how drift is looked for among them.

    Attributes:
        now: the rows, as the model sees them.
        use_case: the parameters of today, which say how drift is looked for.
        seed: seed of the draws.
    """

    now: ScoringFrame
    use_case: UseCase
    seed: int

    @property
    def resampling(self) -> Resampling:
        """How rows are drawn for the scores of the model."""
        return Resampling(self.seed, horizon=self.now.bundle.use_case.features.horizon)

    @cached_property
    def drift(self) -> Drift:
        """How drift is looked for, with the columns that are looked at."""
        return watched(self.use_case, self.now.bundle.reference.columns)

    @cached_property
    def importance(self) -> dict[str, float]:
        """How much the target that decides lives on each of these columns."""
        bundle, data = self.now.bundle, self.now.bundle.use_case.data
        contract_columns = set(data.known_columns)
        return importance_of(
            bundle.importance.get(primary_metric(bundle.use_case)[0], {}),
            self.drift.columns or [],
            lambda name: source_columns([name], data) if name in contract_columns else {name},
        )

    def compare(
        self,
        window: pd.DataFrame,
        *,
        earlier: Sequence[DriftReport] = (),
        error: ErrorEvidence | None = None,
    ) -> DriftReport:
        """Compare a window with what the model learned from.

        Args:
            window: source columns, as ``ScoringFrame.inputs`` has them.
            earlier: reports of the windows before, oldest first.
            error: whether predictions became worse, where that is known.
        """
        data = self.now.bundle.use_case.data
        return detect(
            self.now.bundle.reference,
            window,
            self.drift,
            importance=self.importance,
            time=data.row_time if data.time else None,
            period=_PERIOD if data.series else None,
            earlier=earlier,
            error=error,
            seed=self.seed,
        )

    def follow(self, windows: Sequence[pd.DataFrame]) -> list[DriftReport]:
        """Compare windows one after the other; of the latest, the errors too.

        Args:
            windows: as ``compare`` takes them, oldest first.
        """
        reports: list[DriftReport] = []
        for number, window in enumerate(windows, 1):
            error = self.error(window) if number == len(windows) else None
            reports.append(self.compare(window, earlier=reports, error=error))
        return reports

    def error(self, window: pd.DataFrame) -> ErrorEvidence | None:
        """Whether the model does worse in a window than on its test rows.

        By the truth, where enough of it is known; else by what the model itself expects. Rows that
        the model was made or chosen with tell nothing new and do not count.

        Args:
            window: as ``compare`` takes it.

        Returns:
            The evidence; None where no row is new, or nothing can be said of those that are.
        """
        bundle = self.now.bundle
        name, metric = primary_metric(bundle.use_case)
        target, watch = bundle.use_case.targets[name], self.use_case.monitoring.watch
        mine = self._answers(window.index.difference(bundle.rows.index, sort=False), name)
        with_truth = mine.dropna(subset=["truth", "prediction"])
        before = self._score_in_test(name, metric, with_truth)
        if before is not None and len(with_truth) >= watch.min_rows:
            now = score(with_truth, target, self.resampling)[metric]
            if not math.isnan(now["value"]):
                return error_from_scores(metric, before, now, watch.rollback_above, len(with_truth))
        tested = bundle.rows.index[bundle.rows["part"] == "test"]
        return error_without_truth(self._answers(tested, name), mine, target, watch.rollback_above)

    def _score_in_test(
        self, target: str, metric: str, rows: pd.DataFrame
    ) -> dict[str, float] | None:
        """The score on the test rows; of a path in the mix of steps of the given rows."""
        bundle = self.now.bundle
        score, tested = bundle.score(target, metric), bundle.test_rows.get(target)
        if score is None or tested is None or "step" not in rows:
            return score
        mixed = score_in_mix(tested, rows["step"], bundle.use_case.targets[target])
        shift = mixed.get(metric, score["value"]) - score["value"]
        return {end: value + shift for end, value in score.items()}

    def _answers(self, keys: pd.Index, target: str) -> pd.DataFrame:
        return answers_with_truth(self.now, keys)[target]


def answers_with_truth(now: ScoringFrame, keys: pd.Index) -> dict[str, pd.DataFrame]:
    """Tidy rows of every target, with the truth where it is known, of those that are answered.

    Args:
        now: the rows, as the model sees them.
        keys: keys of the rows that are wanted.
    """
    targets = now.bundle.use_case.targets
    index = now.features.index
    answers = now.predict(index[index.isin(keys) | now.rows_of(index).isin(keys)])
    return {
        name: rows.assign(truth=now.truth(targets[name]).reindex(rows.index))
        for name, rows in answers.items()
    }


def latest_drift(
    now: ScoringFrame, use_case: UseCase, since: str | None, seed: int
) -> DriftReport | None:
    """Compare the latest complete window of production with the reference, and its errors.

    The windows before it are looked at, too, to know whether a drift lasts.

    Args:
        now: the delivered rows, as the champion sees them.
        use_case: the parameters of today, which say how drift is looked for.
        since: time after which rows count as production.
        seed: seed of the draws.

    Returns:
        The report; None where no window is complete.
    """
    look = DriftCheck(now, use_case, seed)
    windows = _windows(now, use_case.monitoring.watch.window, since)
    reports = look.follow(windows[-look.drift.persistent :])
    return reports[-1] if reports else None


def _windows(now: ScoringFrame, window: str, since: Any) -> list[pd.DataFrame]:
    """Complete windows of the rows of production, oldest first."""
    rows = now.new_inputs(since)
    if rows.empty:
        return []
    if now.times is None or since is None:
        return [rows]
    cut = cut_windows(now.times.loc[rows.index], window, start=now.first_new_time(since))
    whole = cut[cut["complete"].astype(bool)]
    return [rows.loc[part.index] for _, part in whole.groupby("start", sort=True)]


def watched(use_case: UseCase, available: Iterable[str]) -> Drift:
    """The parameters with the columns that are looked at filled in.

    By default these are the features and what windows follow; not the calendar, which is never
    surprised, nor targets that are no inputs.

    Args:
        use_case: the parameters.
        available: columns of the reference.
    """
    drift, features, data = use_case.monitoring.drift, use_case.features, use_case.data
    if drift.columns is not None:
        return drift
    past = list(features.windows.past) if features.windows else []
    available_columns = set(available) - {*data.calendar, data.time}
    columns = [
        name for name in dict.fromkeys([*features.columns, *past]) if name in available_columns
    ]
    return drift.model_copy(update={"columns": columns})


def importance_of(
    importance: Mapping[str, float],
    columns: Iterable[str],
    made_of: Callable[[str], Collection[str]],
) -> dict[str, float]:
    """Importance of columns, from that of the sources of features.

    Args:
        importance: source -> its importance, as the bundle has it.
        columns: columns that are looked at.
        made_of: all columns that a column is derived from, itself among them.

    Returns:
        Column -> importance of all sources that are made of it.
    """
    sources = {
        plain(source.removeprefix(HISTORY_PREFIX)): max(float(value), 0.0)
        for source, value in importance.items()
    }
    columns_of = {source: set(made_of(source)) for source in sources}
    return {
        name: sum(value for source, value in sources.items() if name in columns_of[source])
        for name in columns
    }
