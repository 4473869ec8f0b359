"""A case before the gate: the evidence, what is asked of a new model, and their comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ratchet.config import Release, Target
from ratchet.gate.evidence import Evidence, Mask, confidence_after
from ratchet.gate.primary_metric import deciding_metric, deciding_target
from ratchet.learning.metrics import Gain, paired_gain


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
        return deciding_target(self.release, self.targets)

    def metric(self, target: str) -> str:
        """The metric by which a target is judged: that of its search, unless another is named."""
        return deciding_metric(self.release, self.targets, target)

    @property
    def confidence(self) -> float:
        """Level at which the challenger has to be better than the champion.

        It grows with the challengers that were judged on the same rows, see ``confidence_after``.
        """
        return confidence_after(self.evidence.earlier, self.release.confidence)

    @cached_property
    def gain(self) -> Gain:
        """By how much the challenger betters the champion in the target that decides."""
        return self.compare(self.primary, confidence=self.confidence)

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
        selected = np.ones(len(frame), dtype=bool) if where is None else where
        times = rows.moments()
        return paired_gain(
            self.metric(target),
            rows.task,
            frame[selected],
            rows.challenger[selected],
            classes=rows.classes,
            times=None if times is None else times[selected],
            groups=None if rows.groups is None else rows.groups[selected],
            horizon=rows.horizon,
            season=rows.season,
            n_bootstrap=self.n_bootstrap,
            confidence=confidence or self.release.confidence,
            seed=self.seed,
        )
