"""What the gate is shown: champion and challenger on the same fresh rows, and what was checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from ratchet.bundle.reader import Bundle
from ratchet.bundle.scoring_frame import ScoringFrame, new_rows, scoring_frame, training_cutoff
from ratchet.bundle.smoke_test import run_smoke_test
from ratchet.config import UseCase
from ratchet.dates import utc
from ratchet.errors import UserError
from ratchet.gate.evidence import Answers, Evidence, Holdout
from ratchet.production.release_candidates import naive_rows
from ratchet.registry.registry import Registry


@dataclass(frozen=True)
class EvidenceCollector:
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
        measured: what the service was handed in since the raw file.
    """

    registry: Registry
    name: str
    use_case: UseCase
    raw: pd.DataFrame
    as_of: Any
    primary: pd.DataFrame
    predictions: Mapping[str, pd.DataFrame]
    choices: Mapping[str, Mapping[str, Any]]
    measured: Sequence[Any] = ()

    def evidence(self, challenger: Mapping[str, Any]) -> Evidence:
        """Let a challenger and the champion answer the fresh rows, and check both.

        What goes wrong on the way is not raised: it is what the gate has to know.
        """
        soundness: dict[str, str | None] = {}
        champion = self._champion_answers(soundness)
        folder = self.registry.folder(self.name, challenger["version"])
        bundle = _checked("challenger", soundness, lambda: run_smoke_test(folder))
        answers = bundle and _checked("answers", soundness, lambda: self._answers(bundle))
        return Holdout(self.use_case, self._fresh_keys, self._naive, self.primary).evidence(
            challenger["candidates"],
            answers,
            champion,
            soundness=soundness,
            latency_ms=bundle.latency_ms() if answers else float("nan"),
            size_mb=bundle.size_mb if bundle else float("nan"),
            last_seen=self._last_seen(bundle),
            verdicts=self._verdicts(challenger),
        )

    def _verdicts(self, challenger: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Numbers of the verdicts on other challengers that kept the present champion."""
        return [
            entry.details["numbers"]
            for entry in self.registry.ledger.entries(self.name)
            if entry.event in ("hold", "reject")
            and entry.champion == self._champion
            and entry.version != challenger["version"]
            and isinstance(entry.details.get("numbers"), Mapping)
        ]

    @cached_property
    def _champion(self) -> str | None:
        version = self.registry.champion(self.name)
        return None if version is None else str(version)

    @cached_property
    def _opened(self) -> Bundle:
        assert self._champion is not None
        return self.registry.open_bundle(self.name, self._champion)

    @cached_property
    def _champion_rows(self) -> ScoringFrame:
        return scoring_frame(self._opened, self.raw, self.as_of, self.measured)

    def _champion_answers(self, soundness: dict[str, str | None]) -> Answers | None:
        """What the champion says; it is the rollback target, and so has to be sound, too."""
        if self._champion is None:
            return None
        return _checked("rollback target", soundness, lambda: self._answers(self._opened))

    def _answers(self, bundle: Bundle) -> Answers:
        now = (
            self._champion_rows
            if bundle is vars(self).get("_opened")  # a damaged champion is not opened again
            else scoring_frame(bundle, self.raw, self.as_of, self.measured)
        )
        keys = now.keys_for(self.use_case.features)
        wanted = keys.isin(self._fresh_keys)
        if not wanted.any() and bundle.use_case.features.windows and len(self._fresh_keys):
            raise UserError(
                f"it forecasts {bundle.use_case.features.windows.ahead} ahead, and none of the "
                f"{len(self._fresh_keys)} holdout rows is of such a step: models cannot be "
                f"compared by the same rows; let the new one serve by hand (kedro ratchet promote)"
            )
        answers = now.predict(now.features.index[wanted])
        return {name: rows.set_axis(keys[wanted], axis=0) for name, rows in answers.items()}

    @cached_property
    def _naive(self) -> dict[str, pd.DataFrame]:
        return {
            name: naive_rows(target, self.choices[name], self.predictions[name])
            for name, target in self.use_case.targets.items()
        }

    @cached_property
    def _fresh_keys(self) -> pd.Index:
        """Test rows that the champion has not seen in any part.

        Of series whole steps only: a late row has much in common with its step, which was seen.
        """
        rows = pd.concat([rows[rows["split"] == "test"] for rows in self.predictions.values()])
        test = rows.index.unique()
        if self._champion is None:
            return test
        try:
            champion = self._opened
            is_known = None if self.use_case.data.series else self._champion_rows.is_known(test)
        except UserError:
            return test[:0]
        time = self.use_case.data.time
        named = self.use_case.features.row_keys(test)
        times = utc(self.primary.loc[named, time]) if time else pd.Series(pd.NaT, index=test)
        return test[new_rows(times, training_cutoff(champion.manifest), is_known)]

    def _last_seen(self, challenger: Bundle | None) -> str | None:
        """Time of the last row that one of the two has used."""
        last_rows = [] if challenger is None else [challenger.manifest["last_row"]]
        if self._champion is not None and not self._fresh_keys.empty:
            last_rows.append(training_cutoff(self._opened.manifest))
        return max((moment for moment in last_rows if moment), default=None)


def _checked(what: str, soundness: dict[str, str | None], check: Callable[[], Any]) -> Any:
    """Do something and note whether it went well."""
    soundness[what] = None
    try:
        return check()
    except UserError as error:
        soundness[what] = str(error)
        return None
