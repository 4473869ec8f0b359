"""What the requests of the last hour were like, from counters that are looked at now and then."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from prometheus_client import Counter, Histogram

from ratchet.serving.metrics import Metrics

SECONDS = 10.0
"""Time between two looks."""

_RETAINED = 361  # looks of an hour
_PREDICT = "/predict"
_HEALTH = "/health"


@dataclass(frozen=True)
class Sample:
    """Counters at a moment.

    Attributes:
        at: the moment, in seconds.
        requests: requests since the start.
        refused: those that were answered with 4xx.
        failed: those that were answered with 5xx.
        buckets: upper end in seconds -> predictions that took no longer, since the start.
    """

    at: float
    requests: float
    refused: float
    failed: float
    buckets: Mapping[float, float]


@dataclass(frozen=True)
class Point:
    """What happened between two looks.

    Attributes:
        at: end, in seconds.
        rate: requests per second.
        refused: answers with 4xx.
        failed: answers with 5xx.
        median: milliseconds that half of the predictions did not take; ``None`` without any.
        slow: the same for 99 of 100.
    """

    at: float
    rate: float
    refused: float
    failed: float
    median: float | None
    slow: float | None


class Traffic:
    """Looks at the counters of this process, and remembers an hour.

    Args:
        metrics: the counters.
        clock: seconds.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self._metrics, self._clock = metrics, clock
        self._samples: deque[Sample] = deque(maxlen=_RETAINED)
        self.sample()

    async def watch(self) -> None:
        """Look again and again, until this is cancelled."""
        while True:
            await asyncio.sleep(SECONDS)
            self.sample()

    def sample(self) -> None:
        """Look once."""
        self._samples.append(self._read())

    def points(self) -> list[Point]:
        """What happened between the looks, up to now."""
        return [_between(*pair) for pair in pairwise([*self._samples, self._read()])]

    def whole(self) -> Point:
        """What happened in the time that is remembered."""
        return _between(self._samples[0], self._read())

    def _read(self) -> Sample:
        statuses = {"2": 0.0, "4": 0.0, "5": 0.0}
        for one in _samples(self._metrics.requests, "_total"):
            kind = one.labels["status"][:1]
            if kind == "5" and one.labels["route"].startswith(_HEALTH):
                continue  # "not ready" is an answer, which a probe repeats every few seconds
            statuses[kind] = statuses.get(kind, 0.0) + one.value
        buckets: dict[float, float] = {}
        for one in _samples(self._metrics.seconds, "_bucket"):
            if one.labels["route"].startswith(_PREDICT):
                end = float(one.labels["le"])
                buckets[end] = buckets.get(end, 0.0) + one.value
        return Sample(self._clock(), sum(statuses.values()), statuses["4"], statuses["5"], buckets)


def _samples(metric: Counter | Histogram, ending: str) -> list[Any]:
    return [
        one for family in metric.collect() for one in family.samples if one.name.endswith(ending)
    ]


def _between(before: Sample, after: Sample) -> Point:
    counts = {end: n - before.buckets.get(end, 0.0) for end, n in after.buckets.items()}
    seconds = max(after.at - before.at, 1e-9)
    return Point(
        after.at,
        (after.requests - before.requests) / seconds,
        after.refused - before.refused,
        after.failed - before.failed,
        quantile(counts, 0.5),
        quantile(counts, 0.99),
    )


def quantile(counts: Mapping[float, float], share: float) -> float | None:
    """Milliseconds within which a share of the requests was answered.

    Between the ends of a bucket they are taken to lie evenly, as Prometheus does.

    Args:
        counts: upper end of a bucket in seconds -> requests that took no longer.
        share: from 0 to 1.
    """
    ends: Sequence[float] = sorted(counts)
    total = counts[ends[-1]] if ends else 0.0
    if total <= 0:
        return None
    wanted, low, below = share * total, 0.0, 0.0
    for end in ends:
        if counts[end] >= wanted:
            if math.isinf(end):
                return low * 1e3
            inside = counts[end] - below
            return (low + (end - low) * ((wanted - below) / inside if inside else 0.0)) * 1e3
        low, below = end, counts[end]
    return low * 1e3
