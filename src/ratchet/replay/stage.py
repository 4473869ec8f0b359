"""What a training on one day brings: models, and everything that they would ever answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ratchet.gate.evidence import Answers


@dataclass(frozen=True, eq=False)
class Model:
    """One version, as far as the gate and the watch look at it.

    Attributes:
        version: its name; versions sort by the day of their training.
        as_of: that day.
        candidates: target -> name of the candidate.
        last_row: time of the last row that it has learned from.
        decided_until: time of the last row by which it was made or chosen.
        scores: target -> metric -> ``value``, ``low``, ``high`` on its test rows.
        answers: target -> answers for its test rows and all later ones, by row key: as
            ``Bundle.predict`` gives them, with ``time`` and ``truth``.
        latency_ms: time of one answer, 99th percentile.
        size_mb: size of its bundle.
        trouble: why it does not answer the rows after its test rows; ``None`` if it does.
    """

    version: str
    as_of: pd.Timestamp
    candidates: Mapping[str, str]
    last_row: str | None
    decided_until: str | None
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]
    answers: Answers
    latency_ms: float
    size_mb: float
    trouble: str | None = None

    def of(self, keys: pd.Index) -> Answers:
        """Answers for some of the rows, without what came true."""
        return {
            target: rows[rows.index.isin(keys)].drop(columns="truth")
            for target, rows in self.answers.items()
        }

    def logged(self, target: str, after: Any, until: Any) -> pd.DataFrame:
        """Answers in a span of time, as the prediction log would have them.

        Args:
            target: of which target.
            after: time before the first of these rows.
            until: time of the last of them.
        """
        rows = self._log[target]
        first, end = (
            int(rows["row_time"].searchsorted(pd.Timestamp(at), side="right"))
            for at in (after, until)
        )
        return rows.iloc[first:end]

    @cached_property
    def _log(self) -> dict[str, pd.DataFrame]:
        return {target: _as_logged(rows) for target, rows in self.answers.items()}


def _as_logged(rows: pd.DataFrame) -> pd.DataFrame:
    """Answers in the order of time; one that is not finite is a failed one."""
    failed = rows["prediction"].isna()
    if pd.api.types.is_numeric_dtype(rows["prediction"]):
        failed = ~np.isfinite(rows["prediction"])
    logged = rows.rename(columns={"time": "row_time"})
    logged = logged.assign(failed=failed, predicted_at=rows["time"])
    return logged.sort_values("row_time", kind="stable")


@dataclass(frozen=True, eq=False)
class Stage:
    """The training of one day.

    Attributes:
        as_of: last day whose rows it has seen.
        challengers: the chosen model, and behind it the best naive one where that is another. The
            second is judged only where nothing serves yet.
        naive: target -> tidy test rows of the best naive candidate, with ``candidate``.
        primary: prepared test rows by row key.
        trouble: why the training has failed; it has no challengers then.
    """

    as_of: pd.Timestamp
    challengers: tuple[Model, ...]
    naive: Mapping[str, pd.DataFrame]
    primary: pd.DataFrame
    trouble: str | None = None

    @classmethod
    def failed(cls, as_of: pd.Timestamp, trouble: str) -> Stage:
        """A training that has ended in an error."""
        return cls(as_of, (), {}, pd.DataFrame(), trouble)
