"""Parameters of watching a model that serves."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ratchet.config.base import Length, Params, Share
from ratchet.config.release import NotNegative, Positive


class Watch(Params):
    """When a model that serves is worse than it was when it was promoted.

    Attributes:
        window: length of a window as pandas writes it: ``7D``, ``12h``, or of the calendar, ``MS``;
            rows without time are one window.
        min_rows: rows with known truth below which a window has no score.
        rollback_above: share by which a score is worse than at the promotion, beyond which the
            window fails and the previous model is asked.
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
    """Thresholds from which an alert is sent.

    Attributes:
        accuracy_drop: fall of accuracy since the promotion.
        r2_drop: fall of R2 since the promotion.
        error_rate: share of requests that failed.
        response_ms: response time, 95th percentile.
        failing_model: share of failed requests of one version, from which the alert is critical.
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
