"""Types of the JSON outputs of other phases that reports read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

Score = Mapping[str, float]
"""``value`` of a metric, ``low`` and ``high`` of its 95 % interval."""

Scores = dict[str, dict[str, dict[str, Score]]]
"""Candidate -> part of the rows -> metric -> score."""


class JudgedObjective(TypedDict):
    """A metric held against its objective, on the test rows."""

    value: float
    low: float
    high: float
    aim: float
    met: bool
    in_doubt: bool
    production: NotRequired[float]
    fit_for_production: NotRequired[bool]


class JudgedBaseline(TypedDict):
    """The baseline, and whether the winner beats it."""

    candidate: str
    test: dict[str, Score]
    beaten: bool


class ConfidentShare(TypedDict):
    """How many rows are predicted with confidence; shares right are ``None`` without such rows."""

    threshold: float
    share: float
    right: float | None
    right_otherwise: float | None


class Details(TypedDict, total=False):
    """Details of the winner's predictions: the first three of classes, the others of numbers."""

    confusion: dict[str, dict[str, int]]
    calibration_error: float
    confident: ConfidentShare
    confidence: float
    coverage: float
    mean_width: float


class Choice(TypedDict):
    """The winner and why; ``ranking``: candidate -> part of the rows -> score."""

    best: str
    why: str
    metric: str
    ranking: dict[str, dict[str, float]]


class Judgement(TypedDict):
    """The winner on the test rows."""

    baseline: JudgedBaseline
    objectives: dict[str, JudgedObjective]
    details: Details


class JudgedChoice(Choice, Judgement):
    """The choice together with its judgement."""


class ColumnProfile(TypedDict):
    """What a column holds: a range of numbers or dates, or the most frequent values."""

    type: str
    missing: int
    min: NotRequired[Any]
    max: NotRequired[Any]
    median: NotRequired[float]
    distinct: NotRequired[int]
    most_frequent: NotRequired[dict[str, int]]


class Profile(TypedDict):
    """What the rows of the file are, see ``pipelines.understanding``."""

    rows: int
    columns: dict[str, ColumnProfile]
    span: NotRequired[tuple[str, str]]


class Part(TypedDict):
    """Rows of one part of the data."""

    rows: int
    span: NotRequired[tuple[str, str]]


class SeriesSelection(TypedDict):
    """How rows became steps of series; ``left_out``: reason -> number of steps."""

    count: int
    steps: int
    absent: int
    holes: int
    unscaled: list[str]
    ended: NotRequired[list[str]]
    left_out: dict[str, int]


class Selection(TypedDict):
    """Rows of the file, those that are used, and their parts."""

    rows: int
    kept: int
    missing: dict[str, int]
    parts: dict[str, Part]
    truth: NotRequired[dict[str, dict[str, int]]]
    not_learned: NotRequired[dict[str, dict[str, int]]]
    series: NotRequired[SeriesSelection]
