"""What a training on one day brings: models with all their answers, kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

import ratchet
from ratchet.bundle.reader import UNREFITTED, open_bundle
from ratchet.bundle.writer import hash_rows
from ratchet.config import UseCase
from ratchet.dates import local, on_clock
from ratchet.dvc.stages import used_modules
from ratchet.gate.evidence import Answers
from ratchet.learning.processes import joblib_ends_with_parent
from ratchet.provenance import code_version
from ratchet.replay.training import REFITTED, ROLES, StageJob, TrainingSpec, run_stage_job

_SOURCE = Path(ratchet.__file__).parents[1]

_LIBRARIES = (
    *("scikit-learn", "xgboost", "xgboost-cpu", "numpy", "pandas", "scipy", "skops"),
    *("keras", "tensorflow", "tensorflow-cpu"),
)
_TRAINED_BY = {"data", "features", "targets", "evaluation"}
"""Parts of the parameters that decide what is trained; a policy is made of the others."""


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
        failure: why it does not answer the rows after its test rows; ``None`` if it does.
        refitted: the version that serves in its place once it is promoted, fitted once more on all
            rows; ``None`` with ``release.refit: none``.
        tested: target -> test rows that windows are compared with, as ``Bundle.test_rows`` has
            them.
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
    failure: str | None = None
    refitted: Model | None = None
    tested: Mapping[str, pd.DataFrame] = field(default_factory=dict)

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
        failure: why the training has failed; it has no challengers then.
    """

    as_of: pd.Timestamp
    challengers: tuple[Model, ...]
    naive: Mapping[str, pd.DataFrame]
    primary: pd.DataFrame
    failure: str | None = None

    @classmethod
    def failed(cls, as_of: pd.Timestamp, failure: str) -> Stage:
        """A training that has ended in an error."""
        return cls(as_of, (), {}, pd.DataFrame(), failure)


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
    _jobs: dict[pd.Timestamp, StageJob] = field(default_factory=dict, repr=False)

    def job(self, day: pd.Timestamp) -> StageJob:
        """Where the stage of a day is kept: by everything that decides what comes out."""
        if day not in self._jobs:
            self._jobs[day] = self._job(day)
        return self._jobs[day]

    def _job(self, day: pd.Timestamp) -> StageJob:
        name = str(day.date())
        is_seen = local(self.typed[self.use_case.data.time]).dt.normalize() <= day
        stage = _digest(self._trained_by, name, _hash(self.typed[is_seen]))
        answers = _digest(stage, self._all_rows)
        return StageJob(
            name,
            self.folder / "stages" / f"{name}-{stage}",
            self.folder / "answers" / f"{name}-{answers}",
        )

    def train(self, days: Iterable[pd.Timestamp]) -> Iterator[tuple[int, int, str]]:
        """Train and answer what is missing.

        Yields:
            How many are done, of how many, and the day of the last one, whenever one is.
        """
        jobs = [self.job(day) for day in days]
        missing = [job for job in jobs if not job.is_done]
        done = len(jobs) - len(missing)
        if done or not jobs:
            yield done, len(jobs), ""
        for number, day in enumerate(self._trained(missing), done + 1):
            yield number, len(jobs), day

    def _trained(self, missing: list[StageJob]) -> Iterator[str]:
        if self.jobs == 1 or len(missing) < 2:
            yield from (run_stage_job(self.spec, job, self.typed) for job in missing)
            return
        # Two trainings of one thread each are done sooner than one after the other of two.
        with joblib_ends_with_parent(inner_max_num_threads=1):
            yield from Parallel(n_jobs=self.jobs, return_as="generator_unordered")(
                delayed(run_stage_job)(self.spec, job, self.typed) for job in missing
            )

    def load(self, day: pd.Timestamp) -> Stage:
        """Read a stage that is there."""
        job = self.job(day)
        summary = json.loads((job.stage / "stage.json").read_text(encoding="utf-8"))
        if summary["trouble"] is not None:
            return Stage.failed(day, summary["trouble"])
        return Stage(
            as_of=day,
            challengers=tuple(
                self._model(day, job, role, summary["latency_ms"][role])
                for role in ROLES
                if role in summary["latency_ms"]
            ),
            naive={
                target: self._on_clock(pd.read_parquet(job.stage / f"naive_{target}.parquet"))
                for target in self.use_case.targets
            },
            primary=pd.read_parquet(job.stage / "primary.parquet"),
        )

    def _on_clock(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows with times of the clock that the days of the replay follow; stored in UTC."""
        if "time" not in rows:
            return rows
        return rows.assign(time=on_clock(rows["time"], self.use_case.data.timezone))

    def _moment(self, moment: str | None) -> str | None:
        if moment is None or self.use_case.data.timezone is None:
            return moment
        at = self._on_clock(pd.DataFrame({"time": [pd.Timestamp(moment)]}))["time"]
        return str(at.iloc[0].isoformat())

    def _model(self, day: pd.Timestamp, job: StageJob, role: str, latency_ms: float) -> Model:
        bundle = open_bundle(job.stage / role)
        again = f"{role}_{REFITTED}"
        return Model(
            refitted=(
                self._model(day, job, again, latency_ms) if (job.stage / again).is_dir() else None
            ),
            tested=bundle.test_rows,
            version=f"{job.day} {role.removeprefix(ROLES[0]).replace('_', ' ').strip()}".strip(),
            as_of=day,
            candidates=bundle.manifest["candidates"],
            last_row=self._moment(bundle.manifest["last_row"]),
            decided_until=self._moment(bundle.manifest["decided_until"]),
            scores={
                name: bundle.metrics[name].get(UNREFITTED, bundle.metrics[name]["test"])
                for name in self.use_case.targets
            },
            answers={
                name: self._on_clock(pd.read_parquet(job.answers / f"{role}_{name}.parquet"))
                for name in self.use_case.targets
            },
            latency_ms=latency_ms,
            size_mb=bundle.size_mb,
        )

    @cached_property
    def _trained_by(self) -> str:
        parameters = self.use_case.model_dump(mode="json", include=_TRAINED_BY)
        code = code_version(code_of(self.use_case), _LIBRARIES)
        refit = [self.use_case.release.refit] if self.use_case.release.refit != "none" else []
        return _digest(self.spec.name, self.seed, parameters, code, *refit)

    @cached_property
    def _all_rows(self) -> str:
        return _hash(self.typed)


def code_of(use_case: UseCase) -> list[Path]:
    """What decides how models are trained and what they answer; the gate and the watch do not."""
    called = [one.function.rpartition(".")[0] for one in use_case.data.functions.values()]
    return sorted(used_modules(_SOURCE, [run_stage_job.__module__, *called]))


def _hash(rows: pd.DataFrame) -> str:
    return hash_rows(rows.reset_index(drop=True))


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
