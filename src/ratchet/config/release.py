"""Parameters of the decision which model serves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ratchet.config.base import Params, Share

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Slices(Params):
    """Groups of rows in which a new model must not be much worse.

    Attributes:
        columns: columns of the rows; each of their values is a slice. A row belongs to a slice of
            every name that a list holds; numbers with many values are cut into quarters.
        allowance: how much worse a slice may be, as a share of the champion's error.
        min_rows: slices of fewer rows are not looked at.
    """

    columns: list[str] = []
    allowance: NotNegative = 0.10
    min_rows: Annotated[int, Field(ge=1)] = 30


class Trial(Params):
    """A trial that decides: the release acts on what the service has seen of a held challenger.

    Attributes:
        days: days on which both have answered rows whose truth is known, after which the trial
            ends. Until then newer challengers that are held back wait for their turn.
    """

    days: Annotated[int, Field(ge=10)] = 60


class Release(Params):
    """When a new model takes over, and what is kept of the old ones.

    Attributes:
        target: the target that decides; the first one by default.
        metric: its metric; that of the search by default.
        min_rows: fresh rows below which nothing is decided.
        min_gain: share by which the champion's score has to be bettered, strictly.
        confidence: level of the one-sided bounds of the gain.
        allowance: how much worse the other targets may be, as a share of the champion's score.
        slices: groups of rows in which the new model must not be much worse.
        groups: column whose value several rows share that may be wrong in the same way, such as a
            customer or a machine; by default an entity that is found in the key. The key itself
            says that every row stands by itself, also in time.
        max_latency_ms: time of one answer from raw fields, as it is served, 99th percentile.
        max_size_mb: size of the bundle.
        refit: whether the model is fitted once more, on all rows, after it was promoted.
        trial: let the trial of a challenger that was held back decide; off by default.
        keep: bundles kept beside those that serve, served last, or wait for a decision.
    """

    target: str | None = None
    metric: str | None = None
    min_rows: Annotated[int, Field(ge=2)] = 50
    min_gain: NotNegative = 0.02
    confidence: Share = 0.95
    allowance: NotNegative = 0.05
    slices: Slices = Slices()
    groups: str | None = None
    max_latency_ms: Positive = 100.0
    max_size_mb: Positive = 500.0
    refit: Literal["none", "all"] = "none"
    trial: Trial | None = None
    keep: Annotated[int, Field(ge=0)] = 5
