"""How drift is looked for among rows that a model did not learn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from ratchet.bundle.scoring_frame import ScoringFrame
from ratchet.config import Drift, UseCase
from ratchet.monitoring.drift import DriftReport, ErrorEvidence, detect
from ratchet.monitoring.drift.effect import error_from_scores, error_without_truth
from ratchet.monitoring.drift.inputs import importance_of, watched
from ratchet.monitoring.performance import score
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

    @cached_property
    def drift(self) -> Drift:
        """How drift is looked for, with the columns that are looked at."""
        return watched(self.use_case, self.now.bundle.reference.columns)

    @cached_property
    def importance(self) -> dict[str, float]:
        """How much the target that decides lives on each of these columns."""
        bundle, data = self.now.bundle, self.now.bundle.use_case.data
        known = set(data.known_columns)
        return importance_of(
            bundle.importance.get(primary_metric(bundle.use_case)[0], {}),
            self.drift.columns or [],
            lambda name: source_columns([name], data) if name in known else {name},
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
        for place, window in enumerate(windows, 1):
            error = self.error(window) if place == len(windows) else None
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
        known = mine.dropna(subset=["truth", "prediction"])
        before = bundle.score(name, metric)
        if before is not None and len(known) >= watch.min_rows:
            horizon = bundle.use_case.features.horizon
            now = score(known, target, horizon, self.seed)[metric]
            if not math.isnan(now["value"]):
                return error_from_scores(metric, before, now, watch.rollback_above, len(known))
        tested = bundle.rows.index[bundle.rows["part"] == "test"]
        return error_without_truth(self._answers(tested, name), mine, target, watch.rollback_above)

    def _answers(self, keys: pd.Index, target: str) -> pd.DataFrame:
        return answers_with_truth(self.now, keys)[target]


def answers_with_truth(now: ScoringFrame, keys: pd.Index) -> dict[str, pd.DataFrame]:
    """Tidy rows of every target, with the truth where it is known, of those that are answered.

    Args:
        now: the rows, as the model sees them.
        keys: keys of the rows that are wanted.
    """
    targets = now.bundle.use_case.targets
    found = now.predict(now.features.index.intersection(keys, sort=False))
    return {
        name: rows.assign(truth=now.truth(targets[name]).reindex(rows.index))
        for name, rows in found.items()
    }
