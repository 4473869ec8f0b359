"""Prometheus metrics of one serving process.

Each process has its own numbers at an address of its own: several workers behind one port have a
port each for their metrics, and whoever scrapes them adds up.
"""

from __future__ import annotations

import time
from collections import Counter as CountOf
from collections.abc import Iterator, Sequence
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
from ratchet.serving.protocols import AnswerLog, Models, Serving

disable_created_metrics()  # a series more for each, which nobody asks for

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
"""Seconds: the bars of the service are 5 and 20 ms, the alerts of the use cases 500 ms."""

NOWHERE = "none"
"""Route where there is none: a path could be anything, and so would be labels without end."""


class Metrics:
    """Counters and histograms, and gauges that are read off what serves.

    Args:
        models: what serves.
        log: where answers go.
    """

    def __init__(self, models: Models, log: AnswerLog | None = None) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        for process in (ProcessCollector, PlatformCollector):
            process(registry=self.registry)
        self.registry.register(_State(models, log))
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
            "predicted_classes", "Rows by predicted class.", "use_case", "target", "label"
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
                self.classes.labels(name, target, label).inc(count)
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
    """What serves now, read when somebody asks."""

    def __init__(self, models: Models, log: AnswerLog | None) -> None:
        self._models, self._log = models, log

    def describe(self) -> list[Metric]:
        """Nothing: it is not known yet which use cases there are."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Versions, their age, and what waits for the prediction log."""
        info = InfoMetricFamily("ratchet_model", "The version that serves.", labels=["use_case"])
        age = GaugeMetricFamily(
            "ratchet_model_age_seconds", "Time since it serves.", labels=["use_case"]
        )
        slow = GaugeMetricFamily(
            "ratchet_model_degraded", "1 where it is not compiled.", labels=["use_case"]
        )
        ready = GaugeMetricFamily(
            "ratchet_model_ready", "1 where the champion answers.", labels=["use_case"]
        )
        for name in self._models.use_cases():
            serving = self._models.champion(name)
            ready.add_metric([name], float(serving is not None))
            if serving is None:
                continue
            about = {"version": serving.version, "digest": serving.digest[:12]}
            info.add_metric([name], about)
            age.add_metric([name], age_of(serving.since))
            slow.add_metric([name], float(serving.degraded is not None))
        yield from (info, age, slow, ready)
        if self._log is not None:
            yield GaugeMetricFamily(
                "ratchet_log_waiting_rows",
                "Answers that are not in the prediction log yet.",
                value=self._log.waiting,
            )


def age_of(since: datetime) -> float:
    """Seconds since a moment, which is in UTC where it has no zone."""
    moment = since if since.tzinfo else since.replace(tzinfo=UTC)
    return max(time.time() - moment.timestamp(), 0.0)
