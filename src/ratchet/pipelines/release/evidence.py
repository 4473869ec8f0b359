"""What the gate is shown: champion and challenger on the same fresh rows, and what was checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ratchet.errors import UserError
from ratchet.params import Target, UseCase
from ratchet.pipelines.release.contenders import best_naive
from ratchet.release.bundle import Bundle
from ratchet.release.delivered import decided_until, delivered
from ratchet.release.evidence import Evidence, Rows, hash_keys
from ratchet.release.rehearsal import rehearse
from ratchet.release.slices import slices_of

_TERMS = ("truth", "series", "time", "scale", "rms")
"""What tidy rows have beside the answers."""

_FEW = 0.01
"""Share of the fresh rows that a challenger need not answer."""

Answers = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Judging:
    """The challengers of one run before the gate.

    Attributes:
        registry: versions and decisions.
        name: name of the use case.
        use_case: the parameters.
        raw: rows as delivered.
        as_of: last day whose rows are seen.
        primary: prepared rows, indexed by row key.
        predictions: target -> tidy rows of every candidate on validation and test.
        choices: target -> the choice among the candidates.
    """

    registry: Any
    name: str
    use_case: UseCase
    raw: pd.DataFrame
    as_of: Any
    primary: pd.DataFrame
    predictions: Mapping[str, pd.DataFrame]
    choices: Mapping[str, Mapping[str, Any]]

    def evidence(self, challenger: Mapping[str, Any]) -> Evidence:
        """Let a challenger and the champion answer the fresh rows, and check both.

        What goes wrong on the way is not raised: it is what the gate has to know.
        """
        soundness: dict[str, str | None] = {}
        champion = self._champion_answers(soundness)
        folder = self.registry.folder(self.name, challenger["version"])
        bundle = _checked("challenger", soundness, lambda: rehearse(folder))
        answers = bundle and _checked("answers", soundness, lambda: self._answers(bundle))
        if answers:
            soundness["coverage"] = self._left_out(answers)
        rows = {
            target: self._rows(target, parameters, challenger, answers or {}, champion)
            for target, parameters in self.use_case.targets.items()
        }
        return Evidence(
            rows=rows,
            soundness=soundness,
            latency_ms=bundle.latency_ms() if answers else float("nan"),
            size_mb=bundle.size_mb if bundle else float("nan"),
            last_seen=self._last_seen(bundle),
            keys_hash=hash_keys(rows),
        )

    @cached_property
    def _champion(self) -> str | None:
        version = self.registry.champion(self.name)
        return None if version is None else str(version)

    @cached_property
    def _opened(self) -> Bundle:
        assert self._champion is not None
        return rehearse(self.registry.folder(self.name, self._champion))

    def _champion_answers(self, soundness: dict[str, str | None]) -> Answers | None:
        """What the champion says; it is the way back, and so it has to be sound, too."""
        if self._champion is None:
            return None
        return _checked("way back", soundness, lambda: self._answers(self._opened))

    def _answers(self, bundle: Bundle) -> Answers:
        now = delivered(bundle, self.raw, self.as_of)
        return now.predict(now.features.index[now.features.index.isin(self._fresh_keys)])

    @cached_property
    def _fresh_keys(self) -> pd.Index:
        """Test rows that the champion has not seen in any part."""
        rows = pd.concat([rows[rows["split"] == "test"] for rows in self.predictions.values()])
        test = rows.index.unique()
        if self._champion is None:
            return test
        try:
            known = self._opened.rows
        except UserError:
            return test[:0]
        time, until = self.use_case.data.time, decided_until(self._opened.manifest)
        if time is None or until is None:
            return test[~test.isin(known.index)]
        return test[self.primary.loc[test, time] > pd.Timestamp(until)]

    def _last_seen(self, challenger: Bundle | None) -> str | None:
        """Time of the last row that one of the two has used."""
        seen = [] if challenger is None else [challenger.manifest["last_row"]]
        if self._champion is not None and not self._fresh_keys.empty:
            seen.append(decided_until(self._opened.manifest))
        return max((moment for moment in seen if moment), default=None)

    def _left_out(self, answers: Answers) -> str | None:
        """Fresh rows without an answer, where they are more than a few."""
        for target, rows in answers.items():
            missing = len(self._fresh_keys.difference(rows.index))
            if missing > _FEW * len(self._fresh_keys):
                return f"{missing} of {len(self._fresh_keys)} fresh rows get no answer for {target}"
        return None

    def _rows(
        self,
        name: str,
        target: Target,
        challenger: Mapping[str, Any],
        answers: Answers,
        champion: Answers | None,
    ) -> Rows:
        naive_name = best_naive(target, self.choices[name])
        predictions = self.predictions[name]
        test = predictions[predictions["split"] == "test"]
        naive = test[(test["candidate"] == naive_name) & test.index.isin(self._fresh_keys)]
        terms = naive[[column for column in _TERMS if column in naive]]
        ours = _with_terms(terms, answers.get(name))
        theirs = None if champion is None else _with_terms(terms, champion.get(name))
        if theirs is not None:  # the same rows for both, whoever cannot answer one
            keys = ours.index.intersection(theirs.index, sort=False)
            ours, theirs = ours.loc[keys], theirs.loc[keys]
        return Rows(
            task=target.task,
            classes=target.classes,
            challenger=ours,
            champion=theirs,
            naive=None if challenger["candidates"][name] == naive_name else naive.loc[ours.index],
            slices=slices_of(self.primary.loc[ours.index], self.use_case.release.slices.columns),
            horizon=self.use_case.features.horizon,
        )


def _with_terms(terms: pd.DataFrame, answers: pd.DataFrame | None) -> pd.DataFrame:
    """Tidy rows: the answers for the rows in question, with truth and units that are the same."""
    if answers is None:
        return terms.iloc[:0].assign(prediction=np.array([], dtype=float))
    own = answers.drop(columns=[column for column in _TERMS if column in answers])
    return terms.join(own, how="inner")


def _checked(what: str, soundness: dict[str, str | None], check: Callable[[], Any]) -> Any:
    """Do something and note whether it went well."""
    soundness[what] = None
    try:
        return check()
    except UserError as error:
        soundness[what] = str(error)
        return None
