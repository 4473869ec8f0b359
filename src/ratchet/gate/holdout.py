"""Champion and challenger on the same fresh rows: how the gate is shown them.

The pipelines let bundles answer, the replay looks answers up; both put them together here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import Target, UseCase
from ratchet.gate.evidence import Evidence, Rows, earlier_looks, hash_keys
from ratchet.gate.primary_metric import deciding_target
from ratchet.gate.slices import groups_of, slices_of

_TERMS = ("truth", "series", "time", "scale", "rms")
"""What tidy rows have beside the answers."""

_FEW = 0.01
"""Share of the fresh rows that a challenger need not answer."""

Answers = Mapping[str, pd.DataFrame]
"""Target -> answers, indexed by row key."""


@dataclass(frozen=True, eq=False)
class Fresh:
    """Fresh rows, and how they are looked at.

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
        """Put the answers of both side by side.

        Args:
            candidates: target -> name of the challenger's candidate.
            answers: what the challenger says; ``None`` if it does not answer.
            champion: what the champion says; ``None`` without one, or if it does not answer.
            soundness: what was checked of both -> what is wrong, or ``None``.
            latency_ms: time of one answer of the challenger.
            size_mb: size of its bundle.
            last_seen: time of the last row that one of the two has used.
            verdicts: numbers of earlier verdicts that kept the same champion.
        """
        checks = dict(soundness)
        if answers:
            checks["coverage"] = self._left_out(answers)
        rows = {
            name: self._rows(name, target, candidates[name], answers or {}, champion)
            for name, target in self.use_case.targets.items()
        }
        keys_hash = hash_keys(rows)
        decides = deciding_target(self.use_case.release, self.use_case.targets)
        times, n = rows[decides].moments(), len(rows[decides].challenger)
        return Evidence(
            rows=rows,
            soundness=checks,
            latency_ms=latency_ms,
            size_mb=size_mb,
            last_seen=last_seen,
            keys_hash=keys_hash,
            earlier=earlier_looks(verdicts, decides, keys_hash, n, times),
        )

    def _left_out(self, answers: Answers) -> str | None:
        """Fresh rows without an answer, where they are more than a few."""
        for target, rows in answers.items():
            missing = len(self.keys.difference(rows.index))
            if missing > _FEW * len(self.keys):
                return f"{missing} of {len(self.keys)} fresh rows get no answer for {target}"
        return None

    def _rows(
        self,
        name: str,
        target: Target,
        candidate: str,
        answers: Answers,
        champion: Answers | None,
    ) -> Rows:
        is_naive = bool((self.naive[name]["candidate"] == candidate).any())
        naive = self.naive[name][self.naive[name].index.isin(self.keys)]
        terms = naive[[column for column in _TERMS if column in naive]]
        ours = _with_terms(terms, answers.get(name))
        theirs = None if champion is None else _with_terms(terms, champion.get(name))
        if theirs is not None:  # the same rows for both, whoever cannot answer one
            keys = ours.index.intersection(theirs.index, sort=False)
            ours, theirs = ours.loc[keys], theirs.loc[keys]
        primary, data = self.primary.loc[ours.index], self.use_case.data
        release = self.use_case.release
        return Rows(
            task=target.task,
            classes=target.classes,
            challenger=ours,
            champion=theirs,
            naive=None if is_naive else naive.loc[ours.index],
            slices=slices_of(primary, release.slices.columns),
            horizon=self.use_case.features.horizon,
            season=data.series.season if data.series else 1,
            times=_times(primary, self.use_case),
            groups=groups_of(primary, self.use_case),
        )


def _times(primary: pd.DataFrame, use_case: UseCase) -> Any:
    """Time stamps of rows that are no steps of a series; those are told by their own column.

    ``release.groups`` may say that rows are independent of each other by naming the key.
    """
    data = use_case.data
    if data.time is None or data.series or use_case.release.groups == data.key:
        return None
    return primary[data.time].to_numpy()


def _with_terms(terms: pd.DataFrame, answers: pd.DataFrame | None) -> pd.DataFrame:
    """Tidy rows: the answers for the rows in question, with truth and units that are the same."""
    if answers is None:
        return terms.iloc[:0].assign(prediction=np.array([], dtype=float))
    own = answers.drop(columns=[column for column in _TERMS if column in answers])
    return terms.join(own, how="inner")
