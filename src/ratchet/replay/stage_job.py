"""The work of one stage of a replay: train as of a day, and answer everything that came later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.learning.files import atomic_write
from ratchet.replay.training import ROLES, TrainingSpec, train

if TYPE_CHECKING:
    import pandas as pd

    from ratchet.bundle import Bundle


@dataclass(frozen=True)
class StageJob:
    """One stage.

    Attributes:
        day: last day whose rows are seen.
        stage: folder of what is trained.
        answers: folder of what that answers.
    """

    day: str
    stage: Path
    answers: Path

    @property
    def is_done(self) -> bool:
        """Whether both are there; each is whole if it is there."""
        return self.stage.is_dir() and self.answers.is_dir()


def run_stage_job(spec: TrainingSpec, work: StageJob, typed: pd.DataFrame) -> str:
    """Do what is still missing of a stage.

    Args:
        spec: whose models.
        work: what is wanted.
        typed: all typed rows.

    Returns:
        The day, once it is done.
    """
    if not work.stage.is_dir():
        _write(work.stage, lambda folder: train(spec, work.day, typed, folder))
    if not work.answers.is_dir():
        _write(work.answers, lambda folder: _answer(work.stage, typed, folder))
    return work.day


def _write(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder under another name; it gets its own when it is whole."""
    try:
        with atomic_write(folder, replace=False) as partial:
            partial.mkdir()
            fill(partial)
    except OSError:
        if not folder.is_dir():  # another process was faster
            raise


def _answer(stage: Path, typed: pd.DataFrame, folder: Path) -> None:
    """Let the bundles of a stage answer their test rows and all later ones, from raw fields."""
    from ratchet.bundle import open_bundle
    from ratchet.bundle.scoring_frame import ScoringFrame

    seen = None
    for role in ROLES:
        if not (stage / role).is_dir():
            continue
        bundle = open_bundle(stage / role)
        # Both have the same encoder and units, and so their features are the same.
        seen = seen or ScoringFrame(bundle, typed)
        for target, rows in _answers(bundle, seen).items():
            rows.to_parquet(folder / f"{role}_{target}.parquet")


def _answers(bundle: Bundle, seen: Any) -> dict[str, pd.DataFrame]:
    # Test rows may share their day with the last one that was learned from.
    tested = bundle.rows.index[bundle.rows["part"] == "test"]
    keys, later = seen.features.index, seen.newer_than(bundle.manifest["last_row"])
    found = bundle.predict(seen.features.loc[keys.isin(tested) | keys.isin(later)])
    return {
        target: rows.assign(
            time=seen.times.reindex(rows.index),
            truth=seen.truth(bundle.use_case.targets[target]).reindex(rows.index),
        )
        for target, rows in found.items()
    }
