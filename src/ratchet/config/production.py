"""Parameters of production: what a model has to meet before it serves, and how it is monitored."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ratchet.config.base import Length, Params, Share

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
        min_rows: new rows of that target below which nothing is promoted; at the first promotion
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


class Watch(Params):
    """When a model that serves is worse than it was when it was promoted.

    Attributes:
        window: length of a window as pandas writes it: ``7D``, ``12h``, or of the calendar, ``MS``;
            rows without time are one window.
        min_rows: rows with known truth below which a window has no score.
        rollback_above: share by which a score is worse than at the promotion, beyond which the
            window fails, and the previous model is compared on the same rows.
        retrain_above: share beyond which a retraining is asked for.
        failing: windows that have to fail, the latest among them, of the latest ``of``.
        of: how many of the latest windows are looked at.
        cooldown: complete windows after a change of models in which nothing is done, and after a
            request in which no other is made.
    """

    window: Length = "7D"
    min_rows: Annotated[int, Field(ge=1)] = 20
    rollback_above: NotNegative = 0.05
    retrain_above: NotNegative = 0.03
    failing: Annotated[int, Field(ge=1)] = 2
    of: Annotated[int, Field(ge=1)] = 5
    cooldown: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _fail_within(self) -> Self:
        if self.failing > self.of:
            raise ValueError(f"failing: {self.failing} windows of {self.of} cannot fail")
        return self


class Alerts(Params):
    """Thresholds above which an alert is sent; exactly at one there is none.

    Attributes:
        accuracy_drop: fall of accuracy since the promotion.
        r2_drop: fall of R2 since the promotion.
        error_rate: share of requests that failed.
        response_ms: response time, 95th percentile.
        failing_model: share of failed requests of one version, above which a critical alert is
            sent.
    """

    accuracy_drop: NotNegative = 0.05
    r2_drop: NotNegative = 0.05
    error_rate: Share = 0.02
    response_ms: Positive = 500.0
    failing_model: Share = 0.05


class Scenario(Params):
    """A change of the inputs, made on real rows to see what it does.

    Attributes:
        columns: columns of the file that it changes.
        kind: ``shift`` adds ``amount`` spreads of the column; ``missing`` empties the share
            ``amount`` of its rows; ``season`` takes the values of ``steps`` rows before, in the
            order of time.
        amount: how much, see ``kind``.
        steps: how far ``season`` moves, in steps of the series.
    """

    columns: Annotated[list[str], Field(min_length=1)]
    kind: Literal["shift", "missing", "season"]
    amount: float = 1.0
    steps: Annotated[int, Field(ge=1)] = 1


class Drift(Params):
    """How inputs are compared with those of the training.

    Attributes:
        columns: columns that are looked at; by default features and ``windows.past``, without time
            and ``calendar``.
        false_alarms: share of windows without drift that may raise an alarm.
        chunks: chunks of reference rows that say what is usual.
        persistent: windows in a row after which a drift is MEDIUM.
        important: share of the summed importance from which a column makes a drift MEDIUM.
        scenarios: name -> change of the inputs, for ``kedro ratchet drift --scenario``.
    """

    columns: list[str] | None = None
    false_alarms: Share = 0.05
    chunks: Annotated[int, Field(ge=20)] = 200
    persistent: Annotated[int, Field(ge=2)] = 2
    important: Share = 0.1
    scenarios: dict[str, Scenario] = {}


class Monitoring(Params):
    """How a model that serves is watched.

    Attributes:
        watch: when it is worse than it was.
        alerts: when an alert is sent.
        drift: when its inputs have moved.
        keep_days: days for which answers stay in the log; those of the champion stay as long as it
            serves.
    """

    watch: Watch = Watch()
    alerts: Alerts = Alerts()
    drift: Drift = Drift()
    keep_days: Annotated[int, Field(ge=1)] = 730
