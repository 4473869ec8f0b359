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
            every name that a list holds; numbers with more than 12 values are cut into quarters.
        allowance: how much worse a slice may be, as a share of the champion's score; it fails if it
            is surely worse besides.
        min_rows: slices of fewer rows are named, not looked at.
    """

    columns: list[str] = []
    allowance: NotNegative = 0.10
    min_rows: Annotated[int, Field(ge=1)] = 30


class Trial(Params):
    """A trial that decides: the release acts on what the service has seen of a held challenger.

    Attributes:
        days: days on which both have answered rows whose truth is known, after which the trial
            ends and decides at the next release. Until then newer challengers that are held back
            wait for their turn.
    """

    days: Annotated[int, Field(ge=10)] = 60


class Release(Params):
    """When a new model takes over, and what is kept of the old ones.

    Attributes:
        target: the target that decides; the first one by default.
        metric: its metric: one of its task that has a better direction, or of a class
            (``f1_high``); by default that of the search.
        min_rows: fresh rows of that target below which nothing is promoted; at the first promotion
            these are the test rows.
        min_gain: share of the champion's score by which it has to be bettered; exactly that is not
            enough.
        confidence: level of each one-sided bound of the gain, for the first challenger before some
            rows; the k-th one has 1 / k^2.5 of its chance of error.
        allowance: how much worse another target may be, as a share of the champion's score; it
            fails if it is surely worse besides.
        slices: groups of rows in which the new model must not be much worse.
        groups: column whose value several rows share that may be wrong in the same way, such as a
            customer or a machine: they are drawn together. The key says that rows do not depend on
            each other, also in time. By default an entity that is found in the key (``C17-001``);
            of a key of several columns none where rows have a time, else the first column.
        max_latency_ms: time of the answer to one row from its raw fields, as it is served, 99th
            percentile.
        max_size_mb: size of the bundle.
        refit: ``all``: what the gate lets pass is fitted once more on train, validation and test
            before it is promoted; that version serves, with the scores and the calibration of the
            one that was judged.
        trial: lets the trial of a challenger that was held back decide; off by default.
        keep: newest versions that stay with their bundles, beside champion, previous and
            challenger; the ledger keeps all.
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
