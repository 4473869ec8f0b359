"""The stages of a replay: kept on disk, trained where they are missing, several at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ratchet
from ratchet.dvc.used_code import used_modules
from ratchet.provenance import code_version
from ratchet.replay.stage_job import StageJob, run_stage_job
from ratchet.replay.training import ROLES, TrainingSpec

if TYPE_CHECKING:
    import pandas as pd

    from ratchet.config import UseCase
    from ratchet.replay import Model, Stage

_SOURCE = Path(ratchet.__file__).parents[1]

_LIBRARIES = (
    *("scikit-learn", "xgboost", "xgboost-cpu", "numpy", "pandas", "scipy", "skops"),
    *("keras", "tensorflow", "tensorflow-cpu"),
)
_TRAINED_BY = {"data", "features", "targets"}
"""Parts of the parameters that decide what is trained; a policy is made of the others."""


@dataclass(frozen=True, eq=False)
class StageStore:
    """The stages of one use case.

    Attributes:
        spec: whose models, and how they are trained.
        use_case: the parameters.
        typed: all typed rows.
        folder: where everything is kept.
        seed: the only source of randomness.
        jobs: stages that are trained at the same time, each by a process of its own.
    """

    spec: TrainingSpec
    use_case: UseCase
    typed: pd.DataFrame
    folder: Path
    seed: int
    jobs: int
    _works: dict[pd.Timestamp, StageJob] = field(default_factory=dict, repr=False)

    def work(self, day: pd.Timestamp) -> StageJob:
        """Where the stage of a day is kept: by everything that decides what comes out."""
        if day not in self._works:
            self._works[day] = self._work(day)
        return self._works[day]

    def _work(self, day: pd.Timestamp) -> StageJob:
        from ratchet.dates import local

        name = str(day.date())
        seen = local(self.typed[self.use_case.data.time]).dt.normalize() <= day
        stage = _digest(self._trained_by, name, _hash(self.typed[seen]))
        answers = _digest(stage, self._all_rows)
        return StageJob(
            name,
            self.folder / "stages" / f"{name}-{stage}",
            self.folder / "answers" / f"{name}-{answers}",
        )

    def bring(self, days: Iterable[pd.Timestamp]) -> Iterator[tuple[int, int, str]]:
        """Train and answer what is missing.

        Yields:
            How many are done, of how many, and the day of the last one, whenever one is.
        """
        works = [self.work(day) for day in days]
        missing = [work for work in works if not work.is_done]
        done = len(works) - len(missing)
        if done or not works:
            yield done, len(works), ""
        for number, day in enumerate(self._made(missing), done + 1):
            yield number, len(works), day

    def _made(self, missing: list[StageJob]) -> Iterator[str]:
        if self.jobs == 1 or len(missing) < 2:
            yield from (run_stage_job(self.spec, work, self.typed) for work in missing)
            return
        from joblib import Parallel, delayed

        from ratchet.learning.processes import joblib_ends_with_parent

        # Two trainings of one thread each are done sooner than one after the other of two.
        with joblib_ends_with_parent(inner_max_num_threads=1):
            yield from Parallel(n_jobs=self.jobs, return_as="generator_unordered")(
                delayed(run_stage_job)(self.spec, work, self.typed) for work in missing
            )

    def load(self, day: pd.Timestamp) -> Stage:
        """Read a stage that is there."""
        import pandas as pd

        from ratchet.replay import Stage

        work = self.work(day)
        told = json.loads((work.stage / "stage.json").read_text(encoding="utf-8"))
        if told["trouble"] is not None:
            return Stage.failed(day, told["trouble"])
        return Stage(
            as_of=day,
            challengers=tuple(
                self._model(day, work, role, told["latency_ms"][role])
                for role in ROLES
                if role in told["latency_ms"]
            ),
            naive={
                target: self._on_clock(pd.read_parquet(work.stage / f"naive_{target}.parquet"))
                for target in self.use_case.targets
            },
            primary=pd.read_parquet(work.stage / "primary.parquet"),
        )

    def _on_clock(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows by the clock that tells the days of the replay; they are kept in UTC."""
        from ratchet.dates import on_clock

        if "time" not in rows:
            return rows
        return rows.assign(time=on_clock(rows["time"], self.use_case.data.timezone))

    def _moment(self, moment: str | None) -> str | None:
        import pandas as pd

        if moment is None or self.use_case.data.timezone is None:
            return moment
        at = self._on_clock(pd.DataFrame({"time": [pd.Timestamp(moment)]}))["time"]
        return str(at.iloc[0].isoformat())

    def _model(self, day: pd.Timestamp, work: StageJob, role: str, latency_ms: float) -> Model:
        import pandas as pd

        from ratchet.bundle import open_bundle
        from ratchet.replay import Model

        bundle = open_bundle(work.stage / role)
        return Model(
            version=work.day if role == ROLES[0] else f"{work.day} {role}",
            as_of=day,
            candidates=bundle.manifest["candidates"],
            last_row=self._moment(bundle.manifest["last_row"]),
            decided_until=self._moment(bundle.manifest["decided_until"]),
            scores={name: bundle.metrics[name]["test"] for name in self.use_case.targets},
            answers={
                name: self._on_clock(pd.read_parquet(work.answers / f"{role}_{name}.parquet"))
                for name in self.use_case.targets
            },
            latency_ms=latency_ms,
            size_mb=bundle.size_mb,
        )

    @cached_property
    def _trained_by(self) -> str:
        parameters = self.use_case.model_dump(mode="json", include=_TRAINED_BY)
        code = code_version(code_of(self.use_case), _LIBRARIES)
        return _digest(self.spec.name, self.seed, parameters, code)

    @cached_property
    def _all_rows(self) -> str:
        return _hash(self.typed)


def code_of(use_case: UseCase) -> list[Path]:
    """What decides how models are trained and what they answer; the gate and the watch do not."""
    called = [one.function.rpartition(".")[0] for one in use_case.data.functions.values()]
    return sorted(used_modules(_SOURCE, [run_stage_job.__module__, *called]))


def _hash(rows: pd.DataFrame) -> str:
    from ratchet.bundle import hash_rows

    return hash_rows(rows.reset_index(drop=True))


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
