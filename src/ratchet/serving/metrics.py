"""Prometheus metrics of one serving process.

Each process has its own numbers at an address of its own: several workers behind one port have a
port each for their metrics, and Prometheus adds them up.
"""

from __future__ import annotations

import time
from collections import Counter as CountOf
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    Summary,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ratchet.compiled.answers import Answer
from ratchet.serving.overview import MonitoringReport
from ratchet.serving.protocols import AnswerLog, Models, Serving

disable_created_metrics()  # one more series for each, which is not needed

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
"""Seconds: the bars of the service are 5 and 20 ms, the alerts of the use cases 500 ms."""

NOWHERE = "none"
"""Route where there is none: a path could be anything, and so would be labels without end."""

DRIFT_SEVERITIES = {"NONE": 0.0, "LOW": 1.0, "MEDIUM": 2.0, "HIGH": 3.0}
ALERT_LEVELS = ("warning", "critical")

ReportOf = Callable[[str], MonitoringReport | None]
"""Use case -> what its monitoring found last."""


class Metrics:
    """Counters and histograms, and gauges that are read off what serves.

    Args:
        models: what serves.
        log: where answers go.
        report_of: what the monitoring found last; without it there are no metrics of that.
    """

    def __init__(
        self, models: Models, log: AnswerLog | None = None, report_of: ReportOf | None = None
    ) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        for process in (ProcessCollector, PlatformCollector):
            process(registry=self.registry)
        self.registry.register(_State(models, log, report_of))
        self.requests = self._counter(
            "requests", "Requests by route and status.", "route", "method", "status"
        )
        self.seconds = self._histogram(
            "request_seconds", "Time from the request's headers to the end of its answer.", "route"
        )
        self.answer_seconds = self._histogram(
            "answer_seconds", "Time that a version took for the rows of a request.", "use_case"
        )
        self.rows = self._counter("rows", "Rows answered.", "use_case", "version")
        self.classes = self._counter(
            "predicted_classes",
            "Rows by version and predicted class.",
            *("use_case", "version", "target", "label"),
        )
        self.values = Summary(
            "ratchet_predicted_values",
            "Predicted numbers.",
            ["use_case", "target"],
            registry=self.registry,
        )
        self.refused = self._counter(
            "refused", "Requests with a row that cannot be answered or taken.", "use_case"
        )
        self.failures = self._counter(
            "failures", "Requests on which a version has failed.", "use_case"
        )
        self.not_shadowed = self._counter(
            "not_shadowed_rows",
            "Rows that a challenger was not asked, for want of time.",
            "use_case",
        )
        self.handed_in = self._counter(
            "handed_in_rows", "Measurements and truths.", "use_case", "what", "state"
        )

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"ratchet_{name}", documentation, labels, registry=self.registry)

    def _histogram(self, name: str, documentation: str, *labels: str) -> Histogram:
        return Histogram(
            f"ratchet_{name}", documentation, labels, registry=self.registry, buckets=BUCKETS
        )

    def answered(self, serving: Serving, answers: Sequence[Answer], seconds: float) -> None:
        """Count what a version has said."""
        name = serving.name
        self.answer_seconds.labels(name).observe(seconds)
        self.rows.labels(name, serving.version).inc(len(answers))
        for target in answers[0].predictions if answers else ():
            values = [answer.predictions[target].value for answer in answers]
            classes = CountOf(value for value in values if isinstance(value, str))
            for label, count in classes.items():
                self.classes.labels(name, serving.version, target, label).inc(count)
            numbers = self.values.labels(name, target) if len(classes) == 0 else None
            for value in values:
                if numbers is not None and not isinstance(value, str):
                    numbers.observe(value)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All metrics, and their media type.

        Args:
            accept: what the client can read.
        """
        encoder, media_type = choose_encoder(accept)
        return encoder(self.registry), media_type

    def serve(self, host: str, port: int) -> WSGIServer:
        """Show the metrics on a port of their own, by a thread."""
        server, _ = start_http_server(port, host, self.registry)
        return server


class _State(Collector):
    """What serves now and what its monitoring found, read on request."""

    def __init__(self, models: Models, log: AnswerLog | None, report_of: ReportOf | None) -> None:
        self._models, self._log, self._report_of = models, log, report_of

    def describe(self) -> list[Metric]:
        """Nothing: it is not known yet which use cases there are."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Versions, their age, what the monitoring found, and what waits for the log."""
        yield from self._served()
        if self._report_of is not None:
            yield from _monitored(self._models.use_cases(), self._report_of)
        if self._log is not None:
            yield GaugeMetricFamily(
                "ratchet_log_waiting_rows",
                "Answers that are not in the prediction log yet.",
                value=self._log.waiting,
            )

    def _served(self) -> Iterator[Metric]:
        info = InfoMetricFamily("ratchet_model", "The version that serves.", labels=["use_case"])
        since = _gauge("model_since_timestamp_seconds", "When it began to serve.", "version")
        age = _gauge("model_age_seconds", "Time since it serves.")
        slow = _gauge("model_degraded", "1 where it is not compiled.")
        ready = _gauge("model_ready", "1 where the champion answers.")
        for name in self._models.use_cases():
            serving = self._models.champion(name)
            ready.add_metric([name], float(serving is not None))
            if serving is None:
                continue
            about = {"version": serving.version, "digest": serving.digest[:12]}
            info.add_metric([name], about)
            since.add_metric([name, serving.version], _timestamp(serving.since))
            age.add_metric([name], age_of(serving.since))
            slow.add_metric([name], float(serving.degraded is not None))
        yield from (info, since, age, slow, ready)


def _monitored(use_cases: Sequence[str], report_of: ReportOf) -> Iterator[Metric]:
    when = _gauge("monitoring_timestamp_seconds", "When the monitoring ran last.")
    alerts = _gauge("monitoring_alerts", "Alerts that it found.", "level")
    drift = _gauge("drift_severity", "Drift that it found: 0 none, 1 low, 2 medium, 3 high.")
    for name in use_cases:
        if (report := report_of(name)) is None:
            continue
        when.add_metric([name], report.at.timestamp())
        levels = CountOf(alert["level"] for alert in report.alerts)
        for level in ALERT_LEVELS:
            alerts.add_metric([name, level], levels[level])
        if report.severity in DRIFT_SEVERITIES:
            drift.add_metric([name], DRIFT_SEVERITIES[report.severity])
    yield from (when, alerts, drift)


def _gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"ratchet_{name}", documentation, labels=["use_case", *labels])


def _timestamp(moment: datetime) -> float:
    """Seconds since 1970; a moment without a zone is in UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def age_of(since: datetime) -> float:
    """Seconds since a moment, which is in UTC where it has no zone."""
    return max(time.time() - _timestamp(since), 0.0)
