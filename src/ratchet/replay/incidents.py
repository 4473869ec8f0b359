"""Incidents: what goes wrong in a replayed past, written down in YAML."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import pandas as pd
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from ratchet.config import Data, Scenario, Target
from ratchet.config.base import Params
from ratchet.dates import local
from ratchet.errors import ConfigError
from ratchet.frames import with_columns
from ratchet.monitoring.drift.scenarios import apply
from ratchet.replay.stages import Model


class _Incident(Params):
    """Something that goes wrong from one day to another, both included."""

    first: Annotated[dt.date, Field(alias="from")]
    last: Annotated[dt.date, Field(alias="to")]
    note: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"to: {self.last} is before from: {self.first}")
        return self

    def covers(self, day: Any) -> bool:
        """Whether a day is one of those."""
        return self.first <= pd.Timestamp(day).date() <= self.last


class DriftIncident(_Incident):
    """Columns of the file hold other values than they did.

    Attributes:
        change: what becomes of them, as in ``monitoring.drift.scenarios``. Naming the target's
            column makes the truth wrong, and what models learn from it.
    """

    kind: Literal["drift"]
    change: Scenario


class BadDataIncident(_Incident):
    """The delivered file breaks its contract: nothing is trained, answered or watched."""

    kind: Literal["bad_data"]


class LatencyIncident(_Incident):
    """Models that are trained on these days take their time.

    Attributes:
        ms: time of one answer, 99th percentile.
    """

    kind: Literal["latency"]
    ms: Annotated[float, Field(gt=0)]


class BrokenModelIncident(_Incident):
    """Models that are trained on these days pass their test, and then answer wrongly or not at all.

    Attributes:
        factor: by what numbers are multiplied; the probabilities of classes change places, the
            first with the last. Without it there is no answer.
    """

    kind: Literal["broken_model"]
    factor: Annotated[float, Field(ge=0)] | None = None


Incident = DriftIncident | BadDataIncident | LatencyIncident | BrokenModelIncident

_INCIDENTS = TypeAdapter(list[Annotated[Incident, Field(discriminator="kind")]])


def read_incidents(content: Any, origin: str) -> tuple[Incident, ...]:
    """Read incidents.

    Args:
        content: a list of mappings, as YAML has it.
        origin: where it comes from, for the message.

    Raises:
        ConfigError: names the incident, counted from 1, the key, and what was expected.
    """
    try:
        return tuple(_INCIDENTS.validate_python(content or []))
    except ValidationError as error:
        lines = [
            f"{origin}: {_path(problem['loc'])}{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        ]
        raise ConfigError("\n".join(lines)) from None


def _path(location: tuple[int | str, ...]) -> str:
    """``incident 2: change.kind: ``; the name of the kind itself is no key."""
    if not location:
        return ""
    keys = ".".join(str(part) for part in location[2:])
    return f"incident {int(location[0]) + 1}: {f'{keys}: ' if keys else ''}"


def changed_rows(
    typed: pd.DataFrame, data: Data, incidents: Sequence[Incident], seed: int
) -> pd.DataFrame:
    """Rows as they would have been delivered.

    Args:
        typed: the typed rows.
        data: which of their columns is the time.
        incidents: those of drift change the rows of their days.
        seed: seed of the draws.

    Raises:
        ConfigError: a column is not in the file, or has no numbers to be shifted.
    """
    rows = typed
    for incident in incidents:
        if not isinstance(incident, DriftIncident):
            continue
        days = local(rows[data.time]).dt.normalize()
        mine = (days >= pd.Timestamp(incident.first)) & (days <= pd.Timestamp(incident.last))
        series = data.series.id if data.series else None
        everywhere = apply(rows, incident.change, seed=seed, time=data.time, series=series)
        columns = incident.change.columns
        changed = {name: everywhere[name].where(mine, rows[name]) for name in columns}
        rows = with_columns(rows, changed)
    return rows


def file_is_bad(incidents: Sequence[Incident], day: Any) -> bool:
    """Whether the file of a day breaks its contract."""
    return any(isinstance(one, BadDataIncident) and one.covers(day) for one in incidents)


def apply_incidents(
    model: Model, incidents: Sequence[Incident], targets: dict[str, Target]
) -> Model:
    """A model as incidents have left it.

    Args:
        model: as it was trained.
        incidents: those that cover the day of its training are its own.
        targets: the targets of the use case.
    """
    if model.refitted is not None:
        model = replace(model, refitted=apply_incidents(model.refitted, incidents, targets))
    for incident in incidents:
        if isinstance(incident, LatencyIncident) and incident.covers(model.as_of):
            model = replace(model, latency_ms=incident.ms)
        if isinstance(incident, BrokenModelIncident) and incident.covers(model.as_of):
            model = _broken(model, incident.factor, targets)
    return model


def _broken(model: Model, factor: float | None, targets: dict[str, Target]) -> Model:
    after = pd.Timestamp(model.as_of) + pd.Timedelta(days=1)
    answers = {}
    for name, rows in model.answers.items():
        later = rows["time"] >= after
        if factor is None:
            answers[name] = rows[~later]
        else:
            answers[name] = pd.concat([rows[~later], _wrong(rows[later], factor, targets[name])])
    failure = "it does not answer" if factor is None else None
    return replace(model, answers=answers, failure=failure)


def _wrong(rows: pd.DataFrame, factor: float, target: Target) -> pd.DataFrame:
    if not target.is_classes:
        return rows.assign(**{name: rows[name] * factor for name in ("prediction", "low", "high")})
    classes = list(target.classes or [])
    swapped = {
        f"probability_{one}": rows[f"probability_{other}"]
        for one, other in zip(classes, reversed(classes), strict=True)
    }
    other_of = dict(zip(classes, reversed(classes), strict=True))
    return rows.assign(**swapped, prediction=rows["prediction"].map(other_of))
