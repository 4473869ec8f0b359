"""Made pasts: a series of eight values a day whose models err by exactly as much as a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from ratchet.config import UseCase
from ratchet.replay.history import History
from ratchet.replay.stages import Model, Stage

START = pd.Timestamp("2024-01-07")  # a Sunday
WEEKS = 8
HOURS = pd.date_range("2023-12-01", START + pd.Timedelta(weeks=WEEKS + 1), freq="3h")
CHANCE = np.random.default_rng(1)
SIGNS = CHANCE.choice([-1.0, 1.0], len(HOURS))
"""Every model errs by its size on every row, all of them in the same direction."""
TRUTH = pd.Series(CHANCE.normal(10, 3, len(HOURS)), name="truth")

Size = float | Callable[[pd.DatetimeIndex], Any]
"""How much a model errs: always, or by the time."""

PARAMETERS = yaml.safe_load(
    """
about: {title: Made, question: "How much?", source: nowhere}
data:
  key: id
  time: time
  columns:
    id: {type: integer}
    time: {type: date}
    x: {type: number}
    load: {type: number}
features: {numeric: [x]}
targets:
  load:
    column: load
    task: regression
    scoring: neg_root_mean_squared_error
    candidates: {dummy: {estimator: dummy}, ridge: {estimator: ridge}}
release: {min_rows: 50}
monitoring: {watch: {window: 7D, min_rows: 20}}
"""
)


def week(number: int) -> pd.Timestamp:
    """A Sunday, counted from 0."""
    return START + pd.Timedelta(weeks=number)


@dataclass(eq=False)
class Made:
    """A past in the making.

    Attributes:
        sizes: week -> how much the model errs that is trained then; without one it errs by 1.
        release: parameters that differ.
        watch: the same of the watch.
        incidents: what goes wrong.
        others: further days on which a model is trained -> how much it errs.
        weeks: how many Sundays there are.
    """

    sizes: Mapping[int, Size] = field(default_factory=dict)
    release: Mapping[str, Any] = field(default_factory=dict)
    watch: Mapping[str, Any] = field(default_factory=dict)
    incidents: tuple[Any, ...] = ()
    others: Mapping[pd.Timestamp, Size] = field(default_factory=dict)
    weeks: int = WEEKS

    @property
    def use_case(self) -> UseCase:
        changed = {
            "release": {**PARAMETERS["release"], **self.release},
            "monitoring": {"watch": {**PARAMETERS["monitoring"]["watch"], **self.watch}},
        }
        return UseCase.model_validate({**PARAMETERS, **changed})

    @property
    def history(self) -> History:
        from ratchet.replay.incidents import apply_incidents

        sundays = tuple(week(number) for number in range(self.weeks))
        sizes = {week(number): size for number, size in self.sizes.items()}
        sizes = {day: sizes.get(day, 1.0) for day in sundays} | dict(self.others)
        targets = dict(self.use_case.targets)

        def model(day: pd.Timestamp) -> Model:
            return apply_incidents(make_model(day, sizes[day]), self.incidents, targets)

        return History(
            use_case=self.use_case,
            stages={day: make_stage(day, model(day)) for day in sorted(sizes)},
            sundays=sundays,
            until=week(self.weeks),
            seed=1,
            incidents=self.incidents,
        )


def make_model(day: pd.Timestamp, size: Size, *, name: str = "ridge") -> Model:
    """A model that has learned up to two weeks before a day, and is tested by what came after."""
    learned = day - pd.Timedelta(weeks=2) + pd.Timedelta(hours=23)
    error = np.asarray(size(HOURS) if callable(size) else size) * SIGNS
    rows = pd.DataFrame({"prediction": TRUTH + error, "time": HOURS, "truth": TRUTH})
    rows = rows.assign(low=rows["prediction"] - 1, high=rows["prediction"] + 1)
    last = day + pd.Timedelta(hours=23)
    among = pd.Series(HOURS).between(learned, last, inclusive="right").to_numpy()
    tested = error[among] if error.ndim else error
    value = float(np.sqrt(np.mean(tested**2)))
    return Model(
        version=str(day.date()) if name == "ridge" else f"{day.date()} naive",
        as_of=day,
        candidates={"load": name},
        last_row=learned.isoformat(),
        decided_until=last.isoformat(),
        scores={"load": {"rmse": {"value": value, "low": value, "high": value}}},
        answers={"load": rows[rows["time"] > learned].rename_axis("id")},
        latency_ms=1.0,
        size_mb=1.0,
    )


def make_stage(day: pd.Timestamp, model: Model) -> Stage:
    """What a training brings; the naive forecast errs by 3."""
    naive = make_model(day, 3.0, name="dummy")
    rows = naive.answers["load"]
    rows = rows[rows["time"] <= naive.decided_until]
    return Stage(
        as_of=day,
        challengers=(model, naive),
        naive={"load": rows[["prediction", "truth", "time"]].assign(candidate="dummy")},
        primary=rows[["time"]],
    )


@pytest.fixture(scope="session")
def made() -> type[Made]:
    """Make a past."""
    return Made


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors are exact, and so every draw says the same."""
    from ratchet.gate.verdict import judge
    from ratchet.monitoring import performance

    monkeypatch.setitem(judge.__kwdefaults__, "n_bootstrap", 100)
    monkeypatch.setattr(performance, "_DRAWS", 50)
